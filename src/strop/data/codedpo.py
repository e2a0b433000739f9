"""CodeDPO: programs and tests score each other; the best against the worst for correctness, fast against slow for
efficiency (Zhang et al. 2024, arXiv 2410.05605).

Mutual ranking trusts the majority. `strop.evals.label_quality` says whether a set is one where that holds.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from strop.data.pairs import Draft, NoPair, Rule
from strop.data.pools import Pool
from strop.data.ranked import matrix_values, ranked
from strop.evals.pass_matrix import mutual
from strop.rewards.cost import EMPTY_PROGRAM, compare_times

if TYPE_CHECKING:
    from strop.judge import Judge


def correctness() -> Rule:
    """Highest against lowest by mutual ranking."""
    return ranked("mutual")


def efficiency(judge: Judge, *, credible: float = 0.9, repeats: int = 9, resolution: float = 0.0005) -> Rule:
    """The fastest against the slowest of the programs that are probably right, where the difference is no noise.

    Probably right: a mutual score of at least `credible` of the best one, and every test passed that the best passes.
    The two that the matrix's own times put at the ends run `repeats` times in turn on those tests; the pair is made
    when the 95 % interval of the ratio of their times lies above 1 (`rewards.cost.compare_times`). `resolution`:
    seconds above an empty program's time that can be told from it. Give the judge one worker, or programs running
    side by side disturb each other. Costs 2 x `repeats` + 3 runs a task. The thresholds are Strop's.
    """

    def rule(pool: Pool, rng: random.Random) -> Sequence[Draft]:
        values = matrix_values(pool)
        scores = mutual(values)
        if np.isnan(scores).all():
            raise NoPair("no test to run")
        best = int(np.nanargmax(scores))
        tests = np.flatnonzero(values[best] == 1)
        right = [
            place
            for place in range(len(scores))
            if scores[place] >= credible * scores[best] and (values[place, tests] == 1).all()
        ]
        if not len(tests) or len(right) < 2:
            raise NoPair("fewer than two programs that are probably right")
        assert pool.matrix is not None
        seconds = np.array(pool.matrix.seconds)[:, tests].sum(axis=1)
        fast, slow = min(right, key=lambda i: (seconds[i], i)), max(right, key=lambda i: (seconds[i], -i))
        task = replace(pool.task, checks=tuple(pool.matrix.tests[place] for place in tests))
        programs = [pool.candidates[slow].program, pool.candidates[fast].program]
        floor = min(verdict.seconds for verdict in judge.run(task, [EMPTY_PROGRAM] * 3))
        verdicts = judge.run(task, programs * repeats)
        if not all(verdict.passed for verdict in verdicts):
            raise NoPair("a program that passed once failed when it was timed")
        times = [verdict.seconds for verdict in verdicts]
        compared = compare_times(times[0::2], times[1::2], floor=floor, resolution=resolution)
        if compared.outcome != "faster":
            raise NoPair("no difference in time beyond the noise")
        return [
            Draft(
                chosen=pool.candidates[fast],
                rejected=pool.candidates[slow],
                margin=float(np.log2(compared.ratio)),
                why={
                    "scorer": "seconds",
                    "speedup": compared.ratio,
                    "speedup_low": compared.low,
                    "speedup_high": compared.high,
                    "tests": len(tests),
                },
            )
        ]

    return rule
