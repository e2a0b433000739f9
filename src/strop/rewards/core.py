"""Rules: functions from cases to rewards, and how they combine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from strop.types import Reward, Sample, StropError, Task, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that a rule may look at: the task, the sampled answer and what the judge saw."""

    task: Task
    sample: Sample
    verdict: Verdict | None = None
    """None where nothing was run, for tasks that are scored by their text alone."""


Rule: TypeAlias = Callable[[Sequence[Case]], list[Reward | None]]
"""Scores a batch; one entry a case, in order. `None`: no reward is known, drop the sample."""


def score(rule: Rule, cases: Sequence[Case]) -> list[Reward | None]:
    """Apply a rule and check what it gave.

    Raises StropError naming the task when the rule raises, gives the wrong number of rewards, or one that is not
    finite: a broken reward must stop a run, because any number put in its place would be learned.
    """
    try:
        rewards = list(rule(cases))
    except StropError:
        raise
    except Exception as error:
        raise StropError(
            f"The reward failed on {_where(rule, cases)}: {type(error).__name__}: {error}. Training stops here; the "
            "last checkpoint is whole, and the same command goes on once the reward is mended."
        ) from error
    if len(rewards) != len(cases):
        raise StropError(f"The reward gave {len(rewards)} values for {len(cases)} cases.")
    for case, reward in zip(cases, rewards):
        if reward is not None and not all(map(math.isfinite, (reward.total, *reward.parts.values()))):
            raise StropError(
                f"The reward of sample {case.sample.index} of task {case.task.id} is not a finite number: "
                f"{reward.total} from {dict(reward.parts)}."
            )
    return rewards


def _where(rule: Rule, cases: Sequence[Case]) -> str:
    """The first case on which the rule fails by itself, for the message."""
    for case in cases:
        try:
            rule([case])
        except Exception:
            return f"sample {case.sample.index} of task {case.task.id}"
    return f"a batch of {len(cases)} samples"


def part(name: str, measure: Callable[[Case], float | None]) -> Rule:
    """A rule of one named part, from a function of one case."""

    def rule(cases: Sequence[Case]) -> list[Reward | None]:
        return [_single(name, measure(case)) for case in cases]

    return rule


def verdict_part(name: str, measure: Callable[[Case, Verdict], float | None]) -> Rule:
    """A rule of one named part that reads the verdict: `None` where there is none, or where the judge failed."""

    def measured(case: Case) -> float | None:
        if case.verdict is None or case.verdict.status == "judge_error":
            return None
        return measure(case, case.verdict)

    return part(name, measured)


def batch_part(name: str, scorer: Callable[[Sequence[Case]], Sequence[float | None]]) -> Rule:
    """A rule of one named part from a scorer of whole batches: reward models, critics, Q-functions."""

    def rule(cases: Sequence[Case]) -> list[Reward | None]:
        return [_single(name, value) for value in scorer(cases)]

    return rule


def _single(name: str, value: float | None) -> Reward | None:
    return None if value is None else Reward(total=float(value), parts={name: float(value)})


# ---- combinations ------------------------------------------------------------------------------


def weighted_sum(*terms: tuple[float, Rule]) -> Rule:
    """The sum of weight * total. `None` in any term gives `None`."""

    def rule(cases: Sequence[Case]) -> list[Reward | None]:
        columns = [one(cases) for _, one in terms]
        return [_added([(weight, reward) for (weight, _), reward in zip(terms, row)]) for row in zip(*columns)]

    return rule


def _added(row: Sequence[tuple[float, Reward | None]]) -> Reward | None:
    total, parts = 0.0, {}
    for weight, reward in row:
        if reward is None:
            return None
        total += weight * reward.total
        parts = _joined(parts, reward.parts)
    return Reward(total=total, parts=parts)


def gate(condition: Rule, then: Rule, *, opens_at: float = 1.0) -> Rule:
    """`condition` alone below `opens_at`; from there on `condition + then`.

    `then` is asked only about cases that pass the gate, so that nothing is timed before it is correct.
    """

    def rule(cases: Sequence[Case]) -> list[Reward | None]:
        results = condition(cases)
        is_open = [reward is not None and reward.total >= opens_at for reward in results]
        after = iter(then([case for case, opened in zip(cases, is_open) if opened]))
        return [
            _added([(1.0, reward), (1.0, next(after))]) if opened else reward
            for reward, opened in zip(results, is_open)
        ]

    return rule


def lexicographic(*levels: tuple[Rule, float, float, int]) -> Rule:
    """Earlier rules decide, later ones only break ties; the total lies in [0, 1].

    Each level is (rule, lowest, highest, steps): its total is clipped to [lowest, highest] and rounded to one of
    `steps` >= 2 equal values, which then are the digits of a number with mixed base. So two totals compare exactly as
    the tuples of rounded values do; values within a rounding step of each other count as equal.
    """
    for _, lowest, highest, steps in levels:
        if not (lowest < highest and steps >= 2):
            raise StropError(f"A lexicographic level from {lowest} to {highest} in {steps} steps has no order.")
    largest = math.prod(steps for *_, steps in levels) - 1

    def rule(cases: Sequence[Case]) -> list[Reward | None]:
        columns = [one(cases) for one, *_ in levels]
        return [combined(row) for row in zip(*columns)]

    def combined(row: Sequence[Reward | None]) -> Reward | None:
        number, parts = 0, {}
        for reward, (_, lowest, highest, steps) in zip(row, levels):
            if reward is None:
                return None
            share = (min(max(reward.total, lowest), highest) - lowest) / (highest - lowest)
            number = number * steps + round(share * (steps - 1))
            parts = _joined(parts, reward.parts)
        return Reward(total=number / largest, parts=parts)

    return rule


def _joined(parts: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    twice = parts.keys() & more.keys()
    if twice:
        raise StropError(f"Two parts of the reward are called {', '.join(sorted(twice))}; give one another name.")
    return {**parts, **more}
