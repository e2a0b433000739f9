"""Verdicts agree with an oracle that shares nothing with the judge.

The oracle runs each program in a fresh interpreter that knows the inputs only and prints what came out; expected values
are compared here. Programs are mutants of references, so most are wrong, and in small ways.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from strop.judge import Judge
from strop.tasks import load
from strop.tasks.mutate import mutants
from strop.types import CallCheck, ScriptCheck, Task, Verdict

SECONDS = 4
"""CPU seconds of one program in the oracle; above the judge's own limit, so that only hangs end there."""

ASK = """
import ast, json, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
answers, out = [], sys.stdout
source, name, calls = json.load(sys.stdin)
sys.stdout = sys.stderr
space = {"__name__": "program"}
try:
    exec(compile(source, "program.py", "exec"), space)
    for arguments in calls:
        value = space[name](*ast.literal_eval(arguments))
        text = repr(value)
        try:
            known = ast.literal_eval(text)
            plain = type(known) is type(value) and repr(known) == text
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            plain = False
        answers.append(text if plain else None)
except BaseException:
    answers.append("raised")
    print(json.dumps([answers[:-1], "raised"]), file=out)
else:
    print(json.dumps([answers, "done"]), file=out)
""".replace("SECONDS", str(SECONDS))


def cases(task: Task) -> list[tuple[tuple, Any]] | None:
    """Arguments and expected value of every check; None when a check is more than one call compared with a literal."""
    found: list[tuple[tuple, Any]] = []
    for check in task.checks:
        if isinstance(check, CallCheck) and check.tolerance is None and not check.kwargs:
            found.append((check.args, check.expected))
        elif isinstance(check, ScriptCheck):
            for node in ast.parse(check.code).body:
                case = _case(node, task.entry_point)
                if isinstance(node, ast.FunctionDef) and node.name == "check":
                    inner = [_case(statement, task.entry_point) for statement in node.body]
                    if not all(inner):
                        return None
                    found += [case for case in inner if case]
                elif case:
                    found.append(case)
                elif not (isinstance(node, ast.Assign | ast.Expr) and check.style == "check"):
                    return None
        else:
            return None
    return found or None


def _case(node: ast.stmt, entry_point: str | None) -> tuple[tuple, Any] | None:
    if not (isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare) and len(node.test.ops) == 1):
        return None
    call, (expected,) = node.test.left, node.test.comparators
    if not (isinstance(node.test.ops[0], ast.Eq) and isinstance(call, ast.Call) and not call.keywords):
        return None
    if not (isinstance(call.func, ast.Name) and call.func.id in ("candidate", entry_point)):
        return None
    try:
        return tuple(ast.literal_eval(argument) for argument in call.args), ast.literal_eval(expected)
    except (ValueError, TypeError, SyntaxError):
        return None


def oracle(task: Task, wanted: list[tuple[tuple, Any]], program: str) -> bool | None:
    """Does the program pass? None when it returned something that is not a literal, which this oracle cannot read."""
    question = json.dumps([program, task.entry_point, [repr(arguments) for arguments, _ in wanted]])
    command = [sys.executable, "-I", "-S", "-c", ASK]
    done = subprocess.run(command, input=question, capture_output=True, text=True, timeout=600)
    if done.returncode != 0 or not done.stdout:
        return False
    answers, how = json.loads(done.stdout)
    for text, (_, expected) in zip(answers, wanted):
        if text is None:
            return None
        if ast.literal_eval(text) != expected:
            return False
    return how == "done"


def programs(tasks: list[Task], per_task: int) -> Iterator[tuple[Task, list[tuple[tuple, Any]], str]]:
    for task in tasks:
        wanted = cases(task)
        if wanted and task.reference and task.entry_point:
            for program in mutants(task.reference, limit=per_task, seed=7):
                yield task, wanted, program


def disagreements(every: int, per_task: int, atleast: int) -> list[tuple[str, Verdict, bool, str]]:
    tasks = [*load("humaneval"), *load("basics")][::every]
    items = list(programs(tasks, per_task))
    assert len(items) >= atleast
    with Judge(workers=2) as judge:
        verdicts = dict(judge.stream((i, task, program) for i, (task, _, program) in enumerate(items)))
    with ThreadPoolExecutor(2) as pool:
        truths = list(pool.map(lambda item: oracle(*item), items))
    read = [i for i, truth in enumerate(truths) if truth is not None]
    assert len(read) >= atleast
    passed = sum(truths[i] is True for i in read)
    assert 0 < passed < len(read), "equivalent mutants pass, others fail"
    return [
        (items[i][0].id, verdicts[i], truth, items[i][2])
        for i in read
        if (truth := bool(truths[i])) != verdicts[i].passed
    ]


def test_a_sample_of_wrong_programs():
    assert disagreements(every=10, per_task=6, atleast=200) == []


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_five_thousand_wrong_programs():
    assert disagreements(every=1, per_task=16, atleast=5000) == []
