"""CodeTree (Li et al. 2024, arXiv 2411.04329): strategies, programs and repairs in one tree; tests and critic decide.

Departures from the paper and its released code:
- Programs are drawn at the run's temperature (there 0), so that seeds mean something; `temperature=0` restores it.
  Thinker and critic are greedy as there.
- The fallback answer is the best node by (value, then earliest). The released code returns the last program that
  *failed* visible tests, so one that passed and was rejected by the critic is lost.
- An empty list of visible tests does not count as passing: without tests the critic's verdict alone decides.
- Prompts are Strop's own.

Mechanism (`policy=dfs`): a thinker lists strategies, a solver writes a program for each, tests and critic value it
(share of tests passed + critic's score / 15), a thinker lists repairs, a debugger carries each out one level deeper.
Programs that pass all visible tests go to a critic who accepts or rejects them; an accepted one ends the search.
Not expanded: nodes at `depth`, nodes of a value below their parent's, and nodes of equal value that are deeper than
their score. `policy=bfs`: the plain variant, level by level in order of the share of tests passed, without critic.

Defaults: depth 3; width 10 for dfs and 3 for bfs (0 means these): the paper's.
"""

from __future__ import annotations

from typing import Literal

from strop.search import parsing
from strop.search.nodes import Node, Steps
from strop.search.state import State

BEST_SCORE = 5
WEIGHT = 1 / 15
"""Weight of the critic's score of 0 to 5 beside the share of tests passed."""


def search(
    state: State,
    *,
    policy: Literal["dfs", "bfs"] = "dfs",
    depth: int = 3,
    width: int = 0,
    temperature: float | None = None,
) -> Steps[Node | None]:
    if not state.has_checks:
        state.note("no visible checks: the critic alone decides")
    if policy == "bfs":
        return (yield from breadth_first(state, depth, width or 3, temperature))
    return (yield from depth_first(state, depth, width or 10, temperature))


def depth_first(state: State, depth: int, width: int, temperature: float | None) -> Steps[Node | None]:
    strategies = yield from think(state, None, width)
    stack: list[tuple[str, Node | None, str]] = [(idea, None, "") for idea in reversed(strategies)]
    while stack and state.left() != 0:
        idea, parent, remarks = stack.pop()
        node = (yield from carry_out(state, [(idea, parent, remarks)], temperature))[0]
        yield from state.judge([node])
        accepted, score, remark = yield from criticise(state, node, depth)
        node.value = node.fraction + score * WEIGHT
        twice = parent is not None and state.passes(parent) and state.passes(node) and node.depth == depth
        if accepted or twice:
            return node
        before = 0.0 if parent is None or parent.value is None else parent.value
        if node.depth >= depth or node.value < before or (node.value == before and node.depth > score):
            node.fate = "aborted"
            continue
        if state.left() == 0:
            break
        ideas = yield from think(state, node, width, remark)
        stack += [(idea, node, remark) for idea in reversed(ideas)]
    return max(state.nodes, key=lambda node: (node.value or 0.0, -node.number), default=None)


def breadth_first(state: State, depth: int, width: int, temperature: float | None) -> Steps[Node | None]:
    strategies = yield from think(state, None, width)
    level: list[tuple[str, Node | None, str]] = [(idea, None, "") for idea in strategies]
    for _ in range(depth):
        left = state.left()
        made = yield from carry_out(state, level if left is None else level[:left], temperature)
        yield from state.judge(made)
        passing = [node for node in made if state.passes(node)]
        if passing or state.left() == 0:
            return passing[0] if passing else state.best()
        level = []
        for node in sorted(made, key=lambda node: (-node.fraction, node.number)):
            if node.depth < depth:
                level += [(idea, node, "") for idea in (yield from think(state, node, width))]
        if not level:
            break
    return state.best()


def think(state: State, node: Node | None, width: int, remark: str = "") -> Steps[list[str]]:
    """Strategies for the task, or repairs of a node: at most `width`, one when the reply is no list."""
    if node is None:
        said = yield from state.ask("strategies", count=str(min(width, 5)))
    else:
        said = yield from state.ask("reflections", about=node, count=str(min(width, 5)), remark=remark)
    ideas = parsing.items(said.reply, width)
    state.understood(said, ideas is not None)
    return ideas or [parsing.clean(said.reply)[:1000] or "Solve it step by step."]


def carry_out(
    state: State, branches: list[tuple[str, Node | None, str]], temperature: float | None
) -> Steps[list[Node]]:
    """A program for each (idea, parent, critic's remark); as many as the budget allows, in one batch."""
    prompts = []
    for idea, parent, remark in branches:
        if parent is None:
            text = state.prompt("solve_with_strategy", strategy=idea)
        else:
            text = state.prompt("repair_with_reflection", parent, reflection=f"{remark}\n{idea}".strip()[:2000])
        prompts.append((text, parent, idea))
    role = "solver" if all(parent is None for _, parent, _ in branches) else "debugger"
    made = yield from state.write_each(prompts, role=role, temperature=temperature)
    return [node for nodes in made for node in nodes]


def criticise(state: State, node: Node, depth: int) -> Steps[tuple[bool, int, str]]:
    """(accepted, score 0 to 5, remark). Unreadable replies: not accepted, score 0."""
    loads = node.verdict is not None and node.verdict.passed
    if state.passes(node) or (not state.has_checks and loads):
        said = yield from state.ask("verify", about=node)
        accepted = parsing.decision(said.reply, "True", "False")
        state.understood(said, accepted is not None)
        return bool(accepted), BEST_SCORE, parsing.clean(said.reply)[:600]
    if node.depth >= depth:
        return False, 0, ""
    said = yield from state.ask("score", about=node)
    score = parsing.score(said.reply, 0, BEST_SCORE)
    state.understood(said, score is not None)
    return False, score or 0, ""
