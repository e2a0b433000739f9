"""Everything a report shows, as plain JSON: one source for the page, the terminal and `report.json`.

Two runs of the same command with the same seed give the same data apart from what clocks and allocators measure.
Those values sit only in fields named `seconds`, `memory_mb`, `created`, or ending in `_seconds`; `without_times` drops
them, so that what is left can be compared byte for byte.

Rates are fractions of the samples that got a verdict: where the judge itself failed, the sample is left out and counted
in a note.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from strop.report import programs, rates, training
from strop.report.rates import Counts
from strop.types import Sample, StropError

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


def collect(run: Run) -> dict[str, Any]:
    """The data for a report on an `eval` or `improve` run, complete or not. Raises StropError when there is none."""
    stages = list(run.stages())
    kind = "eval" if any(stage.startswith("eval") for stage in stages) else "improve"
    wanted = ("eval",) if kind == "eval" else ("before", "after-")
    measured = [stage for stage in stages if stage.startswith(wanted) and run.samples(stage)]
    if kind == "improve":
        measured.sort(key=training.round_of)
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
    data["spent"] = [training.spent_row(stage, run.spent(stage)) for stage in stages]
    data["spent_total"] = training.spent_row("total", run.spent())
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
        "practice": [training.practice(run, stage) for stage in run.stages() if stage.startswith("practice-")],
        "curves": training.curves(run.metrics()),
        "monitors": training.monitors(run.metrics()),
        "guards": training.guards(run, sorted(guards, key=training.round_of)),
        "progress": training.progress(run, stages, splits),
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
        return "after" if len(measured) == 2 else f"round {training.round_of(stage)}"
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
