"""Which of two programs is faster, and when a difference in time is only noise.

The two programs run in turn on the same checks, so that a machine that slows down slows both. The interval of their
ratio is the sign test's: order statistics of the per-pair ratios, exact for any distribution of the noise and free of
random numbers. Where it holds 1, the difference counts as noise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from strop.types import StropError, Task

if TYPE_CHECKING:
    from strop.judge import Judge

EMPTY_PROGRAM = "pass\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How much faster a program is than its reference."""

    ratio: float
    """Median of reference seconds / program seconds: 2 means twice as fast."""
    low: float
    high: float
    """Interval of that median."""
    outcome: Literal["faster", "slower", "noise"]

    @property
    def speedup(self) -> float:
        """The ratio, or exactly 1 where the difference is noise: what a reward may use."""
        return 1.0 if self.outcome == "noise" else self.ratio


def compare_times(
    reference: Sequence[float],
    program: Sequence[float],
    *,
    floor: float = 0.0,
    resolution: float = 0.0,
    confidence: float = 0.95,
) -> Comparison:
    """Compare paired times in seconds: the i-th of each were measured one after the other.

    `floor` (seconds that any program takes) is subtracted from both, and what is left counts as at least `resolution`:
    two times near the floor are equal, and one far above a time at the floor gives a lower bound of the ratio.
    Raises StropError for too few pairs (0.95 needs 6).
    """
    if len(reference) != len(program):
        raise StropError(f"{len(reference)} times of the reference and {len(program)} of the program are not pairs.")
    rank = _interval_rank(len(program), confidence)
    if rank is None:
        needed = next(count for count in range(1, 1000) if _interval_rank(count, confidence))
        raise StropError(
            f"{len(program)} pairs of times give no {confidence:.0%} interval; it takes at least {needed}."
        )
    least = max(resolution, 1e-9)
    logs = sorted(
        math.log(max(before - floor, least) / max(after - floor, least)) for before, after in zip(reference, program)
    )
    middle, low, high = statistics.median(logs), logs[rank - 1], logs[-rank]
    outcome = "faster" if low > 0 else "slower" if high < 0 else "noise"
    return Comparison(ratio=math.exp(middle), low=math.exp(low), high=math.exp(high), outcome=outcome)


def _interval_rank(count: int, confidence: float) -> int | None:
    """Largest k for which (k-th smallest, k-th largest) covers the median with at least `confidence`.

    Coverage is 1 - 2 P(Binomial(count, 1/2) < k).
    """
    best, below = None, 0.0
    for rank in range(1, count // 2 + 1):
        below += math.comb(count, rank - 1) / 2**count
        if 1 - 2 * below >= confidence:
            best = rank
    return best


class CostMeter:
    """Times programs against their task's reference on the judge's own CPU clock.

    The reference is `task.reference`; a task without one cannot be timed. Give the judge one worker: programs that run
    side by side disturb each other. Costs 2 * `pairs` runs a program.
    """

    def __init__(self, judge: Judge, *, pairs: int = 9, confidence: float = 0.95, resolution: float = 0.0005) -> None:
        """`resolution`: seconds above an empty program's time that can be told from it (0.5 ms: the spread of empty
        programs is about that on a busy machine; raise it where `compare(task, task.reference)` is not noise)."""
        self._judge, self._pairs, self._confidence, self._resolution = judge, pairs, confidence, resolution
        self._floors: dict[str, float] = {}
        self._known: dict[tuple[str, str], Comparison | None] = {}

    def compare(self, task: Task, program: str) -> Comparison | None:
        """None when a run of either did not pass: only correct programs have a speed."""
        if task.reference is None:
            raise StropError(f"Task {task.id} has no reference solution, so there is nothing to time against.")
        key = (task.id, program)
        if key not in self._known:
            self._known[key] = self._measure(task, task.reference, program)
        return self._known[key]

    def _measure(self, task: Task, reference: str, program: str) -> Comparison | None:
        if task.id not in self._floors:
            empty = self._judge.run(task, [EMPTY_PROGRAM] * 3)
            self._floors[task.id] = min(verdict.seconds for verdict in empty)
        verdicts = self._judge.run(task, [reference, program] * self._pairs)
        if not all(verdict.passed for verdict in verdicts):
            return None
        return compare_times(
            [verdict.seconds for verdict in verdicts[0::2]],
            [verdict.seconds for verdict in verdicts[1::2]],
            floor=self._floors[task.id],
            resolution=self._resolution,
            confidence=self._confidence,
        )
