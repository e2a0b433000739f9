"""A scorer of programs as a reward: reward models, judges of pairs, likelihoods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strop.rewards.core import Case, Rule, batch_part

if TYPE_CHECKING:
    from strop.models.scorers import Scorer
    from strop.tasks.protocols import Protocol


def scored(scorer: Scorer, protocol: Protocol, name: str = "score") -> Rule:
    """The scorer's number for each program; a task's programs are scored together, as judges of pairs need.

    An empty program is scored like any other: put `gate(has_program(), ...)` before a scorer that may like it. Measure
    a scorer (`strop.evals.reliability`) before learning from it: what it overrates is what a policy finds.
    """

    def scores(cases: Sequence[Case]) -> list[float | None]:
        groups: dict[str, list[int]] = {}
        for place, case in enumerate(cases):
            groups.setdefault(case.task.id, []).append(place)
        found: list[float | None] = [None] * len(cases)
        for places in groups.values():
            prompt = protocol.render(cases[places[0]].task.public())
            for place, value in zip(places, scorer.scores(prompt, [cases[place].sample.code for place in places])):
                found[place] = value
        return found

    return batch_part(name, scores)
