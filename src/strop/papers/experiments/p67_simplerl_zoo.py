"""Paper 67 trains base models with plain GRPO. Do format demands and too hard tasks hold a weak model back?

The policy is TinyCoder (`strop.papers.tinycoder`), a small model of real Python: a testbed, not a language model, so
nothing is said about reasoning. Training tasks are sorted into bands by the model's own pass rate: `middle` from 0.2 to
0.8, `hard` those that none of its samples solves. `lenient` pays 1 for a right program and 0 else; `rigid` pays for the
form of the answer too, with the levels of the paper's code. The form asked for here is to store every result before it
is returned (`    return ys`), which the model seldom does. As many tasks in either band.

Departures from the paper: the testbed for ten language models; the form is a habit of code instead of a box around the
answer; a few dozen steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.tinycoder.practice import bed, held_out, held_out_ids, pass_rates, sampled, solved
from strop.papers.tinycoder.problems import tasks as every_task
from strop.papers.tinycoder.rl import practised
from strop.rewards import ANSWER_AND_FORMAT, Rule, binary
from strop.rewards.core import Case, verdict_part
from strop.stats import pass_at_k
from strop.types import Spent, Task, Verdict

ARMS = {
    "lenient, middle": ("lenient", "middle"),
    "rigid, middle": ("rigid", "middle"),
    "lenient, hard": ("lenient", "hard"),
}
FORM = "    return ys"


def in_form(case: Case) -> bool:
    """The last line returns the stored result."""
    lines = case.sample.code.rstrip().splitlines()
    return bool(lines) and lines[-1] == FORM


def rigid(case: Case, verdict: Verdict) -> float:
    return ANSWER_AND_FORMAT[verdict.passed, in_form(case)]


def rule(kind: str) -> Rule:
    return verdict_part("rigid", rigid) if kind == "rigid" else binary()


def bands(rates: dict[str, float], tasks: Sequence[Task]) -> dict[str, list[Task]]:
    """`middle` and `hard` tasks, as many of each, in their fixed order."""
    middle = [task for task in tasks if 0.2 <= rates[task.id] <= 0.8]
    hard = [task for task in tasks if rates[task.id] == 0]
    count = min(len(middle), len(hard))
    return {"middle": middle[:count], "hard": hard[:count]}


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    settings, seed = lab.settings, item.seed
    home, tasks, each = bed(lab, seed), held_out(item.units), settings["held_out_samples"]
    pool = every_task("train", "corpus")[: settings["candidates"]]
    found = bands(solved(lab, home.model, pool, settings["band_samples"], seed + 2), pool)
    chosen = {name: settings[name] for name in ("steps", "prompts", "group", "learning_rate")}
    for arm in item.arms:
        model, informative = home.model, None
        if arm != "start":
            reward, band = ARMS[arm]
            model, steps = practised(
                lab, arm, home, seed, lambda _, reward=reward: rule(reward), tasks=found[band], recipe="grpo", **chosen
            )
            shares = [step["informative_groups"] / step["groups"] for step in steps if step.get("groups")]
            informative = float(np.mean(shares))
        rates = pass_rates(sampled(lab, model, tasks, each, seed + 1)[1], tasks, each)
        for task in tasks:
            right = round(rates[task.id] * each)
            figures = {"solved": rates[task.id], "pass@8": float(pass_at_k([each], [right], 8)[0])}
            if informative is not None:
                figures["informative groups"] = informative
            yield Outcome(arm, task.id, seed, figures)


def conclude(table: Table) -> list[Condition]:
    middle, hard, strict = "lenient, middle", "lenient, hard", "rigid, middle"
    return [
        Condition.of(
            "plain right-or-wrong reward on middling tasks lifts the model", table.compare("solved", middle, "start")
        ),
        Condition.of("the rigid reward solves less", table.compare("solved", strict, middle), below=0.0),
        Condition.of("practice on tasks it never solves gives less", table.compare("solved", hard, middle), below=0.0),
        Condition.of(
            "pass@8 rises too with the plain reward", table.compare("pass@8", middle, "start"), required=False
        ),
        Condition.of(
            "tasks it never solves leave fewer groups to learn from",
            table.compare("informative groups", hard, middle),
            below=0.0,
            required=False,
        ),
        Condition.of(
            "the rigid reward leaves fewer groups to learn from",
            table.compare("informative groups", strict, middle),
            below=0.0,
            required=False,
        ),
        Condition.of(
            "practice on tasks it never solves gains less than 2 points",
            table.compare("solved", hard, "start"),
            below=0.02,
            required=False,
        ),
    ]


EXPERIMENT = Experiment(
    paper=67,
    name="simplerl-zoo",
    question="On a testbed, do a rigid reward and too hard tasks hold GRPO back?",
    arms=("start", *ARMS),
    units=held_out_ids,
    metrics={"solved": (0.0, 1.0), "pass@8": (0.0, 1.0), "informative groups": (0.0, 1.0)},
    measure=measure,
    conclude=conclude,
    components=("strop.rewards.outcome", "strop.train.rl.advantages", "strop.papers.tinycoder"),
    planned=Size(units=60, seeds=5),
    quick=Size(units=12, seeds=1),
    cost=Spent(seconds=80, sampled_tokens=250_000, programs=8000),
    cut=(),
    settings={
        "steps": 20, "prompts": 8, "group": 12, "learning_rate": 3e-4, "held_out_samples": 8,
        "candidates": 160, "band_samples": 6,
    },
    quick_settings={"steps": 3, "candidates": 120},
)  # fmt: skip
