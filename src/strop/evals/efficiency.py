"""How fast are programs that are right? Metrics of efficiency that nothing wrong and no noise can raise.

A program is timed against its task's reference (the slow program of a PIE pair, or a standard solution), in turn, so
that a busy machine slows both. What comes of it is a ratio with an interval; a difference inside the interval counts as
none. A wrong program has no speed: it is not optimised, and its speed-up is 1.

    %OPT     right and at least a tenth faster (Madaan et al. 2023, arXiv 2302.07867, PIE; the tenth from memory)
    SP       mean of old time / new time; wrong and not distinguishable count as 1
    RTR      mean relative reduction of run time, 1 - new / old; wrong and not distinguishable count as 0
    ECC      efficient and correct: right and not slower than the reference (ACECode's name; its formula was not read)

`noise` times each reference against itself by the same rules: what is "optimised" there is the method's error. `naive`
is %OPT without regard to the interval, as it is often reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, TypeAlias

from strop.stats import Estimate, estimate
from strop.types import StropError, Task

LEAST = 1.1
"""Ratio from which a program counts as optimised."""
LARGEST = 1024.0
"""Ratios are cut to this and its inverse: one accidental thousandfold must not be the mean."""


class Timing(Protocol):
    """How much faster a program is than its reference; `strop.rewards.Comparison` is one."""

    @property
    def ratio(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


Compare: TypeAlias = Callable[[Task, str], Timing | None]
"""Times a right program against its task's reference; None when a timing run failed. `CostMeter(judge).compare`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """One program's outcome."""

    task: str
    right: bool
    ratio: float = 1.0
    """Old time / new time."""
    low: float = 1.0
    high: float = 1.0

    @property
    def speedup(self) -> float:
        """The ratio where it is told from 1, else exactly 1; always 1 for a wrong program."""
        told = self.right and (self.low > 1 or self.high < 1)
        return min(LARGEST, max(1 / LARGEST, self.ratio)) if told else 1.0

    @property
    def optimised(self) -> bool:
        """Right, told from the reference, and at least `LEAST` times as fast."""
        return self.speedup >= LEAST


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Means over tasks with intervals; a task's programs are averaged first, since they are no independent evidence."""

    right: Estimate
    optimised: Estimate
    """%OPT, as a share."""
    naive: Estimate
    """%OPT by the median ratio alone."""
    surely: Estimate
    """Share whose whole interval lies at or above `LEAST`."""
    speedup: Estimate
    """SP."""
    speedup_geometric: Estimate
    """The same as a geometric mean, which one large ratio does not carry; value and interval are ratios."""
    reduction: Estimate
    """RTR."""
    efficient_and_correct: Estimate
    """ECC."""
    noise: Estimate | None
    """%OPT of the references against themselves; None when it was not measured."""
    programs: int

    def as_dict(self) -> dict:
        return asdict(self)


def measure(
    programs: Sequence[tuple[Task, str, bool]], compare: Compare, *, noise: bool = True, seed: int = 0
) -> tuple[Efficiency, list[Rewrite]]:
    """Time programs of (task, program, whether it passed) against their tasks' references.

    Only right programs are run. A right program whose timing runs did not all pass counts as wrong: it is not right
    every time. With `noise` each task's reference is timed against itself too. Raises StropError for a task without a
    reference and when there is no program.
    """
    rewrites = [timed(task, program, right, compare) for task, program, right in programs]
    null = None
    if noise:
        tasks = {task.id: task for task, _, _ in programs}
        null = [timed(task, task.reference or "", True, compare) for task in tasks.values()]
    return summarise(rewrites, null, seed=seed), rewrites


def timed(task: Task, program: str, right: bool, compare: Compare) -> Rewrite:
    """The outcome of one program."""
    if task.reference is None:
        raise StropError(f"Task {task.id} has no reference, so there is nothing to time against.")
    found = compare(task, program) if right else None
    if found is None:
        return Rewrite(task=task.id, right=False)
    return Rewrite(task=task.id, right=True, ratio=found.ratio, low=found.low, high=found.high)


def summarise(rewrites: Sequence[Rewrite], null: Sequence[Rewrite] | None = None, *, seed: int = 0) -> Efficiency:
    """The metrics of outcomes; `null` are those of references against themselves. Raises StropError without any."""
    if not rewrites:
        raise StropError("There is no program to measure the efficiency of.")

    def mean(of: Callable[[Rewrite], float], rows: Sequence[Rewrite], low: float = 0.0, high: float = 1.0) -> Estimate:
        return estimate(list(_by_task(rows, of).values()), bounds=(low, high), seed=seed)

    log = mean(lambda one: math.log2(one.speedup), rewrites, -math.log2(LARGEST), math.log2(LARGEST))
    return Efficiency(
        right=mean(lambda one: one.right, rewrites),
        optimised=mean(lambda one: one.optimised, rewrites),
        naive=mean(lambda one: one.right and one.ratio >= LEAST, rewrites),
        surely=mean(lambda one: one.right and one.low >= LEAST, rewrites),
        speedup=mean(lambda one: one.speedup, rewrites, 1 / LARGEST, LARGEST),
        speedup_geometric=Estimate(2**log.value, 2**log.low, 2**log.high, log.n),
        reduction=mean(lambda one: 1 - 1 / one.speedup, rewrites, 1 - LARGEST, 1.0),
        efficient_and_correct=mean(lambda one: one.right and one.high >= 1, rewrites),
        noise=None if null is None else mean(lambda one: one.optimised, null),
        programs=len(rewrites),
    )


def _by_task(rows: Sequence[Rewrite], of: Callable[[Rewrite], float]) -> Mapping[str, float]:
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row.task, []).append(float(of(row)))
    return {task: sum(values) / len(values) for task, values in groups.items()}
