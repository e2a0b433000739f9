"""Paper 62 pays for speed, but only once a program is right. Does the gate keep correctness while programs get cheaper?

The policy is TinyCoder (`strop.papers.tinycoder`), a small model of real Python: a testbed, not a language model. Every
operation has a cheap and a dear right form, and cost is counted, not timed. Three rewards under the same PPO:
`correctness` is CodeRL's level of the outcome; `gated` adds speed to right programs only (`rewards.gated_speed`);
`additive` adds the same speed to the outcome's level of every program that runs, right or wrong.

Departures from the paper: counted cost for wall time; one update a step and no KL term; the reward's constants are
Strop's, because the paper's could not be read; EffiBench is replaced by the testbed's tasks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.tinycoder.practice import bed, held_out, held_out_ids, pass_rates, sampled
from strop.papers.tinycoder.rl import practised
from strop.papers.tinycoder.speed import CountedCost, log_cost
from strop.rewards import Rule, gated_speed, outcome, part, weighted_sum
from strop.rewards.core import Case
from strop.types import Spent

ONE_UPDATE = {"epochs": 1, "minibatches": 1, "kl_coefficient": 0.0}
TENTH = -math.log2(1 / 0.9)
"""log2 of nine tenths."""


def speed(case: Case) -> float:
    """Half of the clipped log2 speed-up of whatever runs, 0 for what has no cost."""
    found = CountedCost().compare(case.task, case.sample.code)
    return 0.0 if found is None else 0.5 * min(1.0, max(-1.0, math.log2(found.ratio)))


def rule(arm: str) -> Rule:
    if arm == "gated":
        return gated_speed(CountedCost())
    if arm == "additive":
        return weighted_sum((1.0, outcome()), (1.0, part("speed", speed)))
    return outcome()


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    settings, seed = lab.settings, item.seed
    home, tasks, each = bed(lab, seed), held_out(item.units), settings["held_out_samples"]
    for arm in item.arms:
        model = home.model
        if arm != "start":
            chosen = {name: settings[name] for name in ("steps", "prompts", "group", "learning_rate")}
            model, _ = practised(
                lab, arm, home, seed, lambda _, arm=arm: rule(arm), recipe="acecode", **ONE_UPDATE, **chosen
            )
        _, pools = sampled(lab, model, tasks, each, seed + 1)
        rates = pass_rates(pools, tasks, each)
        costs: dict[str, list[float]] = {}
        for pool in pools:
            for row in pool.candidates:
                value = log_cost(pool.task, row.program) if row.passed else None
                if value is not None:
                    costs.setdefault(pool.task.id, []).append(value)
        for task in tasks:
            figures = {"solved": rates[task.id]}
            if task.id in costs:
                figures["log2 cost of right programs"] = float(np.mean(costs[task.id]))
            yield Outcome(arm, task.id, seed, figures)


def conclude(table: Table) -> list[Condition]:
    cost = "log2 cost of right programs"
    return [
        Condition.of(
            "the gated reward makes right programs cheaper by a tenth or more than the reward for correctness",
            table.compare(cost, "gated", "correctness"),
            below=TENTH,
        ),
        Condition.of(
            "and solves no more than 2 points less", table.compare("solved", "gated", "correctness"), above=-0.02
        ),
        Condition.of(
            "without the gate, less is solved than with it",
            table.compare("solved", "gated", "additive"),
            required=False,
        ),
        Condition.of(
            "the gated reward solves more than the start", table.compare("solved", "gated", "start"), required=False
        ),
    ]


EXPERIMENT = Experiment(
    paper=62,
    name="acecode",
    question="On a testbed, does a speed reward behind a gate cut cost and keep correctness?",
    arms=("correctness", "gated", "additive", "start"),
    units=held_out_ids,
    metrics={"solved": (0.0, 1.0), "log2 cost of right programs": None},
    measure=measure,
    conclude=conclude,
    components=("strop.rewards.speed", "strop.rewards.outcome", "strop.papers.tinycoder"),
    planned=Size(units=120, seeds=5),
    quick=Size(units=12, seeds=1),
    cost=Spent(seconds=20, sampled_tokens=80_000, programs=3000),
    cut=("arm",),
    settings={"steps": 20, "prompts": 12, "group": 8, "learning_rate": 3e-4, "held_out_samples": 4},
    quick_settings={"steps": 3},
)
