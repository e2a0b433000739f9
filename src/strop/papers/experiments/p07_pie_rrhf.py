"""Paper 7 ranks a model's rewrites by tests and timing. Does the reward see real gains, and does ranking teach speed?

The reward, on real programs: pairs of a slow and a faster program by one author (PIE), whose recorded gain is above
twofold, on a large input written for the problem. Where both print the same, the speed reward of the fast one against
the slow one is asked, and that of the slow one against itself, each from runs in turn. One seed: time is what varies.

The learner: TinyCoder (`strop.papers.tinycoder`), a small model of real Python: a testbed, not a language model. Its
own samples get the same reward by counted cost against a dear program. `RRHF` ranks them and imitates the best;
`best only` leaves the ranking out. `fast and right` is the share of samples that are right and cost no more than a
tenth over the cheapest known.

Departures from the paper: the tiers are Strop's, because the paper's could not be read; no rewriting of given programs,
which a model of this size cannot do.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import zip_longest

from strop.judge import Judge
from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.pie_inputs import INPUTS, Pair, pairs
from strop.papers.tinycoder.practice import bed, held_out, held_out_ids, pass_rates, sampled
from strop.papers.tinycoder.rl import practised
from strop.papers.tinycoder.speed import CountedCost, dear, log_cost
from strop.rewards import Case, CostMeter, score, speed_tiers
from strop.types import Sample, Spent, StdioCheck, Task

PAIRS_EACH = 2
"""Pairs a problem, at most."""
TIMED = ("fast program", "slow program again")
LEARNERS = {"best only": 0.0, "RRHF": 1.0}
NEAR = math.log2(1.1)


def known_pairs() -> dict[str, Pair]:
    return {pair.id: pair for pair in pairs(PAIRS_EACH)}


def units() -> list[str]:
    """Pairs and tasks in turn, so that a small size has some of both."""
    rows = zip_longest(known_pairs(), held_out_ids())
    return [unit for row in rows for unit in row if unit is not None]


def timer() -> Judge:
    """One worker, so that nothing runs beside what is timed."""
    return Judge(workers=1)


def task_of(pair: Pair, judge: Judge) -> Task | None:
    """The pair's input with what both programs print there, the slow one as reference; None where they differ."""
    stdin = INPUTS[pair.problem](random.Random(pair.problem))
    asked = Task(id=pair.id, prompt=pair.problem, checks=(StdioCheck(stdin=stdin, stdout=""),))
    slow, fast = judge.run(asked, [pair.slow, pair.fast])
    if slow.output != fast.output or not slow.output.strip():
        return None
    check = StdioCheck(stdin=stdin, stdout=slow.output)
    return Task(id=pair.id, prompt=pair.problem, checks=(check,), reference=pair.slow)


def timed(lab: Lab, pair: Pair, arm: str) -> dict[str, float]:
    """The reward of one program of a pair against the slow one; nothing where the pair cannot be compared."""
    judge = lab.once(timer)
    task = lab.once(task_of, pair, judge)
    if task is None:
        return {}
    program = pair.fast if arm == "fast program" else pair.slow
    (verdict,) = judge.run(task, [program])
    sample = Sample(
        task_id=task.id, index=0, text=program, code=program, finish_reason="stop", seed=0, protocol="", spent=Spent()
    )
    rule = speed_tiers(CostMeter(judge, pairs=lab.settings["pairs"]))
    (reward,) = score(rule, [Case(task=task, sample=sample, verdict=verdict)])
    lab.charge(Spent(programs=4 + 2 * lab.settings["pairs"]))
    return {} if reward is None else {"reward": reward.total, "faster": float(reward.total > 0)}


def practice(lab: Lab, arm: str, units: tuple[str, ...], seed: int) -> dict[str, dict[str, float]]:
    settings = lab.settings
    home, tasks, each = bed(lab, seed), held_out(units), settings["held_out_samples"]
    model = home.model
    if arm in LEARNERS:
        chosen = {name: settings[name] for name in ("steps", "prompts", "group", "learning_rate")}
        model, _ = practised(
            lab, arm, home, seed, lambda _: speed_tiers(CountedCost(dear)),
            recipe="rrhf", rank_weight=LEARNERS[arm], **chosen,
        )  # fmt: skip
    _, pools = sampled(lab, model, tasks, each, seed + 1)
    right = pass_rates(pools, tasks, each)
    quick = dict.fromkeys(right, 0.0)
    for pool in pools:
        costs = [log_cost(pool.task, row.program) for row in pool.candidates if row.passed]
        quick[pool.task.id] = sum(cost is not None and cost <= NEAR for cost in costs) / each
    return {task.id: {"solved": right[task.id], "fast and right": quick[task.id]} for task in tasks}


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    known = known_pairs()
    for arm in item.arms:
        learned = {} if arm in TIMED else practice(lab, arm, item.units, item.seed)
        for unit in item.units:
            figures = learned.get(unit, {})
            if arm in TIMED and unit in known and item.seed == 0:
                figures = timed(lab, known[unit], arm)
            yield Outcome(arm, unit, item.seed, figures)


def conclude(table: Table) -> list[Condition]:
    again = [one.values["reward"] for one in table.outcomes() if one.arm == TIMED[1] and "reward" in one.values]
    return [
        Condition.of(
            "of pairs recorded as twice as fast, the reward puts the faster one first in more than 4 of 5",
            table.mean("faster", "fast program"),
            above=0.8,
        ),
        Condition.of(
            "a program against itself earns less than 0.05", table.mean("reward", "slow program again"), below=0.05
        ),
        Condition.of(
            "RRHF writes more fast and right programs than the start", table.compare("fast and right", "RRHF", "start")
        ),
        Condition.of("and more than imitation of the best alone", table.compare("fast and right", "RRHF", "best only")),
        Condition.of(
            "without solving more than 2 points less", table.compare("solved", "RRHF", "best only"), above=-0.02
        ),
        Condition.exact(
            "programs that beat themselves", sum(value > 0 for value in again), n=len(again), below=1, required=False
        ),
    ]


EXPERIMENT = Experiment(
    paper=7,
    name="pie-rrhf",
    question="Does a speed reward see the gains of real pairs, and does ranking by it teach a testbed speed?",
    arms=("start", *LEARNERS, *TIMED),
    units=units,
    metrics={"fast and right": (0.0, 1.0), "solved": (0.0, 1.0), "faster": (0.0, 1.0), "reward": (-1.0, 2.0)},
    measure=measure,
    conclude=conclude,
    components=(
        "strop.rewards.speed", "strop.rewards.cost", "strop.train.rl.ranking", "strop.papers.pie_inputs",
        "strop.papers.tinycoder",
    ),
    planned=Size(units=150, seeds=5),
    quick=Size(units=16, seeds=1),
    cost=Spent(seconds=20, sampled_tokens=60_000, programs=2000),
    cut=("arm",),
    settings={
        "pairs": 6, "steps": 20, "prompts": 8, "group": 12, "learning_rate": 3e-4, "held_out_samples": 4,
    },
    quick_settings={"steps": 2, "held_out_samples": 2},
)  # fmt: skip
