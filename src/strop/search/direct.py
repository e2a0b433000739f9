"""Direct: one program from the task's own prompt, greedy. The baseline of every comparison.

`temperature` is for a sampled baseline. The draw is the one that `strop eval` makes at the same settings.
"""

from __future__ import annotations

from strop.search.nodes import Node, Steps
from strop.search.state import State


def search(state: State, *, temperature: float = 0.0) -> Steps[Node | None]:
    nodes = yield from state.write(temperature=temperature)
    yield from state.judge(nodes)
    return nodes[0]
