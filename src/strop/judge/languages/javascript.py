"""JavaScript and TypeScript, with node.

Programs are CommonJS, or modules when they have import or export statements at the top level. TypeScript's types are
removed, not checked: what node and bundlers do, and half a second faster a program than asking the type checker.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace

from strop.judge.languages.language import Command, Language, MissingTool, Mode, Toolchain, called, driver, tool
from strop.types import Task

_MODULE = re.compile(r"^\s*(?:export\s|import\s*(?:[\w*{]|[\"']))", re.MULTILINE)
_SYNTAX = re.compile(r"^SyntaxError: .*$", re.MULTILINE)
_MEMORY = re.compile(r"^.*(?:heap out of memory|Array buffer allocation failed|std::bad_alloc).*$", re.MULTILINE)
_ENVIRONMENT = {"HOME": "/tmp", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "UV_THREADPOOL_SIZE": "2"}


def _node(*argv: str) -> Command:
    return Command(
        argv=(tool("node", "nodejs"), "--stack-size=3900", "--max-old-space-size={memory}", *argv),
        space="data",
        stack=8 << 20,  # every thread of node's has so much
        more_memory_mb=512,
        more_seconds=0.5,
    )


def _toolchain() -> Toolchain:
    main = _node("/box/start.js")
    return Toolchain(
        commands={"main": main, "call": replace(main, argv=(*main.argv[:-1], "/box/driver.js"), channel="socket")},
        readable=(main.argv[0],),
        environment=_ENVIRONMENT,
    )


def _files(task: Task, program: str, mode: Mode) -> dict[str, str]:
    called(task)
    name = "program.mjs" if _MODULE.search(program) else "program.cjs"
    # node is started with a file whose name does not say which of the two a program is.
    start = f"import('/box/{name}');\n" if name.endswith(".mjs") else f"require('/box/{name}');\n"
    files = {name: program, "start.js": start}
    if mode == "call":
        files["driver.js"] = driver("driver.js").replace("PROGRAM", f"/box/{name}")
    return files


JAVASCRIPT = Language(
    name="javascript",
    title="JavaScript",
    install="apt-get install nodejs",
    locate=_toolchain,
    files=_files,
    syntax=_SYNTAX,
    memory=_MEMORY,
)


# ---- TypeScript


def _typescript() -> Toolchain:
    base = _toolchain()
    library = _compiler_library()
    strip = _node("/box/strip.js", library)
    return Toolchain(
        commands={
            **base.commands,
            "compile main": replace(strip, writes=True),
            "compile call": replace(strip, writes=True),
        },
        readable=(*base.readable, os.path.dirname(library)),
        environment=_ENVIRONMENT,
    )


def _compiler_library() -> str:
    """Path of typescript.js, next to the `tsc` that is installed."""
    path = os.path.join(os.path.dirname(os.path.dirname(tool("tsc"))), "lib", "typescript.js")
    if not os.path.isfile(path):
        raise MissingTool("the TypeScript library was not found next to tsc")
    return path


def _typescript_files(task: Task, program: str, mode: Mode) -> dict[str, str]:
    called(task)
    files = {
        "program.ts": program,
        "strip.js": driver("strip.js"),
        "start.js": "require('/box/program.cjs');\n",
    }
    if mode == "call":
        files["driver.js"] = driver("driver.js").replace("PROGRAM", "/box/program.cjs")
    return files


TYPESCRIPT = Language(
    name="typescript",
    title="TypeScript",
    install="npm install -g typescript@5",
    locate=_typescript,
    files=_typescript_files,
    syntax=_SYNTAX,
    memory=_MEMORY,
)
