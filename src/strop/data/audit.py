"""What can be wrong with a set of pairs: length that gives the label away, evaluation tasks in it, labels that do not
hold up when the programs run again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strop.stats import Estimate, estimate
from strop.tasks.assertions import assertion_text, single_tests
from strop.tasks.likeness import near_duplicates, normal_form
from strop.types import Preference, Task

if TYPE_CHECKING:
    from strop.judge.files import Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthAudit:
    """How well "the shorter answer is chosen" explains the labels."""

    shorter_chosen: Estimate | None
    """Share of pairs whose chosen answer is the shorter one, equal lengths counting half; mean over tasks."""
    chosen_length: float
    rejected_length: float
    """Mean characters."""
    confounded: bool
    """The interval excludes one half: a learner can get ahead by length alone."""


def length_audit(pairs: Sequence[Preference]) -> LengthAudit:
    """Measure the length confound in characters of the answers. The unit is the task, as in every interval here."""
    by_task: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        difference = len(pair.rejected) - len(pair.chosen)
        by_task[str(pair.why.get("task_id", pair.prompt))].append(0.5 + 0.5 * ((difference > 0) - (difference < 0)))
    share = estimate([sum(rows) / len(rows) for rows in by_task.values()]) if by_task else None
    count = max(1, len(pairs))
    return LengthAudit(
        shorter_chosen=share,
        chosen_length=sum(len(pair.chosen) for pair in pairs) / count,
        rejected_length=sum(len(pair.rejected) for pair in pairs) / count,
        confounded=share is not None and not share.low <= 0.5 <= share.high,
    )


def contamination(
    pairs: Sequence[Preference], practice: Sequence[Task], evaluation: Sequence[Task]
) -> dict[str, list[str]]:
    """What of the evaluation tasks the pairs hold, by kind of finding; nothing found gives no entry.

    `same id`, `near-duplicate prompt` (word trigrams, `tasks.likeness`), `reference among the programs` (same syntax
    tree), `test in an answer` (an assertion of the evaluation checks, letter for letter). `practice`: the tasks that
    the pairs were made from; only those that gave a pair count.
    """
    used = {str(pair.why.get("task_id", "")) for pair in pairs}
    practised = [task for task in practice if task.id in used]
    found: dict[str, list[str]] = {
        "same id": sorted({task.id for task in evaluation} & used),
        "near-duplicate prompt": [
            f"{a} ~ {b} ({s:.2f})" for a, b, s in near_duplicates(practised, evaluation) if a != b
        ],
    }
    programs = {
        normal_form(str(pair.why[side])): str(pair.why.get("task_id", ""))
        for pair in pairs
        for side in ("chosen_program", "rejected_program")
        if side in pair.why
    }
    found["reference among the programs"] = [
        f"{programs[form]} ~ {task.id}"
        for task in evaluation
        if task.reference and (form := normal_form(task.reference)) in programs and programs[form] != task.id
    ]
    answers = "\n".join(text for pair in pairs for text in (pair.chosen, pair.rejected))
    found["test in an answer"] = [
        task.id
        for task in evaluation
        if any((text := assertion_text(check)) and text.strip() in answers for check in single_tests(task))
    ]
    return {kind: rows for kind, rows in found.items() if rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """Pairs judged again with all checks of their tasks."""

    holds: int
    """Chosen passes and rejected fails."""
    broken: Mapping[str, int]
    """The others, by what was seen."""
    not_checked: int
    """Pairs whose task is not given, whose programs are not kept, or on which the judge failed."""


def recheck(pairs: Sequence[Preference], tasks: Sequence[Task], judge: Streams) -> Recheck:
    """Run both programs of every pair again: does the label hold under all checks of the task?

    Pairs for efficiency hold when both programs pass.
    """
    known = {task.id: task for task in tasks}
    jobs = {
        (number, side): (known[pair.why["task_id"]], str(pair.why[f"{side}_program"]))
        for number, pair in enumerate(pairs)
        for side in ("chosen", "rejected")
        if pair.why.get("task_id") in known and f"{side}_program" in pair.why
    }
    seen = {key: verdict.status for key, verdict in judge.stream((key, *job) for key, job in jobs.items())}
    holds, not_checked, broken = 0, 0, Counter[str]()
    for number, pair in enumerate(pairs):
        chosen, rejected = seen.get((number, "chosen")), seen.get((number, "rejected"))
        wants_pass = "speedup" in pair.why
        if chosen is None or rejected is None or "judge_error" in (chosen, rejected):
            not_checked += 1
        elif chosen == "passed" and (rejected == "passed") == wants_pass:
            holds += 1
        elif chosen != "passed":
            broken[f"chosen: {chosen}"] += 1
        else:
            broken[f"rejected: {rejected}"] += 1
    return Recheck(holds=holds, broken=dict(broken), not_checked=not_checked)
