"""Paper 58 grows whole programs where they crash and lets those that run vote. What do width and depth buy?

A 0.5B coder with widths and depths of 1 and 3, at most 8 programs a problem, with prompts drawn from a pool and, for
the largest tree, with a single prompt. A program `runs` when it ends without an exception on every visible input.

Departures from the paper: HumanEval's problems, whose programs return their answer, for tool tasks; one model; the pool
is written by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.searching import METRICS, QUICK, SETTINGS, outcomes, problems
from strop.types import Spent

ARMS = {
    "1 x 1": "tree-of-code:width=1:depth=1",
    "1 x 3": "tree-of-code:width=3:depth=1",
    "3 x 1": "tree-of-code:width=1:depth=3",
    "3 x 3": "tree-of-code",
    "3 x 3, one prompt": "tree-of-code:pool=no",
}
"""Depth x width, as the paper writes it."""


def runs(trace: Mapping[str, Any], grades: Sequence[bool | None]) -> dict[str, float]:
    """Whether some program of a search ran without an exception on every visible input."""
    fine = [
        node["code"].strip() and all(check["status"] in ("passed", "failed") for check in node["checks"])
        for node in trace["nodes"]
    ]
    return {"runs": float(any(fine))}


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    yield from outcomes(lab, item, ARMS, runs)


def conclude(table: Table) -> list[Condition]:
    return [
        Condition.of("with three roots more problems get a program that runs", table.compare("runs", "1 x 3", "1 x 1")),
        Condition.of("with three levels, too", table.compare("runs", "3 x 1", "1 x 1")),
        Condition.of(
            "the vote of the whole tree is not below a single program by 2 points",
            table.compare("solved", "3 x 3", "1 x 1"),
            above=-0.02,
        ),
        Condition.of(
            "the vote of the whole tree solves more", table.compare("solved", "3 x 3", "1 x 1"), required=False
        ),
        Condition.of(
            "prompts from a pool solve more than one prompt",
            table.compare("solved", "3 x 3", "3 x 3, one prompt"),
            required=False,
        ),
    ]


EXPERIMENT = Experiment(
    paper=58,
    name="tree-of-code",
    question="Do width and depth of a tree of whole programs give more problems a running and a right program?",
    arms=tuple(ARMS),
    units=lambda: list(problems()),
    metrics=METRICS | {"runs": (0.0, 1.0)},
    measure=measure,
    conclude=conclude,
    components=("strop.search.tree_of_code", "strop.search.selectors", "strop.search.schedule"),
    planned=Size(units=60, seeds=3),
    quick=Size(units=3, seeds=1),
    cost=Spent(seconds=1500, sampled_tokens=70_000, programs=600, model_calls=600),
    cut=(),
    settings=SETTINGS,
    quick_settings=QUICK,
)
