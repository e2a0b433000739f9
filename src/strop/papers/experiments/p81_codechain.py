"""Paper 81 hands the functions of good programs on to the next round. Are programs more modular, and the parts reused?

A 0.5B coder, 8 programs a problem: CodeChain, CodeChain with functions at random instead of clusters' representatives,
and plain resampling. `functions` counts functions a program; of the chains only the first round's count, which have
seen the modular prompt and nothing else. `reused` is the share of later programs that hold a function equal to one they
were shown, up to names and layout; the arm `another problem` compares the same programs with what the next problem's
were shown.

Departures from the paper: three rounds with 3 and 1 representatives; HumanEval's problems with visible tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.searching import METRICS, QUICK, SETTINGS, outcomes, problems, run
from strop.search.code import functions, normal_form
from strop.tasks.extract import fenced_blocks
from strop.types import Spent

ARMS = {"chain": "codechain", "random functions": "codechain:clustering=no", "resampling": "best-of-n"}
ELSEWHERE = "another problem"
HANDED_ON = "These functions come from earlier solutions."


def forms(code: str) -> set[str]:
    """The functions of a program, each in its normal form."""
    return {normal_form(function.source) for function in functions(code)} - {""}


def shown(prompt: str) -> set[str]:
    """The functions that a revision's prompt shows, in their normal forms; empty for other prompts."""
    if HANDED_ON not in prompt:
        return set()
    blocks = fenced_blocks(prompt.split(HANDED_ON, 1)[1])
    return {form for block in blocks if block.tag == "python" for form in forms(block.text)}


def share_reused(nodes: Sequence[Mapping[str, Any]], parts: set[str] | None = None) -> float | None:
    """Share of the later programs that hold a function they were shown (or one of `parts`); None without any."""
    later = [(forms(node["code"]), shown(node["prompt"])) for node in nodes]
    hits = [bool(own & (seen if parts is None else parts)) for own, seen in later if seen]
    return sum(hits) / len(hits) if hits else None


def modularity(trace: Mapping[str, Any], grades: Sequence[bool | None]) -> dict[str, float]:
    """Functions a program of the first round, and reuse in the later ones."""
    counts = [len(functions(node["code"])) for node in trace["nodes"] if not shown(node["prompt"])]
    found = {"functions": sum(counts) / len(counts)} if counts else {}
    reused = share_reused(trace["nodes"])
    return found if reused is None else found | {"reused": reused}


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    yield from outcomes(lab, item, ARMS, modularity)
    chains = {unit: trace["nodes"] for _, unit, trace, _ in run(lab, item, {"chain": ARMS["chain"]})}
    parts = {unit: {form for node in nodes for form in shown(node["prompt"])} for unit, nodes in chains.items()}
    for place, unit in enumerate(item.units):
        after = [*item.units[place + 1 :], *item.units[:place]]
        foreign = next((parts[other] for other in after if parts.get(other)), None)
        reused = share_reused(chains.get(unit, ()), foreign) if foreign else None
        yield Outcome(ELSEWHERE, unit, item.seed, {} if reused is None else {"reused": reused})


def conclude(table: Table) -> list[Condition]:
    return [
        Condition.of(
            "the modular prompt gives more functions a program", table.compare("functions", "chain", "resampling")
        ),
        Condition.of("functions that were handed on are reused", table.mean("reused", "chain")),
        Condition.of("more often than those of another problem", table.compare("reused", "chain", ELSEWHERE)),
        Condition.of(
            "the chain solves more than resampling at equal programs",
            table.compare("solved", "chain", "resampling"),
            required=False,
        ),
        Condition.of(
            "representatives solve more than random functions",
            table.compare("solved", "chain", "random functions"),
            required=False,
        ),
    ]


EXPERIMENT = Experiment(
    paper=81,
    name="codechain",
    question="Are programs more modular when asked for parts, and are parts that are handed on reused?",
    arms=(*ARMS, ELSEWHERE),
    units=lambda: list(problems()),
    metrics=METRICS | {"functions": None, "reused": (0.0, 1.0)},
    measure=measure,
    conclude=conclude,
    components=("strop.search.codechain", "strop.search.best_of_n", "strop.search.schedule"),
    planned=Size(units=60, seeds=3),
    quick=Size(units=3, seeds=1),
    cost=Spent(seconds=3600, sampled_tokens=200_000, programs=1440, model_calls=1440),
    cut=(),
    settings=SETTINGS,
    quick_settings=QUICK,
)
