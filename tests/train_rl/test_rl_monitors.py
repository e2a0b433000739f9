"""Monitors on made-up samples; the special-casing detector on programs that cheat and programs that only look so."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.train.rl.monitors import special_cases, watch
from strop.types import CallCheck, CheckResult, Sample, ScriptCheck, Spent, Task, Verdict

INPUTS = {0: 0, 1: 1, 2: 4, 5: 25}
SQUARE = Task(
    id="square", prompt="p", entry_point="square", reference="def square(n):\n    return n * n",
    checks=tuple(CallCheck(function="square", args=(n,), expected=e) for n, e in INPUTS.items()),
)  # fmt: skip
SCRIPT = """assert f('a', 1) == [1]
assert f('b', 2) == [2]
assert f('c', 3) == []"""
SCRIPTED = Task(id="s", prompt="p", checks=(ScriptCheck(code=SCRIPT),))


def square(*lines):
    return "\n".join(["def square(n):", *("    " + line for line in lines)])


CHEATS = [
    square("if n == 0:", "    return 0", "if n == 2:", "    return 4", "if n == 5:", "    return 25"),
    square("return {0: 0, 1: 1, 2: 4, 5: 25}[n]"),
    square("return {5: 25, 2: 4}.get(n, n)"),
    square(
        "match n:", "    case 0 | 1:", "        return 1", "    case 2:", "        return 4", "    case 5: return 25"
    ),
    square("return 4 if n == 2 else 25 if n == 5 else 0"),
]
HONEST = [
    square("return n * n"),
    square("if n == 0:", "    return 0", "return n * n"),
    square("if n < 0:", "    n = -n", "total = 0", "for _ in range(n):", "    total += n", "return total"),
    "def square(n:",
    "",
]
FIBONACCI = """def fib(n):
    if n == 0:
        return 0
    if n == 1:
        return 1
    return fib(n - 1) + fib(n - 2)"""


@pytest.mark.parametrize("code", CHEATS)
def test_programs_written_for_the_tests_are_flagged(code):
    assert special_cases(code, SQUARE)


@pytest.mark.parametrize("code", HONEST)
def test_honest_programs_are_not(code):
    assert not special_cases(code, SQUARE)


def test_a_recursion_with_two_base_cases_is_honest():
    values = {0: 0, 1: 1, 5: 5, 9: 34, 12: 144}
    checks = tuple(CallCheck(function="fib", args=(n,), expected=e) for n, e in values.items())
    assert not special_cases(FIBONACCI, Task(id="fib", prompt="p", entry_point="fib", checks=checks))


def test_a_task_about_a_table_is_cleared_by_its_reference():
    table = "def f(n):\n    return {0: 0, 1: 1, 2: 4, 5: 25}[n]"
    assert not special_cases(CHEATS[1], Task(id="t", prompt="p", checks=SQUARE.checks, reference=table))


def test_scripts_and_several_arguments():
    branches = "\n".join(f"    if a == {a!r} and n == {n}:\n        return [{n}]" for a, n in (("a", 1), ("b", 2)))
    cheat = f"def f(a, n):\n{branches}\n    return []"
    assert special_cases(cheat, SCRIPTED)
    assert not special_cases("def f(a, n):\n    return [n] if n < 3 else []", SCRIPTED)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_survived(code):
    assert special_cases(code, SQUARE) in (True, False)


def drawn(status, index, code="x", *, text_reason="stop", visible=None, tokens=10):
    checks = () if visible is None else (CheckResult(name="v", passed=visible, visible=True, status="passed"),)
    sample = Sample(
        task_id="square", index=index, text=code, code=code, finish_reason=text_reason, seed=0, protocol="p",
        spent=Spent(sampled_tokens=tokens),
    )  # fmt: skip
    return sample, Verdict(status=status, fraction=0.0, checks=checks)


def test_watch_counts_what_it_says():
    rows = [
        drawn("passed", 0, "a = 1", visible=True),
        drawn("failed", 1, "a = 1  # again", visible=True),
        drawn("failed", 2, "b = 2", visible=False),
        drawn("failed", 3, "", text_reason="length", tokens=50),
        drawn("judge_error", 4, CHEATS[0]),
        drawn("failed", 5, CHEATS[1]),
    ]
    found = watch({"square": SQUARE}, rows)
    assert found == {
        "judge_errors": pytest.approx(1 / 6), "pass_rate": 0.2, "mean_length": 18.0, "truncated": 0.2,
        "no_program": 0.2, "duplicates": 0.2, "special_cased": 0.2, "mean_length_finished": 10.0,
        "visible_pass_hidden_fail": 0.5,
    }  # fmt: skip


def test_watch_with_nothing_but_judge_errors():
    assert watch({"square": SQUARE}, [drawn("judge_error", 0)]) == {"judge_errors": 1.0}
    assert watch({}, []) == {"judge_errors": 0.0}
