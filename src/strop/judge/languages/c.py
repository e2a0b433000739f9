"""C and C++, with gcc, clang, or the compiler in the package `ziglang`.

Calls go through a driver that takes its types from the functions themselves. In C, a list is passed as a pointer and,
when the check gives fewer arguments than the function has parameters, its length follows; a function that returns a
list returns a pointer and puts the length where its last parameter points; a function that returns nothing is asked for
what it made of its first argument. Prototypes are read from the task's stub, or else from the program.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence

from strop.judge.languages.language import Command, Language, MissingTool, Mode, Toolchain, called, driver
from strop.judge.languages.language import tool as find_tool
from strop.judge.languages.values import same
from strop.types import Task

_MEMORY = re.compile(r"^.*std::bad_alloc.*$", re.MULTILINE)
_FLAGS = ("-O2", "-fno-diagnostics-color", "-w")
_HEADERS = ("/usr/include", "/usr/lib/gcc", "/usr/libexec/gcc", "/usr/lib/gcc-cross", "/usr/lib/llvm")


def binutils() -> tuple[str, ...]:
    """What compilers call: assembler, linker and their kin, under the names they are called by."""
    names = ("as", "ld", "ld.bfd", "ld.gold", "ld.lld", "ar", "strip", "objcopy")
    paths = [f"/usr/bin/{name}" for name in names]
    return tuple(path for path in paths if os.path.exists(path))


def c_compiler() -> tuple[str, str, tuple[str, ...]]:
    """The C compiler, the C++ compiler, and what they need to read. Raises MissingTool."""
    cc, cxx = find_tool("gcc", "clang", "cc"), find_tool("g++", "clang++", "c++")
    more: list[str] = []
    if "clang" in cc:
        found = subprocess.run([cc, "-print-resource-dir"], capture_output=True, text=True, timeout=60)
        more += [os.path.dirname(os.path.dirname(os.path.dirname(found.stdout.strip()))), "/usr/lib/gcc"]
    readable = [cc, cxx, *binutils(), *_HEADERS, *more]
    return cc, cxx, tuple(path for path in readable if os.path.exists(path))


def _zig() -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    from importlib.util import find_spec

    spec = find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        raise MissingTool("neither gcc nor clang was found on PATH, nor the package ziglang")
    home = os.path.abspath(spec.submodule_search_locations[0])
    zig = os.path.join(home, "zig")
    # Named, because what it would find out about the system depends on files that the box does not show.
    target = ("-target", f"{os.uname().machine}-linux-gnu")
    return (zig, "cc", *target), (zig, "c++", *target), (home,)


def compilers(zig: bool = False) -> tuple[Sequence[str], Sequence[str], tuple[str, ...]]:
    """Commands of the C and the C++ compiler, and what they read. `zig`: those of `ziglang`, whatever else is there."""
    if not zig:
        try:
            cc, cxx, readable = c_compiler()
        except MissingTool:
            pass
        else:
            return (cc,), (cxx,), readable
    return _zig()


def toolchain(name: str, zig: bool = False) -> Toolchain:
    cc, cxx, readable = compilers(zig)
    compiling = {"writes": True, "family": True, "space": "data"}
    main = [*(cc if name == "c" else cxx), *_FLAGS, "-o", "program", f"program.{name}", "-lm"]
    if name == "cpp":
        main.insert(-1, "-std=gnu++20")
        call = [*cxx, *_FLAGS, "-std=gnu++20", "-o", "program", "driver.cpp", "-lm"]
    else:
        sources = ["-x", "c", "program.c", "-x", "c++", "driver.cpp"]
        call = [*cxx, *_FLAGS, "-Dmain=strop_main", "-o", "program", *sources, "-lm"]
    return Toolchain(
        commands={
            "compile main": Command(argv=tuple(main), **compiling),
            "compile call": Command(argv=tuple(call), **compiling),
            "main": Command(argv=("/box/program",)),
            "call": Command(argv=("/box/program",), channel="socket"),
        },
        readable=readable,
        environment={"PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8",
                     "ZIG_GLOBAL_CACHE_DIR": "/box/cache", "ZIG_LOCAL_CACHE_DIR": "/box/cache"},
    )  # fmt: skip


# ---- sources


def _serving(names: list[str]) -> str:
    """A main() that serves calls of these functions."""
    choices = "\n".join(f'    if (name == "{name}") return strop::call(&::{name}, given);' for name in names)
    return (
        "#undef main\nint main() {\n"
        "  return strop::serve([](const std::string& name, const std::vector<strop::Json>& given) -> std::string {\n"
        f'{choices}\n    throw strop::Bad("no such function");\n  }});\n}}\n'
    )


def _cpp_files(task: Task, program: str, mode: Mode) -> dict[str, str]:
    if mode == "main":
        return {"program.cpp": program}
    serving = _serving(called(task))
    text = f'#include "driver.hpp"\n#define main strop_main\n#include "program.cpp"\n{serving}'
    return {"program.cpp": program, "driver.cpp": text, "driver.hpp": driver("driver.hpp")}


def _c_files(task: Task, program: str, mode: Mode) -> dict[str, str]:
    if mode == "main":
        return {"program.c": program}
    names = called(task)
    found = [prototype(name, task.stub) or prototype(name, program) for name in names]
    # Without one the driver does not compile, and the compiler says of which function.
    declared = "\n".join(text for text in found if text)
    text = (
        '#include "driver.hpp"\n#include <stdint.h>\n#include <stddef.h>\n#include <stdbool.h>\n'
        f'extern "C" {{\n{declared}\n}}\n{_serving(names)}'
    )
    return {"program.c": program, "driver.cpp": text, "driver.hpp": driver("driver.hpp")}


def prototype(name: str, source: str) -> str | None:
    """Declaration of the function `name` as `source` gives it, or None."""
    bare = re.sub(r"//[^\n]*|/\*.*?\*/", " ", source, flags=re.DOTALL)
    bare = re.sub(r"^[ \t]*#.*$", ";", bare, flags=re.MULTILINE)
    for found in re.finditer(rf"\b{name}\s*\(([^()]*)\)\s*[{{;]", bare):
        before = re.split(r"[;{}]", bare[max(0, found.start() - 200) : found.start()])[-1].split()
        words = ["bool" if word == "_Bool" else word for word in before if word not in ("static", "inline", "extern")]
        if words and "return" not in words and all(re.fullmatch(r"[\w*]+", word) for word in words):
            parameters = re.sub(r"\b(?:restrict|register)\b", "", found.group(1))
            parameters = re.sub(r"(\w+)\s*\[\s*\w*\s*\]", r"*\1", " ".join(parameters.split()))
            return f"{' '.join(words)} {name}({parameters});"
    return None


C = Language(
    name="c",
    title="C",
    install="apt-get install gcc g++ (or: pip install ziglang)",
    locate=lambda: toolchain("c"),
    files=_c_files,
    # Older C has no truth values.
    same=lambda actual, check: same(actual, check.expected, check.tolerance, loose=True),
    memory=_MEMORY,
)
CPP = Language(
    name="cpp",
    title="C++",
    install="apt-get install g++ (or: pip install ziglang)",
    locate=lambda: toolchain("cpp"),
    files=_cpp_files,
    memory=_MEMORY,
)
