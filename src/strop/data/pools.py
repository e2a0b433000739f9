"""What pairs are made from: a task, the programs a model wrote for it, and what is known of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from strop.evals.pass_matrix import PassMatrix, pass_matrices
from strop.types import Check, Sample, Status, Task, Verdict

if TYPE_CHECKING:
    from strop.judge.files import Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One program, where it comes from, and its verdict under all checks of the task."""

    program: str
    index: int
    """Sample index in the run, so that the evidence can be found again."""
    status: Status
    policy: str = ""
    """Who wrote it: a model argument."""

    @property
    def passed(self) -> bool:
        return self.status == "passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A task with its candidates. The rows of `matrix`, where there is one, are the candidates in order."""

    task: Task
    candidates: tuple[Candidate, ...]
    matrix: PassMatrix | None = None

    @property
    def truth(self) -> np.ndarray:
        """1 where the program passed all checks of the task, else 0. Shape (candidates,)."""
        return np.array([float(candidate.passed) for candidate in self.candidates])


def pool_up(
    tasks: Sequence[Task], samples: Iterable[Sample], verdicts: Mapping[tuple[str, int], Verdict], *, policy: str = ""
) -> tuple[list[Pool], dict[str, int]]:
    """A pool for each task that has samples, in the order of `tasks`, and the number of samples dropped, by reason.

    Duplicates stay: how often a model wrote a program is evidence for rules that count agreement.
    """
    known = {task.id: task for task in tasks}
    groups: dict[str, list[Candidate]] = {task.id: [] for task in tasks}
    dropped: Counter[str] = Counter()
    for sample in sorted(samples, key=lambda sample: (sample.task_id, sample.index)):
        verdict = verdicts.get((sample.task_id, sample.index))
        if sample.task_id not in known:
            dropped["samples of tasks that are not given"] += 1
        elif verdict is None:
            dropped["samples without a verdict"] += 1
        elif verdict.status == "judge_error":
            dropped["samples that the judge failed on"] += 1
        elif not sample.code.strip():
            dropped["samples without a program"] += 1
        else:
            candidate = Candidate(program=sample.code, index=sample.index, status=verdict.status, policy=policy)
            groups[sample.task_id].append(candidate)
    pools = [Pool(task=known[task_id], candidates=tuple(rows)) for task_id, rows in groups.items() if rows]
    return pools, dict(dropped)


def with_matrices(pools: Sequence[Pool], tests_of: Callable[[Task], Sequence[Check]], judge: Streams) -> list[Pool]:
    """The pools with a pass matrix each: every program run on every test that `tests_of` names for its task."""
    items = [(pool.task, [row.program for row in pool.candidates], tests_of(pool.task)) for pool in pools]
    return [replace(pool, matrix=matrix) for pool, matrix in zip(pools, pass_matrices(items, judge))]
