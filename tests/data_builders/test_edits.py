"""Pairs from edits: CodeFavor's commits and critiques, and a model's own revisions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pool_helpers import Plain

from strop.data import Candidate, Pool
from strop.data.codefavor import (
    commit_prompt,
    comparisons,
    critique_prompt,
    evolutions,
    preferences,
    read_commit,
    read_critique,
)
from strop.data.refine import feedback_of, refinement_pairs, revise, revision_prompt
from strop.judge import Judge
from strop.tasks.protocols import get_protocol
from strop.types import CallCheck, CheckResult, Completion, SamplingParams, Spent, StropError, Task, Verdict

COMMIT = """[EXPLANATION]
It adds the missing case.
[VERDICT]
YES
## [INSTRUCTION]
Return the largest item, or None.
[CRITERION]
It should be right for empty lists.
[BEFORE]
```python
def largest(xs):
    return max(xs)
```
[AFTER]
Here it is:
```python
def largest(xs):
    return max(xs, default=None)
```
[FEEDBACK]
max fails on an empty list.
"""


# ---- commits and critiques -------------------------------------------------------------------------


def test_commits_and_critiques_become_evolutions():
    found = read_commit(COMMIT)
    assert found.instruction == "Return the largest item, or None."
    assert found.before == "def largest(xs):\n    return max(xs)\n"
    assert "default=None" in found.after
    again = read_critique(COMMIT.replace("[EXPLANATION]", "[REFLECTION]"), "Task.", "def largest(xs): return xs[0]")
    assert (again.instruction, again.source) == ("Task.", "critique")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "a part is missing"),
        ("[VERDICT]\nNO\n[AFTER]\n```python\nx = 1\n```", "the critic saw nothing to improve"),
        (COMMIT.replace("default=None", "default=("), "the better program does not parse"),
        (COMMIT.replace("(xs, default=None)", "(xs)  # better"), "both programs are the same"),
        (COMMIT.replace("max(xs)", "max(xs)" + " " * 30_000), "a program is too long"),
        (COMMIT.replace("[CRITERION]", "[OTHER]"), "a part is missing"),
        ("[AFTER]\n" * 5000 + "```", "a part is missing"),
        ("\0[VERDICT]\ud800", "a part is missing"),
    ],
)
def test_other_replies_are_counted_by_reason(reply, reason):
    assert read_commit(reply) == reason
    kept, dropped = evolutions([read_commit(reply), read_commit(COMMIT), read_commit(COMMIT)])
    assert len(kept) == 1
    assert dropped == {reason: 1, "duplicates": 1}


def test_evolutions_become_pairs_and_questions_in_both_orders():
    item = read_commit(COMMIT)
    (pair,) = preferences([item])
    assert "default=None" in pair.chosen
    assert "default=None" not in pair.rejected
    assert pair.why["method"] == "codefavor-commit"
    (first, one), (second, other) = comparisons([item])
    assert (one, other) == (" B", " A")
    assert first.index("max(xs)") < first.index("default=None")
    assert second.index("default=None") < second.index("max(xs)\n")


def test_prompts_ask_for_what_the_readers_read():
    (asked,) = commit_prompt("Handle empty lists", "a", "b")
    assert all(f"[{name}]" in asked.content for name in ("VERDICT", "INSTRUCTION", "CRITERION", "BEFORE", "AFTER"))
    (asked,) = critique_prompt("Do it.", "x = 1", examples=["First example.", "Second."])
    assert asked.content.index("First example.") < asked.content.index("Second.") < asked.content.index("Do it.")


# ---- revisions -------------------------------------------------------------------------------------

TASK = Task(
    id="add", prompt="Add one.", stub="def add(x):\n", entry_point="add", reference="def add(x): return x + 1",
    checks=(
        CallCheck(function="add", args=(1,), expected=2, visible=True, name="shown"),
        CallCheck(function="add", args=(40,), expected=41, name="secret"),
    ),
)  # fmt: skip
RIGHT, WRONG = "```python\ndef add(x):\n    return x + 1\n```", "```python\ndef add(x):\n    return x - 1\n```"


class Scripted:
    """A model that answers by rote; for the control flow only."""

    name, fingerprint, batch_size, chat = "scripted", "0", 4, True

    def __init__(self, *answers: str) -> None:
        self.answers = answers
        self.asked = []

    def sample(self, requests, params):
        self.asked += requests
        for place, _ in enumerate(requests):
            spent = Spent(model_calls=1, sampled_tokens=3)
            yield place, Completion(text=self.answers[place % len(self.answers)], finish_reason="stop", spent=spent)


def failing_pool(*programs: str) -> Pool:
    rows = tuple(Candidate(program=text, index=n, status="failed") for n, text in enumerate(programs))
    return Pool(task=TASK, candidates=rows)


def test_feedback_tells_of_visible_checks_only():
    def seen(*checks, status="failed", detail="secret: differs"):
        return feedback_of(Verdict(status=status, fraction=0.0, checks=checks, detail=detail))

    hidden = CheckResult(name="secret", passed=False, visible=False, status="failed", actual="39", expected="41")
    shown = CheckResult(
        name="shown", passed=False, visible=True, status="failed", message="differs", actual="0", expected="2"
    )
    assert seen(hidden) == "It does not pass all tests."
    assert "secret" not in seen(hidden)
    assert seen(hidden, shown) == "A test failed: differs It gave 0, expected was 2."
    assert "line 3" in seen(status="syntax_error", detail="bad (line 3)")


@pytest.mark.parametrize("name", ["chat", "block"])
def test_revisions_give_pairs_for_solving_and_for_repairing(name):
    protocol = get_protocol(name)
    model = (
        Scripted(RIGHT, WRONG)
        if name == "chat"
        else Scripted(*(text.removeprefix("```python\n") for text in (RIGHT, WRONG)))
    )
    pool = failing_pool("def add(x):\n    return x\n")
    with Judge(workers=1) as judge:
        revisions, dropped, spent = revise(model, [pool], judge, protocol, params=SamplingParams(), per_program=2)
    assert dropped == {}
    assert (spent.model_calls, spent.programs) == (2, 2)
    assert [row.status for row in revisions] == ["passed", "failed"]
    said = "".join(message.content for message in model.asked[0].prompt)
    assert "expected was 2" in said
    assert "41" not in said
    assert "secret" not in said
    built = refinement_pairs(revisions, protocol)
    solve, repair = sorted(built.pairs, key=lambda pair: pair.why["method"], reverse=True)
    assert solve.prompt == protocol.render(TASK.public())
    assert "return x\n" in solve.rejected
    assert "x + 1" in solve.chosen
    assert repair.prompt == model.asked[0].prompt
    assert "x - 1" in repair.rejected
    assert refinement_pairs(revisions, protocol, seed=5) == refinement_pairs(revisions, protocol, seed=5)


def test_nothing_to_revise_or_nothing_gained_is_counted():
    protocol = get_protocol("chat")
    solved = Pool(task=TASK, candidates=(Candidate(program=TASK.reference, index=0, status="passed"),))
    with Judge(workers=1) as judge:
        none = revise(Scripted(RIGHT), [solved], judge, protocol, params=SamplingParams())
        assert none[:2] == ([], {"tasks without a failing program": 1})
        pool = failing_pool("def add(x):\n    return x\n")
        revisions, _, _ = revise(Scripted(WRONG, "no code"), [pool], judge, protocol, params=SamplingParams())
    built = refinement_pairs(revisions, protocol)
    assert built.pairs == ()
    assert built.dropped_tasks == {"no revision passes": 1}


def test_protocols_without_messages_are_refused():
    with pytest.raises(StropError, match="conversation"):
        revision_prompt(TASK.public(), "x", "y", get_protocol("completion"))
    with pytest.raises(StropError, match="conversation"):
        revision_prompt(replace(TASK.public()), "x", "y", Plain())
