"""Go. The compiler and the linker are called directly, so that no build cache is needed in the box."""

from __future__ import annotations

import os
import re
import subprocess

from strop.judge.languages.language import Command, Language, MissingTool, Mode, Toolchain, called, driver, tool
from strop.types import Task

_MEMORY = re.compile(r"^.*(?:out of memory|cannot allocate memory).*$", re.MULTILINE)
_PACKAGE = re.compile(r"^\s*package\s+\w+", re.MULTILINE)
_MAIN = re.compile(r"^func\s+main\s*\(\s*\)", re.MULTILINE)
_EXPORTS = "{{if .Export}}packagefile {{.ImportPath}}={{.Export}}{{end}}"


def _toolchain() -> Toolchain:
    go = tool("go")
    environment = {**os.environ, "GO111MODULE": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}

    def ask(*arguments: str) -> str:
        done = subprocess.run([go, *arguments], capture_output=True, text=True, env=environment, timeout=600)
        if done.returncode:
            raise MissingTool(f"go {arguments[0]} failed: {done.stderr.strip()[:200]}")
        return done.stdout.strip()

    root, tools = ask("env", "GOROOT", "GOTOOLDIR").splitlines()
    # Where the compiled standard library is; newer versions of Go compile it now, once, into the user's cache.
    exports = ask("list", "-export", "-f", _EXPORTS, "std")
    folders = {os.path.dirname(line.partition("=")[2]) for line in exports.splitlines()}
    folders = {folder for folder in folders if not folder.startswith(root + "/")}
    shell = os.path.realpath("/bin/sh")
    build = (
        f"{tools}/compile -p main -complete -o program.o -importcfg importcfg *.go && "
        f"{tools}/link -s -w -o program -importcfg importcfg program.o"
    )
    compiling = Command(argv=(shell, "-c", build), writes=True, family=True, space="data", stack=8 << 20)
    running = {"space": "data", "stack": 8 << 20, "more_memory_mb": 64}
    return Toolchain(
        commands={
            "compile main": compiling,
            "compile call": compiling,
            "main": Command(argv=("/box/program",), **running),
            "call": Command(argv=("/box/program",), channel="socket", **running),
        },
        readable=(shell, os.path.realpath(tools), tools, root, *sorted(folders)),
        environment={"PATH": "/usr/bin:/bin", "HOME": "/tmp", "GOROOT": root, "GOMAXPROCS": "2"},
        files={"importcfg": exports + "\n"},
    )


def _files(task: Task, program: str, mode: Mode) -> dict[str, str]:
    source = program
    if _PACKAGE.search(source):
        source = _PACKAGE.sub("package main", source, count=1)
    else:
        source = "package main\n" + source
    if mode == "main":
        return {"program.go": source}
    table = "".join(f'\t"{name}": {name},\n' for name in called(task))
    text = driver("driver.go").replace("// FUNCTIONS", table)
    return {"program.go": _MAIN.sub("func stropMain()", source), "strop_driver.go": text}


GO = Language(
    name="go",
    title="Go",
    install="apt-get install golang-go",
    locate=_toolchain,
    files=_files,
    memory=_MEMORY,
)
