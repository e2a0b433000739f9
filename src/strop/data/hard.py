"""Hard negatives: failing programs that a scorer overrates, to train the next one on (arXiv 2504.09643).

The paper lets PPO look for them; here they are the highest scored failures among a task's samples.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from strop.data.pairs import Draft, Rule
from strop.data.plum import split
from strop.data.pools import Pool

if TYPE_CHECKING:
    from strop.models.scorers import Scorer
    from strop.tasks.protocols import Protocol


def hard_negatives(scorer: Scorer, protocol: Protocol, *, top: float = 0.3) -> Rule:
    """The highest scored `top` share of a task's failing programs, the worst first, each against a passing one.

    At least one of each task. Passing programs are taken in random order, again where they are fewer.
    """

    def rule(pool: Pool, rng: random.Random) -> Sequence[Draft]:
        positive, negative = split(pool, unparsed=True)
        rng.shuffle(positive)
        rng.shuffle(negative)  # ties in random order
        scores = scorer.scores(protocol.render(pool.task.public()), [row.program for row in negative])
        worst = sorted(zip(negative, scores), key=lambda item: -item[1])[: math.ceil(top * len(negative))]
        return [
            Draft(chosen=positive[place % len(positive)], rejected=row, why={"rejected_score": score})
            for place, (row, score) in enumerate(worst)
        ]

    return rule
