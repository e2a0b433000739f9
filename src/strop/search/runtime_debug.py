"""Runtime debugging (LDB): show the model what each block of the program did on the failing test, let it find the bug.

Papers: LDB (Zhong et al. 2024, arXiv 2402.16906), as used by the factorial study of paper 27. A program that fails a
visible test is traced on the first failing one; the model says of each block whether it is correct, then rewrites the
whole program.

Departures:
- Blocks come from the syntax tree (`tracing.py`), not from staticfg; a program is traced in the judge's sandbox.
- Programs are drawn at the run's temperature (there 0); the opinions on blocks are greedy.
- The first failing test, as in the study; LDB takes a random one.
- A repair replaces the program only when it passes at least as many visible tests, so nothing visible is ever lost.
- When `rounds` repairs did not help and the budget is not spent, it starts afresh from the task's prompt.
- Where no trace can be had (endless C loops, tests without plain input) the repair gets the tests' feedback alone.

Defaults: 10 rounds (LDB), `level` block, values cut at 100 characters. `trace=no` is the baseline that gets feedback
without a trace.
"""

from __future__ import annotations

from strop.search import parsing
from strop.search.nodes import Node, Steps
from strop.search.state import State
from strop.search.tracing import Level, Trace, trace_text
from strop.search.tracing import trace as trace_program


def search(
    state: State, *, rounds: int = 10, level: Level = "block", trace: bool = True, temperature: float | None = None
) -> Steps[Node | None]:
    if not state.has_checks:
        state.note("no visible checks: nothing can be debugged, so the first program is the answer")
    while state.left() != 0:
        (node,) = yield from state.write(temperature=temperature)
        yield from state.judge([node])
        node = yield from debug(state, node, rounds, level=level, with_trace=trace, temperature=temperature)
        if state.passes(node) or not state.has_checks or state.left() is None:
            return node
    return state.best()


def debug(
    state: State,
    node: Node,
    rounds: int,
    *,
    level: Level = "block",
    with_trace: bool = True,
    temperature: float | None = None,
) -> Steps[Node]:
    """Repair a judged program in at most `rounds` rounds; the best it came to."""
    for _ in range(rounds):
        if state.passes(node) or not state.has_checks or state.left() == 0:
            break
        found = (yield from trace_program(state, node, level)) if with_trace else None
        state.facts["traced"] = state.facts.get("traced", 0) + (found is not None)
        if found is None:
            text = state.prompt("repair", node)
        else:
            text = yield from with_opinions(state, node, found)
        (fixed,) = yield from state.write(text, parent=node, role="debugger", temperature=temperature)
        yield from state.judge([fixed])
        if fixed.fraction >= node.fraction and fixed.code.strip():
            node = fixed
        else:
            fixed.fate = "aborted"
    return node


def with_opinions(state: State, node: Node, found: Trace) -> Steps[str]:
    """The prompt for a repair that follows what the model said of each block."""
    shown = trace_text(node.code, found)
    said = yield from state.ask("judge_blocks", about=node, trace=shown)
    opinions = parsing.block_opinions(said.reply, len(found.blocks))
    state.understood(said, opinions is not None)
    wrong = [f"BLOCK-{number}: {why}" for number, (fine, why) in sorted((opinions or {}).items()) if not fine]
    opinion = "\n".join(wrong) or parsing.clean(said.reply)[:1000] or "(none)"
    return state.prompt("repair_with_trace", node, trace=shown, opinion=opinion)
