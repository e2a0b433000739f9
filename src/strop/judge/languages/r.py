"""R. Lists of plain values are passed as vectors, as MultiPL-E does; a result of length one passes for a scalar."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

from strop.judge.languages.language import Command, Language, MissingTool, Mode, Toolchain, called, driver, tool
from strop.judge.languages.values import plain, same
from strop.types import CallCheck, Task

_SYNTAX = re.compile(r"^Error:? (?:in .*?: ?)?(?:unexpected|incomplete|\S*:?\d+:\d+: ).*$", re.MULTILINE)
_MEMORY = re.compile(r"^.*(?:cannot allocate (?:vector|memory)|memory exhausted).*$", re.MULTILINE)


_SHELL = ("/bin/sh", os.path.realpath("/bin/sh"), "/usr/bin/which", "/usr/bin/uname", "/usr/bin/rm")


def _toolchain() -> Toolchain:
    found = subprocess.run([tool("R"), "RHOME"], capture_output=True, text=True, timeout=60)
    home = found.stdout.strip()
    binary = os.path.join(home, "bin", "exec", "R")
    if found.returncode or not os.path.exists(binary):
        raise MissingTool("R is here, but its program is not below its home directory")
    main = (binary, "--no-echo", "--no-restore", "--vanilla")
    # R's own package utils asks a shell where `uname` is while it is loaded, and does not load without an answer.
    running = {
        "family": True,
        "processes": 16,
        "space": "data",
        "stack": 16 << 20,
        "more_memory_mb": 256,
        "more_seconds": 1.0,
    }
    shared = [path for path in ("/usr/share/R", "/etc/R", "/usr/lib/R") if os.path.isdir(path)]
    return Toolchain(
        commands={
            "main": Command(argv=(*main, "--file=/box/program.R"), **running),
            "call": Command(argv=(*main, "--file=/box/driver.R"), channel="streams", **running),
        },
        readable=(home, *shared, *_SHELL),
        environment={
            "R_HOME": home,
            "R_SHARE_DIR": "/usr/share/R/share" if os.path.isdir("/usr/share/R/share") else f"{home}/share",
            "R_DEFAULT_PACKAGES": "methods,utils,stats",
            "LD_LIBRARY_PATH": f"{home}/lib",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": "/tmp",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
        },
    )


def _files(task: Task, program: str, mode: Mode) -> dict[str, str]:
    called(task)
    return {"program.R": program} | ({"driver.R": driver("driver.R")} if mode == "call" else {})


def literal(value: Any) -> str:
    """A value of JSON's kinds as R source on one line."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("texts of R hold no NUL")
        safe = (c if " " <= c < "\x7f" and c not in '"\\' else f"\\U{{{ord(c):x}}}" for c in value)
        return '"' + "".join(safe) + '"'
    if isinstance(value, list):
        atoms = all(isinstance(item, str | int | float) for item in value)
        kinds = {bool if isinstance(item, bool) else str if isinstance(item, str) else float for item in value}
        return f"{'c' if value and atoms and len(kinds) == 1 else 'list'}({', '.join(map(literal, value))})"
    if isinstance(value, dict):
        return "list(" + ", ".join(f"{literal(key)} = {literal(item)}" for key, item in value.items()) + ")"
    return repr(value)


def _request(check: CallCheck) -> str:
    arguments = ", ".join(literal(plain(value)) for value in check.args)
    return f"list({literal(check.function)}, list({arguments}))"


def _same(actual: Any, check: CallCheck) -> bool:
    expected = plain(check.expected) if not isinstance(check.expected, set | frozenset) else check.expected
    return same(shaped(actual, expected), expected, check.tolerance, empty=True)


def shaped(actual: Any, expected: Any) -> Any:
    """`actual` with what R cannot tell apart taken as `expected` has it: a scalar, and a vector of length one."""
    if isinstance(expected, list):
        items = actual if isinstance(actual, list) else [] if actual is None or actual == {} else [actual]
        return [shaped(a, e) for a, e in zip(items, expected)] if len(items) == len(expected) else items
    if isinstance(expected, dict) and isinstance(actual, dict):
        return {key: shaped(item, expected.get(key)) for key, item in actual.items()}
    if expected is None and actual == []:
        return None
    return actual


R = Language(
    name="r",
    title="R",
    install="apt-get install r-base-core",
    locate=_toolchain,
    files=_files,
    request=_request,
    same=_same,
    syntax=_SYNTAX,
    memory=_MEMORY,
)
