"""Tests that models write: asking for them, reading them, and measuring how good they are.

A model's test must never run as code beside the judge's secrets, so only one form is taken: a call of the entry point
with literal arguments, compared with a literal value. Everything else is dropped and counted. Such a test is data.

Measured on tasks with a reference solution: `validity` (does the reference pass?), `coverage` (which of its statements
matter to a test: each is replaced in turn by one that raises) and `mutation_score` (which of its mutants fail a test).
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strop.evals.pass_matrix import pass_matrices
from strop.tasks.extract import drop_reasoning, fenced_blocks, normalise
from strop.tasks.literals import parse, parse_check, write_literal
from strop.tasks.mutate import mutants
from strop.tasks.protocols import description
from strop.types import (
    CallCheck,
    Message,
    Prompt,
    Request,
    SamplingParams,
    Spent,
    StropError,
    Task,
    content_hash,
    request_seed,
)

if TYPE_CHECKING:
    from strop.judge.files import Streams
    from strop.models import Model

MAX_LINES = 40
"""Lines that one assertion may span."""
MAX_ASSERTIONS = 200
"""Assertions read from one reply."""
STOPS = ("\ndef ", "\nclass ", "\nif __name__")


def prompt_for_tests(task: Task, *, count: int = 8, chat: bool = True) -> Prompt:
    """Ask for `count` assertions about the task's entry point; for base models, a file to go on with.

    Shows only what `task.public()` holds. Raises StropError for tasks without an entry point.
    """
    if not task.entry_point:
        raise StropError(f"{task.id}: a task without an entry point has no function to write assertions about.")
    if not chat:
        stub = task.stub or f'"""\n{description(task).strip()}\n"""\n'
        body = "    pass\n" if task.stub else ""
        ask = f"# Check that `{task.entry_point}` is right, on {count} different inputs."
        return f"{stub.rstrip()}\n{body}\n{ask}\nassert "
    text = (
        f"{task.prompt.strip()}\n\n"
        f"Do not solve this. Write {count} tests for `{task.entry_point}`, each on one line, of the form\n\n"
        f"assert {task.entry_point}(...) == ...\n\n"
        "with literal values only. Cover usual cases and edge cases, and work out every expected value with care. "
        "Reply with one Python code block."
    )
    return (Message("user", text),)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenTests:
    """The tests of one task after reading; what was dropped, by reason."""

    task_id: str
    tests: tuple[CallCheck, ...]
    dropped: Mapping[str, int]


def read_tests(texts: Iterable[str], task: Task, *, chat: bool = True) -> WrittenTests:
    """Tests from replies to `prompt_for_tests`, all of one task together: duplicates and contradictions go.

    Of tests that give one input different values, the value with most votes stays when it has more than half of them;
    otherwise all of them go. Never raises on what a model wrote.
    """
    dropped: Counter[str] = Counter()
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    checks: dict[tuple[str, str], CallCheck] = {}
    for text in texts:
        for line in _assertions(text if chat else "assert " + text):
            check = _as_call(line, task.entry_point)
            if isinstance(check, str):
                dropped[check] += 1
                continue
            given = write_literal(list(check.args)) + write_literal(dict(check.kwargs))
            expected = f"{type(check.expected).__name__} {write_literal(check.expected)} {check.tolerance}"
            votes[given][expected] += 1
            checks.setdefault((given, expected), check)
    kept: list[CallCheck] = []
    for given, values in votes.items():
        (expected, most), total = values.most_common(1)[0], values.total()
        if 2 * most > total:
            kept.append(checks[given, expected])
            dropped["duplicates"] += most - 1
            dropped["contradicted by more votes"] += total - most
        else:
            dropped["contradictions"] += total
    tests = tuple(
        CallCheck(
            function=check.function, args=check.args, kwargs=check.kwargs, expected=check.expected,
            tolerance=check.tolerance, visible=True, name=f"written[{number}]",
        )
        for number, check in enumerate(kept)
    )  # fmt: skip
    return WrittenTests(task_id=task.id, tests=tests, dropped={reason: n for reason, n in dropped.items() if n})


def _assertions(text: str) -> list[str]:
    """The assertions of a reply, each as one statement; from its Python blocks, or from all of it without one."""
    text = drop_reasoning(normalise(text))
    blocks = [block.text for block in fenced_blocks(text)]
    lines = "\n".join(blocks or [text]).split("\n")
    found: list[str] = []
    place = 0
    while place < len(lines) and len(found) < MAX_ASSERTIONS:
        statement = lines[place].lstrip(" >-*\t")
        place += 1
        if not statement.startswith("assert"):
            continue
        ahead = place
        while _open_brackets(statement) and ahead < min(len(lines), place + MAX_LINES):
            statement += "\n" + lines[ahead]
            ahead += 1
        found.append(statement)
        if not _open_brackets(statement):
            place = ahead
    return found


def _open_brackets(text: str) -> bool:
    """Whether a statement surely goes on in the next line. Brackets inside texts count too: they are rare here."""
    return sum(map(text.count, "([{")) > sum(map(text.count, ")]}"))


def _as_call(line: str, entry_point: str | None) -> CallCheck | str:
    """The check of an assertion, or the reason why it is none."""
    tree = parse(line)
    node = tree.body[0] if isinstance(tree, ast.Module) and len(tree.body) == 1 else None
    if not isinstance(node, ast.Assert):
        return "not one Python assertion"
    try:
        check = parse_check(ast.unparse(node.test))
    except (ValueError, RecursionError):
        return "not a call with literal arguments and value"
    if not isinstance(check, CallCheck):
        return "not a call with literal arguments and value"
    if check.function != entry_point:
        return "does not call the entry point"
    try:
        for value in (list(check.args), dict(check.kwargs), check.expected):
            write_literal(value)  # raises for what has no text
    except (ValueError, RecursionError):
        return "not a call with literal arguments and value"
    return check


def write_tests(
    model: Model, tasks: Sequence[Task], *, samples: int = 1, count: int = 8, params: SamplingParams, seed: int = 0
) -> tuple[list[WrittenTests], Spent]:
    """Let a model write tests for each task, `samples` replies of `count` assertions asked for, and what it cost."""
    prompts = [prompt_for_tests(task.public(), count=count, chat=model.chat) for task in tasks]
    requests = [
        Request(prompt=prompt, seed=request_seed(seed, content_hash(prompt), index))
        for prompt in prompts
        for index in range(samples)
    ]
    at = params if model.chat else SamplingParams(**{**_fields(params), "stop": (*params.stop, *STOPS)})
    texts: dict[int, list[str]] = {number: [""] * samples for number in range(len(tasks))}
    spent = Spent()
    for place, completion in model.sample(requests, at):
        texts[place // samples][place % samples] = completion.text
        spent += completion.spent
    return [read_tests(texts[n], task, chat=model.chat) for n, task in enumerate(tasks)], spent


def _fields(params: SamplingParams) -> dict:
    return {name: getattr(params, name) for name in params.__dataclass_fields__}


# ---- files ---------------------------------------------------------------------------------------


def dump_tests(written: Sequence[WrittenTests], path: Path) -> int:
    """Write tests as JSON Lines, `{"task_id": ..., "tests": ["assert f(1) == 2", ...]}`; returns how many."""
    from strop.data.export import write_rows
    from strop.tasks.assertions import assertion_text

    rows = [
        {"task_id": item.task_id, "tests": [text.strip() for test in item.tests if (text := assertion_text(test))]}
        for item in written
    ]
    write_rows(rows, path)
    return sum(len(row["tests"]) for row in rows)


def load_tests(path: Path, tasks: Sequence[Task]) -> dict[str, WrittenTests]:
    """The tests of a file for these tasks, by task id, read as `read_tests` does. Tasks that are not given are left
    out. Raises StropError naming file, line and field for rows of another shape."""
    from strop.tasks.reading import Defect, raise_defects, read_rows

    known = {task.id: task for task in tasks}
    lines: dict[str, list[str]] = defaultdict(list)
    defects: list[Defect] = []
    for row in read_rows(path):
        if isinstance(row, Defect):
            defects.append(row)
            continue
        task_id, tests = row.data.get("task_id"), row.data.get("tests")
        if not isinstance(task_id, str):
            defects.append(Defect(str(path), row.line, "task_id", "missing, or not a text"))
        elif not isinstance(tests, list) or not all(isinstance(item, str) for item in tests):
            defects.append(Defect(str(path), row.line, "tests", "must be a list of assert statements"))
        elif task_id in known:
            lines[task_id] += tests
    raise_defects(defects)
    return {task_id: read_tests(texts, known[task_id]) for task_id, texts in lines.items()}


# ---- quality -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteQuality:
    """How good the tests of one task are. None where there was nothing to measure on."""

    task_id: str
    tests: int
    valid: int
    """Tests that the reference passes."""
    coverage: float | None
    """Share of the reference's statements inside functions that a valid test notices when they raise."""
    mutation_score: float | None
    """Share of its mutants that fail a valid test. Mutants that do the same as the reference count as missed."""


def suite_quality(
    suites: Sequence[tuple[Task, Sequence[CallCheck]]], judge: Streams, *, mutant_limit: int = 30, seed: int = 0
) -> list[SuiteQuality]:
    """Measure each task's tests on its reference. Raises StropError for a task without a reference that parses."""
    items = []
    for task, tests in suites:
        if task.reference is None or isinstance(parse(task.reference), SyntaxError):
            raise StropError(f"{task.id}: measuring tests needs a reference solution.")
        raising = _with_raising_statements(task.reference)
        items.append((task, tests, raising, mutants(task.reference, limit=mutant_limit, seed=seed)))
    matrices = pass_matrices(
        [(task, [task.reference or "", *raising, *mutated], tests) for task, tests, raising, mutated in items], judge
    )
    found = []
    for (task, tests, raising, mutated), matrix in zip(items, matrices):
        values = matrix.values
        valid = values[0] == 1
        noticed = (values[1:, valid] == 0).any(axis=1)
        found.append(
            SuiteQuality(
                task_id=task.id,
                tests=len(tests),
                valid=int(valid.sum()),
                coverage=float(noticed[: len(raising)].mean()) if raising else None,
                mutation_score=float(noticed[len(raising) :].mean()) if mutated else None,
            )
        )
    return found


def _with_raising_statements(source: str) -> list[str]:
    """Copies of a program, in each of which one statement inside a function raises instead."""
    tree = parse(source)
    assert isinstance(tree, ast.Module)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    blocks = {
        id(block): block
        for function in functions
        for node in ast.walk(function)
        for field in ("body", "orelse", "finalbody")
        if isinstance(block := getattr(node, field, None), list)
    }
    found = []
    for block in blocks.values():
        for place, old in enumerate(block):
            documents = isinstance(old, ast.Expr) and isinstance(old.value, ast.Constant)
            if documents or isinstance(old, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            block[place] = ast.Raise(ast.Call(ast.Name("SystemError", ast.Load()), [], []), None)
            found.append(ast.unparse(ast.fix_missing_locations(tree)) + "\n")
            block[place] = old
    return found
