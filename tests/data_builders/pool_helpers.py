"""Pools made by hand: programs, statuses, and rows of a pass matrix."""

from __future__ import annotations

from strop.data import Candidate, Pool
from strop.evals.pass_matrix import PassMatrix
from strop.types import CallCheck, StropError, Task


class Plain:
    """Protocol with the least in it: the prompt is the problem, the answer is the program."""

    name = "plain"

    def render(self, task):
        assert not task.hidden_checks, "a method was handed hidden checks"
        return task.prompt

    def answer(self, task, program):
        if "no form" in program:
            raise StropError("the protocol cannot say this program")
        return program


def program(number: int) -> str:
    return f"def f(x):\n    return x + {number}\n"


def checks_of(count: int, visible: bool) -> tuple[CallCheck, ...]:
    return tuple(CallCheck(function="f", args=(n,), expected=n, visible=visible, name=f"t{n}") for n in range(count))


def pool(rows: str, programs=None, task_id: str = "t", visible: bool = True) -> Pool:
    """`rows`: one word a program, a letter a test: 1 passed, 0 failed, ? judge error. All 1: passes the task."""
    words = rows.split()
    programs = programs or [program(number) for number in range(len(words))]
    checks = checks_of(len(words[0]) if words else 0, visible)
    status = {"1": "passed", "0": "failed", "?": "judge_error"}
    task = Task(id=task_id, prompt=f"problem {task_id}", checks=checks, entry_point="f")
    candidates = tuple(
        Candidate(program=text, index=number, status="passed" if set(word) == {"1"} else "failed", policy="me")
        for number, (text, word) in enumerate(zip(programs, words))
    )
    matrix = PassMatrix(
        task_id=task_id,
        programs=tuple(programs),
        tests=checks,
        statuses=tuple(tuple(status[letter] for letter in word) for word in words),
        seconds=tuple(tuple(0.01 for _ in word) for word in words),
    )
    return Pool(task=task, candidates=candidates, matrix=matrix)
