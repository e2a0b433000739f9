"""Paper 57 searches over tokens with look-ahead. What do its caches save, and what does it find at equal programs?

Two parts. `cached` and `uncached` make the same number of roll-outs on the first problems with SmolLM2-135M: the
programs must be the same ones in the same order, and the tokens written fewer. The rest compares, with a 0.5B coder and
8 programs a problem, a greedy draw, sampling with filtering by visible tests, and PG-TD.

Departures from the paper: HumanEval's problems with their own visible examples, instead of half of each problem's
asserts; no beam search; completions of at most 384 tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.searching import METRICS, QUICK, SETTINGS, outcomes, problems, run
from strop.types import Spent

ARMS = {"greedy": "direct", "sampling": "best-of-n", "pg-td": "pg-td"}
PROOF = ("cached", "uncached")


def proof(lab: Lab, item: Item) -> Iterator[Outcome]:
    """The caches on and off: the programs in their order, and the tokens written."""
    own = lab.settings["proof"]
    some = item.units[: own["problems"]] if item.seed == 0 else ()  # greedy: further seeds would be copies
    rollouts = own["rollouts"]
    methods = {arm: f"pg-td:rollouts={rollouts}:cache={'yes' if arm == 'cached' else 'no'}" for arm in PROOF}
    changes = {"model": own["model"], "max_tokens": own["max_tokens"], "budget": f"model_calls={40 * rollouts}"}
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    if some:
        for arm, unit, trace, _ in run(lab, Item(PROOF, some, item.seed), methods, **changes):
            found.setdefault(unit, {})[arm] = trace
    for unit in item.units:
        traces = found.get(unit, {})
        orders = [list(dict.fromkeys(node["code"] for node in trace["nodes"])) for trace in traces.values()]
        for arm in PROOF:
            values = {}
            if traces:
                facts, spent = traces[arm]["facts"], traces[arm]["spent"]
                values = {
                    "same programs": float(orders[0] == orders[1]),
                    "distinct programs": len(orders[0]),
                    "tokens written": facts["completed_tokens"],
                    "tokens read and written": spent["prompt_tokens"] + spent["sampled_tokens"],
                }
            yield Outcome(arm, unit, item.seed, values)


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    yield from proof(lab, item)
    yield from outcomes(lab, item, ARMS)


def ratio(table: Table, metric: str) -> tuple[float, int]:
    """Cached over uncached, and the number of problems."""
    (cached, uncached), _, units = table.grid(metric, *PROOF)
    return float(cached.sum() / uncached.sum()), len(units)


def conclude(table: Table) -> list[Condition]:
    (same,), _, units = table.grid("same programs", "cached")
    written, count = ratio(table, "tokens written")
    passed, _ = ratio(table, "tokens read and written")
    (greedy, tree), _, shared = table.grid("visible", "greedy", "pg-td")
    return [
        Condition.exact(
            "problems on which caches change a program or the order", float((same < 1).sum()), n=len(units), below=0.5
        ),
        Condition.exact("tokens written with caches, as a share of those without", written, n=count, below=1.0),
        Condition.exact("tokens read and written with caches, as a share", passed, n=count, below=1.0, required=False),
        Condition.exact(
            "answers that pass fewer visible tests than the greedy program",
            float((tree < greedy - 1e-9).sum()),
            n=len(shared) * len(tree),
            below=0.5,
        ),
        Condition.of(
            "visible tests passed are not below those of sampling with filtering, by at most 2 points",
            table.compare("visible", "pg-td", "sampling"),
            above=-0.02,
        ),
        Condition.of("more is solved than greedily", table.compare("solved", "pg-td", "greedy"), required=False),
        Condition.of(
            "more is solved than by sampling with filtering",
            table.compare("solved", "pg-td", "sampling"),
            required=False,
        ),
    ]


EXPERIMENT = Experiment(
    paper=57,
    name="pg-td",
    question="Do PG-TD's caches change nothing but the cost, and does it find as much as sampling at equal programs?",
    arms=(*ARMS, *PROOF),
    units=lambda: list(problems()),
    metrics=METRICS
    | {
        "same programs": (0.0, 1.0),
        "distinct programs": None,
        "tokens written": None,
        "tokens read and written": None,
    },
    measure=measure,
    conclude=conclude,
    components=("strop.search.pg_td", "strop.search.best_of_n", "strop.search.schedule"),
    planned=Size(units=60, seeds=3),
    quick=Size(units=3, seeds=1),
    cost=Spent(seconds=1800, sampled_tokens=90_000, programs=1000, model_calls=1000),
    cut=(),
    settings=SETTINGS | {"proof": {"model": "smollm2", "problems": 6, "rollouts": 12, "max_tokens": 128}},
    quick_settings=QUICK | {"proof": {"model": "smollm2", "problems": 2, "rollouts": 6, "max_tokens": 64}},
)
