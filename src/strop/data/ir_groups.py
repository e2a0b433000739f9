"""Groups of equivalent and other answers for GEPO: LLVM IR of one C function (Wu et al. 2025, arXiv 2505.12723).

Winners are the IR of a function at several optimisation levels, whatever differs after metadata is gone. Losers are a
winner with one instruction changed. The paper does not say how in general; here a predicate, an operator or a constant
is changed, the result must still assemble, and it must behave differently: winners and losers are compiled and called
with the same seeded arguments, and a loser that agrees with the winners everywhere is dropped, as is a function whose
winners disagree. The functions are made by a small seeded grammar, so nothing hostile is compiled or run.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from strop.types import StropError

LEVELS = ("O0", "O1", "O2", "O3", "Os", "Oz")
FLAGS = (
    "-g0", "-fno-sanitize=undefined", "-fno-vectorize", "-fno-slp-vectorize", "-fno-unroll-loops",
    "-fno-discard-value-names",
    "-mcpu=x86_64" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=generic",
)  # fmt: skip
CALLS = 40
"""Argument pairs that decide whether two functions behave alike."""
SECONDS = 5.0
"""After which a changed function counts as one that does not end."""

_CALLER = """
import ctypes, json, sys
library, pairs = sys.argv[1], json.loads(sys.argv[2])
f = ctypes.CDLL(library).f
print(json.dumps([f(a, b) for a, b in pairs]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A C function with IR that means the same, and IR that does not."""

    source: str
    winners: tuple[str, ...]
    losers: tuple[str, ...]
    levels: tuple[str, ...]
    """Optimisation level of each winner."""
    edits: tuple[str, ...]
    """What was changed in each loser."""

    @property
    def question(self) -> str:
        """What the model is asked; the answers are the texts."""
        return f"Compile this C function to LLVM IR.\n\n```c\n{self.source.strip()}\n```"


def build(count: int, *, seed: int = 0, losers: int = 3, longest: int = 1500) -> Iterator[Group]:
    """`count` groups of at least two winners and two losers; IR of more than `longest` characters is left out.

    Deterministic in the arguments and the version of `ziglang`. Raises StropError when that is not installed.
    """
    _zig()
    chooser, made, tried = random.Random(seed), 0, 0
    while made < count:
        tried += 1
        if tried > 20 * count + 20:
            raise StropError(f"Only {made} of {count} groups came out of {tried} functions; raise `longest`.")
        source = c_function(chooser)
        found = group_of(source, random.Random(chooser.random()), losers=losers, longest=longest)
        if found is not None:
            made += 1
            yield found


def group_of(source: str, chooser: random.Random, *, losers: int, longest: int) -> Group | None:
    """The group of one function `int f(int, int)`; None when fewer than two winners or losers come of it."""
    pairs = [(chooser.randint(-20, 20), chooser.randint(-20, 20)) for _ in range(CALLS)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        of_text: dict[str, str] = {}
        for level in LEVELS:
            text = compile_ir(source, level, folder)
            if len(text) <= longest:
                of_text.setdefault(text, level)
        results = {text: behaviour(text, pairs, folder) for text in of_text}
        expected = next(iter(results.values()), None)
        if len(of_text) < 2 or expected is None or any(found != expected for found in results.values()):
            return None
        worse: dict[str, str] = {}
        for _ in range(6 * losers):
            changed = mutate(chooser.choice(list(of_text)), chooser)
            if len(worse) == losers or changed is None:
                break
            text, edit = changed
            fresh = text not in of_text and text not in worse
            if fresh and assembles(text, folder) and behaviour(text, pairs, folder) != expected:
                worse[text] = edit
    if len(worse) < 2:
        return None
    return Group(
        source=source, winners=tuple(of_text), levels=tuple(of_text.values()), losers=tuple(worse),
        edits=tuple(worse.values()),
    )  # fmt: skip


# ---- functions ---------------------------------------------------------------------------------


def c_function(chooser: random.Random) -> str:
    """A short C function `int f(int a, int b)`: arithmetic, then one or two branches or loops that end."""

    def small() -> int:
        return chooser.randint(1, 9)

    def term() -> str:
        return chooser.choice([f"a * {small()}", f"b - {small()}", f"a + b * {small()}", "a * b", "b - a"])

    def test() -> str:
        return f"{chooser.choice('ab')} {chooser.choice(['<', '>', '==', '<=', '>='])} {chooser.randint(-5, 9)}"

    lines = [f"    int r = {term()};"]
    for kind in chooser.sample(["if", "else", "for", "while"], k=chooser.randint(1, 2)):
        if kind == "if":
            lines.append(f"    if ({test()}) r += {term()};")
        elif kind == "else":
            lines.append(f"    if ({test()}) r = r - {small()}; else r = {term()};")
        elif kind == "for":
            lines.append(f"    for (int i = 0; i < {small() + 2}; i++) r += i * {small()} - a;")
        else:
            lines.append(f"    while (r > {10 * small()}) r -= {small() + 1};")
    return "int f(int a, int b) {\n" + "\n".join(lines) + "\n    return r;\n}\n"


# ---- IR ----------------------------------------------------------------------------------------


def compile_ir(source: str, level: str, folder: Path) -> str:
    """IR of a C source without comments, attributes and metadata. Raises StropError with the compiler's message."""
    (folder / "f.c").write_text(source)
    done = _run("cc", f"-{level}", *FLAGS, "-S", "-emit-llvm", "-o", "f.ll", "f.c", folder=folder)
    if done.returncode:
        raise StropError(f"The C function does not compile: {done.stderr.strip()[-300:]}")
    return stripped((folder / "f.ll").read_text())


def stripped(text: str) -> str:
    """What of an IR file says what the function does: definitions and declarations."""
    lines = []
    for line in text.splitlines():
        if not line.strip() or line.startswith((";", "!", "attributes", "source_filename", "target")):
            continue
        line = re.sub(r"\s*;.*$|,? !\S+ !\S+|,? !\w+|\s#\d+", "", line)
        lines.append(re.sub(r"define .*?(i32 @f)", r"define \1", line).rstrip())
    return "\n".join(lines) + "\n"


EDITS: tuple[tuple[str, str, Sequence[str]], ...] = (
    ("predicate", r"(?<=icmp )(slt|sgt|sle|sge|eq|ne|ult|ugt)(?= )", ("slt", "sgt", "eq", "ne")),
    ("operator", r"(?<== )(add|sub|mul)(?= )", ("add", "sub", "mul")),
    ("constant", r"(?<=, )(-?\d+)(?=$|, label)", ()),
)


def mutate(text: str, chooser: random.Random) -> tuple[str, str] | None:
    """`text` with one predicate, operator or constant changed, and what was changed; None when there is none."""
    places = [
        (name, match, others)
        for name, pattern, others in EDITS
        for match in re.finditer(pattern, text, re.MULTILINE)
        if "align" not in text[text.rfind("\n", 0, match.start()) + 1 : match.end()]
    ]
    if not places:
        return None
    name, match, others = chooser.choice(places)
    old = match[0]
    new = chooser.choice([one for one in others if one != old]) if others else str(int(old) + chooser.choice((-1, 1)))
    return text[: match.start()] + new + text[match.end() :], f"{name}: {old} to {new}"


def assembles(text: str, folder: Path) -> bool:
    """Whether IR is well formed; leaves `f.so` behind when it is."""
    (folder / "f.ll").write_text(text)
    (folder / "f.so").unlink(missing_ok=True)
    return _run("cc", "-shared", "-nostdlib", "-O0", "-o", "f.so", "f.ll", folder=folder).returncode == 0


def behaviour(text: str, pairs: Sequence[tuple[int, int]], folder: Path) -> list[int] | None:
    """What the function returns for each pair of arguments; None when it crashes, does not end or does not assemble."""
    if not assembles(text, folder):
        return None
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _CALLER, str(folder / "f.so"), json.dumps(pairs)],
            capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    return json.loads(done.stdout) if done.returncode == 0 else None


def _zig() -> list[str]:
    if importlib.util.find_spec("ziglang") is None:
        raise StropError("Groups of IR need the package ziglang: pip install ziglang")
    return [sys.executable, "-m", "ziglang"]


def _run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_zig(), *words], cwd=folder, capture_output=True, text=True, timeout=120)


# ---- files -------------------------------------------------------------------------------------


def dump(groups: Iterable[Group], path: Path) -> int:
    """Write groups as JSONL; returns how many."""
    lines = [json.dumps(asdict(group)) + "\n" for group in groups]
    path.write_text("".join(lines))
    return len(lines)


def load(path: Path) -> list[Group]:
    """Read what `dump` wrote. Raises StropError naming file, line and field."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StropError(f"{path} cannot be read: {error}.") from error
    return [_group(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _group(path: Path, number: int, line: str) -> Group:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise StropError(f"{path}, line {number}: not JSON: {error}.") from error
    if not isinstance(row, dict) or not isinstance(row.get("source"), str):
        raise StropError(f"{path}, line {number}: field source must be a text.")
    for name, least in (("winners", 2), ("losers", 1), ("levels", 0), ("edits", 0)):
        values = row.get(name, [])
        if not isinstance(values, list) or len(values) < least or not all(isinstance(one, str) for one in values):
            raise StropError(f"{path}, line {number}: field {name} must be a list of at least {least} texts.")
    named = {name: tuple(row.get(name, ())) for name in ("winners", "losers", "levels", "edits")}
    return Group(source=row["source"], **named)
