"""Metrics of efficiency: by hand, and on real pairs of slow and fast programs on the real judge."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.evals.efficiency import LARGEST, Rewrite, measure, summarise
from strop.judge import Judge
from strop.rewards import Comparison, CostMeter
from strop.types import StdioCheck, StropError, Task


def rewrite(task, right=True, ratio=1.0, low=1.0, high=1.0):
    return Rewrite(task=task, right=right, ratio=ratio, low=low, high=high)


def test_by_hand():
    rows = [
        rewrite("a", ratio=4.0, low=3.0, high=5.0),  # right and faster
        rewrite("b", ratio=1.3, low=0.9, high=1.7),  # right, not told from equal
        rewrite("c", ratio=0.5, low=0.4, high=0.6),  # right and slower
        rewrite("d", right=False, ratio=9.0, low=8.0, high=10.0),  # wrong, however fast
        rewrite("e", ratio=1.05, low=1.02, high=1.08),  # faster, by less than a tenth
        rewrite("f", ratio=1.2, low=1.05, high=1.4),  # faster; whether by a tenth is not sure
    ]
    found = summarise(rows, [rewrite("a", ratio=1.2, low=1.1, high=1.3), rewrite("b", ratio=1.2, low=0.9, high=1.3)])
    assert found.programs == 6
    assert found.right.value == pytest.approx(5 / 6)
    assert found.optimised.value == pytest.approx(2 / 6)
    assert found.naive.value == pytest.approx(3 / 6)
    assert found.surely.value == pytest.approx(1 / 6)
    assert found.speedup.value == pytest.approx((4 + 1 + 0.5 + 1 + 1.05 + 1.2) / 6)
    assert found.speedup_geometric.value == pytest.approx((4 * 0.5 * 1.05 * 1.2) ** (1 / 6))
    assert found.reduction.value == pytest.approx((0.75 + 0 - 1 + 0 + (1 - 1 / 1.05) + (1 - 1 / 1.2)) / 6)
    assert found.efficient_and_correct.value == pytest.approx(4 / 6)
    assert found.noise is not None
    assert found.noise.value == 0.5


def test_programs_of_a_task_are_averaged_first():
    rows = [rewrite("a", ratio=4.0, low=3.0, high=5.0)] * 9 + [rewrite("b", right=False)]
    found = summarise(rows)
    assert (found.optimised.value, found.optimised.n, found.noise) == (0.5, 2, None)


finite = st.floats(1e-6, 1e6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), finite, finite, finite), min_size=1, max_size=12))
def test_any_timings_stay_in_their_bounds_and_wrong_programs_gain_nothing(rows):
    made = [
        rewrite(str(number), right, ratio, min(low, ratio), max(high, ratio))
        for number, (right, ratio, low, high) in enumerate(rows)
    ]
    found = summarise(made)
    assert found.surely.value <= found.naive.value
    assert found.optimised.value <= found.naive.value <= found.right.value
    assert 1 / LARGEST <= found.speedup.value <= LARGEST
    assert found.reduction.value <= 1
    wrong = summarise([Rewrite(task=one.task, right=False, ratio=one.ratio, low=one.low) for one in made])
    assert (wrong.optimised.value, wrong.speedup.value, wrong.reduction.value) == (0, 1, 0)


def task(name="t", reference="print(1)"):
    return Task(id=name, prompt="", checks=(StdioCheck(stdin="", stdout="1"),), reference=reference)


def test_only_right_programs_are_timed_and_one_that_fails_while_timed_is_wrong():
    asked = []

    def compare(task, program):
        asked.append(program)
        if program == "flaky":
            return None
        ratio = 1.0 if program == task.reference else 2.0
        return Comparison(ratio=ratio, low=0.9 * ratio, high=1.1 * ratio, outcome="faster" if ratio > 1 else "noise")

    found, rows = measure([(task(), "fast", True), (task("u"), "wrong", False), (task("v"), "flaky", True)], compare)
    assert asked == ["fast", "flaky", "print(1)", "print(1)", "print(1)"]
    assert [one.right for one in rows] == [True, False, False]
    assert found.optimised.value == pytest.approx(1 / 3)
    assert found.noise is not None
    assert found.noise.value == 0


def test_nothing_to_time_is_said():
    with pytest.raises(StropError, match="no program"):
        summarise([])
    with pytest.raises(StropError, match="has no reference"):
        measure([(task(reference=None), "x", True)], lambda task, program: None)


# ---- real pairs ----

PIE = Path(__file__).parents[3] / "shared" / "data" / "pie" / "py_reference.jsonl"
INPUTS = {"p03371": "1500 2000 1600 90000 90000\n", "p03835": "1200 1800\n", "p03796": "20000\n", "p02596": "999983\n"}
"""Large inputs for four problems of PIE, written from the programs' own reading code."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_rewrites_gain_and_references_against_themselves_do_not():
    if not PIE.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{PIE} is missing")
        pytest.skip("needs the shared data set pie")
    best: dict[str, dict] = {}
    for line in PIE.read_text().splitlines():
        row = json.loads(line)
        plain = "numpy" not in row["input"] + row["target"]
        old = best.get(row["problem_id"], {"runtime_lift": 0.0})
        if plain and row["problem_id"] in INPUTS and row["runtime_lift"] > old["runtime_lift"]:
            best[row["problem_id"]] = row
    assert len(best) == len(INPUTS)
    with Judge(workers=1) as judge:
        programs = []
        for problem, row in best.items():
            asked = Task(id=problem, prompt="", checks=(StdioCheck(stdin=INPUTS[problem], stdout=""),))
            slow, fast = judge.run(asked, [row["input"], row["target"]])
            if slow.output and slow.output == fast.output:
                checks = (StdioCheck(stdin=INPUTS[problem], stdout=slow.output),)
                programs.append(
                    (Task(id=problem, prompt="", checks=checks, reference=row["input"]), row["target"], True)
                )
        assert len(programs) >= 2, "the programs of a pair must print the same"
        found, rows = measure(programs, CostMeter(judge).compare)
    assert found.noise is not None
    assert found.noise.value == 0, rows
    assert found.optimised.value >= 0.5, rows
    assert found.speedup.value > 1.5
