"""Hierarchical generation: functions that a program calls and nothing defines are written in turn, recursively.

Paper: Code as Policies (Liang et al., ICRA 2023, arXiv 2209.07753), `lmp_fgen` and its HumanEval experiment.

Mechanism: parse the program; for every plain name that is called and not defined, ask for that function, with the
calling statement as a hint for its signature; go on with what that function calls; put all definitions before the
program.

Departures:
- A name is missing when nothing in the program, its imports or Python defines it. Self-recursion and names bound in
  other scopes are not missing; the original would write them again.
- A helper is written once for a name; `most` helpers a program in all and `depth` levels, so that a model that keeps
  calling new helpers comes to an end.
- Imports are allowed: the judge's sandbox is the guard, not a filter on text.
- Until the budget is spent, programs are drawn until one passes the visible checks (the paper: one greedy program, or
  100 samples for pass@100). Helpers cost calls and tokens but are no programs of their own.
- `decompose=yes` asks for a program that calls helpers; instruct models rarely leave any undefined by themselves.

Defaults: depth 4 (the paper's HumanEval code); `most` 8 is Strop's choice.
"""

from __future__ import annotations

from strop.search.code import Missing, functions, missing_functions
from strop.search.nodes import Node, Steps
from strop.search.prompting import short
from strop.search.state import State
from strop.tasks.extract import extract_program


def search(
    state: State, *, decompose: bool = False, depth: int = 4, most: int = 8, temperature: float | None = None
) -> Steps[Node | None]:
    text = state.prompt("decompose") if decompose else None
    if not state.has_checks:
        state.note("no visible checks: the first program that loads is the answer")
    facts = state.facts
    facts |= {"helpers_written": 0, "programs_with_missing_functions": 0}
    while True:
        (node,) = yield from state.write(text, temperature=temperature)
        facts["programs_with_missing_functions"] += bool(missing_functions(node.code))
        yield from define_missing(state, node, depth, most)
        yield from state.judge([node])
        loads = node.verdict is not None and node.verdict.passed
        if loads or state.left() == 0 or (state.left() is None and not state.has_checks):
            return state.best()


def define_missing(state: State, node: Node, depth: int, most: int) -> Steps[None]:
    """Put definitions of all missing functions before the program, level by level."""
    tried: set[str] = set()
    for _ in range(depth):
        missing = [one for one in missing_functions(node.code) if one.name not in tried][: most - len(tried)]
        if not missing:
            return
        tried |= {one.name for one in missing}
        questions = [(node, {"function": one.name, "hint": short(one.hint)}) for one in missing]
        answers = yield from state.ask_each("define_function", questions)
        for one, said in zip(missing, answers):
            source = definition(said.reply, one)
            state.understood(said, bool(source))
            if source:
                state.facts["helpers_written"] += 1
                node.code = source + "\n\n\n" + node.code


def definition(reply: str, missing: Missing) -> str:
    """The function in a reply, with what else the reply defines for it; empty when it is not there."""
    code = extract_program(reply, missing.name)
    return code.strip() if any(function.name == missing.name for function in functions(code)) else ""
