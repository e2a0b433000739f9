"""Which two programs meet in the arena: a task, two players and a sample of each, all drawn at random."""

from __future__ import annotations

import random
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from strop.run import Run, browse
from strop.types import Sample, Verdict
from strop.web.play import Played

ATTEMPTS = 40
"""Draws before it is said that the players' programs are all the same."""
MOST_PAIRS = 400


@dataclass(frozen=True, slots=True)
class Player:
    """One side of the arena: a stage of a run. `tasks`: its samples for each task."""

    name: str
    run: str
    stage: str
    tasks: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Side:
    """One program of a pair."""

    player: Player
    sample: Sample
    verdict: Verdict | None


@dataclass(slots=True)
class Pair:
    """Two programs for one task. `played` is filled when somebody runs them."""

    id: str
    home: str
    """Run whose folder keeps the vote."""
    against: str
    task_id: str
    left: Side
    right: Side
    played: Sequence[Played] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


Opened: TypeAlias = Mapping[str, Run]
"""Open runs by name."""


def draw(players: Sequence[Player], runs: Opened, home: str, against: str, rng: random.Random) -> Pair | None:
    """A pair of different programs, in random order; None when there is nothing to compare.

    The task is drawn first, then two players that have samples for it, so that no player's number of samples counts.
    """
    tasks = sorted({task for player in players for task in player.tasks})
    tasks = [task for task in tasks if sum(task in player.tasks for player in players) > 1]
    for _ in range(ATTEMPTS if tasks else 0):
        task_id = rng.choice(tasks)
        sides = []
        for player in rng.sample([player for player in players if task_id in player.tasks], 2):
            place = rng.randrange(player.tasks[task_id])
            (row,) = browse.rows(runs[player.run], player.stage, task_id=task_id, start=place, limit=1) or [None]
            found = row and browse.one(runs[player.run], player.stage, task_id, row.number)
            if found and found[0].code.strip():
                sides.append(Side(player, *found))
        if len(sides) == 2 and sides[0].sample.code.split() != sides[1].sample.code.split():
            return Pair(secrets.token_urlsafe(12), home, against, task_id, *sides)
    return None


class Pairs:
    """The pairs that viewers have before them: kept here, so that a page gives nothing away."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[str, Pair] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, pair: Pair) -> Pair:
        with self._lock:
            self._pairs[pair.id] = pair
            while len(self._pairs) > MOST_PAIRS:
                self._pairs.popitem(last=False)
        return pair

    def get(self, name: str) -> Pair | None:
        with self._lock:
            return self._pairs.get(name)
