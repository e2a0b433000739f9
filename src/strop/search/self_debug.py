"""Self-debugging: write a program, show the model what the visible tests say, let it rewrite; until it passes.

Papers: Self-Debugging (Chen et al. 2023, arXiv 2304.05128) with test feedback; with `reflect`, Reflexion (Shinn et al.
2023, arXiv 2303.11366): the model first says in words what is wrong, and keeps its last `memory` reflections. Prompts
are Strop's own.

Departures: programs are drawn at the run's temperature (the papers: 0), because a greedy chain that repeats itself
never leaves the loop; `temperature=0` restores it. A chain of `length` repairs without success starts afresh from the
task's prompt while the budget lasts, and so does one that repeats a program; Reflexion goes on with one chain
(`length=1000`). Reflections are greedy.

Defaults: `length` 4 is Strop's choice; `memory` 3 is from memory of Reflexion's code.
Without visible checks only loading can fail, so a program that loads ends the chain; the state notes it.
"""

from __future__ import annotations

from strop.search.nodes import Node, Steps
from strop.search.state import State


def search(
    state: State, *, reflect: bool = False, length: int = 4, memory: int = 3, temperature: float | None = None
) -> Steps[Node | None]:
    if not state.has_checks:
        state.note("no visible checks: only programs that do not load are repaired")
    while state.left() != 0:
        (node,) = yield from state.write(temperature=temperature)
        yield from state.judge([node])
        seen, reflections = {node.code}, []
        for _ in range(length):
            if good(state, node):
                return node
            if state.left() == 0:
                break
            node = yield from repair(state, node, reflect, reflections[-memory:], temperature)
            if reflect:
                reflections.append(node.label)
            if node.code in seen:
                node.fate = "aborted"
                break
            seen.add(node.code)
        if good(state, node):
            return node
        if state.left() is None:
            break  # without a limit on programs one chain is all
    return state.best()


def good(state: State, node: Node) -> bool:
    """Passes the visible checks; where there are none, loads."""
    return node.verdict is not None and node.verdict.passed and bool(node.code.strip())


def repair(state: State, node: Node, reflect: bool, earlier: list[str], temperature: float | None) -> Steps[Node]:
    """The next program of the chain, judged."""
    if reflect:
        said = yield from state.ask("reflect", about=node)
        state.understood(said, bool(said.reply.strip()))
        advice = "\n".join([*earlier, said.reply.strip()])
        text, label = state.prompt("repair_with_reflection", node, reflection=advice[:2000]), said.reply.strip()
    else:
        text, label = state.prompt("repair", node), ""
    (fixed,) = yield from state.write(text, parent=node, role="debugger", label=label, temperature=temperature)
    yield from state.judge([fixed])
    return fixed
