"""Paper 22 chooses a pair from the pass matrix by minimax. How many of its labels are true when tests are partly wrong?

Programs and partly spoiled tests are those of paper 43's experiment. A rule's pair is true when its chosen program is
really right and its rejected one really wrong; ties are averaged over. `naive` takes any passing (program, test)
against any failing one, `count` the program that passes most against the one that passes least, `mutual` the same by
CodeDPO's scores.

Departures from the paper: programs come from a data set and tests from HumanEval, not both from one model, and nothing
is trained. The index-level rule is read from a secondary source. What the paper adds besides, joining program and test,
makes a label true of the joined text even where the test is wrong, so it is not a matter of measurement.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from strop.evals.label_quality import minimax_precision, naive_precision, scorer_precision
from strop.evals.pass_matrix import count, mutual
from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.experiments.p43_codedpo import bench, draw, programs
from strop.types import Spent

SPOILED = (0.3, 0.5)
"""Shares of tests that are wrong and yet passed by some wrong program."""
RULES = {
    "minimax": minimax_precision,
    "naive": naive_precision,
    "count": lambda matrix, right: scorer_precision(count(matrix), right),
    "mutual": lambda matrix, right: scorer_precision(mutual(matrix), right),
}


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    answers = lab.once(bench, lab, item.units)
    for unit in item.units:
        figures: dict[str, dict[str, float]] = {arm: {} for arm in item.arms}
        for spoiled in SPOILED:
            rng = np.random.default_rng([item.seed, round(100 * spoiled), *unit.encode()])
            drawn = draw(answers[unit], lab.settings["share"], {**lab.settings, "spoiled": spoiled}, rng)
            if drawn is None:
                continue
            found = {arm: RULES[arm](*drawn) for arm in item.arms}
            naive = found["naive"]
            for arm, value in found.items():
                if value is not None and naive is not None:
                    figures[arm][f"true pairs, {spoiled:.0%} of tests wrong"] = value
                    figures[arm][f"over twice naive, {spoiled:.0%} of tests wrong"] = value - 2 * naive
        for arm in item.arms:
            yield Outcome(arm, unit, item.seed, figures[arm])


def conclude(table: Table) -> list[Condition]:
    return [
        Condition.of(
            "with 3 of 10 tests wrong, minimax gives more than twice as many true pairs as naive choice",
            table.mean("over twice naive, 30% of tests wrong", "minimax"),
        ),
        Condition.of(
            "with half of the tests wrong, it still gives more true pairs than naive choice",
            table.compare("true pairs, 50% of tests wrong", "minimax", "naive"),
        ),
        Condition.of(
            "on programs alone, minimax is better than best against worst by count",
            table.compare("true pairs, 30% of tests wrong", "minimax", "count"),
            required=False,
        ),
    ]


EXPERIMENT = Experiment(
    paper=22,
    name="dstc",
    question="When tests are partly wrong, how many pairs chosen by minimax are true?",
    arms=("minimax", "naive", "count", "mutual"),
    units=lambda: list(programs()),
    metrics={f"true pairs, {spoiled:.0%} of tests wrong": (0.0, 1.0) for spoiled in SPOILED}
    | {f"over twice naive, {spoiled:.0%} of tests wrong": (-2.0, 1.0) for spoiled in SPOILED},
    measure=measure,
    conclude=conclude,
    components=("strop.evals.pass_matrix", "strop.evals.label_quality", "strop.papers.experiments.p43_codedpo"),
    planned=Size(units=40, seeds=20),
    quick=Size(units=15, seeds=5),
    cost=Spent(seconds=3, programs=120),
    cut=(),
    settings={"programs": 15, "share": 0.4},
)
