"""Paper 27's grid: a coder alone, after an analyst, and under a tester, each with and without a runtime debugger.

A 0.5B coder, greedy, all flows on the same problems with the same visible tests. The debugger is LDB's, at most three
rounds; what it repairs of other models' programs is measured by `benchmarks/ldb_repair.py`.

Departures from the paper: one small model for nineteen; HumanEval's problems with visible tests; no HumanEval+.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.searching import METRICS, QUICK, SETTINGS, outcomes, problems
from strop.search.parsing import decision
from strop.types import Spent

FLOWS = ("basic", "ac", "act", "basic-debugger", "ac-debugger", "act-debugger")
SAME = 0.05
"""A gain below 5 points counts as none: what the study's means differ by is under 1."""


def false_alarm(trace: Mapping[str, Any], grades: Sequence[bool | None]) -> dict[str, float]:
    """Whether the tester failed the first program although that passes all checks; nothing where it does not."""
    said = [words for words in trace["nodes"][0]["words"] if words["role"] == "tester"] if trace["nodes"] else []
    if not said or not grades[0]:
        return {}
    return {"false alarm": float(decision(said[0]["reply"], "PASS", "FAIL") is False)}


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    yield from outcomes(lab, item, {flow: f"agents:flow={flow}:temperature=0" for flow in FLOWS}, false_alarm)


def conclude(table: Table) -> list[Condition]:
    found = [
        Condition.of(
            "the debugger alone raises the share of visible tests passed",
            table.compare("visible", "basic-debugger", "basic"),
        ),
        Condition.of(
            "an analyst does not solve 5 points more than the coder alone",
            table.compare("solved", "ac", "basic"),
            below=SAME,
        ),
        Condition.of("nor do an analyst and a tester", table.compare("solved", "act", "basic"), below=SAME),
        Condition.of(
            "every role costs tokens: analyst and tester over the coder alone",
            table.compare("sampled tokens", "act", "basic"),
        ),
        Condition.of(
            "the debugger alone solves more", table.compare("solved", "basic-debugger", "basic"), required=False
        ),
        Condition.of(
            "an analyst before the debugger solves more than the debugger alone",
            table.compare("solved", "ac-debugger", "basic-debugger"),
            required=False,
        ),
    ]
    try:
        alarms = table.mean("false alarm", "act")
    except ValueError:  # no right program has met the tester yet
        return found
    return [*found, Condition.of("the tester fails fewer than half of the right programs", alarms, below=0.5,
                                 required=False)]  # fmt: skip


EXPERIMENT = Experiment(
    paper=27,
    name="roles-and-debugging",
    question="Which helps a small coder: an analyst, a tester, or a debugger that sees the values of variables?",
    arms=FLOWS,
    units=lambda: list(problems()),
    metrics=METRICS | {"false alarm": (0.0, 1.0)},
    measure=measure,
    conclude=conclude,
    components=("strop.search.agents", "strop.search.runtime_debug", "strop.search.tracing", "strop.search.schedule"),
    planned=Size(units=100, seeds=1),
    quick=Size(units=3, seeds=1),
    cost=Spent(seconds=4000, sampled_tokens=250_000, programs=1300, model_calls=2500),
    cut=(),
    settings=SETTINGS,
    quick_settings=QUICK,
)
