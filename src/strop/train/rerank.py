"""The iterative self-trained reranker: the judge is improved, not the author (arXiv 2504.09643).

A reward model learns from passing and failing programs; on fresh samples of the same tasks it overrates some failures;
these and the new passing programs are added, and a new reward model learns from all. The author stays as it is: it is
used with the reranker by best-of-N. Departure: the paper trains the author with PPO against the reranker to find what
it overrates; here the highest scored failures among fresh samples stand in (best-of-N mining).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from strop.data.hard import hard_negatives
from strop.data.pairs import Rule, build
from strop.data.plum import plum
from strop.data.pools import Pool
from strop.evals.reliability import Judged
from strop.models.scorers import RewardModel
from strop.train.lora import LearnerSettings
from strop.train.reward import train_reward
from strop.types import Preference, StropError

if TYPE_CHECKING:
    from strop.tasks.protocols import Protocol

OnRound = Callable[[int, int, int], None]
"""`(round, steps done, steps in all)`."""


def parts(pools: Sequence[Pool], rounds: int, seed: int = 0) -> list[list[Pool]]:
    """Each pool's candidates shuffled and dealt out over the rounds, so that every round sees samples of its own."""
    orders = {pool.task.id: list(pool.candidates) for pool in pools}
    for task_id, candidates in orders.items():
        random.Random(f"{seed} {task_id}").shuffle(candidates)
    return [
        [replace(pool, candidates=tuple(orders[pool.task.id][number::rounds]), matrix=None) for pool in pools]
        for number in range(rounds)
    ]


def self_train(
    base: str, pools: Sequence[Pool], protocol: Protocol, folder: Path, *, settings: LearnerSettings, rounds: int = 2,
    per_task: int = 4, top: float = 0.3, mine: Callable[[RewardModel], Rule] | None = None,
    on_round: OnRound = lambda *_: None,
) -> list[tuple[RewardModel, list[Preference]]]:  # fmt: skip
    """A reward model for each round, and the pairs that it learned from; `folder` keeps them, and resumes.

    `mine` makes the rule that chooses pairs from fresh samples (default: `hard_negatives` with `top`); a rule that
    ignores the reward model is the control. Raises StropError when the first round has no pair.
    """
    pairs: list[Preference] = []
    found: list[tuple[RewardModel, list[Preference]]] = []
    for number, fresh in enumerate(parts(pools, rounds, settings.seed), 1):
        rule = plum(unparsed=True)
        if found:
            scorer = found[-1][0]
            rule = mine(scorer) if mine else hard_negatives(scorer, protocol, top=top)
        built = build(
            fresh, rule, protocol, method=f"rerank-{number}", per_task=per_task, seed=settings.seed, reuse=number > 1
        )
        pairs = [*pairs, *built.pairs]
        if not pairs:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in built.dropped_tasks.items())
            raise StropError(f"No pair to train a reranker on ({reasons or 'no task has samples'}).")
        adapter = folder / f"round-{number}"
        if not adapter.exists():
            train_reward(
                base, pairs, folder=folder / f"work-{number}", adapter=adapter, settings=settings,
                on_metrics=lambda *_: None,
                on_progress=lambda done, total, number=number: on_round(number, done, total),
            )  # fmt: skip
        found.append((RewardModel(f"{base}+{adapter}", max_length=settings.max_length), pairs))
    return found


def judged_programs(pools: Sequence[Pool], protocol: Protocol) -> list[Judged]:
    """Pools in the form that `evals.reliability` measures."""
    return [
        Judged(
            task_id=pool.task.id,
            prompt=protocol.render(pool.task.public()),
            programs=tuple(row.program for row in pool.candidates),
            right=tuple(pool.truth.tolist()),
        )
        for pool in pools
    ]
