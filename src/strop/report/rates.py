"""Rates of a run by task, and what `strop.stats` says of them, as plain JSON."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from strop import stats
from strop.report.text import points
from strop.types import Sample, Verdict

Counts: TypeAlias = dict[str, tuple[int, int]]
"""Of each task, by id in sorted order: samples that passed, and samples that got a verdict (at least one)."""


def count(samples: Iterable[Sample], verdicts: Mapping[tuple[str, int], Verdict]) -> Counts:
    """Passed and judged samples of each task. Samples without a verdict, or that the judge failed on, are left out."""
    passed: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    for sample in samples:
        verdict = verdicts.get((sample.task_id, sample.index))
        if verdict is not None and verdict.status != "judge_error":
            judged[sample.task_id] += 1
            passed[sample.task_id] += verdict.passed
    return {task_id: (passed[task_id], judged[task_id]) for task_id in sorted(judged)}


def only(counts: Counts, ids: Iterable[str]) -> Counts:
    """The part of `counts` for these tasks."""
    return {task_id: counts[task_id] for task_id in ids if task_id in counts}


def of(pair: tuple[int, int]) -> float:
    """A task's pass rate."""
    return pair[0] / pair[1]


def mean(counts: Counts) -> float:
    """Mean pass rate over tasks; 0 for none."""
    return sum(map(of, counts.values())) / len(counts) if counts else 0.0


def plain(pair: tuple[int, int] | None) -> dict[str, Any]:
    """One task's counts and rate; rate None when nothing was judged."""
    passed, judged = pair or (0, 0)
    return {"passed": passed, "judged": judged, "rate": of(pair) if pair else None}


def pass_at_k(counts: Counts, k: int) -> dict[str, Any]:
    """pass@k over tasks with its interval. A single task has no interval: it says nothing of other tasks."""
    judged, passed = [n for _, n in counts.values()], [c for c, _ in counts.values()]
    found = stats.estimate(stats.pass_at_k(judged, passed, k))
    low, high = (found.low, found.high) if found.n > 1 else (None, None)
    return {"value": found.value, "low": low, "high": high, "tasks": found.n}


def difference(before: Counts, after: Counts) -> dict[str, Any] | None:
    """`after` minus `before`, paired over the tasks that both have; None when there is no such task."""
    shared = sorted(before.keys() & after.keys())
    if not shared:
        return None
    found = stats.compare([of(before[task_id]) for task_id in shared], [of(after[task_id]) for task_id in shared])
    single = found.n == 1
    words = re.sub(r"-(?=\d)", "−", found.words())
    return {
        "value": found.value,
        "low": None if single else found.low,
        "high": None if single else found.high,
        "p": None if single else found.p,
        "detectable": found.detectable if math.isfinite(found.detectable) else None,
        "tasks": found.n,
        "verdict": "not distinguishable" if single else found.verdict,
        "words": "A single task carries no interval." if single else words[0].upper() + words[1:],
    }


def eval_words(estimate: Mapping[str, Any], samples: str) -> str:
    """What an eval found, as a sentence."""
    if estimate["low"] is None:
        return f"The model solves this task in {100 * estimate['value']:.1f} % of samples."
    found = stats.Estimate(estimate["value"], estimate["low"], estimate["high"], estimate["tasks"])
    return f"pass@1 is {found.words()}, from {samples} sample{'' if samples == '1' else 's'} a task."


def improve_words(label: str, change: Mapping[str, Any] | None) -> str:
    """What an improve run found on one split, as a sentence."""
    if change is None:
        return f"{label}: measured before training only; the run has not come to the measurement after it."
    if change["low"] is None:
        return f"{label}: one task is too few to conclude anything."
    low, high = points(change["low"]), points(change["high"])
    figures = f"{points(change['value'])} points (95 % interval {low} to {high})"
    return {
        "higher": f"{label}: better, {figures}.",
        "lower": f"{label}: worse, {figures}.",
        "borderline": f"{label}: {figures}; interval and test disagree, so nothing is concluded.",
        "not distinguishable": f"{label}: {figures}, which chance alone could give.",
    }[change["verdict"]]
