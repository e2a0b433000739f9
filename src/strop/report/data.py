"""Everything a report shows, as plain JSON: one source for the page, the terminal and `report.json`.

Two runs of the same command with the same seed give the same data apart from what clocks and allocators measure.
Those values sit only in fields named `seconds`, `memory_mb`, `created`, or ending in `_seconds`; `without_times` drops
them, so that what is left can be compared byte for byte.

Rates are fractions of the samples that got a verdict: where the judge itself failed, the sample is left out and counted
in a note.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from strop.report import programs, rates
from strop.report.rates import Counts
from strop.types import Sample, Spent, StropError

if TYPE_CHECKING:
    from strop.run import Run

SCHEMA = "strop-report/1"

STATUS_WORDS = {
    "passed": "passed",
    "failed": "wrong result",
    "runtime_error": "error",
    "syntax_error": "syntax error",
    "timeout": "timeout",
    "out_of_memory": "out of memory",
    "forbidden": "forbidden",
    "judge_error": "judge failed",
}
STATUS_ORDER = tuple(STATUS_WORDS)

SPLIT_LABELS = {"held-out-near": "Held-out near", "held-out-far": "Held-out far", "train": "Practice tasks"}
"""Known splits in the order they are shown; other splits follow under their own names."""

HIDDEN_METRICS = ("epoch", "second", "runtime", "flos", "time", "num_tokens")
"""Parts of metric names that are no learning curve; trainers log clock times under some of them."""
MOST_CURVES = 9


def collect(run: Run) -> dict[str, Any]:
    """The data for a report on an `eval` or `improve` run, complete or not. Raises StropError when there is none."""
    stages = list(run.stages())
    kind = "eval" if any(stage.startswith("eval") for stage in stages) else "improve"
    wanted = ("eval",) if kind == "eval" else ("before", "after-")
    measured = [stage for stage in stages if stage.startswith(wanted) and run.samples(stage)]
    if kind == "improve":
        measured.sort(key=_round)
    if not measured:
        raise StropError(f"The run in {run.path} holds no measured samples yet, so there is nothing to report.")
    drawn = {stage: (run.samples(stage), run.verdicts(stage)) for stage in measured}
    counts = {stage: part for stage, pair in drawn.items() if (part := rates.count(*pair))}
    if not counts or (kind == "improve" and "before" not in counts):
        raise StropError(
            f"In the run in {run.path}, stage {measured[0]}, no sample got a verdict, so there are no rates to report. "
            "Run the same command again to judge them; `strop judge --doctor` says what the judge lacks."
        )
    records = run.result("tasks") or {}
    data = {"schema": SCHEMA, "kind": kind, **_manifest(run.manifest), "stages": stages}
    data["statuses"] = [_status_row(stage, _label(stage, measured), pair) for stage, pair in drawn.items()]
    data["spent"] = [_spent(stage, run.spent(stage)) for stage in stages]
    data["spent_total"] = _spent("total", run.spent())
    data["notes"] = _notes(data["statuses"], records)
    fill = _evaluation if kind == "eval" else _improvement
    return data | fill(run, drawn, counts, records)


def without_times(data: Any) -> Any:
    """`data` without the fields that hold clock times, durations or measured memory."""
    if isinstance(data, dict):
        return {
            name: without_times(value)
            for name, value in data.items()
            if name not in ("seconds", "memory_mb", "created") and not name.endswith("_seconds")
        }
    if isinstance(data, list):
        return [without_times(value) for value in data]
    return data


Drawn = Mapping[str, tuple[Sequence[Sample], programs.Verdicts]]
Records = Mapping[str, Mapping[str, Any]]


# ---- eval --------------------------------------------------------------------------------------


def _evaluation(run: Run, drawn: Drawn, counts: dict[str, Counts], records: Records) -> dict[str, Any]:
    """Fields of an eval report. Several protocols: the details are those of the one with the highest rate."""
    config = run.manifest.get("config", {})
    ks = sorted({1, *config.get("k", ())})
    best = max(counts, key=lambda stage: (rates.mean(counts[stage]), stage))
    groups = _by_split(records, [counts[best]])
    chosen = {"": sorted(counts[best])} if len(groups) != 1 else {}
    splits = []
    for split, ids in (chosen | groups).items():
        part = rates.only(counts[best], ids)
        size = _size(part)
        shown = [k for k in ks if k <= size[0]]
        rows = [{"label": f"pass@{k}", "kind": "after", "estimate": rates.pass_at_k(part, k)} for k in shown]
        splits.append(
            {
                "split": split,
                "label": "All tasks" if split == "" else SPLIT_LABELS.get(split, split),
                "tasks": len(part),
                "samples_per_task": _size_words(size),
                "rows": rows,
                "after": rows[0]["estimate"],
                "words": rates.eval_words(rows[0]["estimate"], _size_words(size)),
            }
        )
    shown, note = programs.browser(*drawn[best])
    tasks = [
        {
            "id": task_id,
            "split": _split(records, task_id),
            "tags": _tags(records, task_id),
            "prompt": programs.prompt(records, task_id),
            "after": rates.plain(counts[best].get(task_id)),
            "samples": samples,
        }
        for task_id, samples in shown.items()
    ]
    protocols = []
    for stage in counts if len(counts) > 1 else ():
        change = None if stage == best else rates.difference(counts[best], counts[stage])
        estimate = rates.pass_at_k(counts[stage], 1)
        protocols.append({"protocol": stage.removeprefix("eval-"), "estimate": estimate, "difference": change})
    tags = [
        {"tag": tag, "tasks": len(part), "after": rates.pass_at_k(part, 1)}
        for tag, part in _tagged(counts[best], records).items()
    ]
    return {
        "splits": splits,
        "claim": splits[0]["words"]
        if len(counts) == 1
        else f"Under {best.removeprefix('eval-')}, {splits[0]['words']}",
        "detailed_protocol": best.removeprefix("eval-") if len(counts) > 1 else None,
        "protocols": protocols,
        "tasks": tasks,
        "tags": sorted(tags, key=lambda row: (-row["after"]["value"], row["tag"])),
        "samples_note": note,
    }


# ---- improve -----------------------------------------------------------------------------------


def _improvement(run: Run, drawn: Drawn, counts: dict[str, Counts], records: Records) -> dict[str, Any]:
    """Fields of an improve report; a run stopped before its first `after` stage has no differences yet."""
    stages = list(counts)
    first, last = stages[0], stages[-1] if len(stages) > 1 else None
    old, new = counts[first], counts[last] if last else {}
    splits, tags = [], []
    for split, ids in _by_split(records, [old]).items():
        label = SPLIT_LABELS.get(split, split or "Held-out tasks")
        parts = {stage: rates.only(counts[stage], ids) for stage in stages}
        rows = [
            {
                "stage": stage,
                "label": _label(stage, stages),
                "kind": "before" if stage == first else "after",
                "estimate": rates.pass_at_k(part, 1),
            }
            for stage, part in parts.items()
            if part
        ]
        change = rates.difference(parts[first], parts[last]) if last else None
        shared = sorted(parts[first].keys() & parts[last].keys()) if last else []
        moved = Counter(_sign(rates.of(new[task_id]) - rates.of(old[task_id])) for task_id in shared)
        splits.append(
            {
                "split": split,
                "label": label,
                "tasks": len(parts[first]),
                "samples_per_task": _size_words(_size(parts[first])),
                "rows": rows,
                "before": rows[0]["estimate"],
                "after": rows[-1]["estimate"] if change else None,
                "difference": change,
                "moved": {"rose": moved[1], "fell": moved[-1], "same": moved[0]},
                "words": rates.improve_words(label, change),
            }
        )
        tags += _tag_rows(split, parts[first], parts[last] if last else {}, records)
    tasks = [_task_row(task_id, old, new, records) for task_id in old]
    tasks.sort(key=lambda task: (task["change"] is None, -(task["change"] or 0), -task["before"]["rate"], task["id"]))
    guards = [stage for stage in run.stages() if stage.startswith("guard-")]
    return {
        "splits": splits,
        "claim": " ".join(split["words"] for split in splits),
        "division": run.result("division"),
        "tasks": tasks,
        "tags": tags,
        "practice": [_practice(run, stage) for stage in run.stages() if stage.startswith("practice-")],
        "curves": _curves(run.metrics()),
        "guards": _guards(run, sorted(guards, key=_round)),
        "progress": _progress(run, stages, splits),
        "pairs": programs.pairs(tasks, drawn[first], drawn[last]) if last else [],
    }


def _task_row(task_id: str, old: Counts, new: Counts, records: Records) -> dict[str, Any]:
    before, after = rates.plain(old[task_id]), rates.plain(new.get(task_id))
    return {
        "id": task_id,
        "split": _split(records, task_id),
        "tags": _tags(records, task_id),
        "prompt": programs.prompt(records, task_id),
        "before": before,
        "after": after,
        "change": after["rate"] - before["rate"] if after["judged"] else None,
    }


def _tag_rows(split: str, old: Counts, new: Counts, records: Records) -> list[dict[str, Any]]:
    rows = []
    for tag, part in _tagged(old, records).items():
        later = rates.only(new, part)
        rows.append(
            {
                "split": split,
                "tag": tag,
                "tasks": len(part),
                "before": rates.pass_at_k(part, 1),
                "after": rates.pass_at_k(later, 1) if later else None,
                "difference": rates.difference(part, later) if later else None,
            }
        )
    return sorted(rows, key=lambda row: (-(row["difference"] or {"value": 0})["value"], row["tag"]))


def _practice(run: Run, stage: str) -> dict[str, Any]:
    samples, verdicts = run.samples(stage), run.verdicts(stage)
    part = rates.count(samples, verdicts)
    learned = run.result(f"train-{_round(stage)}-data")
    return {
        "label": f"round {_round(stage)}",
        "tasks": len({sample.task_id for sample in samples}),
        "samples": len(samples),
        "judged": sum(judged for _, judged in part.values()),
        "passed": sum(passed for passed, _ in part.values()),
        "solved": sum(passed > 0 for passed, _ in part.values()),
        "learned": None if learned is None else len(learned),
    }


def _curves(metrics: Iterable[tuple[str, int, str, float]]) -> list[dict[str, Any]]:
    """Learning curves by metric, a series a training stage; the loss first, the rest by name."""
    found: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for stage, step, name, value in metrics:
        if not any(part in name for part in HIDDEN_METRICS) and math.isfinite(value):
            found[name][stage].append([step, value])
    curves = []
    for name in sorted(found, key=lambda name: (name != "loss", name)):
        series = [
            {"stage": stage, "label": f"round {_round(stage)}", "points": sorted(found[name][stage])}
            for stage in sorted(found[name], key=_round)
            if len(found[name][stage]) > 1
        ]
        if series:
            curves.append({"name": name, "label": name.replace("_", " ").replace("/", ", "), "series": series})
    return curves[:MOST_CURVES]


def _guards(run: Run, stages: Sequence[str]) -> list[dict[str, Any]]:
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


def _progress(run: Run, stages: Sequence[str], splits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each measurement with what practice and training had cost by then; measuring itself is not counted."""
    spent, points = Spent(), []
    for stage in stages:
        if stage != "before":
            spent = spent + run.spent(f"practice-{_round(stage)}") + run.spent(f"train-{_round(stage)}")
        estimates = {
            split["split"]: row["estimate"] for split in splits for row in split["rows"] if row["stage"] == stage
        }
        points.append({**_spent(stage, spent), "splits": estimates})
    return points


# ---- shared ------------------------------------------------------------------------------------


def _manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the page's head and its last section say about the run. Unknown manifest fields are left out."""
    config = manifest.get("config", {})
    model, tasks = str(config.get("model", "model")), str(config.get("tasks", "tasks"))
    return {
        "title": f"{model} on {tasks}",
        "model": model,
        "task_set": tasks,
        "created": manifest.get("created", ""),
        "command": manifest.get("command", ""),
        "config": config,
        "inputs": manifest.get("inputs", {}),
        "seeds": manifest.get("seeds", {}),
        "versions": manifest.get("versions", {}),
        "machine": manifest.get("machine", {}),
    }


def _round(stage: str) -> int:
    """Number at the end of a stage's name; 0 for `before`."""
    tail = stage.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _split(records: Records, task_id: str) -> str:
    return str(records.get(task_id, {}).get("split", ""))


def _tags(records: Records, task_id: str) -> list[str]:
    return [str(tag) for tag in records.get(task_id, {}).get("tags", ())]


def _by_split(records: Records, counts: Iterable[Counts]) -> dict[str, list[str]]:
    """Ids of the measured tasks by split: known splits in their order, then the others by name."""
    found: dict[str, set[str]] = defaultdict(set)
    for part in counts:
        for task_id in part:
            found[_split(records, task_id)].add(task_id)
    known = list(SPLIT_LABELS)
    order = sorted(found, key=lambda split: (known.index(split) if split in known else len(known), split))
    return {split: sorted(found[split]) for split in order}


def _tagged(counts: Counts, records: Records) -> dict[str, Counts]:
    """Counts by tag; a task counts under each of its tags."""
    found: dict[str, Counts] = defaultdict(dict)
    for task_id, pair in counts.items():
        for tag in _tags(records, task_id):
            found[tag][task_id] = pair
    return dict(found)


def _size(counts: Counts) -> tuple[int, int]:
    """Fewest and most judged samples of a task."""
    numbers = [judged for _, judged in counts.values()]
    return min(numbers, default=0), max(numbers, default=0)


def _size_words(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]} to {size[1]}"


def _label(stage: str, measured: Sequence[str]) -> str:
    """A measured stage in words: `before`, `after`, `round 2`, or the name of the protocol."""
    if stage.startswith("after-"):
        return "after" if len(measured) == 2 else f"round {_round(stage)}"
    return stage.removeprefix("eval-")


def _status_row(stage: str, label: str, drawn: tuple[Sequence[Sample], programs.Verdicts]) -> dict[str, Any]:
    samples, verdicts = drawn
    judged = Counter(verdicts[key].status for s in samples if (key := (s.task_id, s.index)) in verdicts)
    return {
        "stage": stage,
        "label": label,
        "counts": {name: judged[name] for name in STATUS_ORDER if judged[name]},
        "samples": len(samples),
        "unjudged": len(samples) - judged.total(),
        "cut_off": sum(sample.finish_reason == "length" for sample in samples),
        "isolation": sorted({verdict.isolation for verdict in verdicts.values() if verdict.isolation}),
        "flags": dict(sorted(Counter(flag for verdict in verdicts.values() for flag in verdict.flags).items())),
        "forgeable": sum(verdict.forgeable for verdict in verdicts.values()),
    }


def _spent(stage: str, spent: Spent) -> dict[str, Any]:
    return {"stage": stage, "label": stage, **asdict(spent)}


def _notes(statuses: Sequence[Mapping[str, Any]], records: Records) -> list[str]:
    """Caveats that a reader must not miss."""
    notes = []
    failed = sum(row["counts"].get("judge_error", 0) for row in statuses)
    unjudged = sum(row["unjudged"] for row in statuses)
    forgeable = sum(row["forgeable"] for row in statuses)
    if failed:
        notes.append(f"{failed:,} samples got no verdict because the judge failed; every rate leaves them out.")
    if unjudged:
        notes.append(f"{unjudged:,} samples are not judged yet; run the same command again to finish.")
    if forgeable:
        notes.append(f"{forgeable:,} verdicts are forgeable: their checks had to run inside the program's own process.")
    if not records:
        notes.append("The run stores no task records, so prompts, splits and tags are missing here.")
    return notes
