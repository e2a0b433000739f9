"""The tasks of `tasks.json` and `queries.json`, with a right and a wrong solution of each in every language.

A file of solutions has a section for each task: `== task | old -> new`, then the right solution. The wrong one is the
right one with the first `old` replaced by `new`.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from strop.judge import languages
from strop.types import CallCheck, Check, StdioCheck, StropError, Task

HERE = Path(__file__).parent
SQL = ("sqlite", "duckdb")


@dataclass(frozen=True)
class Case:
    """A task with a solution that is right and one that is wrong."""

    task: Task
    right: str
    wrong: str


def missing(language: str) -> str:
    """Why the language cannot be judged on this machine; empty if it can."""
    try:
        languages.toolchain(language)
    except StropError as error:
        return str(error)
    return ""


@functools.cache
def cases(language: str) -> tuple[Case, ...]:
    """Every task that has solutions in `language`."""
    if language in SQL:
        return tuple(_queries(language))
    table = json.loads((HERE / "tasks.json").read_text())
    known = table["call"] | table["stdio"] | table.get(language, {})
    found = []
    for section in (HERE / "solutions" / f"{language}.txt").read_text().removeprefix("== ").split("\n== "):
        head, _, right = section.partition("\n")
        name, _, change = head.partition(" | ")
        found.append(_case(language, name, known[name], right.rstrip("\n") + "\n", change))
    return tuple(found)


def _case(language: str, name: str, rows: list, right: str, change: str) -> Case:
    checks: tuple[Check, ...]
    function = name.replace("_", "") if language == "klong" else name  # its names are letters and digits
    if isinstance(rows[0][0], str):
        checks = tuple(StdioCheck(stdin=stdin, stdout=stdout) for stdin, stdout in rows)
    else:
        tolerance = 1e-9 if name == "mean" else None
        checks = tuple(
            CallCheck(function=function, args=tuple(args), expected=expected, tolerance=tolerance)
            for args, expected in rows
        )
    task = Task(id=f"{language}/{name}", prompt="", language=language, checks=checks)
    return Case(task, right, _changed(right, change))


def _queries(language: str):
    table = json.loads((HERE / "queries.json").read_text())
    for name, rule, query, change, expected, *then in table["tasks"]:
        check = CallCheck(function=rule, args=(table["setup"], *then), expected=expected)
        task = Task(id=f"{language}/{name}", prompt="", language=language, checks=(check,))
        yield Case(task, query, _changed(query, change))


def _changed(text: str, change: str) -> str:
    old, _, new = change.partition(" ->")
    new = new.removeprefix(" ")
    assert old in text, (old, text)
    return text.replace(old, new, 1)
