"""Paper 85 counts algorithms among a model's correct programs. Does a higher temperature find more of them?

A 0.5B coder answers the same problems at temperatures 0.4 and 1.0. Correct programs are clustered by what their syntax
tree does (`strop.evals.diversity`, whose agreement with hand-made labels is tested), and the effective number of
algorithms is compared at equal numbers of correct programs, because every diversity figure grows with them.

Departures from the paper: the judge of sameness is structural, not an 8B model; easy problems, one small model.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from strop import models
from strop.evals.diversity import cluster, distinct_at, effective, rarefied
from strop.evals.solve import draw
from strop.judge import Judge
from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.tasks import load
from strop.tasks.protocols import get_protocol
from strop.types import SamplingParams, Spent, Task

TEMPERATURES = {"temperature 0.4": 0.4, "temperature 1.0": 1.0}
DRAWS = 50
"""Draws of equal numbers of correct programs that a figure is averaged over."""


def problems() -> dict[str, Task]:
    """HumanEval's problems, the shortest references first: small models solve some of them."""
    tasks = load("humaneval")
    tasks.sort(key=lambda task: (len(task.reference or "") - len(task.stub), task.id))
    return {task.id: task for task in tasks}


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    model, judge = lab.once(models.load, lab.settings["model"]), lab.once(Judge)
    protocol, count = get_protocol("block"), lab.settings["samples"]
    for unit in item.units:
        task = problems()[unit]
        correct: dict[str, list[str]] = {}
        for arm in item.arms:
            params = SamplingParams(temperature=TEMPERATURES[arm], top_p=1.0, max_tokens=lab.settings["max_tokens"])
            samples = draw(model, list(product([task], range(count))), protocol, params, item.seed)
            verdicts = judge.run(task, [sample.code for sample in samples])
            lab.charge(sum((sample.spent for sample in samples), Spent(programs=count)))
            correct[arm] = [sample.code for sample, verdict in zip(samples, verdicts) if verdict.passed]
        size = min(map(len, correct.values()))
        for arm in item.arms:
            figures = {"solved": len(correct[arm]) / count}
            if size >= 2:
                clusters = cluster(correct[arm])
                some = [rarefied(clusters, size, seed=seed) for seed in range(DRAWS)]
                figures["effective algorithms"] = sum(map(effective, some)) / DRAWS
                figures["distinct algorithms among 2"] = distinct_at(clusters, 2)
            yield Outcome(arm, unit, item.seed, figures)


def conclude(table: Table) -> list[Condition]:
    warm, cool = "temperature 1.0", "temperature 0.4"
    return [
        Condition.of(
            "at equal numbers of correct programs, temperature 1.0 finds more algorithms",
            table.compare("effective algorithms", warm, cool),
        ),
        Condition.of("and solves fewer samples", table.compare("solved", warm, cool), below=0.0),
    ]


EXPERIMENT = Experiment(
    paper=85,
    name="algo-diversity",
    question="At equal numbers of correct programs, does a higher temperature find more algorithms?",
    arms=tuple(TEMPERATURES),
    units=lambda: list(problems()),
    metrics={"effective algorithms": (1.0, 64.0), "distinct algorithms among 2": (1.0, 2.0), "solved": (0.0, 1.0)},
    measure=measure,
    conclude=conclude,
    components=("strop.evals.diversity",),
    planned=Size(units=20, seeds=3),
    quick=Size(units=3, seeds=1),
    cost=Spent(seconds=60, sampled_tokens=4000, programs=32, model_calls=32),
    cut=("unit",),
    settings={
        "model": "gguf/~/.cache/strop/models/Qwen2.5-Coder-0.5B-Instruct.q4_k_m.gguf", "samples": 16,
        "max_tokens": 200,
    },
    quick_settings={"samples": 8},
)  # fmt: skip
