"""Which programs a report shows, and what it says of each. Chosen by rule, so that two reports of a run agree."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from strop.report.text import excerpt
from strop.types import Sample, Verdict

CODE_LIMIT, TEXT_LIMIT, VALUE_LIMIT = 6_000, 2_000, 400
"""Longest program, other text (answer, output) and check value shown, in characters."""
SAMPLES_PER_TASK, SAMPLES_IN_ALL = 4, 1_200
"""How many samples the browser of an eval report holds for a task, and in all (at least one a task)."""
PAIRS = (("gain", "largest gain", 3), ("loss", "largest loss", 2), ("failing", "failed throughout", 2))
"""Kinds of tasks shown with their programs, and how many of each."""

Verdicts = Mapping[tuple[str, int], Verdict]


def pairs(
    tasks: Sequence[Mapping[str, Any]],
    before: tuple[Sequence[Sample], Verdicts],
    after: tuple[Sequence[Sample], Verdicts],
) -> list[dict[str, Any]]:
    """Programs of the same task before and after training.

    Tasks: those with the largest gain, the largest loss, and no passing sample at either time; ties go to the lower
    task id. Samples: for a gain the first that failed before and the first that passed after, for a loss the reverse,
    else the first of each.
    """
    rated = [task for task in tasks if task["change"] is not None]
    chosen = {
        "gain": sorted((t for t in rated if t["change"] > 0), key=lambda t: (-t["change"], t["id"])),
        "loss": sorted((t for t in rated if t["change"] < 0), key=lambda t: (t["change"], t["id"])),
        "failing": sorted(
            (t for t in rated if t["before"]["passed"] == t["after"]["passed"] == 0), key=lambda t: t["id"]
        ),
    }
    wanted = {"gain": (False, True), "loss": (True, False), "failing": (False, False)}
    shown = []
    for kind, why, number in PAIRS:
        for task in chosen[kind][:number]:
            old = _first(task["id"], *before, passed=wanted[kind][0])
            new = _first(task["id"], *after, passed=wanted[kind][1])
            if old is None or new is None:
                continue
            rates = {f"{name}_rate": f"{task[name]['passed']}/{task[name]['judged']}" for name in ("before", "after")}
            shown.append(
                {
                    "id": task["id"],
                    "why": why,
                    "split": task["split"],
                    "prompt": task["prompt"],
                    "before": old,
                    "after": new,
                }
                | rates
            )
    return shown


def browser(samples: Sequence[Sample], verdicts: Verdicts) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """The first samples of each task for the samples browser, and a note that says what was left out."""
    by_task: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: (sample.task_id, sample.index)):
        by_task.setdefault(sample.task_id, []).append(sample)
    most = max(1, min(SAMPLES_PER_TASK, SAMPLES_IN_ALL // max(len(by_task), 1)))
    shown = {task_id: [view(sample, verdicts) for sample in drawn[:most]] for task_id, drawn in by_task.items()}
    count = sum(map(len, shown.values()))
    if count == len(samples):
        return shown, ""
    return (
        shown,
        f"The first {most} samples of each task, {count:,} of {len(samples):,}; the rest are in the run folder.",
    )


def view(sample: Sample, verdicts: Verdicts) -> dict[str, Any]:
    """What a report shows of one sample and its verdict; texts are cut to the limits above."""
    return {
        "index": sample.index,
        "code": excerpt(sample.code, CODE_LIMIT),
        "text": "" if sample.code.strip() else excerpt(sample.text, TEXT_LIMIT),
        "finish_reason": sample.finish_reason,
        "sampled_tokens": sample.spent.sampled_tokens,
        "verdict": _verdict(verdicts.get((sample.task_id, sample.index))),
    }


def _verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    failure = next((check for check in verdict.checks if not check.passed), None)
    return {
        "status": verdict.status,
        "fraction": verdict.fraction,
        "detail": excerpt(verdict.detail, VALUE_LIMIT),
        "output": excerpt(verdict.output, TEXT_LIMIT),
        "flags": list(verdict.flags),
        "forgeable": verdict.forgeable,
        "seconds": verdict.seconds,
        "memory_mb": verdict.memory_mb,
        "checks": [{"name": check.name, "status": check.status, "visible": check.visible} for check in verdict.checks],
        "first_failure": None
        if failure is None
        else {
            "name": failure.name,
            "message": excerpt(failure.message, VALUE_LIMIT),
            "expected": None if failure.expected is None else excerpt(failure.expected, VALUE_LIMIT),
            "actual": None if failure.actual is None else excerpt(failure.actual, VALUE_LIMIT),
        },
    }


def _first(task_id: str, samples: Sequence[Sample], verdicts: Verdicts, passed: bool) -> dict[str, Any] | None:
    fitting = [
        sample
        for sample in samples
        if sample.task_id == task_id
        and (verdict := verdicts.get((task_id, sample.index))) is not None
        and verdict.status != "judge_error"
        and verdict.passed == passed
    ]
    return view(min(fitting, key=lambda sample: sample.index), verdicts) if fitting else None


def prompt(records: Mapping[str, Mapping[str, Any]], task_id: str) -> str:
    """A task's prompt, with its stub where the prompt does not give the signature already."""
    record = records.get(task_id, {})
    text, stub = str(record.get("prompt", "")), str(record.get("stub", ""))
    signatures = re.findall(r"^\s*((?:async )?(?:def|class) .+)", stub, re.MULTILINE) or [stub]
    told = all(line.strip() in text for line in signatures)
    return excerpt(text if told else f"{text}\n\n{stub}", TEXT_LIMIT)
