"""What the judge needs to know of a language. One module a language fills this in; nothing else knows one.

A program is judged in four steps:

1. prepare: `Language.files` turns its text into the files of its box, with a driver beside it if functions are called.
2. compile, once: the toolchain's command `compile main` or `compile call`, if the language has it.
3. run, many times: `main` for each standard input; `call` once, for all calls.
4. compare, outside the box: `Language.same` for results of calls, the check's comparer for standard output.

A driver reads one request a line from its channel (`Language.request` writes it) and answers each with one line of
JSON, the same lists that Python programs answer with (`strop.judge.sandbox.candidate`), values tagged as in
`strop.judge.codec`. No driver ever sees an expected value.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from strop.judge.languages.values import plain, same
from strop.types import CallCheck, Task

Mode = Literal["main", "call"]
DRIVERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "drivers")


class MissingTool(Exception):
    """A toolchain is not complete on this machine. Its text names what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One way to start something in a box."""

    argv: tuple[str, ...]
    """The first is a path inside the box's root."""
    channel: Literal["none", "socket", "streams"] = "none"
    """Where a driver talks: nowhere, on descriptor 3, or on its standard input and output."""
    writes: bool = False
    """Works in /box and may write there; everything else sees it read-only and works in an empty /tmp."""
    family: bool = False
    """May start processes."""
    processes: int = 64
    """Processes and threads at once."""
    space: Literal["address", "data"] = "address"
    """What the memory limit limits: address space, or, for runtimes that reserve much more than they use, data."""
    stack: int = 64 << 20
    """Bytes of stack; runtimes that give every thread so much want less."""
    more_memory_mb: int = 0
    """What the runtime itself takes, on top of the program's limit."""
    more_seconds: float = 0.0
    """CPU seconds that the runtime takes to start, on top of the program's limit."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A language's tools as found on this machine. Plain data: it travels to the judge's workers as JSON."""

    commands: Mapping[str, Command]
    """`main`, `call`, and `compile main`, `compile call` where there is something to compile."""
    readable: tuple[str, ...] = ()
    """Files and directories that the box shows, besides shared libraries."""
    hidden: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Files that every box gets beside those of its program."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Toolchain:
        commands = {name: Command(**command) for name, command in data["commands"].items()}
        return cls(**{**data, "commands": commands})


def _request(check: CallCheck) -> str:
    return json.dumps([check.function, plain(list(check.args))])


def _same(actual: Any, check: CallCheck) -> bool:
    return same(actual, check.expected, check.tolerance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A language that programs may be written in."""

    name: str
    title: str
    install: str
    """The command that installs its toolchain."""
    locate: Callable[[], Toolchain]
    """Raises MissingTool."""
    files: Callable[[Task, str, Mode], dict[str, str]]
    """`(task, program, mode)` -> names and texts. Raises ValueError when the task's checks cannot be put to it."""
    request: Callable[[CallCheck], str] = _request
    """A call as one line. Raises ValueError for arguments that the language cannot be given."""
    same: Callable[[Any, CallCheck], bool] = _same
    """Whether the value that came back is what the check expects."""
    syntax: re.Pattern[str] | None = None
    """Found in the error output of a program that did not even parse, for languages without a compiler."""
    memory: re.Pattern[str] | None = None
    """Found in the error output of a program that ran out of memory."""


# ---- for the modules of languages --------------------------------------------------------------


def driver(name: str) -> str:
    """Text of a driver."""
    with open(os.path.join(DRIVERS, name), encoding="utf-8") as file:
        return file.read()


def tool(*names: str) -> str:
    """Real path of the first of these programs that is installed. Raises MissingTool."""
    for name in names:
        found = shutil.which(name)
        if found:
            return os.path.realpath(found)
    raise MissingTool(f"no {' or '.join(names)} was found on PATH")


def called(task: Task) -> list[str]:
    """Names of the functions that the task's checks call, in order. Raises ValueError for what is no name."""
    names = list(dict.fromkeys(check.function for check in task.checks if isinstance(check, CallCheck)))
    for name in names:
        if not name.isidentifier() or not name.isascii():
            raise ValueError(f"{name[:40]!r} is not the name of a function")
    return names
