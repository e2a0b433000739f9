"""SQL, in SQLite and DuckDB: a query against a database that the check sets up.

A program is one or more statements; its result is what the last statement that returns rows returned. Every check has a
database of its own, in memory:

- a call check's function says how rows are compared: `rows` (in order), `multiset` (in any order), `set` (in any order,
  repeated rows once). Its argument is the script that makes the database; a second argument, if there is one, is a
  query that is run after the program, and its rows are compared instead (for programs that change tables). What it
  expects is a list of rows.
- a stdio check's standard input is that script; rows are printed with `|` between values, as the sqlite3 shell does.
"""

from __future__ import annotations

import re
from typing import Any

from strop.judge.languages import python
from strop.judge.languages.language import Language, Mode, Toolchain, driver
from strop.judge.languages.values import plain, same
from strop.types import CallCheck, Task

_SYNTAX = re.compile(r"^SyntaxError: .*$", re.MULTILINE)
RULES = ("rows", "multiset", "set")


def _toolchain(package: str = "") -> Toolchain:
    if not package:
        return python.toolchain("driver.py")
    # DuckDB reserves more address space than it uses, and has threads.
    return python.toolchain("driver.py", (package, f"_{package}"), space="data", more_memory_mb=256)


def _files(engine: str, task: Task, program: str, mode: Mode) -> dict[str, str]:
    for check in task.checks:
        if isinstance(check, CallCheck) and (check.function not in RULES or len(check.args) not in (1, 2)):
            raise ValueError(f"a check of a query calls one of {', '.join(RULES)} with a script, and perhaps a query")
    return {"program.sql": program, "driver.py": driver("sql.py").replace("ENGINE", engine)}


def _same(actual: Any, check: CallCheck) -> bool:
    return same_rows(actual, check.expected, check.function, check.tolerance)


def same_rows(actual: Any, expected: Any, rule: str, tolerance: float | None = None) -> bool:
    """Whether two lists of rows are equal under a rule of RULES. Values compare as in `values.same`, loosely."""
    if not isinstance(actual, list) or not isinstance(expected, list | tuple):
        return False
    rows, due = list(actual), [plain(row) if not _holds_bytes(row) else list(row) for row in expected]
    if rule != "rows":
        rows, due = sorted(rows, key=_order), sorted(due, key=_order)
    if rule == "set":
        rows, due = _distinct(rows), _distinct(due)
    return len(rows) == len(due) and all(same(a, e, tolerance, loose=True) for a, e in zip(rows, due))


def _holds_bytes(row: Any) -> bool:
    return any(isinstance(value, bytes) for value in row)


def _order(row: Any) -> tuple:
    """Rows that are nearly the same are next to each other."""
    kinds = {bool: 1, int: 1, float: 1, str: 2}
    values = row if isinstance(row, list | tuple) else [row]
    return tuple(
        (kinds.get(type(value), 3), round(float(value), 6), "")
        if isinstance(value, int | float) and abs(value) < 1e300
        else (0 if value is None else kinds.get(type(value), 3), 0.0, str(value))
        for value in values
    )


def _distinct(rows: list) -> list:
    return [row for index, row in enumerate(rows) if index == 0 or not same(row, rows[index - 1], None, loose=True)]


SQLITE = Language(
    name="sqlite",
    title="SQLite",
    install="a Python with the module sqlite3",
    locate=_toolchain,
    files=lambda task, program, mode: _files("sqlite", task, program, mode),
    same=_same,
    syntax=_SYNTAX,
)
DUCKDB = Language(
    name="duckdb",
    title="DuckDB",
    install="pip install duckdb",
    locate=lambda: _toolchain("duckdb"),
    files=lambda task, program, mode: _files("duckdb", task, program, mode),
    same=_same,
    syntax=_SYNTAX,
)
