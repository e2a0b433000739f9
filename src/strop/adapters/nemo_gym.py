"""NeMo-Gym: `POST /verify` of a resources server, answered by `strop judge --serve`.

A row's `verifier_metadata` holds the tests: either `unit_tests` with `inputs`, `outputs` and perhaps `fn_name`, as
NeMo-Gym's `code_gen` server keeps them, or `task`, a row in any format that Strop knows. When the judge failed, the
answer has `mask_sample: true` and `failure_kind: judge_failed`, so that NeMo-Gym leaves the sample out.

Wire format: nemo-gym 0.7.0, `base_resources_server.py` (BaseVerifyRequest, BaseVerifyResponse), `failure_kinds.py` and
`resources_servers/code_gen/app.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strop.adapters.ground_truth import program_in, reward_of, task_of
from strop.types import StropError, Task, Verdict


def read_job(body: Mapping[str, Any]) -> tuple[Task, str] | None:
    """Task and program of a verify request; None when the model said nothing. Raises StropError for bad metadata."""
    metadata = body.get("verifier_metadata")
    if not isinstance(metadata, Mapping):
        raise StropError("Field `verifier_metadata` is missing or not an object.")
    row = metadata.get("task", metadata.get("unit_tests"))
    if row is None:
        raise StropError("Field `verifier_metadata`: one of `task` and `unit_tests` is needed.")
    task = task_of(row)
    reply = output_text(body.get("response"))
    return (task, program_in(task, reply)) if reply.strip() else None


def output_text(response: Any) -> str:
    """The text of a response in the form of OpenAI's Responses API: `output_text` parts of its messages, joined.

    Raises StropError when it has another form.
    """
    try:
        return "".join(
            part["text"]
            for item in response["output"]
            if item.get("type") == "message"
            for part in item["content"]
            if part.get("type") == "output_text"
        )
    except (KeyError, TypeError, AttributeError):
        raise StropError("Field `response` is not an answer in the form of OpenAI's Responses API.") from None


def answer(body: Mapping[str, Any], program: str | None, verdict: Verdict | None) -> dict[str, Any]:
    """The verify response: the request, and what came of it. No program, no reward: 0, as in `code_gen`."""
    reward = reward_of(verdict) if verdict is not None else 0.0
    result = dict(body) | {"reward": reward or 0.0, "extracted_model_code": program}
    if verdict is not None:
        result["strop"] = {"status": verdict.status, "fraction": verdict.fraction, "detail": verdict.detail}
    if reward is None and verdict is not None:
        result |= {"mask_sample": True, "failure_kind": "judge_failed", "failure_reason": verdict.detail}
    return result
