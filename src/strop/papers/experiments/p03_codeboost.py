"""Paper 3 keeps a clique of snippets that differ. Are they less alike than as many snippets chosen at random?

Snippets are the functions of CRUXEval, dealt into chunks; a unit is a chunk, a seed deals anew. `clique` is the paper's
rule, `random` takes as many at random, `farthest` adds, one by one, the snippet whose nearest kept neighbour is least
alike (a usual rule for diverse sets). Similarity is the ratio of matching text.

Departures from the paper: one chunk of 100 instead of 400, and functions written by a model instead of mixed sources.
The paper's other half, learning to predict what snippets print, is not measured here: its gains need a 7B model.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from itertools import combinations

from strop.data.snippets import curate, text_ratio
from strop.papers.data import data_file
from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.types import Spent

CHUNKS = 8


def snippets() -> list[str]:
    file = data_file("cruxeval/cruxeval.jsonl", "github.com/facebookresearch/cruxeval, data/cruxeval.jsonl")
    return [json.loads(line)["code"] for line in file.read_text(encoding="utf-8").splitlines()]


def chunk(unit: str, seed: int, size: int) -> list[str]:
    order = snippets()
    random.Random(seed).shuffle(order)
    start = int(unit.split()[1]) * size
    return order[start : start + size]


def farthest(alike: dict[tuple[int, int], float], places: Sequence[int], count: int) -> list[int]:
    """Greedy: begin with the first, then add what is least alike to its nearest kept neighbour."""
    kept = [places[0]]
    nearest = {place: alike[min(place, kept[0]), max(place, kept[0])] for place in places[1:]}
    while len(kept) < count:
        chosen = min(nearest, key=lambda place: (nearest[place], place))
        kept.append(chosen)
        del nearest[chosen]
        for place in nearest:
            nearest[place] = max(nearest[place], alike[min(place, chosen), max(place, chosen)])
    return kept


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    threshold = lab.settings["threshold"]
    for unit in item.units:
        texts = chunk(unit, item.seed, lab.settings["chunk"])
        alike = {(a, b): text_ratio(texts[a], texts[b]) for a, b in combinations(range(len(texts)), 2)}
        clique = list(curate(texts, threshold=threshold, chunk=len(texts), seed=item.seed).kept)
        count = len(clique)
        chosen = {
            "clique": clique,
            "random": random.Random(item.seed).sample(range(len(texts)), count),
            "farthest": farthest(alike, range(len(texts)), count),
        }
        for arm in item.arms:
            pairs = [alike[pair] for pair in combinations(sorted(chosen[arm]), 2)]
            yield Outcome(
                arm, unit, item.seed,
                {
                    "mean similarity": sum(pairs) / len(pairs),
                    "pairs too alike": sum(value >= threshold for value in pairs) / len(pairs),
                    "share kept": count / len(texts),
                },
            )  # fmt: skip


def conclude(table: Table) -> list[Condition]:
    rows = [value for one in table.outcomes() if one.arm == "clique" for value in [one.values["pairs too alike"]]]
    return [
        Condition.of(
            "the clique's snippets are less alike than as many random ones",
            table.compare("mean similarity", "clique", "random"),
            below=0.0,
        ),
        Condition.exact("pairs of the clique that are too alike", max(rows, default=1.0), n=len(rows), below=1e-9),
        Condition.of(
            "random choice keeps pairs that are too alike", table.mean("pairs too alike", "random"), required=False
        ),
        Condition.of(
            "the clique is less alike than farthest-point choice of the same size",
            table.compare("mean similarity", "clique", "farthest"),
            below=0.0,
            required=False,
        ),
    ]


EXPERIMENT = Experiment(
    paper=3,
    name="codeboost",
    question="Are the snippets of a clique less alike than as many random ones, and is no pair too alike?",
    arms=("clique", "random", "farthest"),
    units=lambda: [f"chunk {number}" for number in range(CHUNKS)],
    metrics={"mean similarity": (0.0, 1.0), "pairs too alike": (0.0, 1.0), "share kept": (0.0, 1.0)},
    measure=measure,
    conclude=conclude,
    components=("strop.data.snippets",),
    planned=Size(units=8, seeds=3),
    quick=Size(units=3, seeds=1),
    cost=Spent(seconds=6),
    cut=("unit",),
    settings={"chunk": 100, "threshold": 0.5},
    quick_settings={"chunk": 60},
)
