"""A small experiment whose outcomes are known, for tests of the harness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from strop.papers import harness
from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.types import Spent

CODE = ("version-one", {"strop.toy": "one"})
DONE: list[Item] = []
"""Items measured in this process, in order."""


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    DONE.append(item)
    lab.charge(Spent(programs=2))
    for unit in item.units:
        for arm in item.arms:
            yield Outcome(arm, unit, item.seed, {"solved": value(arm, unit, item.seed, lab.settings["gain"])})


def value(arm: str, unit: str, seed: int, gain: float) -> float:
    """Between 0 and 1; the tree is better by `gain` on every unit, more or less."""
    place = int(unit)
    extra = gain * (0.9 + 0.05 * ((3 * place + seed) % 5)) if arm == "tree" else 0.0
    return round(0.3 + 0.01 * (place % 7) + 0.005 * (seed % 3) + extra, 4)


def conclude(table: Table) -> list[Condition]:
    return [Condition.of("the tree solves more", table.compare("solved", "tree", "resample"))]


TOY = Experiment(
    paper=23,
    name="toy",
    question="Does the tree solve more?",
    arms=("resample", "tree"),
    units=lambda: [str(place) for place in range(20)],
    metrics={"solved": (0.0, 1.0)},
    measure=measure,
    conclude=conclude,
    components=(),
    planned=Size(units=12, seeds=3),
    quick=Size(units=4, seeds=1),
    cost=Spent(seconds=0.5, programs=2),
    cut=("unit",),
    settings={"gain": 0.2},
)


def with_code(monkeypatch, code=CODE) -> None:
    """Give every experiment this code version."""
    monkeypatch.setattr(harness, "version_of", lambda experiment: code)
    DONE.clear()


def toy(**changes) -> Experiment:
    return replace(TOY, **changes)
