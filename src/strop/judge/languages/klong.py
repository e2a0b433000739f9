"""Klong, with klongpy: a small array language whose truth values are 1 and 0."""

from __future__ import annotations

import re
from typing import Any

from strop.judge.languages import python
from strop.judge.languages.language import Language, Mode, Toolchain, called, driver
from strop.judge.languages.values import plain, same
from strop.types import CallCheck, Task

_SYNTAX = re.compile(r"^SyntaxError: .*$", re.MULTILINE)


def _toolchain() -> Toolchain:
    # numpy reserves address space for its threads' buffers.
    return python.toolchain("driver.py", ("klongpy", "numpy"), space="data", more_memory_mb=256, more_seconds=1.5)


def _files(task: Task, program: str, mode: Mode) -> dict[str, str]:
    called(task)
    return {"program.kg": program, "driver.py": driver("klong.py")}


def literal(value: Any) -> str:
    """A value of JSON's kinds as Klong source on one line."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, str):
        if "\n" in value:
            raise ValueError("texts of Klong are written on one line")
        return '"' + value.replace('"', '""') + '"'
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "[" + " ".join(map(literal, value)) + "]"
    if isinstance(value, dict):
        return ":{" + " ".join(f"[{literal(key)} {literal(item)}]" for key, item in value.items()) + "}"
    raise ValueError("Klong has nothing like None")


def _request(check: CallCheck) -> str:
    return f"{check.function}({';'.join(literal(plain(value)) for value in check.args)})"


KLONG = Language(
    name="klong",
    title="Klong",
    install="pip install klongpy",
    locate=_toolchain,
    files=_files,
    request=_request,
    same=lambda actual, check: same(actual, check.expected, check.tolerance, loose=True, empty=True),
    syntax=_SYNTAX,
)
