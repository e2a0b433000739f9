"""Best of N: draw programs from one prompt, choose one of them.

`select`:
- `tests`: highest share of visible checks (Li et al. 2022's filtering; `Resample` in CodeTree's tables with `stop`).
- `logprob`: highest mean log-probability (Chen et al. 2021).
- `majority`: most frequent outputs on the inputs of visible checks (self-consistency; AlphaCode's clustering).
- `mbr`: minimum Bayes risk by execution (Shi et al. 2022, arXiv 2204.11454).
- `codet`: agreement with tests that the model writes (Chen et al. 2022, arXiv 2207.10397).
- `clusters`: the largest group of one algorithm (paper 85's clustering, used to choose).
- `scorer`: the highest score of `scorer=KIND/MODEL`, such as a reward model (`strop.evals.scorers` lists the kinds).
  Its tokens are not charged to the budget.

Departures: all but `tests` and `logprob` look only at programs with the highest share of visible checks, where there
are any (`filter=no` for the selector alone). CodeT's tests are asked for once, greedily, and only plain calls count.
Without visible checks `tests` cannot choose: it says so and takes `logprob`.

`n`: programs; 0 for what the budget allows, or 8 where programs are not limited (Strop's choice). `stop`: draw one by
one and end at the first that passes all visible checks; the same draws, fewer of them.
"""

from __future__ import annotations

from typing import Literal

from strop.search import selectors
from strop.search.nodes import Node, Steps
from strop.search.state import State

Select = Literal["tests", "logprob", "majority", "mbr", "codet", "clusters", "scorer"]


def search(
    state: State, *, select: Select = "tests", n: int = 0, stop: bool = False, filter: bool = True, scorer: str = ""
) -> Steps[Node | None]:
    judge = selectors.scorer_named(scorer) if select == "scorer" else None
    n = n or state.programs_to_plan(8)
    if select == "tests" and not state.has_checks:
        state.note("no visible checks: chose by log-probability")
        select = "logprob"
    tests = (yield from selectors.write_tests(state)) if select == "codet" else []
    nodes: list[Node] = []
    for _ in range(n if stop else 1):
        nodes += yield from state.write(n=1 if stop else n)
        yield from state.judge(nodes)
        if (stop and state.passes(nodes[-1])) or state.left() == 0:
            break
    if select == "tests":
        return selectors.by_tests(state, nodes)
    if select == "logprob":
        if all(node.logprob is None for node in nodes):
            state.note("the model tells no log-probabilities: took the first program")
        return selectors.by_logprob(nodes)
    if judge is not None:
        return selectors.by_scorer(state, selectors.leaders(state, nodes) if filter else nodes, judge)
    considered = selectors.leaders(state, nodes) if filter else [node for node in nodes if node.code.strip()]
    return (yield from choose(state, select, considered, tests)) if considered else None


def choose(state: State, select: Select, nodes: list[Node], tests: list) -> Steps[Node | None]:
    """One of `nodes` by a selector that votes."""
    if select == "clusters":
        groups = selectors.clusters(nodes)
        state.facts["algorithms"] = len(groups)
        state.facts["effective_algorithms"] = selectors.effective_algorithms(groups)
        return groups[0][0]
    if select == "codet":
        return (yield from by_codet(state, nodes, tests))
    inputs = yield from selectors.comparing_inputs(state)
    if not inputs:
        state.note("no inputs to compare programs on: chose by visible checks")
        return state.best(nodes)
    outputs = yield from state.outputs(nodes, inputs)
    vote = selectors.by_majority if select == "majority" else selectors.by_agreement_on_outputs
    return vote(nodes, outputs)


def by_codet(state: State, nodes: list[Node], tests: list) -> Steps[Node | None]:
    """The program with the highest dual agreement; by visible checks when no test could be read."""
    if not tests:
        state.note("no written tests: chose by visible checks")
        return state.best(nodes)
    import numpy as np

    from strop.evals.pass_matrix import agreement

    matrix = yield from state.matrix(nodes, tests)
    scores = np.nan_to_num(agreement(matrix), nan=-1.0)
    for node, score in zip(nodes, scores):
        node.value = float(score)
    return max(zip(nodes, scores), key=lambda pair: (pair[1], -pair[0].number))[0]
