"""What a sample or a token counts: duration, rank filters, and how well a reward predicts the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Filter: TypeAlias = Literal["none", "best", "best-random", "best-worst", "power"]


def by_duration(seconds: Tensor) -> Tensor:
    """Each action's run time divided by the batch's mean, [N] (Yang, He-Yueya and Liang 2025, arXiv 2509.01684).

    It cures the collector that discards actions still in flight when a window ends, where slow actions are seen too
    rarely. Where they are carried over they are seen in the right proportion, and this weight overcounts them.
    """
    return seconds / seconds.mean()


def by_rank(rewards: Sequence[float], how: Filter, *, power: float = 3.0) -> list[float]:
    """What each of the N answers to one prompt counts, by its rank; adds up to N.

    The policy filtration of PF-PPO (Shen and Zhang 2024, arXiv 2409.06957).
    `best`: only the best. `best-random`: best 1/2, each other 1 / (2 (N - 1)). `best-worst`: 1/2 each. `power`:
    |reward|^power, for rewards in [-1, 1]. The authors draw N answers with these probabilities; Strop uses the expected
    number of draws, which has the same mean gradient and no random numbers. Equal rewards share their ranks' weights,
    so a group of equal rewards is counted evenly.
    """
    count = len(rewards)
    if how == "none" or count < 2:
        return [1.0] * count
    values = np.asarray(rewards, dtype=float)
    if how == "power":
        weights = np.abs(values) ** power
        return (weights * count / weights.sum()).tolist() if weights.sum() > 0 else [1.0] * count
    of_rank = np.zeros(count)
    if how == "best":
        of_rank[0] = 1.0
    elif how == "best-random":
        of_rank[:] = 0.5 / (count - 1)
        of_rank[0] = 0.5
    else:
        of_rank[[0, -1]] = 0.5
    order = np.argsort(-values, kind="stable")
    weights = np.empty(count)
    weights[order] = of_rank
    for value in np.unique(values):
        weights[values == value] = weights[values == value].mean()
    return (weights * count).tolist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How well rewards predict true scores among the answers that a filter keeps."""

    r_squared: float
    """Of a straight line through the means of `bins` groups of similar reward. Grows with the range of rewards, so
    filters that keep extremes score well on it by arithmetic alone."""
    residual_variance: float
    """Weighted mean squared distance of single answers from that line; free of the range effect."""
    auc: float
    """Chance that a right answer has a higher reward than a wrong one; ties count half. NaN with one kind only."""


def reliability(
    rewards: Sequence[Sequence[float]], truth: Sequence[Sequence[float]], how: Filter = "none", bins: int = 10
) -> Reliability:
    """The report of Shen and Zhang 2024 with two measures that their R^2 lacks.

    rewards, truth: a list of answers for each prompt; truth 0 to 1, right from 0.5 on for the AUC.
    """
    weight = np.concatenate([np.asarray(by_rank(row, how)) for row in rewards])
    x = np.concatenate([np.asarray(row, dtype=float) for row in rewards])
    y = np.concatenate([np.asarray(row, dtype=float) for row in truth])
    kept = weight > 0
    weight, x, y = weight[kept], x[kept], y[kept]
    order = np.argsort(x, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    mean_x = np.array([np.average(x[part], weights=weight[part]) for part in parts])
    mean_y = np.array([np.average(y[part], weights=weight[part]) for part in parts])
    slope, offset = np.polyfit(mean_x, mean_y, 1) if np.ptp(mean_x) > 0 else (0.0, mean_y.mean())
    total = ((mean_y - mean_y.mean()) ** 2).sum()
    r_squared = 1 - ((mean_y - offset - slope * mean_x) ** 2).sum() / total if total > 0 else float("nan")
    residual = np.average((y - offset - slope * x) ** 2, weights=weight)
    return Reliability(r_squared=float(r_squared), residual_variance=float(residual), auc=_auc(x, y >= 0.5, weight))


def _auc(scores: np.ndarray, right: np.ndarray, weight: np.ndarray) -> float:
    if right.all() or not right.any():
        return float("nan")
    values, place = np.unique(scores, return_inverse=True)
    good = np.bincount(place, weights=weight * right, minlength=len(values))
    bad = np.bincount(place, weights=weight * ~right, minlength=len(values))
    wins = good * (np.cumsum(bad) - bad / 2)
    return float(wins.sum() / (good.sum() * bad.sum()))
