"""PG-TD: Monte-Carlo tree search over tokens, each leaf valued by completing the program and testing it.

Paper: Planning with Large Language Models for Code Generation (Zhang et al., ICLR 2023, arXiv 2303.05510). Needs a
local model.

Departures:
- A search ends when a program passes all visible checks: its reward cannot be beaten, so the answer is the same.
- `programs` counts completions that were really made; rollouts answered by the sequence cache are free, as there.
- Completion is greedy (the paper's beam of 1).
- Without visible checks every reward is equal and the search is a greedy draw; the state notes it.

Mechanism: a place is the tokens so far; its edges are the `width` most likely next tokens with their renormalised
probabilities. Selection by P-UCB: Q + beta P sqrt(ln N) / (1 + n), beta = ln((N + c_base + 1) / c_base) + c, where Q is
the best return through the edge (transitions are certain), N and n visits of place and edge. `rule=p-ucb` takes
beta = c, `rule=ucb` the usual Q + c sqrt(ln N / n); the released code has both as options. A new place is completed
greedily; the share of visible checks passed is the return of every edge on the way. The answer is the best program
ever completed, not a path.

Three caches (`cache=no` turns the first two off, for the proof that they change nothing but the cost): the tree cache
keeps the likely tokens at every place a completion has passed; the sequence cache knows the completion of every prefix
of a greedy completion; the reward cache is the search's own memory of verdicts.

Defaults from the released code: width 3, c 4, c_base 10. `rollouts` 500 is Strop's bound for searches whose budget
never ends because the caches answer everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from strop.search.nodes import Node, Steps, show_prompt
from strop.search.prompting import Asked
from strop.search.state import State
from strop.types import SamplingParams

if TYPE_CHECKING:
    from strop.models.flow import TokenCompletion


NEEDS_TOKENS = True
Rule = Literal["var-p-ucb", "p-ucb", "ucb"]


@dataclass(slots=True)
class Edge:
    """A token that may come next."""

    token: int
    prior: float
    visits: int = 0
    best: float = 0.0
    """The highest return seen through it."""
    place: Place | None = None


@dataclass(slots=True)
class Place:
    """The tokens so far."""

    tokens: tuple[int, ...]
    edges: list[Edge] = field(default_factory=list)
    """Empty at the end of a program."""
    visits: int = 1
    node: Node | None = None
    """The program that completing it gave."""

    def choose(self, rule: Rule, c: float, c_base: float) -> Edge:
        """The edge that the rule likes best; ties go to the more likely token."""
        spread = math.sqrt(math.log(self.visits))
        if rule == "ucb":
            return max(self.edges, key=lambda e: e.best + c * spread / math.sqrt(e.visits) if e.visits else math.inf)
        beta = c if rule == "p-ucb" else math.log((self.visits + c_base + 1) / c_base) + c
        return max(self.edges, key=lambda edge: edge.best + beta * edge.prior * spread / (1 + edge.visits))


@dataclass(slots=True)
class Known:
    """A trie over tokens: what completions that were made tell about every prefix on their way."""

    next: dict[int, Known] = field(default_factory=dict)
    top: tuple[tuple[int, float], ...] | None = None
    """The likely tokens here: the tree cache."""
    node: Node | None = None
    """What completing from here gives: the sequence cache."""
    end: bool = False
    """The program ends here."""

    def at(self, tokens: Sequence[int]) -> Known:
        """The trie below a prefix, made when it is not there."""
        here = self
        for token in tokens:
            here = here.next.setdefault(token, Known())
        return here

    def learn(self, tokens: Sequence[int], completion: TokenCompletion, node: Node | None) -> None:
        """Keep a completion that went on from `tokens`; greedy, so it is also that of every prefix on its way."""
        here = self.at(tokens)
        for token, top in zip(completion.tokens, completion.top):
            here.top, here.node = here.top or top, here.node or node
            here = here.next.setdefault(token, Known())
        here.node, here.end = here.node or node, here.end or node is not None


def search(
    state: State,
    *,
    width: int = 3,
    rule: Rule = "var-p-ucb",
    c: float = 4.0,
    c_base: float = 10.0,
    rollouts: int = 500,
    cache: bool = True,
) -> Steps[Node | None]:
    if not state.has_checks:
        state.note("no visible checks: every program is valued alike, so the first, greedy one is the answer")
        rollouts = 1
    asked = state.form.ask_task(state.task)
    stop = tuple(dict.fromkeys((*state.params.stop, *asked.stop)))
    params = replace(state.params, temperature=0.0, top_p=1.0, stop=stop, logprobs=max(1, width))
    look = Lookahead(state, asked, params, cache)
    root = Place(())
    yield from look.expand(root)
    for _ in range(rollouts):
        place, path = root, []
        while place.edges:
            edge = place.choose(rule, c, c_base)
            path.append((place, edge))
            new = edge.place is None
            edge.place = edge.place or Place((*place.tokens, edge.token))
            place = edge.place
            if new:
                break
        if place.node is None:
            yield from look.complete(place, path[-1][0].node if path else None)
            yield from look.expand(place)
        reward = place.node.fraction if place.node else 0.0
        for above, edge in path:
            above.visits += 1
            edge.visits += 1
            edge.best = max(edge.best, reward)
        state.facts["rollouts"] = state.facts.get("rollouts", 0) + 1
        if place.node is not None and state.passes(place.node):
            break
    return state.best()


class Lookahead:
    """Completions and likely tokens, from the caches where they know."""

    def __init__(self, state: State, asked: Asked, params: SamplingParams, cache: bool) -> None:
        self.state, self.asked, self.params, self.cache = state, asked, params, cache
        self.known = Known()
        self.ended: set[tuple[int, ...]] = set()
        state.facts |= {"completed_tokens": 0, "tree_cache_hits": 0, "sequence_cache_hits": 0}

    def complete(self, place: Place, parent: Node | None) -> Steps[None]:
        """The program that greedy decoding makes of a place, judged; fills `place.node`."""
        facts, known = self.state.facts, self.known.at(place.tokens)
        if self.cache and known.node is not None:
            facts["sequence_cache_hits"] += 1
            place.node = known.node
            if known.end:
                self.ended.add(place.tokens)
            return
        found = yield from self._ask(place.tokens, self.params, programs=True)
        place.node = self._node(found, parent, place)
        if not found.tokens:
            self.ended.add(place.tokens)
        self.known.learn(place.tokens, found, place.node)
        yield from self.state.judge([place.node])

    def expand(self, place: Place) -> Steps[None]:
        """The edges of a place: the most likely next tokens, with probabilities that add up to 1."""
        if place.tokens in self.ended:
            return
        known = self.known.at(place.tokens)
        if self.cache and known.top is not None:
            self.state.facts["tree_cache_hits"] += 1
            top = known.top
        elif self.cache and not place.tokens:
            yield from self.complete(place, None)  # the greedy program tells the root's tokens too
            top = known.top or ()
        else:
            short = replace(self.params, max_tokens=len(place.tokens) + 1)
            found = yield from self._ask(place.tokens, short, programs=False)
            top = found.top[0] if found.top else ()
        total = sum(math.exp(logprob) for _, logprob in top)
        place.edges = [Edge(token, math.exp(logprob) / total) for token, logprob in top]
        if not place.tokens:
            place.node = None  # the root itself is never valued

    def _ask(self, tokens: tuple[int, ...], params: SamplingParams, *, programs: bool) -> Steps[Any]:
        found = yield from self.state.complete(self.asked.prompt, tokens, params, programs=programs)
        self.state.facts["completed_tokens"] += len(found.tokens)
        return found

    def _node(self, found: TokenCompletion, parent: Node | None, place: Place) -> Node:
        """The completed program in the search's tree; equal programs share their verdict, not their node."""
        return self.state.add(
            self.asked.program(self.state.task, found.text),
            parent=parent,
            role="rollout",
            prompt=show_prompt(self.asked.prompt),
            text=found.text,
            finish_reason=found.finish_reason,
            depth=len(place.tokens) + 1,
            label=f"{len(place.tokens)} tokens given",
            spent=found.spent,
        )
