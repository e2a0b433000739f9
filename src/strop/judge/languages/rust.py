"""Rust, with rustc alone: no crates but the standard library.

The driver's calls are written for the parameters that the program's own function declares: owned values are made by
inference, references borrow a value that the driver keeps.
"""

from __future__ import annotations

import os
import re
import subprocess

from strop.judge.languages.c import binutils, c_compiler
from strop.judge.languages.language import Command, Language, MissingTool, Mode, Toolchain, called, driver, tool
from strop.types import Task

_MEMORY = re.compile(r"^.*memory allocation of \d+ bytes failed.*$", re.MULTILINE)
_MAIN = re.compile(r"\bfn\s+main\s*\(")


def _toolchain() -> Toolchain:
    rustc = tool("rustc")
    found = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, timeout=60)
    root = found.stdout.strip()
    if found.returncode or not os.path.isdir(root):
        raise MissingTool(f"rustc has no toolchain: {found.stderr.strip()[:200]}")
    if os.path.exists(own := os.path.join(root, "bin", "rustc")):
        rustc = own  # what is on PATH may be rustup's proxy, which needs its home
    linker, _, readable = c_compiler()
    options = ["--edition=2021", "-O", "-Cdebuginfo=0", f"-Clinker={linker}", "--cap-lints=allow", "-o", "program"]
    compiling = Command(argv=(rustc, *options, "program.rs"), writes=True, family=True, space="data", stack=16 << 20)
    library = [os.path.join(root, "lib", "rustlib") if root == "/usr" else os.path.join(root, "lib")]
    return Toolchain(
        commands={
            "compile main": compiling,
            "compile call": compiling,
            "main": Command(argv=("/box/program",)),
            "call": Command(argv=("/box/program",), channel="socket"),
        },
        readable=(rustc, *library, *readable, *binutils()),
        environment={"PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "RUST_BACKTRACE": "0"},
    )


def _files(task: Task, program: str, mode: Mode) -> dict[str, str]:
    if mode == "main":
        return {"program.rs": program}
    arms = "".join(_arm(name, _parameters(name, program)) for name in called(task))
    text = driver("driver.rs").replace("// FUNCTIONS", arms)
    return {"program.rs": f"{_MAIN.sub('fn strop_main(', program)}\n{text}"}


def _parameters(name: str, program: str) -> list[str]:
    """Types of the parameters of the program's function `name`, as it writes them; none if it is absent."""
    found = re.search(rf"\bfn\s+{name}\s*(?:<[^(]*>)?\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)", program)
    if found is None:
        return []
    types, depth, part = [], 0, ""
    for letter in found.group(1).replace("->", "  ") + ",":
        depth += (letter in "<([") - (letter in ">)]")
        if letter == "," and depth == 0:
            if part.strip():
                types.append(part.partition(":")[2].strip())
            part = ""
        else:
            part += letter
    return types


def _arm(name: str, types: list[str]) -> str:
    """How the driver calls one function."""
    keep, pass_on = [], []
    for index, kind in enumerate(types):
        kind = re.sub(r"&\s*'\w+\s+", "&", kind)
        owned = "_"
        if kind.startswith("&"):
            inner = kind[1:].strip().removeprefix("mut ").strip()
            if inner == "str":
                owned = "String"
            elif inner.startswith("[") and ";" not in inner:
                item = inner[1:-1].strip()
                owned = "Vec<_>" if "&" not in item else "Vec<&str>"
        keep.append(f"let mut a{index}: {owned} = strop_driver::argument(&arguments, {index})?;")
        borrow = "&mut " if re.match(r"&\s*mut\b", kind) else "&" if kind.startswith("&") else ""
        pass_on.append(f"{borrow}a{index}")
    return (
        f'        "{name}" => {{\n            {" ".join(keep)}\n'
        f"            let result = {name}({', '.join(pass_on)});\n"
        f"            Ok(strop_driver::answer(&result))\n        }}\n"
    )


RUST = Language(
    name="rust",
    title="Rust",
    install="apt-get install rustc (or rustup)",
    locate=_toolchain,
    files=_files,
    memory=_MEMORY,
)
