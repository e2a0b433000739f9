"""Selection rules: what is learned from, how often, and that nothing random but the seed decides."""

from __future__ import annotations

from dataclasses import dataclass, replace

from strop.train.examples import judged, rejection_sampled, with_references
from strop.types import CallCheck, Sample, Spent, Task, Verdict

TASKS = [
    Task(id=f"t{number}", prompt=f"problem {number}", checks=(CallCheck(function="f", expected=1),))
    for number in range(3)
]


@dataclass
class Plain:
    """Protocol with the least in it: the prompt is the problem, the answer is the program."""

    def render(self, task):
        assert not task.hidden_checks, "a method was handed hidden checks"
        return task.prompt

    def answer(self, task, code):
        return code


def sample(task_id, index, code):
    return Sample(task_id=task_id, index=index, text=code, code=code, finish_reason="stop", seed=0, protocol="plain",
                  spent=Spent())  # fmt: skip


def verdict(status):
    return Verdict(status=status, fraction=float(status == "passed"))


def rows():
    programs = [
        ("t0", "def f():\n    return 1", "passed"),
        ("t0", "def f():\n    # a comment\n    return 1\n", "passed"),  # the same program
        ("t0", "def f():\n    x = 1\n    return x", "passed"),
        ("t0", "def f():\n    return 2", "failed"),
        ("t1", "def f(:", "syntax_error"),
        ("t1", "", "failed"),
        ("t2", "def f(): return 1", "passed"),
        ("t2", "def f(): return 0", "judge_error"),
    ]
    samples = [sample(task, number, code) for number, (task, code, _) in enumerate(programs)]
    verdicts = {(task, number): verdict(status) for number, (task, _, status) in enumerate(programs)}
    return judged(TASKS, samples, verdicts)


def test_same_program_in_other_words_counts_once():
    first = rows()[0]
    assert len(first.passing) == 2
    assert first.failing == ("def f():\n    return 2",)
    assert first.pass_rate == 3 / 4


def test_judge_errors_and_empty_programs_are_no_evidence():
    _, second, third = rows()
    assert second.failing == ("def f(:",)
    assert third.pass_rate == 1.0
    assert third.failing == ()


def test_rejection_sampling_keeps_the_shortest_and_caps_each_task():
    examples = rejection_sampled(rows(), Plain(), per_task=1, seed=3)
    assert sorted((e.task_id, e.completion) for e in examples) == [
        ("t0", "def f():\n    return 1"),
        ("t2", "def f(): return 1"),
    ]
    assert examples == rejection_sampled(rows(), Plain(), per_task=1, seed=3)


def test_only_tasks_never_solved_get_their_reference_and_only_a_sound_one():
    given = [replace(row, task=replace(row.task, reference="def f(): return 1 + 0")) for row in rows()]
    examples = rejection_sampled(with_references(given, {"t0", "t1"}), Plain(), per_task=4, seed=0)
    taken = [(example.task_id, example.completion) for example in examples if not example.own]
    assert taken == [("t1", "def f(): return 1 + 0")]
    assert len(examples) == 4
    assert all(example.own for example in rejection_sampled(with_references(given, set()), Plain(), per_task=4, seed=0))
