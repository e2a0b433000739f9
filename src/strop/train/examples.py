"""Turn judged samples into training data: which programs to learn from, and in what words.

Every rule is deterministic in (tasks, samples, verdicts, seed), so that a resumed run trains on the same data.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from strop.tasks.likeness import distinct
from strop.types import Prompt, Sample, Task, Verdict

Key = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A prompt with an answer to imitate."""

    task_id: str
    prompt: Prompt
    completion: str
    own: bool
    """Written by the model, not taken from the task's reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One task's distinct programs from one or more practice rounds, and how often the model solved it."""

    task: Task
    passing: tuple[str, ...]
    failing: tuple[str, ...]
    pass_rate: float


def judged(tasks: Sequence[Task], samples: Iterable[Sample], verdicts: Mapping[Key, Verdict]) -> list[Judged]:
    """Group samples by task, once per distinct program. Judge errors count neither for nor against anything."""
    groups: dict[str, list[tuple[Sample, Verdict]]] = {task.id: [] for task in tasks}
    for sample in samples:
        verdict = verdicts.get((sample.task_id, sample.index))
        if verdict is not None and verdict.status != "judge_error" and sample.task_id in groups:
            groups[sample.task_id].append((sample, verdict))
    out = []
    for task in tasks:
        rows = groups[task.id]
        passing = distinct(sample.code for sample, verdict in rows if verdict.passed)
        failing = distinct(sample.code for sample, verdict in rows if not verdict.passed and sample.code.strip())
        rate = sum(verdict.passed for _, verdict in rows) / len(rows) if rows else 0.0
        out.append(Judged(task=task, passing=passing, failing=failing, pass_rate=rate))
    return out


def rejection_sampled(rows: Sequence[Judged], protocol, *, per_task: int, seed: int) -> list[Example]:
    """At most `per_task` distinct passing programs a task, shortest first (RFT, Yuan et al. 2023, arXiv 2308.01825).

    Shortest first is Strop's choice: among programs that pass, the longer ones mostly carry dead code. Tasks are
    shuffled, a task's programs stay side by side, where a batch can share their prompt.
    """
    rows = list(rows)
    random.Random(seed).shuffle(rows)
    return [
        Example(
            task_id=row.task.id,
            prompt=protocol.render(row.task.public()),
            completion=protocol.answer(row.task.public(), program),
            own=row.pass_rate > 0,
        )
        for row in rows
        for program in sorted(row.passing, key=lambda program: (len(program), program))[:per_task]
    ]


def with_references(rows: Sequence[Judged], sound: Container[str]) -> list[Judged]:
    """Give every task that was never solved its reference as the one passing program, where its id is in `sound`.

    STaR (Zelikman et al. 2022, arXiv 2203.14465) shows the answer of problems that the model failed and learns from
    its explanation of it; here the reference program is the explanation.
    """
    return [
        replace(row, passing=(row.task.reference,))
        if not row.passing and row.task.reference is not None and row.task.id in sound
        else row
        for row in rows
    ]
