"""Paper 20 writes the functions that a program calls and nothing defines. Does that leave none undefined, at no loss?

A 0.5B coder, greedy, one program a problem: from the task's own prompt and from one that asks to leave details to
helpers, each as it is and with missing functions written. `undefined` is the share of answers that still call a
function nothing defines; such a program ends in a NameError when it comes to the call.

Departures from the paper: an instruct model with Strop's prompts for few-shot completion. The paper's control programs
are not run here: Strop has no such environment yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.searching import METRICS, SETTINGS, outcomes, problems
from strop.search.code import missing_functions
from strop.types import Spent

ARMS = {
    "flat": "hierarchical:temperature=0:most=0",
    "flat, filled": "hierarchical:temperature=0",
    "decomposed": "hierarchical:temperature=0:decompose=yes:most=0",
    "decomposed, filled": "hierarchical:temperature=0:decompose=yes",
}


def undefined(trace: Mapping[str, Any], grades: Sequence[bool | None]) -> dict[str, float]:
    """Whether the answer calls a function that nothing defines, and how many helpers were written."""
    code = trace["nodes"][trace["answer"]]["code"] if trace["answer"] is not None else ""
    return {"undefined": float(bool(missing_functions(code))), "helpers": trace["facts"].get("helpers_written", 0.0)}


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    yield from outcomes(lab, item, ARMS, undefined)


def conclude(table: Table) -> list[Condition]:
    return [
        Condition.of(
            "asked to decompose, fewer answers call undefined functions when these are written",
            table.compare("undefined", "decomposed, filled", "decomposed"),
            below=0.0,
        ),
        Condition.of(
            "hardly any do then (below 5 %)", table.mean("undefined", "decomposed, filled"), below=0.05, required=False
        ),
        Condition.of(
            "asked to decompose, more is solved when they are written",
            table.compare("solved", "decomposed, filled", "decomposed"),
        ),
        Condition.of(
            "from the task's own prompt nothing is lost, by at most 2 points",
            table.compare("solved", "flat, filled", "flat"),
            above=-0.02,
        ),
        Condition.of(
            "decomposed and filled solves more than flat (the paper, with a large model)",
            table.compare("solved", "decomposed, filled", "flat"),
            required=False,
        ),
    ]


EXPERIMENT = Experiment(
    paper=20,
    name="code-as-policies",
    question="Does writing the functions that a program leaves undefined rid it of them without solving less?",
    arms=tuple(ARMS),
    units=lambda: list(problems()),
    metrics=METRICS | {"undefined": (0.0, 1.0), "helpers": None},
    measure=measure,
    conclude=conclude,
    components=("strop.search.hierarchical", "strop.search.code", "strop.search.schedule"),
    planned=Size(units=100, seeds=1),
    quick=Size(units=4, seeds=1),
    cost=Spent(seconds=700, sampled_tokens=50_000, programs=400, model_calls=500),
    cut=(),
    settings=SETTINGS | {"budget": "programs=1"},
    quick_settings={"max_tokens": 160},
)
