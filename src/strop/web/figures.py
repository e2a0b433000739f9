"""Headline numbers of a run from counts alone, so that fifty thousand samples cost one query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from strop import stats
from strop.report import charts, rates
from strop.report.data import SPLIT_LABELS, STATUS_ORDER
from strop.report.rates import Counts
from strop.report.training import round_of
from strop.run.browse import UNJUDGED, Tally

NOT_MEASURED = ("practice-", "greedy-", "guard-", "train-")
"""Stages that are no measurement of the model on the tasks."""


def counts_of(tally: Tally, stage: str) -> Counts:
    """Passed and judged samples of each task; tasks without a verdict are left out."""
    found = {}
    for task_id, ended in tally.get(stage, {}).items():
        judged = sum(number for status, number in ended.items() if status not in (UNJUDGED, "judge_error"))
        if judged:
            found[task_id] = (ended["passed"], judged)
    return found


def measured(tally: Tally) -> list[str]:
    """Stages that measure the model: before, after-1, ... in their order, or one a protocol."""
    stages = [stage for stage in tally if not stage.startswith(NOT_MEASURED)]
    return sorted(stages, key=lambda stage: round_of(stage) if stage.startswith("after-") else 0)


def statuses(tally: Tally) -> list[dict[str, Any]]:
    """Rows for the status chart: every stage with samples."""
    rows = []
    for stage, tasks in tally.items():
        ended: Counter[str] = Counter()
        for counts in tasks.values():
            ended.update(counts)
        rows.append({"label": stage, "counts": {name: ended[name] for name in STATUS_ORDER if ended[name]}})
        rows[-1] |= {"unjudged": ended[UNJUDGED], "samples": ended.total()}
    return rows


def headline(tally: Tally, records: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """pass@1 of each measured stage by split, with the paired difference of last against first where it is a change."""
    stages = measured(tally)
    parts = {stage: counts for stage in stages if (counts := counts_of(tally, stage))}
    if not parts:
        return []
    splits: dict[str, set[str]] = {}
    for counts in parts.values():
        for task_id in counts:
            splits.setdefault(str(records.get(task_id, {}).get("split", "")), set()).add(task_id)
    known = list(SPLIT_LABELS)
    found = []
    for split in sorted(splits, key=lambda name: (known.index(name) if name in known else len(known), name)):
        ids = sorted(splits[split])
        of = {stage: part for stage, counts in parts.items() if (part := rates.only(counts, ids))}
        names = list(of)
        rows = [
            {
                "label": _label(stage),
                "kind": "before" if stage == "before" else "after",
                "estimate": rates.pass_at_k(part, 1),
            }
            for stage, part in of.items()
        ]
        change = rates.difference(of[names[0]], of[names[-1]]) if "before" in of and len(of) > 1 else None
        ends = [end for row in rows for end in (row["estimate"][name] for name in ("value", "low", "high"))]
        reach = max(abs(change[name] or 0) for name in ("value", "low", "high", "detectable")) if change else 0
        found.append(
            {
                "label": SPLIT_LABELS.get(split, split or "All tasks"),
                "tasks": len(ids),
                "rows": rows,
                "domain": charts.rate_domain([end for end in ends if end is not None]),
                "difference": change,
                "words": rates.improve_words(SPLIT_LABELS.get(split, split or "All tasks"), change) if change else "",
                "reach": max(reach, 0.05) * 1.1,
            }
        )
    return found


def _label(stage: str) -> str:
    """A stage's name, short enough to stand beside a figure."""
    name = stage.removeprefix("eval-")
    return name if len(name) <= 11 else f"{name[:10]}…"


ORDERS = {"task": "by name", "worst": "worst first", "best": "best first", "change": "largest change first"}
"""Orders of the matrix."""


def matrix(
    tally: Tally, records: Mapping[str, Mapping[str, Any]], words: str = "", order: str = "task"
) -> tuple[list[str], list[dict[str, Any]]]:
    """Every task against every stage: `(stages, rows)`, a cell per stage `{passed, judged, rate}` or None.

    `words`: only tasks whose id or tags hold all of them. Practice and guard stages come last.
    """
    first = measured(tally)
    stages = [*first, *(stage for stage in tally if stage not in first)]
    counts = {stage: counts_of(tally, stage) for stage in stages}
    wanted = words.lower().split()
    rows = []
    for task_id in sorted({task_id for tasks in tally.values() for task_id in tasks}):
        record = records.get(task_id, {})
        text = " ".join([task_id, *record.get("tags", ()), record.get("split", "")]).lower()
        if all(word in text for word in wanted):
            cells = [rates.plain(pair) if (pair := counts[stage].get(task_id)) else None for stage in stages]
            rows.append({"id": task_id, "cells": cells})
    shown = len(first)

    def rate(row: dict[str, Any]) -> float:
        of = [cell["rate"] for cell in row["cells"][:shown] if cell]
        return sum(of) / len(of) if of else 0.0

    def change(row: dict[str, Any]) -> float:
        of = [cell["rate"] for cell in row["cells"][:shown] if cell]
        return of[-1] - of[0] if len(of) > 1 else 0.0

    keys = {"worst": rate, "best": lambda row: -rate(row), "change": lambda row: -abs(change(row))}
    by = keys.get(order, lambda row: 0.0)
    # Tasks of practice and guards, which no measured stage has, come after the others.
    return stages, sorted(rows, key=lambda row: (not any(row["cells"][:shown]), by(row)))


def compared(before: Counts, after: Counts, firsts: Sequence[Mapping[str, bool]]) -> dict[str, Any] | None:
    """A comparison paired by task; None when no task is shared.

    `firsts`: whether each task's first judged sample passed, on either side: what McNemar's test is about.
    """
    change = rates.difference(before, after)
    if change is None:
        return None
    shared = sorted(before.keys() & after.keys())
    both = [task_id for task_id in shared if all(task_id in side for side in firsts)]
    x, y = ([side[task_id] for task_id in both] for side in firsts)
    rows = [
        {"id": task_id, "before": rates.plain(before[task_id]), "after": rates.plain(after[task_id])}
        | {"change": rates.of(after[task_id]) - rates.of(before[task_id])}
        for task_id in shared
    ]
    estimates = [rates.pass_at_k(rates.only(side, shared), 1) for side in (before, after)]
    reach = max(abs(change[name] or 0) for name in ("value", "low", "high", "detectable"))
    return {
        "difference": change,
        "reach": max(reach, 0.05) * 1.1,
        "estimates": estimates,
        "mcnemar": {
            "p": stats.mcnemar_p(x, y),
            "gained": sum(b and not a for a, b in zip(x, y, strict=True)),
            "lost": sum(a and not b for a, b in zip(x, y, strict=True)),
            "tasks": len(both),
        }
        if both
        else None,
        "rows": sorted(rows, key=lambda row: (-abs(row["change"]), row["id"])),
        "rose": sum(row["change"] > 1e-12 for row in rows),
        "fell": sum(row["change"] < -1e-12 for row in rows),
        "left_out": len(before.keys() ^ after.keys()),
    }
