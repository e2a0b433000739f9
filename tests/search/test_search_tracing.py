"""Blocks and traces: blocks part the lines, traced values are those of an independent tracer, programs stay inside."""

from __future__ import annotations

import ast
import json
import sys
from functools import lru_cache
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Scripted, block, solve, task

from strop.search.sandbox import report_source, report_task, text_in
from strop.search.tracing import _read, blocks_of
from strop.tasks import load
from strop.types import CallCheck, ScriptCheck, StdioCheck, Task

HARNESS = files("strop.search").joinpath("trace_harness.py").read_text()


@lru_cache
def humaneval(count: int) -> list[Task]:
    return load("humaneval", limit=count)


def simple_statements(code: str) -> list[ast.stmt]:
    """Statements inside functions that have no statements of their own, docstrings apart."""
    found = []
    for function in ast.walk(ast.parse(code)):
        if not isinstance(function, ast.FunctionDef):
            continue
        first = function.body[0]
        documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        for node in ast.walk(function):
            if isinstance(node, ast.stmt) and not hasattr(node, "body") and not (documented and node is first):
                found.append(node)
    return found


@pytest.mark.parametrize("level", ["block", "line"])
def test_every_statement_lies_in_exactly_one_block(level):
    for one in humaneval(40):
        blocks = blocks_of(one.reference, level)
        for node in simple_statements(one.reference):
            around = [b for b in blocks if b.first <= node.lineno and node.end_lineno <= b.last]
            assert len(around) == 1, f"{one.id} line {node.lineno}: {around}"


def test_function_level_has_a_block_a_function():
    code = "def f(x):\n    y = x\n    return g(y)\n\n\ndef g(y):\n    '''Doc.'''\n    return y\n"
    assert [(b.first, b.last) for b in blocks_of(code, "function")] == [(2, 3), (7, 8)]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_blocks_of_anything(text):
    for level in ("block", "line", "function"):
        assert all(block.first <= block.last for block in blocks_of(text, level))


def traced_in_the_sandbox(judge, code, function, args, level):
    blocks = blocks_of(code, level)
    starts = [[line, n] for n, b in enumerate(blocks) for line in range(b.first, b.last + 1)]
    parts = (code, function, list(args), {}, "", starts, 400, 20_000, 7000)
    verdict = judge.run(report_task(task(), "strop_trace", parts), [report_source(HARNESS)], checks="visible")[0]
    text = text_in(verdict)
    return blocks, json.loads(text) if text else None


def traced_here(code, function, args):
    """(line, values after it) of every line, by another tracer in this process; for trusted programs only."""
    space, seen, pending = {}, [], {}
    exec(compile(code, "<here>", "exec"), space)

    def values(frame):
        return {name: repr(value) for name, value in frame.f_locals.items() if not callable(value)}

    def follow(frame, event, arg):
        if frame.f_code.co_filename != "<here>":
            return None
        if id(frame) in pending and event in ("line", "return"):
            seen.append((pending.pop(id(frame)), values(frame)))
        if event == "line":
            pending[id(frame)] = frame.f_lineno
        return follow

    sys.settrace(follow)
    try:
        space[function](*args)
    finally:
        sys.settrace(None)
    return seen


LOOPS = """def collatz(n):
    steps = []
    while n != 1:
        if n % 2:
            n = 3 * n + 1
        else:
            n = n // 2
        steps.append(n)
    return steps
"""
RECURSION = """def add_up(items):
    if not items:
        return 0
    rest = add_up(items[1:])
    total = items[0] + rest
    return total
"""
CALLS = """def helper(v):
    w = v * 2
    return w


def outer(a, b):
    try:
        c = helper(a) / b
    except ZeroDivisionError:
        c = None
    finally:
        d = [c]
    return d
"""


@pytest.mark.parametrize(
    ("code", "function", "args"),
    [(LOOPS, "collatz", (6,)), (RECURSION, "add_up", ([3, 4],)), (CALLS, "outer", (3, 0)), (CALLS, "outer", (1, 2))],
)
def test_values_line_by_line_are_those_of_another_tracer(judge, code, function, args):
    blocks, data = traced_in_the_sandbox(judge, code, function, args, "line")
    wanted = [(line, values) for line, values in traced_here(code, function, args)]
    lines = {n: b.first for n, b in enumerate(blocks)}
    got = [(lines[n], {k: v for k, v in values.items() if k != "(return)"}) for n, values in data["events"]]
    # Lines that belong to no statement block (`try:`, `finally:`) are seen by the other tracer only.
    covered = {line for b in blocks for line in range(b.first, b.last + 1)}
    assert got == [(line, values) for line, values in wanted if line in covered]
    assert data["cut"] == 0


COUNTER = """class Counter:
    def __init__(self):
        self.n = 2

    def add(self, k):
        m = self.n + k
        return m
"""


def test_methods_of_instances_are_traced(judge):
    _, data = traced_in_the_sandbox(judge, COUNTER, "Counter().add", (3,), "block")
    assert data["result"] == "5"
    assert data["events"][-1][1]["m"] == "5"


def test_gold_programs_give_their_own_results(judge):
    for one in humaneval(40)[:20]:
        check = next((c for c in one.visible_checks if isinstance(c, CallCheck)), None)
        if check is None:
            continue
        _, data = traced_in_the_sandbox(judge, one.reference, check.function, check.args, "block")
        assert data is not None, one.id
        assert data["error"] is None, f"{one.id}: {data['error']}"
        assert data["result"] == repr(check.expected)[:100] or len(repr(check.expected)) > 97


ENDLESS = "def double(x):\n    while True:\n        x += 1\n    return x\n"
FORGER = (
    "import sys\nfor module in list(sys.modules.values()):\n    if hasattr(module, '_strop_text'):\n"
    "        module.strop_chunk = lambda k: '{\"events\": 7}' if k == 0 else None\n"
    "def double(x):\n    return x + 2\n"
)
HOSTILE = [
    ENDLESS,
    FORGER,
    "def double(x):\n    import os\n    os._exit(0)\n",
    "def double(x):\n    raise SystemExit\n",
    "class R:\n    def __repr__(self):\n        raise KeyError('no')\ndef double(x):\n    r = R()\n    return r\n",
    "def double(x):\n    import sys\n    sys.settrace(None)\n    y = [0] * 10**6\n    return y\n",
    "def double(x):\n    return double(x)\n",
    "def double(x):\n    " + "x = x\n    " * 3000 + "return x\n",
]


@pytest.mark.parametrize("program", HOSTILE)
def test_programs_that_resist_tracing_are_debugged_all_the_same(judge, program):
    good = "def double(x):\n    return 2 * x\n"
    model = Scripted(
        lambda text, before: block(good if "was written" in text and "one line a block" not in text else program)
    )
    found = solve("runtime-debug", model, judge, budget="programs=2")
    assert found.answer.code == good


def test_an_endless_loop_shows_its_beginning(judge):
    _, data = traced_in_the_sandbox(judge, ENDLESS, "double", (1,), "block")
    assert "did not end" in data["error"]
    assert data["cut"] > 1000
    assert data["events"][0][1]["x"] == "1"


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.none(), st.text(max_size=100),
        st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
                     | st.dictionaries(st.sampled_from(["events", "result", "error", "cut"]), inner, max_size=4)
                     ).map(json.dumps),
    )
)  # fmt: skip
def test_forged_traces_are_read_or_refused(text):
    _read(text, blocks_of(LOOPS))


@pytest.mark.parametrize(
    "check",
    [
        ScriptCheck(code="assert double(1) == 2\nassert double(3) == 6", visible=True),
        StdioCheck(stdin="3\n", stdout="6\n", visible=True),
    ],
)
def test_inputs_of_scripts_and_of_whole_programs_are_traced(judge, check):
    if isinstance(check, StdioCheck):
        one = Task(id="t/io", prompt="Double.", checks=(check,))
        bad, good = "n = int(input())\nprint(n + 2)\n", "print(2 * int(input()))\n"
    else:
        one = task(checks=(check,))
        bad, good = "def double(x):\n    y = x + 1\n    return y\n", "def double(x):\n    return 2 * x\n"
    model = Scripted(lambda text, before: block(good if "corrected" in text else bad))
    found = solve("runtime-debug", model, judge, [one], budget="programs=2")[0]
    assert found.state.facts["traced"] == 1
    assert ("n = 3" if isinstance(check, StdioCheck) else "x = 3, y = 4") in found.state.nodes[1].prompt
    assert found.answer.code == good
