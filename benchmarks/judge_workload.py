"""The programs of `benchmarks/judge.py`: HumanEval's canonical solutions and mutants of them that fail.

The truth of each comes from an oracle that shares nothing with what is measured: a fresh interpreter runs the official
test, and a mutant counts as failing when an exception ended it within a second of CPU time. So every program is quick,
and no verdict depends on a time limit.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from strop.tasks import load
from strop.tasks.mutate import mutants
from strop.types import ScriptCheck, Task

QUICK = 1
"""CPU seconds within which a failing mutant must have failed. Not wall time: a busy machine must not choose others."""

RECORD = """
import copy, sys
calls = ([], [])
def recorded(*args):
    kept = copy.deepcopy(list(args))
    value = {name}(*args)
    calls[0].append(kept)
    calls[1].append(copy.deepcopy(value))
    return value
check(recorded)
import ast
text = repr(calls)
print(text if repr(ast.literal_eval(text)) == text else "")
"""
"""Runs the official test on the canonical solution and prints what went in and out, for peers that compare outputs."""


def build(path: Path, tasks: int | None, per_task: int, seed: int = 0) -> list[dict[str, Any]]:
    """Write the workload as JSON Lines to `path` and return it. `tasks`: how many of HumanEval's, None for all."""
    chosen = load("humaneval", limit=tasks)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        items = [item for group in pool.map(lambda task: list(_items(task, per_task, seed)), chosen) for item in group]
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return items


def official_test(task: Task) -> str:
    """The test of a HumanEval task as its authors wrote it: it defines `check(candidate)`."""
    (check,) = [check for check in task.checks if isinstance(check, ScriptCheck)]
    return check.code


def _items(task: Task, per_task: int, seed: int) -> Iterator[dict[str, Any]]:
    assert task.reference is not None
    assert task.entry_point is not None
    test = official_test(task)
    shared = {"task_id": task.id, "entry_point": task.entry_point, "test": test}
    record = RECORD.replace("{name}", task.entry_point)
    done = _python(f"{task.reference}\n{test}\n{record}", 30)
    if done is None or done.returncode != 0:
        raise SystemExit(f"{task.id}: the canonical solution does not pass: {done and done.stderr[-300:]}")
    shared["calls"] = done.stdout.decode().strip()
    yield shared | {"program": task.reference, "passes": True}
    found, helpers = 0, _helpers(task.reference, task.entry_point)
    for program in mutants(task.reference, limit=60, seed=seed):
        if _helpers(program, task.entry_point) != helpers:
            continue  # a test that uses the program's own helper judges the helper, see `strop lint tasks humaneval`
        done = _python(f"{program}\n{test}\ncheck({task.entry_point})\n", QUICK)
        if done is not None and done.returncode == 1:  # an exception; not a signal, not SystemExit(0)
            yield shared | {"program": program, "passes": False}
            found += 1
            if found == per_task:
                return


def _helpers(program: str, entry_point: str) -> list[str]:
    tree = ast.parse(program)
    return [ast.dump(node) for node in tree.body if getattr(node, "name", None) != entry_point]


def _python(source: str, seconds: int) -> subprocess.CompletedProcess[bytes] | None:
    limited = f"import resource\nresource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))\nexec({source!r})"
    try:
        return subprocess.run([sys.executable, "-I", "-c", limited], capture_output=True, timeout=120)
    except subprocess.TimeoutExpired:
        return None
