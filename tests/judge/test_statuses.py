# ruff: noqa: E501 (programs are easier to read on one line)
"""Which status a program gets, and what its verdict says."""

from __future__ import annotations

import pytest
from judge_helpers import task

from strop.types import CallCheck, Limits, ScriptCheck, StdioCheck, Task, TextCheck

SQUARE = Task(id="square", prompt="", checks=(CallCheck(function="f", args=(3,), expected=9),))


def one(judge, task, program, **options):
    (verdict,) = judge.run(task, [program], **options)
    return verdict


@pytest.mark.parametrize(
    ("program", "status", "word"),
    [
        ("def f(x): return x * x", "passed", ""),
        ("def f(x): return 8", "failed", "differs"),
        ("def f(x: return", "syntax_error", "line 1"),
        ("def f(x):\n    return x +", "syntax_error", "line 2"),
        ("\0", "syntax_error", "null"),
        ("def f(x):\n\treturn 1\n        return 2", "syntax_error", "TabError"),
        ("x = " + "(" * 5000 + ")" * 5000, "syntax_error", ""),
        ("def f(x): return undefined_name", "runtime_error", "NameError"),
        ("raise ValueError('no')", "runtime_error", "ValueError while loading: no (line 1)"),
        ("def g(x): return 9", "runtime_error", "defines no 'f'"),
        ("", "runtime_error", "defines no 'f'"),
        ("def f(x): return f(x)", "runtime_error", "RecursionError"),
        ("def f(x): return [0] * 10**9", "out_of_memory", "MemoryError"),
        ("import os\nos.kill(os.getpid(), 9)", "forbidden", "PermissionError"),
        ("def f(x):\n    while True: pass", "timeout", "CPU time"),
        ("import time\ndef f(x): time.sleep(60)", "timeout", "without ending"),
        ("def f(x): exit(0)", "runtime_error", "exit"),
        ("raise SystemExit(0)", "runtime_error", "SystemExit"),
        ("import os\nos._exit(0)", "runtime_error", "exit code 0"),
        ("open('/tmp/strop_leak_x', 'w')", "forbidden", ""),
        ("import socket\nsocket.socket()", "forbidden", "PermissionError"),
        ("import ctypes\nctypes.CDLL(None).ptrace(0, 0, 0, 0)", "forbidden", "system call"),
        ("import ctypes\nctypes.string_at(0)", "runtime_error", "SIGSEGV"),
        ("\ud800", "syntax_error", ""),
        ("#" * (3 << 20), "forbidden", "longer than"),
        ("\x7fELF\x02\x01\x01\x00" + "".join(map(chr, range(256))), "syntax_error", ""),
        ("x = " + "[" * 100_000 + "]" * 100_000, "syntax_error", ""),
        ("x = " + "-" * 100_000 + "1", "syntax_error", ""),
        ("if 1:\n" + "".join(" " * i + "if 1:\n" for i in range(1, 200)) + " " * 200 + "x = 1", "syntax_error", ""),
    ],
)
def test_status(judge, program, status, word):
    verdict = one(judge, SQUARE, program)
    assert verdict.status == status, verdict
    assert word in verdict.detail
    assert verdict.fraction == (1.0 if status == "passed" else 0.0)
    assert verdict.isolation == "userns"


def test_a_program_of_100_megabytes_is_refused_unread(judge):
    verdict = one(judge, SQUARE, "#" * (100 << 20))
    assert verdict.status == "forbidden"
    assert "longer than" in verdict.detail
    assert one(judge, SQUARE, "def f(x): return x * x").passed


def test_details_of_a_verdict(judge):
    both = Task(
        id="two",
        prompt="",
        checks=(
            CallCheck(function="f", args=(2,), expected=4, visible=True, name="two"),
            CallCheck(function="f", args=(3,), kwargs={"y": 1}, expected=9),
        ),
    )
    program = "print('hello', flush=True)\ndef f(x, y=0):\n    return x * x + y"
    verdict = one(judge, both, program)
    first, second = verdict.checks
    assert (first.name, first.passed, first.visible, first.status) == ("two", True, True, "passed")
    assert (second.passed, second.actual, second.expected) == (False, "10", "9")
    assert verdict.fraction == 0.5
    assert verdict.status == "failed"
    assert "hello" in verdict.output
    assert 0 < verdict.seconds < 1
    assert verdict.memory_mb > 5
    assert one(judge, both, program, checks="visible").passed
    assert one(judge, both, program, checks="hidden").fraction == 0.0


def test_cpu_time_and_peak_memory_are_measured(judge):
    program = (
        "def f(x):\n    t = bytearray(100 << 20)\n    s = 0\n    for i in range(2_000_000): s += i\n    return x * x"
    )
    verdict = one(judge, SQUARE, program)
    assert verdict.passed
    assert verdict.seconds > 0.03
    assert verdict.memory_mb > 100


def test_equality_is_pythons_own(judge):
    def check(expected, returned, tolerance=None):
        t = Task(id="e", prompt="", checks=(CallCheck(function="f", expected=expected, tolerance=tolerance),))
        return one(judge, t, f"def f(): return {returned}").passed

    assert check(2, "2.0")
    assert check((1, 2), "(1, 2)")
    assert not check((1, 2), "[1, 2]")
    assert not check("1", "1")
    assert check({1, 2}, "{2, 1}")
    assert check({"a": [1, (2, 3)]}, "{'a': [1, (2, 3)]}")
    assert check({1: "x", (1, 2): None}, "{1: 'x', (1, 2): None}")
    assert check(b"ab", "b'ab'")
    assert check(10**5000, "10**5000")
    assert not check(0.3, "0.1 + 0.2")
    assert check(0.3, "0.1 + 0.2", 1e-9)
    assert check([{"v": 0.3}], "[{'v': 0.1 + 0.2}]", 1e-9)
    assert check(float("nan"), "float('nan')")
    assert check(float("inf"), "float('inf')")
    assert not check(1.0, "float('nan')")
    assert check({"a": 2, "b": 1}, "__import__('collections').Counter('aab')")
    assert not check([1, 2], "__import__('numpy').array([1, 2])")  # as in numpy: not one truth value
    assert check(3, "__import__('numpy').int64(3)")


def test_stdio(judge):
    add = Task(
        id="add",
        prompt="",
        checks=(StdioCheck(stdin="1 2\n", stdout="3\n"), StdioCheck(stdin="5 7\n", stdout="12\n")),
    )
    assert one(judge, add, "a, b = map(int, input().split())\nprint(a + b)").passed
    assert one(judge, add, "import sys\nprint(sum(map(int, sys.stdin.read().split())))").passed
    assert one(judge, add, "import os\nos.write(1, b'%d ' % sum(map(int, os.read(0, 99).split())))\nos._exit(0)").passed
    assert one(judge, add, "if __name__ == '__main__':\n    print(sum(map(int, open(0).read().split())))").passed
    wrong = one(judge, add, "input()\nprint(3)")
    assert (wrong.status, wrong.fraction) == ("failed", 0.5)
    assert (wrong.checks[1].actual, wrong.checks[1].expected) == ("3\n", "12\n")
    assert one(judge, add, "print(3)\nraise ValueError").status == "runtime_error"
    assert one(judge, add, "print(3)\nraise SystemExit(1)").status == "runtime_error"
    assert one(judge, add, "print(3)\nimport os\nos._exit(3)").status == "runtime_error"
    assert one(judge, add, "import sys\nwhile True: sys.stdout.write('x' * 9999)").status in ("failed", "timeout")
    assert one(judge, add, "import os\nwhile os.write(1, b'x' * 9999): pass").status in ("failed", "runtime_error")
    assert one(judge, add, "print(3)\nwhile True: pass").status == "timeout"


@pytest.mark.parametrize(
    ("comparer", "expected", "printed", "good"),
    [
        ("exact", "a\n", "a\n", True),
        ("exact", "a\n", "a \n", False),
        ("lines", "a\nb\n", "a  \nb\n\n", True),
        ("lines", "a b", "a  b", False),
        ("tokens", "a b\nc", "a\nb c", True),
        ("numeric", "1.0 x", "1.0000001 x", True),
        ("numeric", "1.0", "1.1", False),
        ("numeric", "1.0", "nan", False),
        ("def compare(stdin, expected, actual):\n    return sorted(actual.split()) == sorted(expected.split())", "1 2", "2 1", True),
    ],
)  # fmt: skip
def test_comparers(judge, comparer, expected, printed, good):
    t = Task(id="c", prompt="", checks=(StdioCheck(stdin="", stdout=expected, comparer=comparer),))
    assert one(judge, t, f"print({printed!r}, end='')").passed is good


def test_text_check(judge):
    t = Task(id="t", prompt="", checks=(TextCheck(reference="Paris  is\nthere"),))
    assert one(judge, t, "Paris is there").passed
    assert one(judge, t, "London").status == "failed"


@pytest.mark.parametrize(
    ("check", "word"),
    [
        (ScriptCheck(code="assert f(1 ==", name="s"), "does not parse"),
        (ScriptCheck(code="import math\nmath.nothing()\nassert f(3) == 9"), "before it used the program"),
        (ScriptCheck(code="x = 1", style="check"), "check(candidate)"),
        (ScriptCheck(code="x = 1", style="unittest"), "no unittest"),
        (ScriptCheck(code="import threading\nassert f(threading.Lock())"), "cannot be passed"),
        (StdioCheck(stdin="", stdout="", comparer="nonsense"), "comparer"),
        (CallCheck(function="f", args=(object,), expected=lambda: 1), ""),
    ],
)
def test_a_broken_check_is_the_judges_error(judge, check, word):
    verdict = one(judge, Task(id="b", prompt="", checks=(check,)), "def f(x): return 9")
    assert verdict.status == "judge_error", verdict
    assert word in verdict.detail


def test_limits_of_a_task_count(judges):
    from strop.judge import Judge

    slow = "def f(x):\n    import time\n    time.sleep(1.2)\n    return x * x"
    judge = judges("userns")
    assert one(judge, SQUARE, slow).passed
    strict = Task(id="s", prompt="", checks=SQUARE.checks, limits=Limits(cpu_seconds=0.1, wall_seconds=0.15))
    assert one(judge, strict, slow).status == "timeout"
    small = Task(id="m", prompt="", checks=SQUARE.checks, limits=Limits(memory_mb=50))
    assert one(judge, small, "x = bytearray(100 << 20)\ndef f(x): return x * x").status == "out_of_memory"
    with Judge(workers=1, stop_at_first_failure=False) as every:
        checks = tuple(CallCheck(function="f", args=(n,), expected=n * n) for n in range(4))
        verdict = one(every, Task(id="e", prompt="", checks=checks), "def f(x): return 1 if x == 3 else x * x")
        assert (verdict.fraction, len(verdict.checks), verdict.status) == (0.75, 4, "failed")


def test_what_programs_print_does_not_fail_them(judge):
    t = task("assert f(3) == 9")
    assert one(judge, t, "def f(x):\n    for i in range(300_000): print('spam and eggs')\n    return x * x").passed


def test_honest_programs_may_use_threads_asyncio_and_imports(judge):
    program = """
import asyncio, threading, decimal, hashlib, statistics, sqlite3, zlib, uuid, dataclasses, enum, collections.abc
def f(x):
    found = []
    threads = [threading.Thread(target=lambda: found.append(x)) for _ in range(3)]
    [t.start() for t in threads]; [t.join() for t in threads]
    async def main():
        await asyncio.sleep(0.001)
        return await asyncio.gather(*[asyncio.sleep(0, x) for _ in range(3)])
    assert asyncio.run(main()) == found
    with open('/dev/null', 'w') as null: null.write('x')
    return sum(found)
"""
    verdict = one(judge, SQUARE, program)
    assert verdict.passed, verdict
