"""CodeChain: rounds of modular programs; functions that stand for clusters are handed on as parts to reuse.

Paper: CodeChain (Le et al., ICLR 2024, arXiv 2310.08992).

Mechanism: every round draws modular programs (headers with docstrings in `module` blocks, then the program); those that
pass the visible checks give their functions, which are embedded and clustered; of each cluster the function nearest to
the centre is shown in the next round's prompt, "reuse or adapt". Fewer clusters every round.

Departures:
- Functions are embedded by TF-IDF over code tokens, not by StarEncoder: no second model, and paper 81's own ablation
  concerns clustering against none, not the encoder. Unmeasured here.
- One budget is shared by all rounds: each gets an equal part of the programs, the first also the remainder (the paper:
  20 in each of 6 rounds). Searches without a limit on programs draw `samples` a round.
- When no program passes, the programs with the highest share of visible checks above 0 give the functions; the paper
  drops the problem, which keeps its first round's programs. Without any, the next round asks afresh.
- The answer is the best program of all rounds by visible checks, the latest round first; the paper picks a round on
  validation problems.

Defaults: `clusters` 3-1, that is two revision rounds with 3 and then 1 representative (the paper: 5-4-3-2-1 with 20
samples). `clustering=no` hands on random functions instead, the paper's ablation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from strop.search import parsing, selectors
from strop.search.code import Function, functions
from strop.search.nodes import Node, Steps
from strop.search.state import State
from strop.tasks.protocols import fenced
from strop.types import StropError

MOST_FUNCTION = 1500
"""Characters of a function that a prompt shows."""


def search(
    state: State, *, clusters: str = "3-1", samples: int = 4, clustering: bool = True, temperature: float | None = None
) -> Steps[Node | None]:
    if not re.fullmatch(r"\d{1,2}(-\d{1,2})*", clusters):
        raise StropError(f"codechain: clusters={clusters!r} must be numbers joined by dashes, such as 5-4-3-2-1.")
    numbers = [int(number) for number in clusters.split("-")]
    if not state.has_checks:
        state.note("no visible checks: functions are taken from every program that loads")
    sizes = round_sizes(state.left(), len(numbers) + 1, samples)
    pool: list[Node] = []
    text = state.prompt("modular")
    rounds: list[list[Node]] = []
    for size, count in zip(sizes, [*numbers, 0]):
        if not size:
            break
        nodes = yield from state.write(text, n=size, temperature=temperature, whole_reply=True)
        for node in nodes:
            state.understood("modules", bool(parsing.module_names(node.text)))
        yield from state.judge(nodes)
        rounds.append(nodes)
        pool = kept(state, nodes) or pool
        parts = [function for node in pool for function in modules(node)]
        chosen = representatives(parts, count, state.seed) if clustering else some(state, parts, count)
        state.facts["functions_handed_on"] = state.facts.get("functions_handed_on", 0) + len(chosen)
        shown = "\n\n".join(fenced(function.source[:MOST_FUNCTION]) for function in chosen)
        text = state.prompt("modular_revision", modules=shown) if chosen else state.prompt("modular")
    latest_first = [node for nodes in reversed(rounds) for node in nodes]
    return max(latest_first, key=lambda node: state.rank(node)[:2], default=None)


def round_sizes(programs: int | None, rounds: int, samples: int) -> list[int]:
    """Programs of each round, the remainder in the first."""
    if programs is None:
        return [samples] * rounds
    each, rest = divmod(programs, rounds)
    return [each + rest, *[each] * (rounds - 1)]


def kept(state: State, nodes: Sequence[Node]) -> list[Node]:
    """Programs that give their functions: those that pass, or come nearest to it with at least one check."""
    best = selectors.leaders(state, nodes)
    return best if best and best[0].fraction > 0 else []


def modules(node: Node) -> list[Function]:
    """The functions that the reply declared as modules and the program has; where there are none, all functions."""
    found = functions(node.code)
    named = set(parsing.module_names(node.text))
    return [function for function in found if function.name in named] or found


def representatives(parts: Sequence[Function], count: int, seed: int) -> list[Function]:
    """One function of each of `count` clusters, the nearest to its centre; fewer where there are fewer functions."""
    distinct = list({function.source: function for function in parts}.values())
    if len(distinct) <= count:
        return distinct
    if count < 1:
        return []
    from scipy.cluster.vq import kmeans2

    vectors = embed([f"{function.docstring}\n{function.source}" for function in distinct])
    centres, _ = kmeans2(vectors, count, minit="++", rng=np.random.default_rng(seed), missing="warn")
    chosen = []
    for centre in centres:
        nearest = np.argsort(((vectors - centre) ** 2).sum(axis=1), kind="stable")
        chosen.append(next(int(place) for place in nearest if place not in chosen))
    return [distinct[place] for place in sorted(chosen)]


def embed(texts: Sequence[str]) -> np.ndarray:
    """TF-IDF over code tokens (words split at underscores and capitals), rows of length 1. Shape (texts, tokens)."""
    split = [re.findall(r"[A-Za-z][a-z]+|[A-Z]+|[a-z]|\d+|[^\s\w]", text) for text in texts]
    places = {
        token: place for place, token in enumerate(sorted({token.lower() for tokens in split for token in tokens}))
    }
    counts = np.zeros((len(texts), len(places)))
    for row, tokens in enumerate(split):
        for token in tokens:
            counts[row, places[token.lower()]] += 1
    weights = np.log((1 + len(texts)) / (1 + (counts > 0).sum(axis=0))) + 1
    vectors = np.log1p(counts) * weights
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def some(state: State, parts: Sequence[Function], count: int) -> list[Function]:
    """`count` functions at random."""
    distinct = list({function.source: function for function in parts}.values())
    return state.rng.sample(distinct, min(count, len(distinct)))
