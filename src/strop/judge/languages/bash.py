"""Bash: whole scripts, or functions whose result is what they print.

A function gets its arguments as words, written as MultiPL-E writes them: a list is its elements with spaces between
them, a list of lists has a line for each, a map is lines of `key,value`. Its result is what it prints, and is read as
what the check expects: a number, a truth value, text, or a list of words.
"""

from __future__ import annotations

import re
from typing import Any

from strop.judge.languages.language import Command, Language, Mode, Toolchain, called, driver, tool
from strop.judge.languages.values import plain, same
from strop.types import CallCheck, Task

_TOOLS = """
awk base64 basename bc cat cksum column comm cp cut date dc dirname echo egrep env expand expr factor false fgrep find
fold gawk grep head join ls mawk md5sum mkdir mktemp mv nl numfmt od paste printf pwd rev rm rmdir sed seq sh sha256sum
shuf sleep sort split stat tac tail tee test timeout touch tr true tsort uniq wc xargs
"""
"""What scripts may call, where it is installed: text tools, no interpreters of other languages."""
_SYNTAX = re.compile(r"^.*(?:syntax error|unexpected end of file|unexpected EOF).*$", re.MULTILINE)
_MEMORY = re.compile(r"^.*(?:x(?:re|m)alloc: cannot allocate|Cannot allocate memory).*$", re.MULTILINE)


def _toolchain() -> Toolchain:
    import os
    import shutil

    bash = tool("bash")
    # Bound under the names they are called by: /usr/bin/awk is a chain of links elsewhere.
    tools = [path for path in (shutil.which(name) for name in _TOOLS.split()) if path]
    names = {"/usr/bin/" + os.path.basename(path) for path in tools}
    common = {"family": True, "processes": 32, "stack": 8 << 20}
    return Toolchain(
        commands={
            "compile main": Command(argv=(bash, "-n", "/box/program.sh"), writes=True),
            "compile call": Command(argv=(bash, "-n", "/box/program.sh"), writes=True),
            "main": Command(argv=(bash, "/box/program.sh"), **common),
            "call": Command(argv=(bash, "/box/driver.sh"), channel="socket", **common),
        },
        readable=(bash, *tools, *sorted(name for name in names if os.path.exists(name))),
        environment={"HOME": "/tmp", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
    )


def _files(task: Task, program: str, mode: Mode) -> dict[str, str]:
    called(task)
    return {"program.sh": program} | ({"driver.sh": driver("driver.sh")} if mode == "call" else {})


def word(value: Any) -> str:
    """A value as the text of one argument."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, list):
        between = "\n" if any(isinstance(item, list | dict) for item in value) else " "
        return between.join(map(word, value))
    if isinstance(value, dict):
        return "\n".join(f"{key},{word(item)}" for key, item in value.items())
    return str(value)


def quoted(text: str) -> str:
    """`text` as one word of Bash source, on one line."""
    if "\0" in text:
        raise ValueError("words of Bash hold no NUL")
    plain_text = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"$'{plain_text}'"


def _request(check: CallCheck) -> str:
    return " ".join([check.function, *(quoted(word(plain(value))) for value in check.args)])


def _same(actual: Any, check: CallCheck) -> bool:
    if not isinstance(actual, str):
        return False
    return same(read(actual, check.expected), check.expected, check.tolerance, loose=True)


def read(text: str, expected: Any) -> Any:
    """What was printed, as the kind of value that is expected."""
    if isinstance(expected, bool):
        return {"true": True, "false": False, "1": True, "0": False}.get(text.strip().lower())
    if isinstance(expected, int | float):
        whole = isinstance(expected, int) and re.fullmatch(r"\s*[-+]?\d{1,4000}\s*", text)
        try:
            return int(text) if whole else float(text)
        except ValueError:
            return None
    if isinstance(expected, list | tuple):
        if any(isinstance(item, list | tuple) for item in expected):
            lines = text.splitlines()
            if len(lines) != len(expected):
                return None
            return [read(line, item) for line, item in zip(lines, expected)]
        # One element a line, where lines are what was printed and elements may hold spaces; else words.
        parts = text.splitlines() if any(isinstance(i, str) and " " in i for i in expected) else text.split()
        return [read(part, item) for part, item in zip(parts, expected)] if len(parts) == len(expected) else None
    if isinstance(expected, dict):
        pairs = [line.partition(",") for line in text.splitlines()]
        kinds = {word(plain(key)): item for key, item in expected.items()}
        return {key: read(item, kinds.get(key, "")) for key, _, item in pairs}
    return (text.strip() or None) if expected is None else text.rstrip("\n")


BASH = Language(
    name="bash",
    title="Bash",
    install="apt-get install bash",
    locate=_toolchain,
    files=_files,
    request=_request,
    same=_same,
    syntax=_SYNTAX,
    memory=_MEMORY,
)
