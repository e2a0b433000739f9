"""CodeBoost's data: dissimilar snippets, changed programs, and answers that come from running them."""

from __future__ import annotations

import json
import os
import random
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.data.predict import (
    MASK,
    Ran,
    Snippet,
    augment,
    backward_task,
    cruxeval_snippets,
    fill,
    forward_task,
    prediction_tasks,
    run_snippets,
)
from strop.data.snippets import alike, curate, text_ratio
from strop.judge import Judge
from strop.rewards.output import output_score
from strop.types import StropError

CRUXEVAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "cruxeval" / "cruxeval.jsonl"
DOUBLE = Snippet(id="double", code="def f(xs):\n    ys = [2 * x for x in xs]\n    return ys", arguments="[1, 23]")


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as bench:
        yield bench


# ---- curation --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text("abc =\n", min_size=1, max_size=12), max_size=8), st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_kept_snippets_are_apart_and_none_is_lost_without_a_reason(snippets, threshold):
    found = curate(snippets, threshold=threshold, min_lines=1, chunk=3, rounds=2)
    kept = [snippets[place] for place in found.kept]
    assert all(text_ratio(one, other) < threshold for one, other in combinations(kept, 2))
    assert found.most_similar < threshold
    assert len(kept) + sum(found.dropped.values()) == len(snippets)
    assert found == curate(snippets, threshold=threshold, min_lines=1, chunk=3, rounds=2)


@settings(deadline=None, max_examples=60)
@given(st.text("ab", max_size=8), st.text("ab", max_size=8), st.sampled_from([0.2, 0.5, 1.0]))
def test_the_shortcuts_change_no_answer(one, other, threshold):
    assert alike(one, other, threshold) == (text_ratio(one, other) >= threshold)


def test_the_clique_is_a_largest_one():
    # A star: the middle is like all others, which are apart from each other.
    middle, others = "a = 1\nb = 2\nc = 3\n", ["a = 1\nx = y\n", "b = 2\nuu(v)\n", "c = 3\nlog()\n"]

    def similarity(one: str, other: str) -> float:
        return 1.0 if middle in (one, other) else 0.0

    found = curate([middle, *others], min_lines=1, similarity=similarity)
    assert found.kept == (1, 2, 3)
    assert found.dropped == {"too similar to another": 1}


def test_unusable_snippets_are_counted():
    found = curate(
        ["def f(:\n  x\n", "x = 1\n", "x = 1\ny = 2\n", "x = 1\ny = 2  # again\n", "for a in b:\n    print(a)\n"]
    )
    assert found.dropped == {"does not parse": 1, "too short": 1, "repeats another": 1}
    assert curate([]).kept == ()
    with pytest.raises(StropError, match="threshold"):
        curate(["x"], threshold=0)


# ---- augmentation and running ----------------------------------------------------------------------


def test_augmentation_is_seeded_named_and_does_change():
    assert augment(DOUBLE, random.Random(0), chance=0.0) == DOUBLE
    kinds: set[str] = set()
    for seed in range(30):
        changed = augment(DOUBLE, random.Random(seed), chance=0.7)
        assert changed == augment(DOUBLE, random.Random(seed), chance=0.7)
        assert (changed.program == DOUBLE.program) == (not changed.changes)
        compile(changed.program, "changed", "exec")
        kinds |= set(changed.changes)
    assert kinds == {"numbers", "operator", "arguments"}
    strange = Snippet(id="s", code="def f(:", arguments="((")
    assert augment(strange, random.Random(1), chance=1.0) == strange


def test_answers_come_from_running_and_errors_are_kept_by_kind(judge):
    cases = {
        "1 + 1": ("2\n", ""),
        "1 / 0": ("", "ZeroDivisionError: division by zero\n"),
        "[][1]": ("", "IndexError: list index out of range\n"),
        "open('/nowhere')": "fails with another kind of error",
        "'x' * 5000": "prints too much",
        "object()": "prints an address or a long message",
        "__import__('time').time_ns()": "gives another answer each time",
        "__import__('sys').exit(3)": "ends by runtime_error",
        "(": "ends by syntax_error",
    }
    snippets = [Snippet(id=text, code=f"def f():\n    return {text}", arguments="") for text in cases]
    kept, dropped = run_snippets(snippets, judge)
    assert {ran.snippet.id: (ran.stdout, ran.stderr) for ran in kept} == {
        key: answer for key, answer in cases.items() if isinstance(answer, tuple)
    }
    reasons = {answer for answer in cases.values() if isinstance(answer, str)}
    assert set(dropped) == reasons


def test_a_perfect_answer_gets_the_best_score(judge):
    (ran,), _ = run_snippets([Snippet(id="z", code="def f(x):\n    print(x)\n    return 1 / x", arguments="0")], judge)
    task = forward_task(ran)
    assert task.meta == {"stdout": "0\n", "stderr": "ZeroDivisionError: division by zero\n"}
    reply = f"<stdout>{task.meta['stdout']}</stdout><stderr>{task.meta['stderr']}</stderr>"
    assert output_score(reply, task.meta["stdout"], task.meta["stderr"], stderr_weight=1.0).total == pytest.approx(1.0)
    assert "meta" not in task.prompt
    assert task.public().meta == {}


def test_hidden_lines_can_be_restored_by_any_line_that_prints_the_same(judge):
    ran = Ran(snippet=DOUBLE, stdout="[2, 46]\n", stderr="")
    found = {task.id: task for seed in range(12) if (task := backward_task(ran, random.Random(seed)))}
    assert len(found) == 2
    for task in found.values():
        assert MASK in task.prompt
        assert task.checks[0].stdout == ran.stdout
    task = next(task for task in found.values() if "ys = [2" not in task.stub)
    answers = ["```python\n    ys = [x + x for x in xs]\n```", "ys = xs", "", "```"]
    statuses = [verdict.status for verdict in judge.run(task, [fill(task, answer) for answer in answers])]
    assert statuses[0] == "passed"
    assert statuses[1] == "failed"
    assert "passed" not in statuses[2:]
    assert backward_task(Ran(snippet=DOUBLE, stdout="", stderr="TypeError: x\n"), random.Random(0)) is None


def test_cruxeval_agrees_with_its_own_answers(judge):
    if not CRUXEVAL.exists():
        if os.environ.get("CI"):
            pytest.fail("cruxeval.jsonl must be present in CI")
        pytest.skip("shared data cruxeval.jsonl is not here")
    rows = [json.loads(line) for line in CRUXEVAL.read_text().splitlines()[:25]]
    snippets = cruxeval_snippets(rows)
    kept, dropped = run_snippets(snippets, judge)
    assert dropped == {}
    assert [eval(ran.stdout) for ran in kept] == [eval(row["output"]) for row in rows]
    tasks, _ = prediction_tasks(snippets[:8], judge, forward=0.5, chance=0.5)
    restored = [task for task in tasks if "restore" in task.tags]
    assert restored
    assert all(judge.run(task, [task.reference])[0].passed for task in restored)
    with pytest.raises(StropError, match="Row 1"):
        cruxeval_snippets([{"id": "x"}])
