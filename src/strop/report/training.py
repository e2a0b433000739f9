"""The parts of an improve report that are about practice, training and what they must not break."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from strop.report import rates
from strop.types import Spent

if TYPE_CHECKING:
    from strop.run import Run

HIDDEN_METRICS = ("epoch", "second", "runtime", "flos", "time", "num_tokens")
"""Parts of metric names that are no learning curve; trainers log clock times under some of them."""
MOST_CURVES = 9
FIRST_CURVES = ("loss", "reward", "pass_rate", "visible_pass_hidden_fail", "special_cased", "entropy", "mean_length")
"""Shown before all others, in this order; of the rest the first by name."""
MONITORS = {
    "pass_rate": "samples that pass every check",
    "visible_pass_hidden_fail": "of programs right on the checks that were shown, those wrong on others",
    "special_cased": "programs that answer the task's own tests case by case (a lower bound)",
    "duplicates": "programs with the syntax tree of another answer to the task",
    "no_program": "answers without a program",
    "truncated": "answers cut off at the token limit",
    "mean_length": "tokens an answer",
    "mean_length_finished": "tokens an answer that was not cut off",
    "entropy": "nats a token",
    "reference_kl": "nats a token away from where learning began",
    "clip_share": "tokens whose gradient the clip cuts off",
    "informative_groups": "tasks a step whose answers differ in reward; the others teach nothing",
    "without_reward": "samples a step without a reward",
    "judge_errors": "samples on which the judge itself failed",
}
"""What reinforcement learning is watched by, in the order shown, and what each number counts."""


def round_of(stage: str) -> int:
    """Number at the end of a stage's name; 0 for `before`."""
    tail = stage.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0


def spent_row(stage: str, spent: Spent) -> dict[str, Any]:
    return {"stage": stage, "label": stage, **asdict(spent)}


def practice(run: Run, stage: str) -> dict[str, Any]:
    samples, verdicts = run.samples(stage), run.verdicts(stage)
    part = rates.count(samples, verdicts)
    learned = run.result(f"train-{round_of(stage)}-data")
    return {
        "label": f"round {round_of(stage)}",
        "tasks": len({sample.task_id for sample in samples}),
        "samples": len(samples),
        "judged": sum(judged for _, judged in part.values()),
        "passed": sum(passed for passed, _ in part.values()),
        "solved": sum(passed > 0 for passed, _ in part.values()),
        "learned": None if learned is None else len(learned),
    }


def curves(metrics: Iterable[tuple[str, int, str, float]]) -> list[dict[str, Any]]:
    """Learning curves by metric, a series a training stage; `FIRST_CURVES` first, the rest by name."""
    found: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for stage, step, name, value in metrics:
        if not any(part in name for part in HIDDEN_METRICS) and math.isfinite(value):
            found[name][stage].append([step, value])
    curves = []
    place = {name: number for number, name in enumerate(FIRST_CURVES)}
    for name in sorted(found, key=lambda name: (place.get(name, len(place)), name)):
        series = [
            {"stage": stage, "label": f"round {round_of(stage)}", "points": sorted(found[name][stage])}
            for stage in sorted(found[name], key=round_of)
            if len(found[name][stage]) > 1
        ]
        if series:
            curves.append({"name": name, "label": name.replace("_", " ").replace("/", ", "), "series": series})
    return curves[:MOST_CURVES]


def monitors(metrics: Iterable[tuple[str, int, str, float]]) -> dict[str, Any] | None:
    """Rewards with their parts, and monitors, of a reinforcement learning run: the first steps against the last.

    `steps` is how many are averaged at either end, a fifth of all. None for other runs.
    """
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for _, step, name, value in metrics:
        if name in MONITORS or name == "reward" or name.startswith("reward/"):
            found[name].append((step, value))
    if "pass_rate" not in found or "informative_groups" not in found:
        return None
    ends = max(1, max(map(len, found.values())) // 5)
    parts = [name for name in sorted(found) if name.startswith("reward/")]
    rows = []
    for name in ("reward", *parts, *MONITORS):
        values = [value for _, value in sorted(found.get(name, ()))]
        if not values:
            continue
        what = MONITORS.get(name) or ("mean total" if name == "reward" else "mean of this part")
        label = name.replace("reward/", "reward: ").replace("_", " ")
        row = {"name": name, "label": label, "what": what, "least": min(values), "greatest": max(values)}
        rows.append(row | {"first": sum(values[:ends]) / ends, "last": sum(values[-ends:]) / len(values[-ends:])})
    return {"steps": ends, "rows": rows}


def guards(run: Run, stages: Sequence[str]) -> list[dict[str, Any]]:
    """What training must not break, first measurement against last: a HumanEval slice and a fixed text."""
    if not stages:
        return []
    (first, last), rows = (stages[0], stages[-1]), []
    old, new = (rates.count(run.samples(stage), run.verdicts(stage)) for stage in (first, last))
    texts = [(run.result(stage) or {}).get("perplexity") for stage in (first, last)]
    if old:
        shown = [f"{sum(p for p, _ in part.values())} of {sum(n for _, n in part.values())}" for part in (old, new)]
        change = rates.difference(old, new) if last != first else None
        rows.append({"guard": "humaneval", "label": "HumanEval slice, greedy, passed", "before": shown[0]})
        rows[-1] |= {"after": shown[1] if last != first else None, "difference": change, "change": None}
    if texts[0] is not None:
        row = {"guard": "perplexity", "label": "Perplexity of a fixed text, per token (lower is better)"}
        row |= {"before": f"{texts[0]:.2f}", "after": None, "difference": None, "change": None}
        if last != first and texts[1] is not None:
            row |= {"after": f"{texts[1]:.2f}", "change": f"{100 * (texts[1] / texts[0] - 1):+.1f} %".replace("-", "−")}
        rows.append(row)
    return rows


def progress(run: Run, stages: Sequence[str], splits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each measurement with what practice and training had cost by then; measuring itself is not counted."""
    spent, points = Spent(), []
    for stage in stages:
        if stage != "before":
            spent = spent + run.spent(f"practice-{round_of(stage)}") + run.spent(f"train-{round_of(stage)}")
        estimates = {
            split["split"]: row["estimate"] for split in splits for row in split["rows"] if row["stage"] == stage
        }
        points.append({**spent_row(stage, spent), "splits": estimates})
    return points
