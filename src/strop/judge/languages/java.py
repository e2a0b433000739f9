"""Java. A whole program is a class with `main`; a function is a method, static or not, of any class of the program."""

from __future__ import annotations

import os
import re

from strop.judge.languages.language import Command, Language, MissingTool, Mode, Toolchain, called, driver, tool
from strop.types import Task

_MEMORY = re.compile(r"^.*(?:OutOfMemoryError|insufficient memory for the Java Runtime).*$", re.MULTILINE)
_CLASS = re.compile(r"^[ \t]*(?:(?:public|final|abstract|strictfp)\s+)*(?:class|record|enum)\s+(\w+)", re.MULTILINE)
_PUBLIC = re.compile(r"^\s*public\s+(?:\w+\s+)*?(?:class|interface|record|enum)\s+(\w+)", re.MULTILINE)
_MAIN = re.compile(r"\bstatic\s+(?:\w+\s+)*?void\s+main\s*\(")
_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:-UsePerfData", "-Xss16m")


def _toolchain() -> Toolchain:
    home = os.path.dirname(os.path.dirname(tool("javac")))
    java = os.path.join(home, "bin", "java")
    if not os.path.exists(java):
        raise MissingTool("javac is here, but no java beside it")
    compiling = Command(
        argv=(
            os.path.join(home, "bin", "javac"),
            *(f"-J{option}" for option in (*_OPTIONS, "-Xmx512m")),
            *("-proc:none", "-nowarn", "-XDuseUnsharedTable", "-encoding", "UTF-8", "-d", "/box", "@/box/sources"),
        ),
        writes=True,
        space="data",
        stack=8 << 20,
    )
    options = (*_OPTIONS, "-Xmx{memory}m", "-cp", "/box")
    # A socket has no path that the driver could open, so it needs a stream for descriptor 3.
    opened = ("--add-opens=java.base/java.io=ALL-UNNAMED", *options)
    running = {"space": "data", "stack": 8 << 20, "more_memory_mb": 512, "more_seconds": 1.0}
    settings = [path for path in (os.path.realpath(os.path.join(home, "conf")), "/etc/java-17-openjdk") if path]
    settings += [f"/etc/{name}" for name in os.listdir("/etc") if name.startswith("java-")]
    return Toolchain(
        commands={
            "compile main": compiling,
            "compile call": compiling,
            "main": Command(argv=(java, *options, "StropStart"), **running),
            "call": Command(argv=(java, *opened, "StropDriver"), channel="socket", **running),
        },
        readable=(home, *(path for path in settings if os.path.exists(path))),
        environment={"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
    )


def _files(task: Task, program: str, mode: Mode) -> dict[str, str]:
    classes = list(dict.fromkeys(_CLASS.findall(program)))
    public = _PUBLIC.search(program)
    name = f"{public.group(1) if public else classes[0] if classes else 'Main'}.java"
    files = {name: program}
    if mode == "call":
        called(task)
        names = ", ".join(f'"{name}"' for name in classes)
        files["StropDriver.java"] = driver("Driver.java").replace("/* CLASSES */", names)
    else:
        files["StropStart.java"] = (
            "class StropStart { public static void main(String[] arguments) throws Throwable {\n"
            f"    {_main_class(program, classes)}.main(arguments);\n}} }}\n"
        )
    return files | {"sources": "\n".join(f"/box/{name}" for name in files)}


def _main_class(program: str, classes: list[str]) -> str:
    """The class whose body has `main`: the last that begins before it."""
    found = _MAIN.search(program)
    before = _CLASS.findall(program[: found.start()]) if found else []
    return before[-1] if before else classes[0] if classes else "Main"


JAVA = Language(
    name="java",
    title="Java",
    install="apt-get install default-jdk-headless",
    locate=_toolchain,
    files=_files,
    memory=_MEMORY,
)
