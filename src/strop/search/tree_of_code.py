"""Tree-of-Code: a tree whose nodes are whole programs; those that crash grow children, those that run vote.

Paper: Tree-of-Code (Ni et al. 2024, arXiv 2412.15305); no code was released, the mechanism is known from its abstract
and a reading note.

Mechanism: `width` programs from the task, each with a thought; breadth first, every program that fails with an
exception (or a time-out) gets up to `width` children that see their ancestors' thoughts, programs and results; down to
`depth` levels. Every prompt is drawn at random from a pool of variants. Programs that run vote on their outputs.

Departures:
- One model; the paper also draws from a pool of ten.
- The pool is four variants written by hand (`prompts/tree_of_code.txt`), not one that was evolved.
- A vote needs outputs: those on the inputs of the visible checks. What the checks expect is never looked at, as in the
  paper, which has no truth to look at; `checks=yes` prefers programs that pass them.
- A program whose outputs are all None says nothing and votes only when no other does.
- The paper's last step, a summary in words, has no place here.

Defaults: width 3, depth 3 (the paper's "ToC(3-3)"). `pool=no` draws every program from the first variant, the paper's
ablation.
"""

from __future__ import annotations

from strop.search import parsing, selectors
from strop.search.nodes import Node, Steps
from strop.search.prompting import feedback, shown, variants
from strop.search.state import State

MOST_ANCESTORS = 2
"""Ancestors that a prompt repeats, the nearest; the whole chain would outgrow small contexts."""


def search(
    state: State,
    *,
    width: int = 3,
    depth: int = 3,
    pool: bool = True,
    checks: bool = False,
    temperature: float | None = None,
) -> Steps[Node | None]:
    level: list[Node | None] = [None]
    running: list[Node] = []
    for _ in range(depth):
        prompts = [(prompt(state, parent, pool), parent, "") for parent in level for _ in range(width)]
        left = state.left()
        prompts = prompts if left is None else prompts[:left]
        if not prompts:
            break
        made = yield from state.write_each(prompts, temperature=temperature, whole_reply=True, one_block=True)
        nodes = [node for each in made for node in each]
        for node in nodes:
            thought = parsing.tagged(node.text, "thought")
            state.understood("thought", thought is not None)
            node.label = thought or ""
        yield from state.judge(nodes)
        running += [node for node in nodes if runs(node)]
        level = [node for node in nodes if not runs(node)]
        if not level:
            break
    if not running:
        state.note("no program ran without an exception")
        return state.best() if checks else (state.nodes[-1] if state.nodes else None)
    return (yield from vote(state, selectors.leaders(state, running) if checks else running))


def runs(node: Node) -> bool:
    """Whether it ran on every visible input without an exception, whatever it gave."""
    if node.verdict is None or not node.code.strip():
        return False
    if not node.verdict.checks:
        return node.verdict.passed
    return all(result.status in ("passed", "failed") for result in node.verdict.checks)


def vote(state: State, nodes: list[Node]) -> Steps[Node | None]:
    """The earliest program with the most frequent outputs."""
    inputs = yield from selectors.comparing_inputs(state)
    if not inputs:
        state.note("no inputs to vote on: the first program that ran is the answer")
        return nodes[0]
    outputs = yield from state.outputs(nodes, inputs)
    silent = [("!silent",) * len(row) if all(text == "None" for text in row) else row for row in outputs]
    return selectors.by_majority(nodes, silent)


def prompt(state: State, parent: Node | None, pool: bool) -> str:
    """A variant of the prompt, drawn from the pool or always the first, with what the ancestors came to."""
    known = variants("tree_of_code")
    text = state.rng.choice(known) if pool else known[0]
    return text.substitute(problem=state.fields()["problem"], history=history(state, parent))


def history(state: State, node: Node | None) -> str:
    """The nearest ancestors, oldest first."""
    chain: list[Node] = []
    while node is not None and len(chain) < MOST_ANCESTORS:
        chain.insert(0, node)
        node = None if node.parent is None else state.nodes[node.parent]
    if not chain:
        return ""
    parts = [
        f"Thought: {one.label[:500] or '(none)'}\n{shown(one.code)}\nWhat happened: {crash(state, one)}"
        for one in chain
    ]
    return "Earlier attempts failed:\n\n" + "\n\n".join(parts) + "\n\nReflect on what went wrong, then write anew.\n"


def crash(state: State, node: Node) -> str:
    """Exceptions only: what checks expect stays out of it."""
    if not node.code.strip() or node.verdict is None:
        return feedback(state.task, node)
    bad = [result for result in node.verdict.checks if result.status not in ("passed", "failed")]
    return bad[0].message[:300] if bad else node.verdict.detail[:300]
