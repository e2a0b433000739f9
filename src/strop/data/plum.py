"""PLUM: on-policy programs labelled by tests, passing ones preferred to failing ones (Zhang et al. 2024, 2406.06887).

The paper has a strong model write the tests; here they are the task's own, or written ones through the pass matrix. A
program is positive when it passes every test, negative otherwise; programs that do not parse are dropped, as in the
paper, because telling them apart teaches syntax only. With `unparsed` they stay, for models that still err there.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np

from strop.data.pairs import Draft, NoPair, Rule
from strop.data.pools import Candidate, Pool
from strop.evals.pass_matrix import all_pass
from strop.tasks.likeness import normal_form
from strop.tasks.literals import parse
from strop.types import Prompt, StropError

if TYPE_CHECKING:
    from strop.tasks.protocols import Protocol


def labels(pool: Pool, *, unparsed: bool = False) -> list[tuple[Candidate, bool]]:
    """Each distinct program that parses (`unparsed`: any), with whether it passes every known test of the matrix or,
    without a matrix, every check of the task. Programs without a known test are left out."""
    passed = pool.truth if pool.matrix is None else all_pass(pool.matrix.values)
    rows: dict[str, tuple[Candidate, bool]] = {}
    for candidate, label in zip(pool.candidates, passed):
        if not np.isnan(label) and (unparsed or not isinstance(parse(candidate.program), SyntaxError)):
            rows.setdefault(normal_form(candidate.program), (candidate, bool(label)))
    return list(rows.values())


def plum(strategy: Literal["balanced", "all"] = "balanced", *, unparsed: bool = False) -> Rule:
    """Positive against negative programs of a task in random order.

    `balanced` uses each program once; `all` proposes every combination (give `build` `reuse=True`).
    """

    def rule(pool: Pool, rng: random.Random) -> Sequence[Draft]:
        positive, negative = split(pool, unparsed=unparsed)
        rng.shuffle(positive)
        rng.shuffle(negative)
        couples = zip(positive, negative) if strategy == "balanced" else product(positive, negative)
        drafts = [Draft(chosen=good, rejected=bad, why={"label": "all tests"}) for good, bad in couples]
        if strategy == "all":
            rng.shuffle(drafts)
        return drafts

    return rule


def split(pool: Pool, *, unparsed: bool = False) -> tuple[list[Candidate], list[Candidate]]:
    """Positive and negative programs. Raises NoPair when one side is empty."""
    rows = labels(pool, unparsed=unparsed)
    positive = [candidate for candidate, label in rows if label]
    negative = [candidate for candidate, label in rows if not label]
    if not rows:
        raise NoPair("no program has a known test" if unparsed else "no program that parses has a known test")
    if not negative:
        raise NoPair("all programs pass")
    if not positive:
        raise NoPair("no program passes")
    return positive, negative


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A prompt, an answer, and whether it is wanted: the unpaired layout that KTO learns from."""

    prompt: Prompt
    completion: str
    label: bool
    task_id: str


def unpaired(pools: Iterable[Pool], protocol: Protocol, *, per_task: int = 4, seed: int = 0) -> list[Labelled]:
    """At most `per_task` programs of each label a task, for KTO. Tasks with one label only count too: KTO needs no
    pairs. Programs that the protocol cannot put into words are left out."""
    rows: list[Labelled] = []
    for pool in pools:
        found = labels(pool)
        random.Random(f"{seed} {pool.task.id}").shuffle(found)
        task = pool.task.public()
        for wanted in (True, False):
            for candidate in [candidate for candidate, label in found if label == wanted][:per_task]:
                try:
                    text = protocol.answer(task, candidate.program)
                except StropError:
                    continue
                rows.append(Labelled(prompt=protocol.render(task), completion=text, label=wanted, task_id=task.id))
    random.Random(seed).shuffle(rows)
    return rows
