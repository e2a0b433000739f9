"""TinyCoder's problems: chains of list operations, as real tasks with checks, references and demonstrations."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import NamedTuple

from strop.types import CallCheck, Task, content_hash


class Step(NamedTuple):
    """One operation. `{v}` is the variable that it works on."""

    phrase: str
    cheap: str
    dear: str
    wrong: str
    """What somebody writes who mixes two operations up."""
    unguarded: str = ""
    """What fails on an empty list, where that can be."""


CHAIN = (
    Step("double each", "[2 * y for y in {v}]", "[[2 * y for y in {v}][i] for i in range(len({v}))]",
         "[y * y for y in {v}]"),
    Step("add one", "[y + 1 for y in {v}]", "[[y + 1 for y in {v}][i] for i in range(len({v}))]",
         "[2 * y for y in {v}]"),
    Step("square each", "[y * y for y in {v}]", "[[y * y for y in {v}][i] for i in range(len({v}))]",
         "[2 * y for y in {v}]"),
    Step("keep even", "[y for y in {v} if y % 2 == 0]", "[y for y in {v} if y in [y for y in {v} if y % 2 == 0]]",
         "[y for y in {v} if y % 2 != 0]"),
    Step("keep positive", "[y for y in {v} if y > 0]", "[y for y in {v} if y in [y for y in {v} if y > 0]]",
         "[y for y in {v} if y < 0]"),
    Step("sort up", "sorted({v})", "[sorted({v})[i] for i in range(len({v}))]", "sorted({v}, reverse=True)"),
    Step("sort down", "sorted({v}, reverse=True)", "[sorted({v}, reverse=True)[i] for i in range(len({v}))]",
         "sorted({v})"),
    Step("turn round", "{v}[::-1]", "[{v}[::-1][i] for i in range(len({v}))]", "sorted({v}, reverse=True)"),
    Step("drop repeats", "list(dict.fromkeys({v}))",
         "[list(dict.fromkeys({v}))[i] for i in range(len(dict.fromkeys({v})))]", "sorted(set({v}))"),
    Step("drop first", "{v}[1:]", "[{v}[1:][i] for i in range(len({v}[1:]))]", "{v}[:-1]"),
    Step("first three", "{v}[:3]", "[{v}[i:][0] for i in range(len({v}[:3]))]", "{v}[1:]"),
)  # fmt: skip
"""Operations from list to list."""

ENDS = (
    Step("as list", "{v}", "{v}[::-1][::-1]", "{v}[::-1]"),
    Step("total", "sum({v})", "sum([{v}[i:][0] for i in range(len({v}))])", "len({v})"),
    Step("count", "len({v})", "sum([1 for y in {v}])", "sum({v})"),
    Step("largest", "max({v}, default=0)", "sorted({v})[-1] if {v} else 0", "min({v}, default=0)", "max({v})"),
    Step("smallest", "min({v}, default=0)", "sorted({v})[0] if {v} else 0", "max({v}, default=0)", "min({v})"),
    Step("first", "{v}[0] if {v} else 0", "{v}[::-1][-1] if {v} else 0", "{v}[-1] if {v} else 0", "{v}[0]"),
    Step("last", "{v}[-1] if {v} else 0", "{v}[::-1][0] if {v} else 0", "{v}[0] if {v} else 0", "{v}[-1]"),
)
"""What is returned; of an empty list, 0."""

SIZES = {"train": 120, "test": 120}
"""Tasks to practise on and to measure on. The others are the corpus that the model is pretrained on."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A chain of one or two operations and an end."""

    chain: tuple[Step, ...]
    end: Step

    @property
    def id(self) -> str:
        return "tinycoder/" + "-".join(step.phrase.replace(" ", "_") for step in (*self.chain, self.end))

    @property
    def stub(self) -> str:
        phrases = ", then ".join(step.phrase for step in (*self.chain, self.end))
        return f'def f(xs):\n    """{phrases}."""\n'

    def program(self, forms: tuple[str, ...]) -> str:
        """The body with one expression a step, `forms[i]` a template of step i. Ends with a line break."""
        *chain, end = forms
        lines, variable = [], "xs"
        for form in chain:
            lines.append(f"    ys = {form.format(v=variable)}\n")
            variable = "ys"
        return "".join(lines) + f"    return {end.format(v=variable)}\n"

    @property
    def reference(self) -> str:
        return self.stub + self.program(tuple(step.cheap for step in (*self.chain, self.end)))


def problems() -> dict[str, list[Problem]]:
    """Every problem by split: `train`, `test`, and the rest as `corpus`. Always the same."""
    chains = [(step,) for step in CHAIN] + list(itertools.permutations(CHAIN, 2))
    every = [Problem(chain, end) for chain in chains for end in ENDS]
    every.sort(key=lambda problem: content_hash(problem.id))
    train, test = SIZES["train"], SIZES["test"]
    return {"train": every[:train], "test": every[train : train + test], "corpus": every[train + test :]}


def tasks(*splits: str) -> list[Task]:
    """The tasks of the splits (default: `train` and `test`, 120 each): four inputs a task, two visible, one empty."""
    found = problems()
    return [_task(problem, split) for split in splits or SIZES for problem in found[split]]


def _task(problem: Problem, split: str) -> Task:
    rng = random.Random(content_hash(problem.id))
    inputs = [[rng.randint(-4, 9) for _ in range(rng.randint(5, 7))] for _ in range(3)]
    inputs.insert(2, [])
    space: dict = {}
    exec(compile(problem.reference, problem.id, "exec"), space)  # our own text, from the templates above
    checks = tuple(
        CallCheck(function="f", args=(xs,), expected=space["f"](list(xs)), visible=place < 2, name=f"input {place}")
        for place, xs in enumerate(inputs)
    )
    return Task(
        id=problem.id,
        prompt=problem.stub,
        stub=problem.stub,
        checks=checks,
        entry_point="f",
        reference=problem.reference,
        split=split,
        tags=(problem.end.phrase,),
        source="tinycoder",
        licence="Apache-2.0",
    )


BUGS = ("syntax", "unguarded", "wrong", "forgotten")


def demonstrations(count: int, *, bug_rate: float, dear_rate: float = 0.5, seed: int = 0) -> list[tuple[str, str]]:
    """(stub, body) of `count` programs for problems of the corpus, some of them with a bug, as in any corpus.

    `bug_rate`: share with one bug: a bracket left out, a guard left out, one operation taken for another, or one
    forgotten, in equal parts where they apply. `dear_rate`: chance of each step to be written the dear way.
    """
    rng = random.Random(seed)
    corpus = problems()["corpus"]
    found = []
    for number in range(count):
        problem = corpus[number % len(corpus)] if number < len(corpus) else rng.choice(corpus)
        found.append((problem.stub, _demonstration(problem, rng, bug_rate, dear_rate)))
    return found


def _demonstration(problem: Problem, rng: random.Random, bug_rate: float, dear_rate: float) -> str:
    steps = [*problem.chain, problem.end]
    forms = [step.dear if rng.random() < dear_rate else step.cheap for step in steps]
    if rng.random() >= bug_rate:
        return problem.program(tuple(forms))
    bug = rng.choice(BUGS if problem.end.unguarded else [bug for bug in BUGS if bug != "unguarded"])
    place = rng.randrange(len(steps))
    if bug == "unguarded":
        forms[-1] = problem.end.unguarded
    elif bug == "wrong":
        forms[place] = steps[place].wrong
    elif bug == "forgotten":
        forms[place] = "{v}"
    body = problem.program(tuple(forms))
    if bug == "syntax":
        closing = [place for place, letter in enumerate(body) if letter in ")]"]
        cut = rng.choice(closing) if closing else len(body) - 1
        body = body[:cut] + body[cut + 1 :]
    return body
