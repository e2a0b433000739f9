"""Estimators, intervals and tests. Every number that Strop prints comes from here.

- `pass_at_k`: unbiased pass@k of each task.
- `estimate`: mean over tasks with a 95 % bootstrap interval; `wilson` for one proportion.
- `compare`: difference of two methods on the same tasks, with interval, p and detectable difference.
- `compare_seeds`: the same over several training seeds.
- `sign_flip_p`, `mcnemar_p`, `holm`: exact tests, and correction for several comparisons.
- `minimum_detectable_difference`: what a comparison of this size could have found.

The unit of sampling is the task: intervals say how much a figure would move on other tasks of the same kind.
Arrays are NumPy, float64; `tasks` is their only axis unless a docstring says otherwise. Everything random is seeded,
so that a report can be rebuilt. docs/statistics.md holds the formulas, sources and measured coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.special import bdtr, ndtr, ndtri, stdtr, stdtrit

Values: TypeAlias = Sequence[float] | np.ndarray
Bounds: TypeAlias = tuple[float, float] | None

RESAMPLES = 10_000
"""Bootstrap replicates: Monte Carlo error of an interval's end is then about 2 % of its half-width."""
TAIL = 0.025
"""Share of each tail outside the interval: 95 % everywhere."""
Z2 = float(ndtri(TAIL)) ** 2


# ---- results -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval over `n` tasks (or trials, for `wilson`)."""

    value: float
    low: float
    high: float
    n: int

    def words(self, percent: bool = True, unit: str = "tasks") -> str:
        """Such as `46.2 % (95 % interval 40.1 to 52.3, 120 tasks)`."""
        scale, sign = (100, " %") if percent else (1, "")
        return (
            f"{_number(self.value * scale, percent)}{sign} (95 % interval {_number(self.low * scale, percent)} "
            f"to {_number(self.high * scale, percent)}, {_count(self.n, unit)})"
        )

    def __str__(self) -> str:
        return self.words()


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference with its 95 % interval over `n` tasks and `seeds` training seeds."""

    value: float
    low: float
    high: float
    n: int
    p: float
    """Two-sided p of "there is no difference"."""
    detectable: float
    """Smallest true difference that a comparison with this many tasks and this spread finds 4 times out of 5."""
    seeds: int = 1

    @property
    def verdict(self) -> str:
        """`higher` or `lower` when interval and p agree at 5 %, `not distinguishable` when both include no
        difference, `borderline` when they disagree."""
        outside, small = self.low > 0 or self.high < 0, self.p < 0.05
        if outside and small:
            return "higher" if self.value > 0 else "lower"
        return "borderline" if outside or small else "not distinguishable"

    def words(self, percent: bool = True) -> str:
        """What can be concluded, in one or two plain sentences."""
        scale, unit = (100, " points") if percent else (1, "")
        over = _count(self.n, "tasks") + (f" and {_count(self.seeds, 'seeds')}" if self.seeds > 1 else "")
        figures = (
            f"{_number(self.value * scale, percent, sign=True)}{unit} (95 % interval "
            f"{_number(self.low * scale, percent, sign=True)} to {_number(self.high * scale, percent, sign=True)}, "
            f"{_p(self.p)}) over {over}"
        )
        text = f"{self.verdict}: {figures}."
        if self.verdict in ("higher", "lower"):
            return text
        if self.verdict == "borderline":
            text = f"borderline: {figures}; the interval and the test disagree, so nothing is concluded."
        return text + (
            f" A true difference of {_number(self.detectable * scale, percent)}{unit} or more"
            " would be found in 4 of 5 such comparisons; more tasks are needed to see a smaller one."
        )

    def __str__(self) -> str:
        return self.words()


def _number(value: float, percent: bool, sign: bool = False) -> str:
    text = f"{value:+.{1 if percent else 3}f}" if sign else f"{value:.{1 if percent else 3}f}"
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text  # no "-0.0"


def _count(n: int, unit: str) -> str:
    return f"{n} {unit.removesuffix('s') if n == 1 else unit}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


# ---- one figure --------------------------------------------------------------------------------


def pass_at_k(n: Sequence[int] | np.ndarray, c: Sequence[int] | np.ndarray, k: int) -> np.ndarray:
    """Unbiased pass@k of each task: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021, equation 1). Shape (tasks,).

    `n`: samples judged per task; `c`: how many of them passed. The ratio is a product of k factors in [0, 1], so it
    neither overflows nor cancels. Raises ValueError when counts are impossible or a task has fewer than k samples.
    """
    n, c = np.asarray(n), np.asarray(c)
    if n.ndim != 1 or n.shape != c.shape:
        raise ValueError(f"n and c must be lists of the same length, one entry a task; got {n.shape} and {c.shape}")
    if k < 1 or not (np.equal(np.mod(n, 1), 0).all() and np.equal(np.mod(c, 1), 0).all()):
        raise ValueError("k must be at least 1, and counts whole numbers")
    if ((c < 0) | (c > n)).any():
        raise ValueError("a task cannot have fewer than no, or more than all, samples correct")
    if (n < k).any():
        raise ValueError(
            f"pass@{k} needs at least {k} samples for every task; task number {int(np.argmin(n))} has fewer"
        )
    n, c = n.astype(float), c.astype(float)
    none_passes = np.ones_like(n)
    for j in range(k):
        none_passes *= np.maximum(n - c - j, 0) / (n - j)
    return 1 - none_passes


def estimate(values: Values, *, bounds: Bounds = (0.0, 1.0), seed: int = 0) -> Estimate:
    """Mean over tasks with a BCa bootstrap interval (Efron 1987), widened for few tasks (Hesterberg 2015).

    `values`: one figure per task, such as its pass rate. `bounds`: the least and greatest value a task can have, or
    None. They matter when all tasks score the same: resampling then sees no spread, so the interval instead allows
    for a share h = z²/(n+z²) of tasks at either end of the range, which is Wilson's interval when all pass or fail.
    Raises ValueError for no tasks, or values that are not finite or out of bounds.
    """
    x = _checked(values, bounds)
    low, high = _interval(x, bounds, seed)
    return Estimate(float(x.mean()), low, high, len(x))


def wilson(successes: int, n: int) -> Estimate:
    """Proportion with Wilson's score interval (1927): for one count of independent trials, such as programs refused."""
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is no proportion")
    p = successes / n
    middle = (p + Z2 / (2 * n)) / (1 + Z2 / n)
    half = np.sqrt(Z2) * np.sqrt(p * (1 - p) / n + Z2 / (4 * n * n)) / (1 + Z2 / n)
    return Estimate(p, max(0.0, float(middle - half)), min(1.0, float(middle + half)), n)


def _checked(values: Values, bounds: Bounds) -> np.ndarray:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or not len(x):
        raise ValueError(f"expected one value per task, at least one task; got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"task number {int(np.argmin(np.isfinite(x)))} has no finite value")
    if bounds and (x.min() < bounds[0] - 1e-9 or x.max() > bounds[1] + 1e-9):
        raise ValueError(f"values must lie between {bounds[0]} and {bounds[1]}; they span {x.min()} to {x.max()}")
    return x


def _interval(x: np.ndarray, bounds: Bounds, seed: int) -> tuple[float, float]:
    n, mean = len(x), float(x.mean())
    if np.ptp(x) < 1e-12:
        return _no_spread(mean, n, bounds)
    means = _resampled_means(x, seed)
    # BCa: correct for median bias (z0) and for skew (a, from the jackknife; for a mean it has this closed form).
    below = (np.mean(means < mean - 1e-12) + np.mean(means <= mean + 1e-12)) / 2
    z0 = ndtri(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    centred = x - mean
    a = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    # Hesterberg's expansion: a bootstrap is too narrow by sqrt((n-1)/n) and uses z where t is due.
    z = np.sqrt(n / (n - 1)) * stdtrit(n - 1, np.array([TAIL, 1 - TAIL]))
    denominator = 1 - a * (z0 + z)
    levels = np.where(denominator > 0, ndtr(z0 + (z0 + z) / np.where(denominator > 0, denominator, 1)), z > 0)
    low, high = np.quantile(means, levels)
    return min(float(low), mean), max(float(high), mean)


def _no_spread(mean: float, n: int, bounds: Bounds) -> tuple[float, float]:
    if bounds is None:
        return (mean, mean) if n > 1 else (-np.inf, np.inf)
    share = Z2 / (n + Z2)
    return mean - share * (mean - bounds[0]), mean + share * (bounds[1] - mean)


def _resampled_means(x: np.ndarray, seed: int) -> np.ndarray:
    """Means of `RESAMPLES` draws of the tasks with replacement.

    Drawing how often each distinct value occurs is the same as drawing tasks, is fast when values repeat, and makes
    the result independent of the order of tasks.
    """
    values, counts = np.unique(x, return_counts=True)
    rng = np.random.default_rng(seed)
    chunk = max(1, min(RESAMPLES, 4_000_000 // len(values)))
    sizes = [min(chunk, RESAMPLES - start) for start in range(0, RESAMPLES, chunk)]
    return np.concatenate([rng.multinomial(len(x), counts / len(x), size=size) @ values / len(x) for size in sizes])


# ---- differences -------------------------------------------------------------------------------


def compare(before: Values, after: Values, *, bounds: Bounds = (0.0, 1.0), seed: int = 0) -> Difference:
    """`after` minus `before` on the same tasks in the same order, paired by task.

    Interval as in `estimate`, on the differences; p from `sign_flip_p`. Raises ValueError for lists that do not pair.
    """
    x, y = _checked(before, bounds), _checked(after, bounds)
    if len(x) != len(y):
        raise ValueError(f"a paired comparison needs the same tasks on both sides; got {len(x)} and {len(y)}")
    d, n = y - x, len(x)
    span = (bounds[0] - bounds[1], bounds[1] - bounds[0]) if bounds else None
    low, high = _interval(d, span, seed)
    detectable = minimum_detectable_difference(_spread(d, span), n)
    return Difference(float(d.mean()), low, high, n, sign_flip_p(d, seed=seed), detectable)


def _spread(d: np.ndarray, span: Bounds) -> float:
    """Standard deviation of the differences; without any, that of the share of tasks that `_no_spread` allows for."""
    if len(d) > 1 and np.ptp(d) > 1e-12:
        return float(d.std(ddof=1))
    return float(span[1] * np.sqrt(Z2 / (len(d) + Z2))) if span else 0.0


def compare_seeds(before: Values, after: np.ndarray | Sequence[Values], *, seed: int = 0) -> Difference:
    """Effect of a training method over seeds and tasks: `after` minus `before`, shape (seeds, tasks).

    `before` has shape (tasks,) for one base model, or (seeds, tasks). Seeds and tasks are both resampled, each with
    replacement, so that the interval covers another run on other tasks (pigeonhole bootstrap for crossed factors,
    Owen 2007). Deviations of seeds are scaled by sqrt(S/(S-1)) and quantiles moved from z to t with Satterthwaite's
    degrees of freedom, because with 3 to 10 seeds the plain form is too narrow. p inverts the same interval.
    Raises ValueError for fewer than two seeds or tasks, shapes that do not pair, or missing values.
    """
    y = np.asarray(after, dtype=float)
    x = np.asarray(before, dtype=float)
    if y.ndim != 2 or min(y.shape) < 2 or x.shape not in (y.shape, y.shape[1:]):
        raise ValueError(f"expected at least two seeds by two tasks; got before {x.shape} and after {y.shape}")
    d = y - x
    if not np.isfinite(d).all():
        raise ValueError("every seed needs a finite value for every task")
    seeds, tasks = d.shape
    value = float(d.mean())
    variance_seeds, variance_tasks = d.mean(axis=1).var(ddof=1) / seeds, d.mean(axis=0).var(ddof=1) / tasks
    variance = variance_seeds + variance_tasks
    if variance < 1e-24:  # every seed and task moved by the same amount, for instance not at all
        span = (-1.0, 1.0) if abs(value) <= 1 else None
        low, high = _no_spread(value, tasks, span)
        p = sign_flip_p(d.mean(axis=0), seed=seed)
        detectable = minimum_detectable_difference(_spread(np.full(tasks, value), span), tasks)
        return Difference(value, low, high, tasks, p, detectable, seeds)
    df = variance**2 / (variance_seeds**2 / (seeds - 1) + variance_tasks**2 / (tasks - 1))
    means = _resampled_grid_means(d, seed)
    level = float(ndtr(stdtrit(df, TAIL)))
    low, high = np.quantile(means, [level, 1 - level])
    tail = min(np.sum(means <= 0), np.sum(means >= 0)) + 1
    p = min(1.0, 2 * float(stdtr(df, ndtri(tail / (len(means) + 1)))))
    detectable = float(-stdtrit(df, TAIL) + stdtrit(df, 0.8)) * float(np.sqrt(variance))
    return Difference(value, min(float(low), value), max(float(high), value), tasks, p, detectable, seeds)


def _resampled_grid_means(d: np.ndarray, seed: int) -> np.ndarray:
    seeds, tasks = d.shape
    widen = np.sqrt(seeds / (seeds - 1)) - 1
    d = d + widen * (d.mean(axis=1, keepdims=True) - d.mean())
    rng = np.random.default_rng(seed)
    means: list[np.ndarray] = []
    chunk = max(1, min(RESAMPLES, 4_000_000 // tasks))
    for start in range(0, RESAMPLES, chunk):
        size = min(chunk, RESAMPLES - start)
        drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=size)
        drawn_tasks = rng.multinomial(tasks, np.full(tasks, 1 / tasks), size=size)
        means.append(((drawn_seeds @ d) * drawn_tasks).sum(axis=1) / (seeds * tasks))
    return np.concatenate(means)


# ---- tests -------------------------------------------------------------------------------------


def sign_flip_p(differences: Values, *, seed: int = 0) -> float:
    """Two-sided permutation p of paired differences: how often random signs give a mean at least this far from 0.

    Exact (by convolution) when the differences are multiples of 1/m, as pass rates over m samples are; otherwise
    `RESAMPLES` random flips with the observed one counted in (Phipson and Smyth 2010). For differences of 0 and ±1
    it equals exact McNemar. Raises ValueError as `estimate` does.
    """
    d = _checked(differences, None)
    sizes, total = np.abs(d[np.abs(d) > 1e-12]), float(d.sum())
    if not len(sizes) or abs(total) < 1e-12:
        return 1.0
    steps = _whole_steps(sizes)
    if steps is None or len(steps) * int(steps.sum()) > 50_000_000:
        rng = np.random.default_rng(seed)
        flips = (rng.integers(0, 2, size=(RESAMPLES // 20, len(sizes)), dtype=np.int8) for _ in range(20))
        sums = np.concatenate([(2 * flip - 1) @ sizes for flip in flips])
        return float((1 + np.sum(np.abs(sums) >= abs(total) - 1e-9)) / (1 + RESAMPLES))
    # Distribution of the sum of the positive sizes, one coin a task; index = that sum. Signed sum = 2 * index - all.
    chance = np.zeros(int(steps.sum()) + 1)
    chance[0] = 1.0
    for step in steps:
        chance *= 0.5
        chance[step:] += chance[:-step].copy()
    signed = 2 * np.arange(len(chance)) - int(steps.sum())
    observed = round(abs(total) * float(steps.sum() / sizes.sum()))
    return min(1.0, float(chance[np.abs(signed) >= observed].sum()))


def _whole_steps(sizes: np.ndarray) -> np.ndarray | None:
    """The sizes as whole multiples of a common 1/m with m up to 1000, or None."""
    for m in range(1, 1001):
        steps = np.rint(sizes * m)
        if np.abs(sizes * m - steps).max() < 1e-9 * m:
            return steps.astype(int)
    return None


def mcnemar_p(before: Sequence[bool] | np.ndarray, after: Sequence[bool] | np.ndarray) -> float:
    """Exact two-sided McNemar test (1947): are tasks gained and tasks lost equally likely? One pass or fail a task."""
    x, y = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"a paired comparison needs the same tasks on both sides; got {x.shape} and {y.shape}")
    gained, lost = int((~x & y).sum()), int((x & ~y).sum())
    if gained == lost:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def holm(p: Values) -> np.ndarray:
    """Holm's step-down adjustment (1979): adjusted p, in the given order. For reports that test several claims."""
    p = np.asarray(p, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("expected a list of p between 0 and 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def minimum_detectable_difference(spread: float, n: int, power: float = 0.8) -> float:
    """Smallest true mean difference that a paired two-sided 5 % test over `n` tasks finds with this power.

    (t(0.975, n-1) + t(power, n-1)) * spread / sqrt(n), where `spread` is the standard deviation of the per-task
    differences (Bloom 1995). Infinite for one task.
    """
    if spread < 0 or n < 1 or not 0.5 <= power < 1:
        raise ValueError("expected a spread of at least 0, at least one task, and power from 0.5 to below 1")
    if n == 1:
        return float("inf")
    return float((-stdtrit(n - 1, TAIL) + stdtrit(n - 1, power)) * spread / np.sqrt(n))
