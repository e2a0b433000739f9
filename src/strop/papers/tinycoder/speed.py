"""Counted cost in the place of measured time: what rewards for speed ask on the testbed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from strop.papers.tinycoder.cost import cost
from strop.papers.tinycoder.problems import problems
from strop.rewards import Comparison
from strop.types import StropError, Task

counted = lru_cache(maxsize=50_000)(cost)


def reference(task: Task) -> str:
    """The task's reference: every step in its cheap form."""
    return task.reference or ""


def dear(task: Task) -> str:
    """The task's program with every step in its dear form."""
    return _dear_programs()[task.id]


@lru_cache(maxsize=1)
def _dear_programs() -> dict[str, str]:
    every = [problem for rows in problems().values() for problem in rows]
    return {one.id: one.stub + one.program(tuple(step.dear for step in (*one.chain, one.end))) for one in every}


class CountedCost:
    """Compares a program with another of its task by counted list elements: exact, so nothing is noise."""

    def __init__(self, against: Callable[[Task], str] = reference) -> None:
        self.against = against

    def compare(self, task: Task, program: str) -> Comparison | None:
        """None when the program raises or is outside the language whose cost can be counted."""
        try:
            mine, other = counted(program), counted(self.against(task))
        except StropError:
            return None
        if mine is None or other is None:
            return None
        ratio = max(other, 1.0) / max(mine, 1.0)
        return Comparison(
            ratio=ratio, low=ratio, high=ratio,
            outcome="faster" if ratio > 1 else "slower" if ratio < 1 else "noise",
        )  # fmt: skip


def log_cost(task: Task, program: str, against: Callable[[Task], str] = reference) -> float | None:
    """log2 of the program's cost over that of `against`; None where it has none."""
    found = CountedCost(against).compare(task, program)
    return None if found is None else -math.log2(found.ratio)
