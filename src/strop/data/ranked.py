"""Pairs by score: the best program of a task against its worst, or against any; and pairs at random, to compare with.

`best-worst` is what most constructions come down to once a scorer is chosen. `random` labels by coin, the control of
CodeDPO's ablation (arXiv 2410.05605): what training on pairs does when their labels say nothing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from strop.data.pairs import Draft, NoPair, Rule
from strop.data.pools import Pool
from strop.evals.pass_matrix import get_scorer


def ranked(scorer: str = "count", *, against: str = "worst", gap: float = 0.0) -> Rule:
    """The best against the worst program by `scorer`, then the second best against the second worst, and so on.

    `against`: `worst`, or `random` for any program that scores lower. Ties are in random order. Pairs whose scores
    differ by `gap` or less are not made.
    """
    score_rows = get_scorer(scorer)

    def rule(pool: Pool, rng: random.Random) -> Sequence[Draft]:
        scores = score_rows(matrix_values(pool))
        order = [place for place in range(len(scores)) if not np.isnan(scores[place])]
        rng.shuffle(order)
        order.sort(key=lambda place: -scores[place])
        if len(order) < 2:
            raise NoPair("fewer than two programs with a score")
        others = order[::-1] if against == "worst" else rng.sample(order, len(order))
        drafts = []
        for best in order:
            worst = next((place for place in others if scores[best] - scores[place] > max(gap, 1e-12)), None)
            if worst is None:
                break
            others.remove(worst)
            drafts.append(
                Draft(
                    chosen=pool.candidates[best],
                    rejected=pool.candidates[worst],
                    margin=float(scores[best] - scores[worst]),
                    why={
                        "scorer": scorer,
                        "chosen_score": float(scores[best]),
                        "rejected_score": float(scores[worst]),
                        "tests": len(matrix_values(pool)[0]),
                    },
                )
            )
        if not drafts:
            raise NoPair("all programs score the same")
        return drafts

    return rule


def random_pairs(pool: Pool, rng: random.Random) -> Sequence[Draft]:
    """Any two programs, in random order: the labels say nothing."""
    if len(pool.candidates) < 2:
        raise NoPair("fewer than two programs")
    order = rng.sample(pool.candidates, len(pool.candidates))
    return [Draft(chosen=one, rejected=other, why={"scorer": "none"}) for one, other in zip(order[::2], order[1::2])]


def matrix_values(pool: Pool) -> np.ndarray:
    """The pool's pass matrix as numbers. Raises NoPair when it has no test."""
    if pool.matrix is None or not pool.matrix.tests:
        raise NoPair("no test to run")
    return pool.matrix.values
