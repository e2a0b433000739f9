"""Lua, with the reference interpreter.

A call's function is a global, a local of the program's top level, or a field of the table that the program returns.
Lua has one kind of table: an empty one passes for an empty list and for an empty map.
"""

from __future__ import annotations

import re
from typing import Any

from strop.judge.languages.language import Command, Language, Mode, Toolchain, called, driver, tool
from strop.judge.languages.values import plain, same
from strop.types import CallCheck, Task

_SYNTAX = re.compile(r"^.*program\.lua:\d+: .* near .*$", re.MULTILINE)
_MEMORY = re.compile(r"^.*not enough memory.*$", re.MULTILINE)


def _toolchain() -> Toolchain:
    lua = tool("lua5.4", "lua", "lua5.3")
    return Toolchain(
        commands={
            "main": Command(argv=(lua, "/box/program.lua")),
            "call": Command(argv=(lua, "/box/driver.lua"), channel="streams"),
        },
        readable=(lua,),
        environment={"HOME": "/tmp", "LANG": "C.UTF-8", "LUA_PATH": "/box/?.lua", "LUA_CPATH": ""},
    )


def _files(task: Task, program: str, mode: Mode) -> dict[str, str]:
    if mode == "main":
        return {"program.lua": program}
    names = ", ".join(f"{name} = {name}" for name in called(task))
    # The longer text also finds local functions; it does not parse where the program itself returns something.
    return {
        "program.lua": program,
        "found.lua": f"{program}\nreturn {{{names}}}",
        "driver.lua": driver("driver.lua"),
    }


def literal(value: Any) -> str:
    """A value of JSON's kinds as Lua source on one line."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        safe = (c if " " <= c < "\x7f" and c not in '"\\' else "".join(f"\\{b:03d}" for b in c.encode()) for c in value)
        return '"' + "".join(safe) + '"'
    if isinstance(value, list):
        return "{" + ", ".join(map(literal, value)) + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{literal(key)}] = {literal(item)}" for key, item in value.items()) + "}"
    return repr(value)


def _request(check: CallCheck) -> str:
    return f"return {literal(check.function)}, table.pack({', '.join(literal(plain(value)) for value in check.args)})"


LUA = Language(
    name="lua",
    title="Lua",
    install="apt-get install lua5.4",
    locate=_toolchain,
    files=_files,
    request=_request,
    same=lambda actual, check: same(actual, check.expected, check.tolerance, empty=True),
    syntax=_SYNTAX,
    memory=_MEMORY,
)
