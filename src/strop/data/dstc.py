"""DSTC: pairs from self-made programs and tests, trained on program and test joined (arXiv 2411.13611).

The minimax rule picks a (program, test) that passes and one that fails. Joined, "runs without an assertion error" is
true of the one and false of the other even where a test is wrong, so a wrong test alone makes no wrong preference.

Only visible tests are joined: what a model is trained on must not hold hidden ones. Tests that a model wrote are
visible. Joined answers teach a model to append tests; measure it under the usual prompt afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from strop.data.pairs import Draft, NoPair, Rule
from strop.data.pools import Pool
from strop.evals.pass_matrix import Cell, minimax
from strop.tasks.assertions import assertion_text


def dstc(*, join: bool = True) -> Rule:
    """The minimax pair, one a task; the others tied with it follow in random order.

    `join=False` leaves the tests out of the answers: the ablation, equal to best-against-worst by count. Then programs
    that pass equally many tests make no pair; joined with their tests they may.
    """

    def rule(pool: Pool, rng: random.Random) -> Sequence[Draft]:
        if pool.matrix is None or not pool.matrix.tests:
            raise NoPair("no test to run")
        texts = [assertion_text(test) if test.visible else None for test in pool.matrix.tests]
        matrix = pool.matrix.without_tests(place for place, text in enumerate(texts) if text is None)
        shown = [text for text in texts if text is not None]
        if not matrix.tests:
            raise NoPair("no visible test with the form of an assertion")
        chosen, rejected = minimax(matrix.values)
        if not chosen:
            raise NoPair("all programs pass" if (matrix.values == 1).any() else "no program passes")
        rng.shuffle(chosen)
        rng.shuffle(rejected)
        passes = (matrix.values == 1).sum(axis=1)
        drafts = [
            Draft(
                chosen=pool.candidates[good.program],
                rejected=pool.candidates[bad.program],
                margin=float(passes[good.program] - passes[bad.program]) / len(matrix.tests),
                why={
                    "chosen_test": shown[good.test],
                    "rejected_test": shown[bad.test],
                    "chosen_passes": int(passes[good.program]),
                    "rejected_passes": int(passes[bad.program]),
                    "tests": len(matrix.tests),
                },
                chosen_tail=shown[good.test] if join else "",
                rejected_tail=shown[bad.test] if join else "",
            )
            for good, bad in _couples(chosen, rejected)
            if join or passes[good.program] > passes[bad.program]
        ]
        if not drafts:
            raise NoPair("all programs score the same")
        return drafts

    return rule


def _couples(chosen: Sequence[Cell], rejected: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Each chosen cell with the next rejected one of another program, each used once."""
    left, found = list(rejected), []
    for good in chosen:
        bad = next((cell for cell in left if cell.program != good.program), None)
        if bad is not None:
            left.remove(bad)
            found.append((good, bad))
    return found
