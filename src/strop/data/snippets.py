"""CodeBoost's curation: from many snippets a set in which no two are alike (Wang et al. 2025, arXiv 2508.05242).

Two snippets are joined by an edge when they differ enough, and a maximum clique is kept, in shuffled chunks, several
times over. A chunk's graph is dense, so it is solved through its complement, which falls apart into small groups of
look-alikes: the clique is one independent set of each group, exact up to `EXACT` members, greedy beyond. Chunks of 400,
threshold 0.5 and 10 rounds are the paper's. That similarity is the ratio of matching text is an inference from the
names in the released code.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from strop.tasks.likeness import normal_form
from strop.tasks.literals import parse
from strop.types import StropError

if TYPE_CHECKING:
    import networkx

EXACT = 24
"""Look-alikes in a group up to which the independent set is exact."""
Similarity = Callable[[str, str], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated:
    """What was kept, and what was dropped by reason."""

    kept: tuple[int, ...]
    """Places in the given list, in order."""
    dropped: dict[str, int]
    most_similar: float
    """Largest similarity of two kept snippets; below the threshold."""


def text_ratio(one: str, other: str) -> float:
    """Share of matching text in [0, 1], as `difflib` finds it, in one fixed order of the two."""
    first, second = sorted((one, other))
    return SequenceMatcher(None, first, second, autojunk=False).ratio()


def alike(one: str, other: str, threshold: float, similarity: Similarity = text_ratio) -> bool:
    """Whether two snippets are at least `threshold` similar. Lengths and letters settle most pairs of `text_ratio`."""
    if similarity is text_ratio:
        total = len(one) + len(other)
        if not total or 2 * min(len(one), len(other)) < threshold * total:
            return not total
        if 2 * (Counter(one) & Counter(other)).total() < threshold * total:
            return False
    return similarity(one, other) >= threshold


def curate(
    snippets: Sequence[str], *, threshold: float = 0.5, min_lines: int = 2, chunk: int = 400, rounds: int = 10,
    seed: int = 0, similarity: Similarity = text_ratio,
) -> Curated:  # fmt: skip
    """Keep a large set of snippets of which no two are `threshold` similar. Deterministic in its arguments.

    Dropped first: snippets that do not parse, have fewer than `min_lines` lines, or repeat another's syntax tree. A
    last pass over all survivors makes sure that pairs which never shared a chunk are apart too. Raises StropError when
    networkx is missing.
    """
    if not 0 < threshold <= 1 or chunk < 2 or rounds < 1:
        raise StropError("curate needs a threshold in (0, 1], chunks of at least 2 and at least one round.")
    dropped: Counter[str] = Counter()
    alive: list[int] = []
    forms: set[str] = set()
    for place, snippet in enumerate(snippets):
        if isinstance(parse(snippet), SyntaxError):
            dropped["does not parse"] += 1
        elif len([line for line in snippet.splitlines() if line.strip()]) < min_lines:
            dropped["too short"] += 1
        elif (form := normal_form(snippet)) in forms:
            dropped["repeats another"] += 1
        else:
            forms.add(form)
            alive.append(place)
    rng = random.Random(seed)
    before = len(alive)
    for _ in range(rounds):
        rng.shuffle(alive)
        parts = [alive[start : start + chunk] for start in range(0, len(alive), chunk)]
        alive = [place for part in parts for place in _clique(snippets, part, threshold, similarity)]
        if len(parts) == 1:
            break  # one chunk held them all: it is apart already
    kept: list[int] = []
    for place in sorted(alive):
        if not any(alike(snippets[place], snippets[other], threshold, similarity) for other in kept):
            kept.append(place)
    dropped["too similar to another"] += before - len(kept)
    most = max((similarity(snippets[a], snippets[b]) for i, a in enumerate(kept[:200]) for b in kept[:i]), default=0.0)
    return Curated(kept=tuple(kept), dropped={why: n for why, n in dropped.items() if n}, most_similar=most)


def _clique(snippets: Sequence[str], part: Sequence[int], threshold: float, similarity: Similarity) -> list[int]:
    """A maximum set of mutually dissimilar snippets of one chunk."""
    try:
        import networkx
    except ImportError as error:
        raise StropError("Curating snippets needs networkx: `pip install networkx`.") from error
    graph = networkx.Graph()
    graph.add_nodes_from(part)
    graph.add_edges_from(
        (a, b) for i, a in enumerate(part) for b in part[:i] if alike(snippets[a], snippets[b], threshold, similarity)
    )
    kept: list[int] = []
    for group in networkx.connected_components(graph):
        kept += _independent(graph.subgraph(group), networkx)
    return sorted(kept)


def _independent(group: networkx.Graph, networkx: Any) -> list[int]:
    """A largest set of nodes without an edge; of equal ones the smallest by place."""
    nodes = sorted(group.nodes)
    if len(nodes) <= EXACT:
        apart = networkx.complement(group)
        return min((sorted(clique) for clique in networkx.find_cliques(apart)), key=lambda found: (-len(found), found))
    left, kept = {node: set(group[node]) for node in nodes}, []
    while left:
        best = min(left, key=lambda node: (len(left[node]), node))
        kept.append(best)
        for gone in [best, *left[best]]:
            for other in left.pop(gone, ()):
                if other in left:
                    left[other].discard(gone)
    return kept
