"""How far can a scorer of programs be trusted? One report for every scorer, the trivial ones always beside it.

- AUC: chance that a right program scores above a wrong one of the same task.
- top: how often the highest scored program of a task is right, against one drawn blindly.
- r2: R^2 of a straight line through bins of similar score (PF-PPO, arXiv 2409.06957). It grows with the range of the
  scores alone, so read it with the next figure.
- residual variance by rank: how far the truth lies from that line for the best scored program of a task, the second
  best, and so on; free of the range. PF-PPO's claim is that it is smallest at both ends.
- length correlation: Spearman's, within a task. A scorer that follows length is no better than length.

Intervals are over tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from strop.evals.label_quality import auc
from strop.models.scorers import Length, Scorer
from strop.stats import Difference, Estimate, compare, estimate
from strop.types import Preference, Prompt

BINS = 10
"""Bins of equal counts for r2."""
FEWEST_IN_BIN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A task's programs with the truth about them."""

    task_id: str
    prompt: Prompt
    """What their author was asked."""
    programs: tuple[str, ...]
    right: tuple[float, ...]
    """1, 0, or NaN where it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """One scorer on one set. None: no task, or too few programs, could tell."""

    scorer: str
    tasks: int
    programs: int
    auc: Estimate | None
    """Over tasks with right and wrong programs."""
    top: Estimate
    """Over all tasks, ties at the top counted evenly."""
    gain: Difference
    """`top` minus the share of right programs, which is what choosing blindly gives."""
    r2: float | None
    residual_variance: tuple[float, ...]
    """By rank, the best scored first; ranks that at least five tasks have."""
    length_correlation: Estimate | None
    over_trivial: Difference | None = None
    """AUC minus that of the better trivial scorer on this set, paired by task."""
    position_bias: float | None = None
    """For judges of pairs: share of pairs whose winner changes with the order."""


def reliability_report(tasks: Sequence[Judged], scorers: Iterable[Scorer], *, seed: int = 0) -> list[Reliability]:
    """Measure scorers and, first, the two trivial ones. Raises ValueError when no task has a known program."""
    usable = [one for one in map(_known, tasks) if one.programs]
    if not usable:
        raise ValueError("no task has a program whose truth is known")
    columns: dict[str, list[np.ndarray]] = {}
    bias: dict[str, float | None] = {}
    for scorer in (Length(shorter=True), Length(shorter=False), *scorers):
        columns[scorer.name] = [np.array(scorer.scores(one.prompt, one.programs), dtype=float) for one in usable]
        bias[scorer.name] = getattr(scorer, "position_bias", None)
    aucs = {
        name: [auc(scores, np.array(one.right)) for scores, one in zip(rows, usable)] for name, rows in columns.items()
    }
    trivial = max(("shorter", "longer"), key=lambda name: _mean(aucs[name]))
    beside = {name: None if name in ("shorter", "longer") else aucs[trivial] for name in columns}
    return [_measure(name, rows, usable, aucs[name], beside[name], bias[name], seed) for name, rows in columns.items()]


def _known(task: Judged) -> Judged:
    keep = [place for place, value in enumerate(task.right) if not np.isnan(value)]
    return Judged(
        task_id=task.task_id, prompt=task.prompt, programs=tuple(task.programs[place] for place in keep),
        right=tuple(task.right[place] for place in keep),
    )  # fmt: skip


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 0.0


def _measure(
    name: str, rows: Sequence[np.ndarray], tasks: Sequence[Judged], aucs: Sequence[float | None],
    trivial: Sequence[float | None] | None, bias: float | None, seed: int,
) -> Reliability:  # fmt: skip
    truths = [np.array(one.right) for one in tasks]
    tops = [float(truth[scores >= scores.max() - 1e-12].mean()) for scores, truth in zip(rows, truths)]
    shares = [float(truth.mean()) for truth in truths]
    areas = [value for value in aucs if value is not None]
    correlations = [spearman(scores, [len(text) for text in one.programs]) for scores, one in zip(rows, tasks)]
    lengths = [value for value in correlations if value is not None]
    pairs = [] if trivial is None else [(t, a) for t, a in zip(trivial, aucs) if t is not None and a is not None]
    return Reliability(
        scorer=name,
        tasks=len(tasks),
        programs=sum(map(len, rows)),
        auc=estimate(areas, seed=seed) if areas else None,
        top=estimate(tops, seed=seed),
        gain=compare(shares, tops, seed=seed),
        r2=binned_r2(np.concatenate(rows), np.concatenate(truths)),
        residual_variance=residual_variance(rows, truths),
        length_correlation=estimate(lengths, bounds=(-1.0, 1.0), seed=seed) if lengths else None,
        over_trivial=compare(*map(list, zip(*pairs)), seed=seed) if pairs else None,
        position_bias=bias,
    )


def _line(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float] | None:
    """Intercept and slope of weighted least squares; None for scores that are all the same."""
    w = np.ones_like(x) if weights is None else weights
    mean_x, mean_y = np.average(x, weights=w), np.average(y, weights=w)
    spread = float((w * (x - mean_x) ** 2).sum())
    if spread < 1e-18:
        return None
    slope = float((w * (x - mean_x) * (y - mean_y)).sum() / spread)
    return float(mean_y - slope * mean_x), slope


def binned_r2(scores: np.ndarray, right: np.ndarray) -> float | None:
    """R^2 of a line through the means of bins of equal counts, in order of score; shapes (programs,).

    Equal scores share a bin. None for fewer than two bins of five, for scores that are all the same, and where every
    bin is right equally often.
    """
    values, inverse = np.unique(scores, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    count = min(BINS, len(scores) // FEWEST_IN_BIN)
    if count < 2 or len(values) < 2:
        return None
    place = np.empty(len(scores))
    place[order] = np.arange(len(scores))
    start = np.array([place[inverse == group].min() for group in range(len(values))])
    bins = (start[inverse] * count / len(scores)).astype(int)
    found = np.unique(bins)
    x = np.array([scores[bins == one].mean() for one in found])
    y = np.array([right[bins == one].mean() for one in found])
    weights = np.array([(bins == one).sum() for one in found], dtype=float)
    line = _line(x, y, weights)
    total = float((weights * (y - np.average(y, weights=weights)) ** 2).sum())
    if line is None or total < 1e-18:
        return None
    return 1 - float((weights * (y - line[0] - line[1] * x) ** 2).sum()) / total


def residual_variance(rows: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> tuple[float, ...]:
    """Variance of the truth around the line fitted to all programs, by rank within the task. Ties keep their order."""
    line = _line(np.concatenate(rows), np.concatenate(truths))
    if line is None:
        return ()
    by_rank: dict[int, list[float]] = {}
    for scores, truth in zip(rows, truths):
        for rank, place in enumerate(np.argsort(-scores, kind="stable")):
            by_rank.setdefault(rank, []).append(float(truth[place] - line[0] - line[1] * scores[place]))
    return tuple(float(np.var(by_rank[rank])) for rank in sorted(by_rank) if len(by_rank[rank]) >= FEWEST_IN_BIN)


def spearman(one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float | None:
    """Rank correlation with ties at their mean rank; None for fewer than three values or no spread."""
    from scipy.stats import rankdata

    if len(one) < 3 or np.ptp(one) < 1e-12 or np.ptp(other) < 1e-12:
        return None
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def pair_accuracy(scorer: Scorer, pairs: Sequence[Preference], *, seed: int = 0) -> Estimate:
    """How often the chosen program outscores the rejected one, ties counting half; mean over tasks.

    Programs are those that the pair keeps, else its answers. Raises ValueError for no pairs.
    """
    by_task: dict[str, list[float]] = {}
    for pair in pairs:
        sides = [str(pair.why.get(f"{side}_program", getattr(pair, side))) for side in ("chosen", "rejected")]
        chosen, rejected = scorer.scores(pair.prompt, sides)
        by_task.setdefault(str(pair.why.get("task_id", pair.prompt)), []).append(
            0.5 + 0.5 * float(np.sign(chosen - rejected))
        )
    return estimate([sum(values) / len(values) for values in by_task.values()], seed=seed)


def lines(report: Sequence[Reliability]) -> list[str]:
    """The report in plain lines."""
    found = []
    for row in report:
        parts = [f"AUC {_words(row.auc)}", f"top choice right {_words(row.top)}"]
        parts += [] if row.r2 is None else [f"binned R2 {row.r2:.2f}"]
        parts += [f"length correlation {_words(row.length_correlation, percent=False)}"]
        parts += [] if row.position_bias is None else [f"order decides {100 * row.position_bias:.0f} % of pairs"]
        found.append(f"{row.scorer}: {'; '.join(parts)}")
        if row.over_trivial is not None:
            found.append(f"  AUC over the better length rule: {row.over_trivial.words()}")
    return found


def _words(value: Estimate | None, *, percent: bool = True) -> str:
    if value is None:
        return "not measured"
    return value.words() if percent else f"{value.value:+.2f} ({value.low:+.2f} to {value.high:+.2f})"


def as_data(report: Sequence[Reliability]) -> list[Mapping[str, object]]:
    """The report as plain data."""
    from dataclasses import asdict

    return [asdict(row) for row in report]
