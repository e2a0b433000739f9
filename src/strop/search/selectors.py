"""Choosing among programs that are there. Every selector is a part of a method: `chosen = yield from by_mbr(...)`.

Selectors that vote look only at the programs with the highest share of visible checks (`leaders`); ties go to the
earliest program, so that a choice depends on nothing but the programs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from strop.search.code import likeness, normal_form, operations
from strop.search.nodes import Node, Steps
from strop.search.parsing import written_tests
from strop.search.state import State
from strop.types import CallCheck, Check

if TYPE_CHECKING:
    from strop.models.scorers import Scorer

SAME_ALGORITHM = 0.8
"""Likeness of operation profiles from which two programs count as one algorithm. Strop's choice, not tuned."""
WRITTEN_TESTS = 8


def leaders(state: State, nodes: Sequence[Node]) -> list[Node]:
    """Programs with the highest share of visible checks; all that load where there are no checks."""
    alive = [node for node in nodes if node.code.strip()]
    top = max((node.fraction for node in alive), default=0.0)
    return [node for node in alive if node.fraction == top]


def by_tests(state: State, nodes: Sequence[Node]) -> Node | None:
    """Highest share of visible checks, then earliest."""
    return state.best(nodes)


def by_logprob(nodes: Sequence[Node]) -> Node | None:
    """Highest mean log-probability a token (length-normalised, as Chen et al. 2021 found best); programs first.

    Where the model tells no log-probabilities, the first program.
    """
    return max(
        nodes,
        key=lambda node: (bool(node.code.strip()), -1e9 if node.logprob is None else node.logprob, -node.number),
        default=None,
    )


@lru_cache(maxsize=4)
def scorer_named(text: str) -> Scorer:
    """The scorer of that name, loaded once for all searches. Raises StropError with the known forms."""
    from strop.evals.scorers import load_scorer

    return load_scorer(text)


def by_scorer(state: State, nodes: Sequence[Node], scorer: Scorer) -> Node | None:
    """Highest score, then earliest. The scorer is asked what the programs' author was asked."""
    alive = [node for node in nodes if node.code.strip()]
    if not alive:
        return None
    for node, value in zip(alive, scorer.scores(state.form.ask_task(state.task).prompt, [node.code for node in alive])):
        node.value = value
    return max(alive, key=lambda node: (node.value, -node.number))


def by_majority(nodes: Sequence[Node], outputs: Sequence[tuple[str, ...]]) -> Node:
    """The earliest of the programs whose outputs on all inputs are the most frequent.

    A program that fails on every input votes for nobody, unless all do.
    """
    works = [not all(text.startswith("!") for text in row) for row in outputs]
    votes = Counter(row for row, fine in zip(outputs, works) if fine or not any(works))
    return max(zip(nodes, outputs), key=lambda pair: (votes[pair[1]], -pair[0].number))[0]


def by_agreement_on_outputs(nodes: Sequence[Node], outputs: Sequence[tuple[str, ...]]) -> Node:
    """Minimum Bayes risk by execution (Shi et al. 2022): least mean share of inputs on which the others differ.

    The loss between two programs is the share of inputs with different outputs; a failure agrees with nothing.
    """
    rows = np.array(outputs, dtype=object).reshape(len(nodes), -1)
    fails = np.array([[text.startswith("!") for text in row] for row in outputs]).reshape(rows.shape)
    gain = [float(((rows == row) & ~fails & ~bad).sum()) for row, bad in zip(rows, fails)]
    return max(zip(nodes, gain), key=lambda pair: (pair[1], -pair[0].number))[0]


def clusters(nodes: Sequence[Node]) -> list[list[Node]]:
    """Programs grouped by algorithm (paper 85), largest group first, then earliest.

    Greedy, as there: a program joins the first group whose first member it is like, else opens one. Like means one
    normal form, or operation profiles of a likeness of `SAME_ALGORITHM`; the paper's judge is a language model, and
    its dossier warns that small ones call everything the same.
    """
    groups: list[tuple[str, Counter[str], list[Node]]] = []
    for node in nodes:
        form, profile = normal_form(node.code), operations(node.code)
        for known, other, members in groups:
            if form == known or likeness(profile, other) >= SAME_ALGORITHM:
                members.append(node)
                break
        else:
            groups.append((form, profile, [node]))
    return sorted((members for _, _, members in groups), key=lambda members: (-len(members), members[0].number))


def effective_algorithms(groups: Sequence[Sequence[Node]]) -> float:
    """EA of paper 85: exp of the entropy of the groups' sizes; 1 when all programs are one algorithm."""
    sizes = np.array([len(group) for group in groups], dtype=float)
    if not len(sizes):
        return 0.0
    shares = sizes / sizes.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def write_tests(state: State, most: int = WRITTEN_TESTS) -> Steps[list[CallCheck]]:
    """Tests by the model itself, as plain calls. Empty, with a note, when it writes none that can be read."""
    if state.task.entry_point is None:
        state.note("no tests were written: the task is a whole program, not a function")
        return []
    said = yield from state.ask("write_tests", count=str(most), function=state.task.entry_point)
    tests = written_tests(said.reply, state.task.entry_point, most)
    state.understood(said, tests is not None)
    if tests is None:
        state.note("the model wrote no test that could be read")
    return tests or []


def comparing_inputs(state: State) -> Steps[tuple[Check, ...]]:
    """Inputs on which programs are compared: those of visible checks, else of tests the model writes."""
    inputs = state.inputs()
    if inputs:
        return inputs
    state.note("no visible inputs: programs are compared on inputs that the model wrote")
    return tuple((yield from write_tests(state)))
