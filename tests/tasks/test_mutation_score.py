"""The measure of `benchmarks/basics_quality.py` on tasks whose answer is known."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from strop.judge import Judge
from strop.tasks.literals import parse_check
from strop.types import CallCheck, Limits, ScriptCheck, Task

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def quality():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import basics_quality

        return basics_quality
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def bench():
    with Judge(limits=Limits(cpu_seconds=1.0, wall_seconds=30.0)) as judge:
        yield judge


def _task(reference: str, entry_point: str, *checks: str) -> Task:
    return Task(
        id=f"t/{entry_point}",
        prompt="",
        checks=tuple(parse_check(check) for check in checks),
        entry_point=entry_point,
        reference=reference,
        tags=("c",),
    )


def test_a_hole_in_the_checks_is_found(quality, bench):
    weak = _task("def top(a, b):\n    return max(a, b)\n", "top", "top(3, 3) == 3", "top(-1, -1) == -1")
    found = quality.measure(weak, bench, mutant_limit=10, inputs=60)
    assert found.reference.passed
    assert any("min(a, b)" in hole["program"] for hole in found.holes)
    strong = replace(weak, checks=(*weak.checks, parse_check("top(1, 2) == 2"), parse_check("top(2, 1) == 2")))
    assert len(quality.measure(strong, bench, mutant_limit=10, inputs=60).holes) < len(found.holes)


def test_equivalent_mutants_are_not_holes(quality, bench):
    task = _task("def twice(n):\n    return 2 * n\n", "twice", "twice(3) == 6", "twice(0) == 0", "twice(-4) == -8")
    found = quality.measure(task, bench, mutant_limit=10, inputs=60)
    assert found.holes == []
    assert found.equivalent >= 1  # n * 2
    assert found.killed >= 7


def test_objects_generators_and_errors_get_further_checks(quality):
    more_checks = quality.more_checks
    pile = (
        "class Pile:\n    def __init__(self):\n        self.n = 0\n"
        "    def put(self, k):\n        self.n += k\n        return self.n\n"
    )
    scripts = more_checks(_task(pile, "Pile", "p = Pile()\np.put(3)\nassert p.put(4) == 7"), count=30)
    assert any(script.code.count(".put(") > 3 for script in scripts)

    count = "def count(n):\n    for i in range(n):\n        yield i\n"
    scripts = more_checks(_task(count, "count", "assert list(count(3)) == [0, 1, 2]"), count=10)
    assert any("count(4)" in script.code and "[0, 1, 2, 3]" in script.code for script in scripts)

    root = "def root(n):\n    if n < 0:\n        raise ValueError\n    return n ** 0.5\n"
    error = "try:\n    root(-1)\nexcept ValueError:\n    pass\nelse:\n    assert False"
    checks = more_checks(_task(root, "root", "root(4) == 2.0", error), count=40)
    assert any(isinstance(check, CallCheck) for check in checks)
    assert any(isinstance(check, ScriptCheck) and "except ValueError" in check.code for check in checks)


def test_inputs_keep_what_looks_like_a_precondition(quality):
    from more_inputs import arguments_like

    sorted_lists = [([1, 2, 5], 2), ([], 0), ([3, 3, 9], 1), ([0, 4], 2), ([7], 0)]
    found = arguments_like(sorted_lists, count=80)
    assert len(found) > 40
    assert all(items == sorted(items) and 0 <= n <= len(items) for items, n in found)
    assert arguments_like(sorted_lists, count=80) == found
