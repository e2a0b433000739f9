"""Practice samples into preference data by the constructions of `strop.data`, with what there is to say about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from strop.data.from_run import RunPools, make_pairs, suite_for
from strop.data.plum import Labelled, unpaired
from strop.data.pools import pool_up, with_matrices
from strop.types import Preference, Sample, StropError, Task, Verdict

if TYPE_CHECKING:
    from strop.judge import Judge
    from strop.tasks.protocols import Protocol

CONSTRUCTIONS = {"dpo": "verdict", "plum": "plum", "dstc": "dstc", "codedpo": "codedpo"}
"""Recipes that learn from pairs, and the construction of each (`strop.data.from_run.METHODS`)."""
Verdicts = Mapping[tuple[str, int], Verdict]


def constructed(
    method: str, tasks: Sequence[Task], samples: Iterable[Sample], verdicts: Verdicts, protocol: Protocol, judge: Judge,
    *, policy: str, tests: str | None, per_task: int, seed: int, held_out: Sequence[Task] = (),
) -> tuple[Sequence[Preference], dict[str, Any]]:  # fmt: skip
    """Pairs by a construction, and its summary: counts of what was dropped and why, length, contamination, labels.

    Raises StropError, with the reasons, when there is no pair.
    """
    pools, dropped = pool_up(tasks, samples, verdicts, policy=policy)
    found = RunPools(stage="practice", tasks=tuple(tasks), pools=tuple(pools), protocol=protocol, dropped=dropped)
    tests_of = suite_for(method, tests, tasks)
    whole_truth = tests == "all" or (tests is None and method != "dstc")
    pairs, summary = make_pairs(
        found, method, tests_of, judge,
        per_task=per_task, seed=seed, whole_truth=whole_truth, evaluation=held_out,
    )  # fmt: skip
    if not pairs:
        reasons = [f"{reason}: {count}" for reason, count in summary["dropped tasks"].items()]
        raise StropError(
            f"{method} makes no pair of {len(pools)} practised tasks ({', '.join(reasons) or 'there are none'}). "
            "Draw more samples a task, or use --recipe rft."
        )
    return pairs, summary


def labelled(
    tasks: Sequence[Task], samples: Iterable[Sample], verdicts: Verdicts, protocol: Protocol, judge: Judge,
    *, tests: str | None, per_task: int, seed: int,
) -> tuple[list[Labelled], dict[str, Any]]:  # fmt: skip
    """PLUM's labels without pairs, and their counts."""
    pools, dropped = pool_up(tasks, samples, verdicts)
    tests_of = suite_for("plum", tests, tasks)
    if tests_of is not None:
        pools = with_matrices(pools, tests_of, judge)
    rows = unpaired(pools, protocol, per_task=per_task, seed=seed)
    wanted = sum(row.label for row in rows)
    counts = {"method": "plum-kto", "tasks": len(pools), "wanted": wanted, "unwanted": len(rows) - wanted}
    return rows, counts | {"dropped samples": dropped}
