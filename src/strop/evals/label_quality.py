"""How good are labels made from tests that may be wrong? Compare them with hidden tests, task by task.

A pass matrix and the truth (does the program pass the hidden tests?) give, for each scorer,

- AUC: how often a right program scores above a wrong one of the same task, ties counting half;
- pair precision: how often the pair that the scorer would make has a right program chosen *and* a wrong one rejected.
  Ties are averaged over exactly, so that the figure depends on no order and no seed.

Both are means over tasks with bootstrap intervals over tasks. Which scorer is best depends on the share of right
programs: agreement and mutual ranking trust the majority, so they win where most programs are right and lose where
few are. `label_quality` reports each band of that share, and `warnings` says when a set lies where they lose.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from strop.evals.pass_matrix import SCORERS, PassMatrix, Scorer, checked, extremes, minimax
from strop.stats import Estimate, estimate

BANDS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Edges of the bands of the share of right programs."""
MAJORITY = 0.4
"""Share of right programs below which mutual ranking orders programs worse than counting: see `strop papers run 43`."""

PairRule = Callable[[np.ndarray, np.ndarray], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerQuality:
    """One scorer on one set of tasks. None: no task could tell."""

    scorer: str
    auc: Estimate | None
    """Over tasks that have right and wrong programs. None for pair rules that give no score."""
    precision: Estimate | None
    """Over tasks for which the scorer makes a pair."""
    pairs: int
    """Tasks for which it makes a pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Label quality of a set of tasks, and by the share of right programs."""

    overall: tuple[ScorerQuality, ...]
    bands: Mapping[str, tuple[ScorerQuality, ...]]
    """By share of right programs, such as `0.2-0.4`."""
    share_right: Estimate | None
    """Mean share of right programs a task."""
    dropped: Mapping[str, int]
    """Tasks that say nothing, by reason."""
    warnings: tuple[str, ...] = field(default=())


def auc(scores: np.ndarray, right: np.ndarray) -> float | None:
    """Chance that a right program outscores a wrong one, ties counting half. None without both kinds.

    `scores` and `right`: shape (programs,); `right` is 1, 0 or NaN. Programs with NaN in either are left out.
    """
    s, r = np.asarray(scores, dtype=float), np.asarray(right, dtype=float)
    if s.shape != r.shape or s.ndim != 1:
        raise ValueError(f"scores and truth need one entry a program; got {s.shape} and {r.shape}")
    known = ~np.isnan(s) & ~np.isnan(r)
    good, bad = s[known & (r == 1)], s[known & (r == 0)]
    if not len(good) or not len(bad):
        return None
    difference = good[:, None] - bad[None, :]
    return float(((difference > 1e-12) + 0.5 * (np.abs(difference) <= 1e-12)).mean())


def scorer_precision(scores: np.ndarray, right: np.ndarray) -> float | None:
    """Chance that best-against-worst by `scores` is a true pair: chosen right and rejected wrong. None without a pair.

    Ties at either end are drawn from evenly. Programs whose truth is not known are left out beforehand.
    """
    r = np.asarray(right, dtype=float)
    best, worst = extremes(np.where(np.isnan(r), np.nan, scores))
    if not len(best):
        return None
    return float(r[best].mean() * (1 - r[worst]).mean())


def minimax_precision(values: np.ndarray, right: np.ndarray) -> float | None:
    """The same for DSTC's rule."""
    r = np.asarray(right, dtype=float)
    m = checked(values).copy()
    m[np.isnan(r)] = np.nan
    chosen, rejected = minimax(m)
    if not chosen:
        return None
    return float(np.mean([r[cell.program] for cell in chosen]) * np.mean([1 - r[cell.program] for cell in rejected]))


def naive_precision(values: np.ndarray, right: np.ndarray) -> float | None:
    """The same for the naive rule: any passing (program, test) against any failing one."""
    m, r = checked(values), np.asarray(right, dtype=float)[:, None]
    passed, failed = (m == 1) & ~np.isnan(r), (m == 0) & ~np.isnan(r)
    if not passed.any() or not failed.any():
        return None
    return float(
        (passed * np.nan_to_num(r)).sum() / passed.sum() * ((failed * (1 - np.nan_to_num(r))).sum() / failed.sum())
    )


PAIR_RULES: dict[str, PairRule] = {"minimax": minimax_precision, "naive": naive_precision}
"""Rules that make a pair from the matrix without scoring every program."""


def label_quality(
    matrices: Sequence[PassMatrix | np.ndarray],
    truths: Sequence[Sequence[float] | np.ndarray],
    *,
    scorers: Mapping[str, Scorer] = SCORERS,
    seed: int = 0,
) -> Quality:
    """Measure every scorer and pair rule against hidden tests.

    `matrices`: one a task. `truths`: for each, 1, 0 or NaN a program. Raises ValueError when they do not fit.
    Tasks whose programs are all right, all wrong, or of unknown truth are dropped and counted: they cannot tell labels
    apart (they do count in `share_right`).
    """
    rows: list[tuple[np.ndarray, np.ndarray, float]] = []
    shares: list[float] = []
    dropped = {"no known truth": 0, "all programs right": 0, "all programs wrong": 0, "no test": 0}
    for matrix, truth in zip(matrices, truths, strict=True):
        m = checked(matrix.values if isinstance(matrix, PassMatrix) else matrix)
        r = np.asarray(truth, dtype=float)
        if r.shape != (len(m),):
            raise ValueError(f"{len(m)} programs need as many truths; got shape {r.shape}")
        if np.isnan(r).all():
            dropped["no known truth"] += 1
            continue
        share = float(np.nanmean(r))
        shares.append(share)
        if share in (0.0, 1.0):
            dropped["all programs right" if share else "all programs wrong"] += 1
        elif not m.shape[1] or np.isnan(m).all():
            dropped["no test"] += 1
        else:
            rows.append((m, r, share))
    bands = {}
    for low, high in itertools.pairwise(BANDS):
        inside = [(m, r) for m, r, share in rows if low <= share < high or (high == 1.0 and share == 1.0)]
        if inside:
            bands[f"{low:.1f}-{high:.1f}"] = _measure(inside, scorers, seed)
    overall = _measure([(m, r) for m, r, _ in rows], scorers, seed)
    share_right = estimate(shares, seed=seed) if shares else None
    return Quality(
        overall=overall,
        bands=bands,
        share_right=share_right,
        dropped={reason: number for reason, number in dropped.items() if number},
        warnings=_warnings(share_right, len(rows)),
    )


def _measure(
    rows: Sequence[tuple[np.ndarray, np.ndarray]], scorers: Mapping[str, Scorer], seed: int
) -> tuple[ScorerQuality, ...]:
    found = []
    for name, scorer in scorers.items():
        scores = [scorer(m) for m, _ in rows]
        aucs = [auc(s, r) for s, (_, r) in zip(scores, rows)]
        precisions = [scorer_precision(s, r) for s, (_, r) in zip(scores, rows)]
        found.append(_quality(name, aucs, precisions, seed))
    for name, rule in PAIR_RULES.items():
        found.append(_quality(name, [], [rule(m, r) for m, r in rows], seed))
    return tuple(found)


def _quality(name: str, aucs: Sequence[float | None], precisions: Sequence[float | None], seed: int) -> ScorerQuality:
    areas = [value for value in aucs if value is not None]
    kept = [value for value in precisions if value is not None]
    return ScorerQuality(
        scorer=name,
        auc=estimate(areas, seed=seed) if areas else None,
        precision=estimate(kept, seed=seed) if kept else None,
        pairs=len(kept),
    )


def _warnings(share_right: Estimate | None, usable: int) -> tuple[str, ...]:
    notes = []
    if usable == 0:
        notes.append("No task has both right and wrong programs, so nothing can be said about label quality.")
    elif usable < 10:
        notes.append(f"Only {usable} tasks have both right and wrong programs: the intervals are wide.")
    if share_right is not None and share_right.value < MAJORITY:
        notes.append(
            f"{share_right.value:.0%} of the programs are right, below {MAJORITY:.0%}: agreement and mutual ranking "
            "follow the majority, which is wrong here. Counting passed tests is the safer label."
        )
    return tuple(notes)
