"""Analyst, coder and tester in turn, with or without runtime debugging: the flows of paper 27's factorial study.

`flow`: `basic` (coder), `ac` (analyst, coder), `act` (and a tester whose report the coder follows), and each with
`-debugger` behind it (`runtime_debug`: up to 3 rounds on the first failing visible test, as in the study).

Departures: prompts are Strop's own. The tester's verdict is the last PASS or FAIL on the last line that has one; the
study takes the first in the whole report, which the report's own words set off. Programs are drawn at the run's
temperature (there 0), words greedily. A flow runs once: what it does not need of its budget stays unspent.

Defaults from the study's code: up to 3 rewrites after a tester's FAIL, 3 rounds of debugging. The tester runs nothing.
"""

from __future__ import annotations

from typing import Literal

from strop.search import parsing
from strop.search.nodes import Node, Steps
from strop.search.runtime_debug import debug
from strop.search.state import State

Flow = Literal["basic", "ac", "act", "basic-debugger", "ac-debugger", "act-debugger"]


def search(
    state: State, *, flow: Flow = "ac-debugger", rewrites: int = 3, rounds: int = 3, temperature: float | None = None
) -> Steps[Node | None]:
    roles, _, debugger = flow.partition("-")
    plan = ""
    if roles != "basic":
        said = yield from state.ask("analyst")
        plan = parsing.clean(said.reply)[:2000]
        state.understood(said, bool(plan))
    text = state.prompt("coder", plan=plan) if plan else None
    (node,) = yield from state.write(text, role="coder", temperature=temperature)
    if roles == "act":
        node = yield from test_and_rewrite(state, node, plan, rewrites, temperature)
    yield from state.judge([node])
    if debugger:
        if not state.has_checks:
            state.note("no visible checks: the debugger has nothing to work on")
        node = yield from debug(state, node, rounds, temperature=temperature)
    return node


def test_and_rewrite(state: State, node: Node, plan: str, rewrites: int, temperature: float | None) -> Steps[Node]:
    """The tester reads the program and reports; the coder rewrites until it says PASS or `rewrites` are used up."""
    for visit in range(rewrites + 1):
        said = yield from state.ask("tester", about=node)
        passed = parsing.decision(said.reply, "PASS", "FAIL")
        state.understood(said, passed is not None)
        if passed or passed is None or visit == rewrites or state.left() == 0:
            break
        report = parsing.clean(said.reply)[:2000]
        text = state.prompt("coder_rewrites", node, plan=plan, report=report)
        (node,) = yield from state.write(text, parent=node, role="coder", temperature=temperature)
    return node
