"""CodeBoost's tasks from bare code: predict what a program prints, or restore a hidden line so that it prints that.

Wang et al. 2025 (arXiv 2508.05242). Each snippet is a function with the text of its arguments, as CRUXEval has them.
It may be changed first (heterogeneous augmentation: numbers, operators, arguments), then it is run, and what it prints
is the answer: nobody writes a label. Programs that now fail stay if they fail with an error of `ERRORS` (error-aware).
Probabilities and error kinds are those of the released code. Two departures: the answer to an error is its last line
only, because tracebacks hold paths; and operators really change, which a slip in the release prevented.
"""

from __future__ import annotations

import ast
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from strop.tasks.literals import parse
from strop.tasks.mutate import mutants
from strop.types import StdioCheck, StropError, Task, Verdict, content_hash

if TYPE_CHECKING:
    from strop.judge.files import Streams

ERRORS = ("IndexError", "ValueError", "NameError", "TypeError", "KeyError", "ZeroDivisionError")
"""Kinds of error that a task may ask for; other failures are dropped. Syntax errors never get here: they do not run."""
MAX_OUTPUT = 400
"""Characters of output that a task may ask for."""
MASK = "# <hidden line>"
_MARK = "strop-output:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A function `f`, and the text of the arguments it is called with."""

    id: str
    code: str
    arguments: str
    changes: tuple[str, ...] = ()
    """Augmentations applied."""

    @property
    def program(self) -> str:
        """The whole program: it prints the result's `repr`."""
        return f"{self.code.rstrip()}\n\n\nprint(repr(f({self.arguments})))\n"


def augment(snippet: Snippet, rng: random.Random, *, chance: float = 0.1) -> Snippet:
    """The snippet with each kind of change made with probability `chance`: digits of numbers in the code, one
    operator or condition, and the arguments. A snippet that no change fits stays as it is."""
    code, arguments, changes = snippet.code, snippet.arguments, list(snippet.changes)
    if rng.random() < chance and (other := _other_numbers(code, rng)) != code:
        code, changes = other, [*changes, "numbers"]
    if rng.random() < chance and not isinstance(parse(code), SyntaxError):
        found = mutants(code, limit=8, seed=rng.randrange(2**31))
        if found:
            code, changes = rng.choice(found), [*changes, "operator"]
    if rng.random() < chance and (other := _other_arguments(arguments, rng)) != arguments:
        arguments, changes = other, [*changes, "arguments"]
    return replace(snippet, code=code, arguments=arguments, changes=tuple(changes))


class _Numbers(ast.NodeTransformer):
    """Changes one digit of each number, but not of indices, which would mostly raise."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        node.value = self.visit(node.value)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool) or not isinstance(node.value, int) or node.value < 0:
            return node
        digits = list(str(node.value))
        place = self.rng.randrange(len(digits))
        digits[place] = self.rng.choice([d for d in "0123456789" if d != digits[place]])
        return ast.copy_location(ast.Constant(int("".join(digits))), node)


def _other_numbers(code: str, rng: random.Random) -> str:
    tree = parse(code)
    return code if isinstance(tree, SyntaxError) else ast.unparse(ast.fix_missing_locations(_Numbers(rng).visit(tree)))


def _other_arguments(text: str, rng: random.Random) -> str:
    """One change in the literal arguments: a number's digit, or a letter of a text dropped, doubled or exchanged."""
    tree = parse(f"f({text})")
    if isinstance(tree, SyntaxError):
        return text
    places = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and type(node.value) in (int, str) and node.value != ""
    ]
    if not places:
        return text
    node = rng.choice(places)
    if isinstance(node.value, int):
        node.value = node.value + rng.choice([-1, 1, 10])
    elif isinstance(node.value, str):
        at = rng.randrange(len(node.value))
        letter = rng.choice(["", 2 * node.value[at], rng.choice("aeiou xyz")])
        node.value = node.value[:at] + letter + node.value[at + 1 :]
    return ast.unparse(tree)[2:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A snippet and what it printed, or the line of the error that it ended with."""

    snippet: Snippet
    stdout: str
    stderr: str


def run_snippets(snippets: Sequence[Snippet], judge: Streams) -> tuple[list[Ran], dict[str, int]]:
    """Run each snippet twice and keep those with one and the same answer; the others are counted by reason.

    One judge hashes texts alike in all its runs, so an answer that depends on the order of a set of texts stays.
    """
    task = Task(id="snippet", prompt="", checks=(StdioCheck(stdin="", stdout="\0"),))
    seen: dict[int, list[Verdict]] = {}
    jobs = ((number, task, _instrumented(one)) for number, one in enumerate(snippets) for _ in range(2))
    for number, verdict in judge.stream(jobs):
        seen.setdefault(number, []).append(verdict)
    kept: list[Ran] = []
    dropped: Counter[str] = Counter()
    for number, snippet in enumerate(snippets):
        answers = {_answer(verdict) for verdict in seen[number]}
        answer = answers.pop() if len(answers) == 1 else "gives another answer each time"
        if isinstance(answer, str):
            dropped[answer] += 1
        else:
            kept.append(Ran(snippet=snippet, stdout=answer[0], stderr=answer[1]))
    return kept, dict(dropped)


def _instrumented(snippet: Snippet) -> str:
    """The program with its error, if any, printed behind a mark: a verdict does not say which error it was."""
    body = "\n".join("    " + line for line in f"print(repr(f({snippet.arguments})))".split("\n"))
    return (
        f"{snippet.code.rstrip()}\n\n\ntry:\n{body}\n    print({_MARK!r})\n"
        f"except Exception as _error:\n    print({_MARK!r} + type(_error).__name__ + ': ' + str(_error))\n"
    )


def _answer(verdict: Verdict) -> tuple[str, str] | str:
    """(stdout, stderr) or the reason to drop it."""
    if verdict.status != "failed":  # the marked output can never equal the check's
        return f"ends by {verdict.status}"
    stdout, mark, error = verdict.output.rpartition(_MARK)
    error = error.strip()
    if not mark or len(stdout) > MAX_OUTPUT or len(error) > MAX_OUTPUT:
        return "prints too much"
    if error and error.partition(":")[0] not in ERRORS:
        return "fails with another kind of error"
    if "\n" in error or re.search(r"0x[0-9a-f]{6,}", stdout + error):
        return "prints an address or a long message"
    return stdout, f"{error}\n" if error else ""


def forward_task(ran: Ran) -> Task:
    """Predict the output. `meta` holds `stdout` and `stderr`, which `rewards.predicted_output` scores answers by."""
    return Task(
        id=f"predict/{ran.snippet.id}/{content_hash(ran.snippet.program)[:8]}",
        prompt=(
            f"What does this Python program write?\n\n```python\n{ran.snippet.program.strip()}\n```\n\n"
            "Give its standard output between <stdout> and </stdout>. If it ends with an error, give the last line of "
            "the error message between <stderr> and </stderr>, otherwise leave that empty. Write both."
        ),
        checks=(),
        tags=("predict", "error" if ran.stderr else "output", *ran.snippet.changes),
        meta={"stdout": ran.stdout, "stderr": ran.stderr},
    )


def backward_task(ran: Ran, rng: random.Random) -> Task | None:
    """Restore one hidden line; judged by running, so any line that prints the same is right.

    The reference is the whole program; `fill` makes one from an answer. None for programs that end with an error, and
    for those without a line to hide besides the definition itself.
    """
    lines = ran.snippet.code.rstrip().split("\n")
    places = [place for place, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(("def ", "#"))]
    if ran.stderr or not places:
        return None
    place = rng.choice(places)
    indent = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
    hidden = "\n".join([*lines[:place], indent + MASK, *lines[place + 1 :]])
    masked = replace(ran.snippet, code=hidden).program
    return Task(
        id=f"restore/{ran.snippet.id}/{content_hash(masked)[:8]}",
        prompt=(
            f"One line of this Python program is hidden at `{MASK}`:\n\n```python\n{masked.strip()}\n```\n\n"
            f"It writes:\n{ran.stdout}\nGive the hidden line, and nothing else."
        ),
        checks=(StdioCheck(stdin="", stdout=ran.stdout, visible=True, name="output"),),
        stub=masked,
        reference=ran.snippet.program,
        tags=("restore", *ran.snippet.changes),
    )


def fill(task: Task, answer: str) -> str:
    """The program of a `backward_task` with the first line of an answer in the place of the hidden one.

    Code fences around the answer are ignored; its own indentation too. Empty when the answer holds no line.
    """
    lines = [line.strip() for line in answer.split("\n")]
    line = next((line for line in lines if line and not line.startswith("```")), "")
    return task.stub.replace(MASK, line, 1) if line else ""


def prediction_tasks(
    snippets: Iterable[Snippet], judge: Streams, *, forward: float = 0.75, chance: float = 0.1, seed: int = 0
) -> tuple[list[Task], dict[str, int]]:
    """One task a snippet: augmented, run, then asked forward with probability `forward`, else backward.

    A snippet that ends with an error, or has no line to hide, is asked forward. Returns what was dropped, by reason.
    """
    if not 0 <= forward <= 1:
        raise StropError(f"forward is a probability, not {forward}.")
    rng = random.Random(seed)
    kept, dropped = run_snippets([augment(snippet, rng, chance=chance) for snippet in snippets], judge)
    tasks: list[Task] = []
    for ran in kept:
        backward = None if rng.random() < forward else backward_task(ran, rng)
        tasks.append(backward or forward_task(ran))
    unique = {task.id: task for task in tasks}
    if len(unique) < len(tasks):
        dropped["repeats another"] = len(tasks) - len(unique)
    return list(unique.values()), dropped


def cruxeval_snippets(rows: Iterable[dict[str, Any]]) -> list[Snippet]:
    """Snippets from CRUXEval's rows (`id, code, input`). Raises StropError naming the row that lacks a field."""
    found = []
    for number, row in enumerate(rows, 1):
        if not all(isinstance(row.get(field), str) for field in ("id", "code", "input")):
            raise StropError(f"Row {number} of the snippets needs the texts id, code and input.")
        found.append(Snippet(id=row["id"], code=row["code"], arguments=row["input"]))
    return found
