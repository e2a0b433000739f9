"""Outcomes as a table of arms, units and seeds, and the estimates that are drawn from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy.special import stdtrit

from strop.stats import TAIL, Bounds, Difference, Estimate, compare, compare_seeds, estimate

F = TypeVar("F", Estimate, Difference)

DIGITS = 8
"""Significant digits kept of a figure, so that a file read back gives the same estimates."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one arm did on one unit with one seed. Figures are finite; a metric that does not apply is left out."""

    arm: str
    unit: str
    seed: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Mean(Estimate):
    """A mean over `n` units and `seeds` seeds."""

    seeds: int = 1


class Table:
    """All outcomes of an experiment so far. Units and seeds are sorted."""

    def __init__(self, outcomes: Iterable[Outcome], arms: Sequence[str], metrics: Mapping[str, Bounds]) -> None:
        """Raises ValueError for an unknown arm or metric, or a figure that is not finite or out of bounds."""
        self.arms, self.metrics = tuple(arms), dict(metrics)
        self._values: dict[tuple[str, str, int], dict[str, float]] = {}
        for outcome in outcomes:
            self._values.setdefault((outcome.arm, outcome.unit, outcome.seed), self._checked(outcome))
        # Sorted, so that an interval does not depend on the order in which work was done.
        self.units = tuple(sorted({unit for _, unit, _ in self._values}))
        self.seeds = tuple(sorted({seed for *_, seed in self._values}))

    def _checked(self, outcome: Outcome) -> dict[str, float]:
        where = f"the outcome of arm {outcome.arm!r} on {outcome.unit!r} with seed {outcome.seed}"
        if outcome.arm not in self.arms:
            raise ValueError(f"{where}: the experiment has no such arm")
        values = {}
        for metric, value in outcome.values.items():
            if metric not in self.metrics:
                raise ValueError(f"{where}: the experiment declares no metric {metric!r}")
            bounds = self.metrics[metric]
            if not np.isfinite(value) or (bounds and not bounds[0] - 1e-9 <= value <= bounds[1] + 1e-9):
                raise ValueError(f"{where}: {metric} is {value}, outside {bounds or 'the finite numbers'}")
            values[metric] = float(f"{value:.{DIGITS}g}")
        return values

    def outcomes(self) -> list[Outcome]:
        """Every outcome, each once."""
        return [Outcome(*key, values) for key, values in self._values.items()]

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: tuple[str, str, int]) -> bool:
        return key in self._values

    def value(self, metric: str, arm: str, unit: str, seed: int) -> float | None:
        """One figure, or None when it is not there (yet)."""
        return self._values.get((arm, unit, seed), {}).get(metric)

    def grid(self, metric: str, *arms: str) -> tuple[np.ndarray, tuple[int, ...], tuple[str, ...]]:
        """Figures of shape (arms, seeds, units) without gaps, with the seeds and units that they are for.

        While a run goes on, that is every seed that covers the most units, and the units that all of these have.
        """
        if metric not in self.metrics or not set(arms) <= set(self.arms):
            raise ValueError(f"no metric {metric!r} or not all of the arms {arms}")
        have = {
            seed: {unit for unit in self.units if all(self.value(metric, arm, unit, seed) is not None for arm in arms)}
            for seed in self.seeds
        }
        most = max(map(len, have.values()), default=0)
        seeds = tuple(seed for seed in self.seeds if len(have[seed]) == most > 0)
        shared = set.intersection(*(have[seed] for seed in seeds)) if seeds else set()
        units = tuple(unit for unit in self.units if unit in shared)
        figures = [[[self.value(metric, arm, unit, seed) for unit in units] for seed in seeds] for arm in arms]
        return np.array(figures, dtype=float).reshape(len(arms), len(seeds), len(units)), seeds, units

    def only(self, units: Iterable[str]) -> Table:
        """The same table with these units alone."""
        wanted = set(units)
        return Table([one for one in self.outcomes() if one.unit in wanted], self.arms, self.metrics)

    def mean(self, metric: str, arm: str) -> Mean:
        """Mean of an arm with its interval: over units, and over seeds too when there are several.

        A single unit makes seeds the unit of sampling. Raises ValueError when there is no figure.
        """
        (x,), seeds, units = self.grid(metric, arm)
        bounds = self.metrics[metric]
        over = _few(x.ravel(), estimate(x.ravel(), bounds=bounds)) if min(x.shape) < 2 else compare_seeds(0 * x, x)
        low, high = (over.low, over.high) if bounds is None else np.clip((over.low, over.high), *bounds)
        return Mean(over.value, float(low), float(high), len(units), len(seeds))

    def compare(self, metric: str, arm: str, baseline: str) -> Difference:
        """`arm` minus `baseline`, paired by unit and seed: `strop.stats.compare_seeds`, or `compare` for one axis.

        Raises ValueError when there is no pair of figures.
        """
        (x, y), seeds, units = self.grid(metric, baseline, arm)
        if min(x.shape) < 2:
            over = _few((y - x).ravel(), compare(x.ravel(), y.ravel(), bounds=self.metrics[metric]))
        else:
            over = compare_seeds(x, y)
        return replace(over, n=len(units), seeds=len(seeds))


def _few(x: np.ndarray, figure: F) -> F:
    """The interval of a mean of fewer than ten figures, no narrower than Student's.

    A bootstrap cannot leave the range of what it resamples, which is too narrow for so few. Raises ValueError where
    one figure, without bounds, allows no interval at all.
    """
    if not np.isfinite((figure.low, figure.high)).all():
        raise ValueError("one figure alone has no interval")
    if not 1 < len(x) < 10:
        return figure
    half = -float(stdtrit(len(x) - 1, TAIL)) * float(x.std(ddof=1)) / len(x) ** 0.5
    return replace(figure, low=min(figure.low, figure.value - half), high=max(figure.high, figure.value + half))
