"""Paper 23's claim and its warning: a tree of strategies and repairs at an equal number of programs, on a small model.

A 0.5B coder gets 8 programs a problem as a single greedy draw (which uses one), as draws until one passes the visible
tests, as a chain with reflections (Reflexion), as CodeTree's breadth-first variant and as CodeTree.

Departures from the paper: 8 programs, not 20 (`--set budget=programs=20` gives these); HumanEval's problems with
visible tests only; programs at temperature 0.8, so that seeds mean something.
"""

from __future__ import annotations

from collections.abc import Iterator

from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.searching import METRICS, QUICK, SETTINGS, outcomes, problems
from strop.types import Spent

ARMS = {
    "direct": "direct",
    "resampling": "best-of-n:stop=yes",
    "reflexion": "self-debug:reflect=yes:length=1000",
    "codetree breadth first": "codetree:policy=bfs",
    "codetree": "codetree",
}


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    yield from outcomes(lab, item, ARMS)


def conclude(table: Table) -> list[Condition]:
    over = [table.grid("over budget", arm)[0] for arm in table.arms]
    return [
        Condition.exact(
            "no search wrote more programs than its budget",
            float(sum(part.sum() for part in over)),
            n=sum(part.size for part in over),
            below=0.5,
        ),
        Condition.of(
            "the tree solves no fewer than one greedy program, by at most 2 points",
            table.compare("solved", "codetree", "direct"),
            above=-0.02,
        ),
        Condition.of(
            "the tree solves more than resampling (the paper: not with a small model)",
            table.compare("solved", "codetree", "resampling"),
            required=False,
        ),
        Condition.of(
            "the tree solves more than Reflexion", table.compare("solved", "codetree", "reflexion"), required=False
        ),
        Condition.of(
            "resampling solves more than one greedy program",
            table.compare("solved", "resampling", "direct"),
            required=False,
        ),
    ]


EXPERIMENT = Experiment(
    paper=23,
    name="codetree",
    question="At 8 programs a problem, does a tree with a critic solve more than resampling, with a 0.5B coder?",
    arms=tuple(ARMS),
    units=lambda: list(problems()),
    metrics=METRICS,
    measure=measure,
    conclude=conclude,
    components=("strop.search.codetree", "strop.search.self_debug", "strop.search.best_of_n", "strop.search.schedule"),
    planned=Size(units=60, seeds=3),
    quick=Size(units=3, seeds=1),
    cost=Spent(seconds=5400, sampled_tokens=240_000, programs=1500, model_calls=2600),
    cut=(),
    settings=SETTINGS,
    quick_settings=QUICK,
)
