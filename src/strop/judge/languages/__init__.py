"""Programs in other languages than Python. `docs/languages.md` says how each is judged.

`names()` are the languages; `demand(task)` finds out, before anything runs, whether a task's language can be judged
here. The protocol that every language fills in is in `language.py`.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

from strop.types import ScriptCheck, StropError, Task

if TYPE_CHECKING:
    from strop.judge.languages.language import Language, Toolchain

_MODULES = {
    "javascript": "javascript",
    "typescript": "javascript",
    "bash": "bash",
    "sqlite": "sql",
    "duckdb": "sql",
    "c": "c",
    "cpp": "c",
    "lua": "lua",
    "go": "go",
    "rust": "rust",
    "java": "java",
    "r": "r",
    "klong": "klong",
}
NAMES = tuple(_MODULES)
LEVELS = ("userns", "root")
"""Levels of isolation that programs in other languages can be run at."""


def get(name: str) -> Language:
    """The language of that name. Raises StropError."""
    if name not in _MODULES:
        raise StropError(f"{name!r} is not a language that is judged; those are python, {', '.join(NAMES)}.")
    module = importlib.import_module(f"strop.judge.languages.{_MODULES[name]}")
    return getattr(module, name.upper())


@functools.cache
def toolchain(name: str) -> Toolchain:
    """The tools of a language on this machine. Raises StropError that names what is missing and how to install it."""
    from strop.judge.languages.language import MissingTool

    language = get(name)
    try:
        return language.locate()
    except MissingTool as error:
        raise StropError(
            f"{language.title} cannot be judged here: {error}. Install it with: {language.install}"
        ) from None


def demand(task: Task, level: str = "") -> None:
    """See whether a task in another language can be judged here, at this isolation level. Raises StropError."""
    if task.language not in _MODULES:
        known = ", ".join(("python", *NAMES))
        raise StropError(f"Task {task.id!r}, field `language`: {task.language!r} is not one of {known}.")
    if any(isinstance(check, ScriptCheck) for check in task.checks):
        raise StropError(
            f"Task {task.id!r}, field `checks`: scripts of assertions are Python, and this task's language is "
            f"{task.language}. Use call or stdio checks."
        )
    if level and level not in LEVELS:
        raise StropError(
            f"Task {task.id!r}: programs in {task.language} need the isolation level {' or '.join(LEVELS)}, for "
            f"process namespaces and private directories; this judge has {level}."
        )
    toolchain(task.language)
