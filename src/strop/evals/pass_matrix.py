"""Programs x tests: which program passes which test, and what can be told from that alone.

    matrix = pass_matrix(task, programs, tests, judge)
    best = int(np.nanargmax(agreement(matrix.values)))

One object serves the pair builders of `strop.data`, best-of-N selection, and the measurement of label quality
(`strop.evals.label_quality`). Tests may be the task's own, a model's, or mutated; each is run alone, so that one that
hangs or breaks says nothing about the others.

A scorer takes the matrix as floats (1 passed, 0 failed, NaN not known because the judge failed), shape
(programs, tests), and gives one score per program, shape (programs,): higher is more likely right, NaN when no test
of the program is known. Scores of different tasks do not compare.

- `count`: share of the known tests passed.
- `all_pass`: 1 for programs that pass every known test.
- `agreement`: CodeT's dual agreement (Chen et al. 2022, arXiv 2207.10397).
- `mutual`: CodeDPO's mutual ranking of programs and tests (arXiv 2410.05605).
- `minimax`: DSTC's choice of one chosen and one rejected (program, test) (arXiv 2411.13611); not a score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from strop.types import Check, Status, StropError, Task

if TYPE_CHECKING:
    from strop.judge.files import Streams

Scorer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassMatrix:
    """What happened when every program of a task met every test. Compares by value; rows are programs."""

    task_id: str
    programs: tuple[str, ...]
    """Program texts. Duplicates keep their rows: how often a model wrote a program is evidence too."""
    tests: tuple[Check, ...]
    statuses: tuple[tuple[Status, ...], ...]
    """`statuses[i][j]`: program i on test j."""
    seconds: tuple[tuple[float, ...], ...]
    """CPU seconds of the same runs, start of the program included."""

    @property
    def values(self) -> np.ndarray:
        """1 passed, 0 failed, NaN for `judge_error`. Shape (programs, tests), float64."""
        known = {"passed": 1.0, "judge_error": np.nan}
        cells = [[known.get(status, 0.0) for status in row] for row in self.statuses]
        return np.array(cells, dtype=float).reshape(len(self.programs), len(self.tests))

    def without_tests(self, drop: Iterable[int]) -> PassMatrix:
        """The matrix without the tests at these places."""
        gone = set(drop)
        keep = [place for place in range(len(self.tests)) if place not in gone]
        return replace(
            self,
            tests=tuple(self.tests[place] for place in keep),
            statuses=tuple(tuple(row[place] for place in keep) for row in self.statuses),
            seconds=tuple(tuple(row[place] for place in keep) for row in self.seconds),
        )


def pass_matrix(task: Task, programs: Sequence[str], tests: Sequence[Check], judge: Streams) -> PassMatrix:
    """Run every program on every test, each pair alone in its own process. See `pass_matrices`."""
    return pass_matrices([(task, programs, tests)], judge)[0]


def pass_matrices(items: Sequence[tuple[Task, Sequence[str], Sequence[Check]]], judge: Streams) -> list[PassMatrix]:
    """The matrix of each (task, programs, tests); runs of all tasks share the judge's workers.

    Of a task only entry point, stub, set-up, reference and limits are used; its own checks are not. Script checks run
    inside the judge, so tests that a model wrote must be call checks (`strop.data.written_tests` sees to that). A
    program that occurs several times is run once. Cost: distinct programs x tests runs a task, and a program that
    hangs costs its whole time limit on every test: give tasks tight `limits` when tests are many.
    """
    cells: dict[tuple[int, str, int], tuple[Status, float]] = {}

    def jobs():
        for number, (task, programs, tests) in enumerate(items):
            alone = [replace(task, checks=(test,)) for test in tests]
            for program in dict.fromkeys(programs):
                for place, single in enumerate(alone):
                    yield (number, program, place), single, program

    for key, verdict in judge.stream(jobs()):
        cells[key] = verdict.status, verdict.seconds
    return [
        PassMatrix(
            task_id=task.id,
            programs=tuple(programs),
            tests=tuple(tests),
            statuses=tuple(tuple(cells[n, program, j][0] for j in range(len(tests))) for program in programs),
            seconds=tuple(tuple(cells[n, program, j][1] for j in range(len(tests))) for program in programs),
        )
        for n, (task, programs, tests) in enumerate(items)
    ]


# ---- scorers -----------------------------------------------------------------------------------


def checked(values: np.ndarray) -> np.ndarray:
    """The matrix as float64. Raises ValueError unless it has two axes and holds only 0, 1 and NaN."""
    m = np.asarray(values, dtype=float)
    if m.ndim != 2:
        raise ValueError(f"a pass matrix has two axes, programs and tests; got shape {m.shape}")
    if not (np.isnan(m) | (m == 0) | (m == 1)).all():
        raise ValueError("a pass matrix holds 1 (passed), 0 (failed) and NaN (not known) only")
    return m


def count(values: np.ndarray) -> np.ndarray:
    """Share of the known tests that each program passes, in [0, 1]."""
    m = checked(values)
    known = (~np.isnan(m)).sum(axis=1)
    return np.where(known > 0, np.nansum(m, axis=1) / np.maximum(known, 1), np.nan)


def all_pass(values: np.ndarray) -> np.ndarray:
    """1 for programs that pass every known test, else 0 (PLUM's rule, arXiv 2406.06887)."""
    share = count(values)
    return np.where(np.isnan(share), np.nan, (share == 1).astype(float))


def agreement(values: np.ndarray) -> np.ndarray:
    """CodeT: programs that pass the same tests form a set; its score is its size times the number of those tests.

    (Chen et al. 2022, section 2.2; their released code takes the square root of the size.) Tests that are not known
    for every program are left out, because sets would otherwise split by the judge's own failures.
    """
    m = checked(values)
    usable = ~np.isnan(m).all(axis=1)
    scores = np.full(len(m), np.nan)
    rows = m[usable]
    if not len(rows):
        return scores
    rows = rows[:, ~np.isnan(rows).any(axis=0)]
    if not rows.shape[1]:
        return scores
    _, group, sizes = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    scores[usable] = sizes[group.ravel()] * rows.sum(axis=1)
    return scores


def mutual(values: np.ndarray, *, damping: float = 0.85, rounds: int = 10) -> np.ndarray:
    """CodeDPO: programs earn credit from the tests they pass, tests from the programs that pass them. In [0, 1].

    C <- (1-d) C + d M S for programs and S <- (1-d) S + d M' C for tests, all starting at 1, d = 0.85, 10 rounds: the
    paper's values. That tests are updated by symmetry is Strop's reading. Both sides are rescaled by one common factor
    each round, which leaves the order untouched. A cell that is not known counts as the average of its program's
    (or test's) known ones, weighted as they are.
    """
    m = checked(values)
    if not 0 <= damping <= 1 or rounds < 1:
        raise ValueError(f"damping must lie in 0..1 and rounds be at least 1; got {damping} and {rounds}")
    programs, tests = m.shape
    known, passed = ~np.isnan(m), np.nan_to_num(m)
    c, s = np.ones(programs), np.ones(tests)
    for _ in range(rounds):
        earned_c = _earned(passed, known, s)
        earned_s = _earned(passed.T, known.T, c)
        c, s = (1 - damping) * c + damping * earned_c, (1 - damping) * s + damping * earned_s
        largest = max(c.max(initial=0), s.max(initial=0))
        if largest > 0:
            c, s = c / largest, s / largest
    top = c.max(initial=0)
    return np.where(known.any(axis=1), c / top if top > 0 else c, np.nan)


def _earned(passed: np.ndarray, known: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum of the weights of what each row passed, scaled up for cells that are not known."""
    full, seen = weights.sum(), known @ weights
    return np.where(seen > 0, (passed @ weights) * full / np.where(seen > 0, seen, 1), 0)


SCORERS: dict[str, Scorer] = {"count": count, "all_pass": all_pass, "agreement": agreement, "mutual": mutual}
"""Every scorer by name."""


def get_scorer(name: str) -> Scorer:
    """The scorer called `name`. Raises StropError with the known names."""
    if name not in SCORERS:
        raise StropError(f"no scorer {name!r} (known: {', '.join(SCORERS)})")
    return SCORERS[name]


# ---- pairs from the matrix ---------------------------------------------------------------------


class Cell(NamedTuple):
    """A place of the matrix."""

    program: int
    test: int


def extremes(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the highest and of the lowest scores, ties included; both empty when all known scores are equal."""
    s = np.asarray(scores, dtype=float)
    if not len(s) or np.isnan(s).all() or np.nanmax(s) - np.nanmin(s) <= 1e-12:
        return np.array([], dtype=int), np.array([], dtype=int)
    return np.flatnonzero(s >= np.nanmax(s) - 1e-12), np.flatnonzero(s <= np.nanmin(s) + 1e-12)


def minimax(values: np.ndarray) -> tuple[list[Cell], list[Cell]]:
    """DSTC's candidates for the chosen and the rejected (program, test), ties included; both empty when there are none.

    Chosen: a program with the most passes, with the test among those it passes that the fewest programs pass.
    Rejected: the most-passed test among those that some program fails, with the program among those that fail it that
    has the fewest passes. The paper's pages confirm a minimax rule over the matrix; the indices are Strop's reading.
    Left out are tests that are known for no program, and then programs with a cell that is not known: whether they
    pass most cannot be told.
    """
    m = checked(values).copy()
    m[:, np.isnan(m).all(axis=0)] = -1  # neither passed nor failed by anybody
    rows = np.flatnonzero(~np.isnan(m).any(axis=1))
    passes, passed_by = (m[rows] == 1).sum(axis=1), (m[rows] == 1).sum(axis=0)
    failed_by = (m[rows] == 0).sum(axis=0)
    if not len(rows) or not passes.any() or not failed_by.any():
        return [], []
    chosen = []
    for program in rows[passes == passes.max()]:
        mine = np.flatnonzero(m[program] == 1)
        rarest = passed_by[mine].min()
        chosen += [Cell(int(program), int(test)) for test in mine if passed_by[test] == rarest]
    fewest_passes = min(passed_by[cell.test] for cell in chosen)
    chosen = [cell for cell in chosen if passed_by[cell.test] == fewest_passes]
    failed = np.flatnonzero(failed_by)
    easiest = failed[passed_by[failed] == passed_by[failed].max()]
    passes_of = dict(zip(rows.tolist(), passes.tolist()))
    rejected = [Cell(int(program), int(test)) for test in easiest for program in rows if m[program, test] == 0]
    least = min(passes_of[cell.program] for cell in rejected)
    return chosen, [cell for cell in rejected if passes_of[cell.program] == least]
