"""Inputs for problems of PIE's Python sample, written from the programs' own reading code.

The sample holds pairs of a slow and a faster program by one author, without tests. Here is an input for each of some
problems on which the work, not the start of the interpreter, takes the time: as large as a run of a tenth to half a
second allows. Problems whose inputs are always small are left out: there, recorded gains are noise.
"""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from strop.papers.data import data_file

STANDARD = {"sys", "math", "collections", "itertools", "bisect", "heapq", "functools", "fractions", "operator", "re"}
"""Modules that the programs may import: nothing that itself takes long to import."""
RECORDED = 2.0
"""Least recorded gain of a pair that is used."""
SHORTEST = 0.05
"""Seconds that the faster program's recorded run took at least: shorter ones had not run, Python starts slower."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two programs of one author for one problem."""

    id: str
    problem: str
    slow: str
    fast: str
    recorded: float
    """Recorded seconds of the slow one over those of the fast one."""


def pairs(most: int) -> list[Pair]:
    """Up to `most` pairs a problem, those with the greatest recorded gain first, problem by problem.

    Raises StropError when the file is missing.
    """
    file = data_file("pie/py_reference.jsonl", "github.com/madaan/pie-perf, data/sample/py_reference.jsonl")
    found: dict[str, list[Pair]] = {problem: [] for problem in INPUTS}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        problem = row["problem_id"]
        if problem not in found or row["runtime_lift"] <= RECORDED or row["measured_runtime_v1"] < SHORTEST:
            continue
        if imported(row["input"]) <= STANDARD and imported(row["target"]) <= STANDARD:
            name = f"{problem} {row['submission_id_v0']} {row['submission_id_v1']}"
            found[problem].append(Pair(name, problem, row["input"], row["target"], row["runtime_lift"]))
    chosen = []
    for rows in found.values():
        seen: dict[str, Pair] = {}
        for pair in sorted(rows, key=lambda pair: (-pair.recorded, pair.id)):
            seen.setdefault(pair.slow, pair)  # one author's slow program stands in several pairs
        chosen += list(seen.values())[:most]
    return chosen


def imported(program: str) -> set[str]:
    """Top modules that a program imports; `?` where it is no Python 3."""
    try:
        tree = ast.parse(program)
    except SyntaxError:
        return {"?"}
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "?" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


def text(*rows: object) -> str:
    """Lines; a list or tuple is a line of numbers."""
    return "".join((" ".join(map(str, row)) if isinstance(row, list | tuple) else str(row)) + "\n" for row in rows)


def _numbers(rng: random.Random, count: int, most: int) -> list[int]:
    return [rng.randint(1, most) for _ in range(count)]


INPUTS: dict[str, Callable[[random.Random], str]] = {
    # a number
    "p03796": lambda rng: text(rng.randint(39_000, 40_000)),
    "p02690": lambda rng: text(rng.choice((63, 65, 67)) ** 5 + rng.choice((40, 41)) ** 5),
    "p02555": lambda rng: text(rng.randint(1200, 1300)),
    "p02881": lambda rng: text(1_000_000_000_039),
    "p02596": lambda rng: text(999_983),
    # a few numbers
    "p03371": lambda rng: text((1500, 2000, 1600, rng.randint(40_000, 50_000), rng.randint(30_000, 40_000))),
    "p03416": lambda rng: text((10_000, 99_999)),
    "p03253": lambda rng: text((rng.randint(40_000, 50_000), 735_134_400)),
    "p03835": lambda rng: text((rng.randint(600, 620), rng.randint(900, 950))),
    # lists
    "p03013": lambda rng: text((60_000, 10_000), *(6 * place + 3 for place in range(10_000))),
    "p03162": lambda rng: text(30_000, *(_numbers(rng, 3, 10_000) for _ in range(30_000))),
    "p03078": lambda rng: text((300, 300, 300, 40), *(_numbers(rng, 300, 10**9) for _ in range(3))),
    "p03038": lambda rng: text(
        (30_000, 30_000),
        _numbers(rng, 30_000, 10**9),
        *((rng.randint(1, 9), rng.randint(1, 10**9)) for _ in range(30_000)),
    ),
    "p03457": lambda rng: text(40_000, *((place, place, 0) for place in range(1, 40_001))),
    "p03164": lambda rng: text((50, 10_000_000), *((rng.randint(1, 10**6), rng.randint(1, 100)) for _ in range(50))),
    "p02574": lambda rng: text(20_000, _numbers(rng, 20_000, 10**6)),
}
"""A large input of each problem, in the form that its programs read."""
