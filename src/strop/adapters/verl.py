"""verl: `compute_score` for `custom_reward_function` (`path=.../strop/adapters/verl.py`, `name=compute_score`).

`reward_model.ground_truth` of a row holds the tests: `inputs`, `outputs` and perhaps `fn_name`, as verl's own
`prime_code` and `sandbox_fusion` read them, or a task row in any format that Strop knows; a mapping or its JSON text.

verl has no reward that says "unknown". Where the judge failed, this raises: verl then stops, or drops the batch, as it
is set up to, and learns nothing wrong. Whoever cannot have Strop in verl's environment points verl's
`sandbox_fusion.url` at `http://strop:TOKEN@host:8080/run_code` of `strop judge --serve` instead.

Call and result: verl 0.9.1, `verl/experimental/reward_loop/reward_manager/naive.py`.
"""

from __future__ import annotations

from typing import Any

from strop.adapters.ground_truth import judged, program_in, task_of
from strop.types import StropError


def compute_score(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None, *, partial: bool = True, **_: Any
) -> dict[str, Any]:
    """Score of one reply: the share of tests passed, or with `partial=False` 1 for all of them.

    `score` is the reward; `acc` and `strop_status` are logged by verl. Raises StropError for a ground truth that is no
    task, and when the judge failed.
    """
    task = task_of(ground_truth)
    (verdict,) = judged([task], [program_in(task, solution_str)], partial=partial)
    if verdict.status == "judge_error":
        raise StropError(f"{data_source}: the judge failed, so there is no reward: {verdict.detail}")
    passed = float(verdict.passed)
    return {"score": verdict.fraction if partial else passed, "acc": passed, "strop_status": verdict.status}
