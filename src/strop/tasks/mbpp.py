"""MBPP and every set in its format: `text` (or `prompt`), `test_list`, and where present `code`, `test_setup_code`.

Austin et al. 2021, arXiv:2108.07732, CC BY 4.0. The data is not part of Strop: name a file (`mbpp:FILE`), set
`STROP_MBPP` to one, or let the optional package `datasets` fetch `google-research-datasets/mbpp`.

- Splits by id, as in the paper: 1-10 prompt (few-shot examples), 11-510 test, 511-600 validation, 601-974 train.
- The prompt shows the text and the first test, which is also the task's one visible check (as in InCoder, evalplus
  and bigcode). The paper and lm-eval show all three; the `lm-eval` protocol does too.
- Each test of `test_list` is a check. `challenge_test_list` is kept in `meta` and not run, as everywhere; the name
  `mbpp-challenge` adds it as hidden checks.
- `setup` is `test_setup_code` (or the `test_imports` of the sanitized set).
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from strop.tasks.literals import parse
from strop.tasks.reading import Defect
from strop.types import ScriptCheck, Task

FIELDS = ("task_id", "text|prompt", "test_list")
SHOWN = "Your code should pass this test:"
"""Line of the prompt that separates the description from the test."""


def split_of(number: int) -> str:
    """Split of an MBPP id."""
    if number <= 10:
        return "prompt"
    return "test" if number <= 510 else "validation" if number <= 600 else "train"


def read_mbpp(row: dict[str, Any], file: str, line: int) -> Iterator[Task | Defect]:
    """The task of one row, or its defects."""
    tests = {key: row.get(key) or [] for key in ("test_list", "challenge_test_list", "test_imports")}
    defects = [
        Defect(file, line, key, "must be a list of texts")
        for key, value in tests.items()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value)
    ]
    for key in ("code", "test_setup_code"):
        if not isinstance(row.get(key), str | None):
            defects.append(Defect(file, line, key, "must be a text"))
    if not defects:
        for key in ("test_list", "challenge_test_list"):
            for place, text in enumerate(tests[key]):
                if isinstance(parsed := parse(text), SyntaxError):
                    defects.append(Defect(file, line, f"{key}[{place}]", f"not valid Python: {parsed}"))
        if not tests["test_list"]:
            defects.append(Defect(file, line, "test_list", "is empty: nothing decides whether a program is right"))
    if defects:
        yield from defects
        return
    text = (row["text"] if "text" in row else row["prompt"]).strip()
    number = row["task_id"]
    identifier = f"MBPP/{number}" if isinstance(number, int) else str(number)
    code = _lines(row["code"]) if row.get("code") else None
    setup = _lines(row.get("test_setup_code") or "\n".join(tests["test_imports"]))
    challenge = tests["challenge_test_list"]
    yield Task(
        id=identifier,
        prompt=f"{text}\n{SHOWN}\n\n{tests['test_list'][0].strip()}\n",
        checks=tuple(
            ScriptCheck(code=_lines(test), visible=place == 0, name=f"test_list[{place}]")
            for place, test in enumerate(tests["test_list"])
        ),
        entry_point=entry_point(tests["test_list"], code),
        setup=setup,
        reference=code,
        split=split_of(number) if isinstance(number, int) else "test",
        tags=("challenge",) if challenge else (),
        source="MBPP",
        licence="CC-BY-4.0",
        meta={"challenge_test_list": challenge} if challenge else {},
    )


def with_challenge(task: Task) -> Task:
    """The task with its challenge tests added as hidden checks."""
    extra = tuple(
        ScriptCheck(code=_lines(test), name=f"challenge_test_list[{place}]")
        for place, test in enumerate(task.meta.get("challenge_test_list", ()))
    )
    return replace(task, checks=task.checks + extra)


def entry_point(tests: list[str], code: str | None) -> str | None:
    """The function or class under test: the first name that the tests call and the reference defines.

    Without a reference: the first called name that is not a builtin.
    """
    defined: set[str] | None = None
    if code is not None and not isinstance(tree := parse(code), SyntaxError):
        defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    for test in tests:
        if isinstance(tree := parse(test), SyntaxError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                name = node.func.id
                if name in defined if defined is not None else not hasattr(builtins, name):
                    return name
    return None


def _lines(text: str) -> str:
    """Text with `\\n` line ends (the published file has `\\r\\n`) and one at the end, empty if it was."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip()
    return text + "\n" if text else ""
