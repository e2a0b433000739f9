"""Paper 83 asks for a problem and a second one that calls the first. What does that cost a small coder, and why?

A 0.5B coder answers HumanEval's problems (`base`), the pairs of HumanEval Pro (`pro`), and the pairs with the first
solution given (`given`), greedily. base - given is what calling rightly costs, given - pro what a wrong first solution
costs. Only items that name the function they test take part (154 of 164).

Departures from the paper: one extraction rule instead of the better of two; a quantised model; `base` is asked by
Strop's prompt for local chat models.
"""

from __future__ import annotations

from collections.abc import Iterator

from strop import models
from strop.evals.pro import ProItem, ProProtocol, load_pro
from strop.evals.solve import draw
from strop.judge import Judge
from strop.papers.data import data_file
from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.tasks import load
from strop.tasks.protocols import Protocol, get_protocol
from strop.types import SamplingParams, Spent, Task


def items() -> dict[str, ProItem]:
    """Solvable items by the id of their base problem, in the order of the file."""
    source = "github.com/CodeEval-Pro/CodeEval-Pro, dataset/humaneval_pro.json"
    found = load_pro(data_file("codeeval-pro/humaneval_pro.json", source))
    return {item.base_id: item for item in found if item.solvable}


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    model = lab.once(models.load, lab.settings["model"])
    judge = lab.once(Judge)
    params = SamplingParams(temperature=0.0, top_p=1.0, max_tokens=lab.settings["max_tokens"])
    found, base = items(), {task.id: task for task in load("humaneval")}
    for unit in item.units:
        asked: dict[str, tuple[Task, Protocol]] = {
            "base": (base[unit], get_protocol("block")),
            "pro": (found[unit].task("pro"), ProProtocol()),
            "given": (found[unit].task("given"), ProProtocol()),
        }
        for arm in item.arms:
            task, protocol = asked[arm]
            (sample,) = draw(model, [(task, 0)], protocol, params, item.seed)
            (verdict,) = judge.run(task, [sample.code])
            lab.charge(sample.spent + Spent(programs=1))
            if verdict.status != "judge_error":
                yield Outcome(arm, unit, item.seed, {"solved": float(verdict.passed)})


def conclude(table: Table) -> list[Condition]:
    return [
        Condition.of("more base problems are solved than Pro problems", table.compare("solved", "base", "pro")),
        Condition.of(
            "calling a given solution rightly costs something", table.compare("solved", "base", "given"), required=False
        ),
        Condition.of("a wrong first solution costs something", table.compare("solved", "given", "pro"), required=False),
    ]


EXPERIMENT = Experiment(
    paper=83,
    name="humaneval-pro",
    question="How much less does a 0.5B coder solve when a problem calls another, and is the call to blame?",
    arms=("base", "pro", "given"),
    units=lambda: list(items()),
    metrics={"solved": (0.0, 1.0)},
    measure=measure,
    conclude=conclude,
    components=("strop.evals.pro", "strop.tasks.extract"),
    planned=Size(units=154, seeds=1),
    quick=Size(units=6, seeds=1),
    cost=Spent(seconds=25, sampled_tokens=450, programs=3, model_calls=3),
    cut=("unit",),
    settings={"model": "gguf/~/.cache/strop/models/Qwen2.5-Coder-0.5B-Instruct.q4_k_m.gguf", "max_tokens": 400},
    quick_settings={"max_tokens": 300},
)
