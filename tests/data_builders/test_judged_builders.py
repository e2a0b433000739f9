"""The builders on programs that really run: assertions cut apart, timing pairs, written tests, pairs judged again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pool_helpers import Plain

from strop.data import Candidate, Pool, build, with_matrices
from strop.data.audit import contamination, length_audit, recheck
from strop.data.codedpo import correctness, efficiency
from strop.data.dstc import dstc
from strop.data.written_tests import dump_tests, load_tests, prompt_for_tests, read_tests, suite_quality, write_tests
from strop.evals.pass_matrix import pass_matrix
from strop.judge import Judge
from strop.tasks.assertions import assertion_text, single_tests
from strop.types import (
    CallCheck,
    Completion,
    Limits,
    Preference,
    SamplingParams,
    ScriptCheck,
    Spent,
    StdioCheck,
    StropError,
    Task,
)

DEDUPE = Task(
    id="dedupe",
    prompt="Return the items of a list without repeats, in order.",
    entry_point="dedupe",
    reference="def dedupe(items):\n    if not items:\n        return []\n    return list(dict.fromkeys(items))\n",
    checks=(
        CallCheck(function="dedupe", args=([1, 2, 1],), expected=[1, 2], visible=True, name="a"),
        CallCheck(function="dedupe", args=(list(range(3000)),), expected=list(range(3000)), name="b"),
    ),
    limits=Limits(cpu_seconds=2.0, wall_seconds=4.0),
)
FAST = "def dedupe(items):\n    return list(dict.fromkeys(items))\n"
SLOW = """def dedupe(items):
    out = []
    for item in items:
        if item not in out:
            out.append(item)
    return out
"""
WRONG = "def dedupe(items):\n    return sorted(set(items), reverse=True)\n"


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as bench:
        yield bench


def judged_pool(judge, task, *programs) -> Pool:
    verdicts = judge.run(task, programs)
    candidates = [
        Candidate(program=text, index=number, status=verdict.status)
        for number, (text, verdict) in enumerate(zip(programs, verdicts))
    ]
    return with_matrices([Pool(task=task, candidates=tuple(candidates))], single_tests, judge)[0]


# ---- assertions ------------------------------------------------------------------------------------


def test_scripts_come_apart_and_say_the_same(judge):
    from strop.tasks import load

    for task in load("humaneval", limit=8):
        pieces = single_tests(task)
        whole = [check for check in task.checks if isinstance(check, ScriptCheck)]
        assert len(pieces) >= len(task.checks) - len(whole)
        values = pass_matrix(task, [task.reference, "def nothing(): pass\n"], pieces, judge).values
        assert values[0].all(), task.id
        assert not values[1].any(), task.id


def test_single_assertions_keep_what_comes_before_them():
    script = "x = [1, 2]\nassert f(x) == 1\ny = f(x)\nassert y == 1\nassert True\n"
    task = Task(id="t", prompt="", entry_point="f", checks=(ScriptCheck(code=script, visible=True, name="s"),))
    texts = [check.code for check in single_tests(task)]
    assert texts == ["x = [1, 2]\nassert f(x) == 1\n", "x = [1, 2]\ny = f(x)\nassert y == 1\n"]
    assert [check.name for check in single_tests(task)] == ["s[0]", "s[1]"]
    assert all(check.visible for check in single_tests(task))


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (CallCheck(function="f", args=(1, "a"), kwargs={"k": (2,)}, expected={3}), "assert f(1, 'a', k=(2,)) == {3}\n"),
        (CallCheck(function="f", expected=None), "assert f() is None\n"),
        (CallCheck(function="f", expected=True), "assert f() is True\n"),
        (CallCheck(function="f", expected=0.5, tolerance=1e-6), "assert abs(f() - 0.5) <= 1e-06\n"),
        (CallCheck(function="f", expected=[0.5], tolerance=1e-6), None),
        (CallCheck(function="f", expected=object()), None),
        (StdioCheck(stdin="", stdout=""), None),
        (ScriptCheck(code="assert f()"), "assert f()\n"),
        (ScriptCheck(code="def check(candidate): pass", style="check"), None),
    ],
)
def test_checks_as_text(check, text):
    assert assertion_text(check) == text


# ---- constructions ---------------------------------------------------------------------------------


def test_correctness_pairs_prefer_the_majority_that_is_right(judge):
    rows = judged_pool(judge, DEDUPE, FAST, SLOW, WRONG)
    (pair,) = build([rows], correctness(), Plain(), method="codedpo").pairs
    assert pair.why["rejected_program"] == WRONG
    assert pair.why["chosen_status"] == "passed"


def test_efficiency_pairs_need_a_difference_beyond_the_noise(judge):
    rows = judged_pool(judge, DEDUPE, SLOW, FAST, WRONG)
    (pair,) = build([rows], efficiency(judge), Plain(), method="codedpo-efficiency").pairs
    assert (pair.why["chosen_program"], pair.why["rejected_program"]) == (FAST, SLOW)
    assert pair.why["speedup_low"] > 1
    assert recheck([pair], [DEDUPE], judge).holds == 1
    same = judged_pool(judge, DEDUPE, FAST, FAST.replace("items", "things"))
    built = build([same], efficiency(judge), Plain(), method="codedpo-efficiency")
    assert built.pairs == ()
    lone = judged_pool(judge, DEDUPE, FAST, WRONG)
    assert build([lone], efficiency(judge), Plain(), method="codedpo-efficiency").dropped_tasks == {
        "fewer than two programs that are probably right": 1
    }


def test_joined_answers_run_as_their_label_says(judge):
    rows = judged_pool(judge, DEDUPE, FAST, WRONG, "def dedupe(items):\n    return items\n")
    (pair,) = build([rows], dstc(), Plain(), method="dstc").pairs
    bare = Task(id="run", prompt="", checks=(StdioCheck(stdin="", stdout=""),))
    good, bad = judge.run(bare, [pair.chosen, pair.rejected])
    assert good.passed
    assert bad.status == "runtime_error"


# ---- audits ----------------------------------------------------------------------------------------


def pair(chosen: str, rejected: str, **why) -> Preference:
    evidence = {"task_id": "dedupe", "chosen_program": chosen, "rejected_program": rejected} | why
    return Preference(prompt="p", chosen=chosen, rejected=rejected, why=evidence)


def test_recheck_finds_labels_that_do_not_hold(judge):
    pairs = [pair(FAST, WRONG), pair(WRONG, FAST), pair(FAST, SLOW), pair("x", "y", task_id="gone")]
    found = recheck(pairs, [DEDUPE], judge)
    assert (found.holds, found.not_checked) == (1, 1)
    assert found.broken == {"chosen: failed": 1, "rejected: passed": 1}


def test_length_audit_sees_what_length_gives_away():
    short = [replace(pair("a", "aaa", task_id=f"t{n}")) for n in range(12)]
    assert length_audit(short).confounded
    assert length_audit(short).shorter_chosen.value == 1.0
    mixed = [pair("a" * (1 + n % 2), "a" * (2 - n % 2), task_id=f"t{n}") for n in range(12)]
    assert not length_audit(mixed).confounded
    assert length_audit([]).shorter_chosen is None


def test_contamination_is_named():
    practised = [DEDUPE, replace(DEDUPE, id="other", prompt="Something else entirely, about prime numbers and sums.")]
    pairs = [pair(FAST + "\n\nassert prime(7) is True\n", WRONG)]
    exam = [
        replace(DEDUPE, id="copy"),
        Task(
            id="prime",
            prompt="Is it prime?",
            entry_point="prime",
            checks=(CallCheck(function="prime", args=(7,), expected=True),),
        ),
        Task(id="clean", prompt="Add two numbers together.", checks=(), reference="def add(a, b): return a + b"),
        Task(id="solved", prompt="Unheard of.", checks=(), reference=WRONG + "# with a remark\n"),
    ]
    found = contamination(pairs, practised, exam)
    assert found["near-duplicate prompt"] == ["dedupe ~ copy (1.00)"]
    assert found["test in an answer"] == ["prime"]
    assert found["reference among the programs"] == ["dedupe ~ solved"]
    assert "same id" not in found
    assert contamination(pairs, practised, [exam[2]]) == {}
    assert contamination(pairs, practised, [DEDUPE])["same id"] == ["dedupe"]


# ---- written tests ---------------------------------------------------------------------------------

REPLY = """Here are tests:
```python
assert dedupe([1, 2, 1]) == [1, 2]
assert dedupe([ 1,2,1 ]) == [1, 2], "again, in other words"
assert dedupe(
    [3, 3]
) == [3]
assert dedupe([]) == []
assert dedupe([]) == None
assert len(dedupe([1])) == 1
assert other([1]) == [1]
assert dedupe([x for x in range(3)]) == [0, 1, 2]
assert dedupe([1] == [
```
"""


def test_written_tests_are_data_or_dropped():
    found = read_tests([REPLY], DEDUPE)
    assert [assertion_text(test) for test in found.tests] == [
        "assert dedupe([1, 2, 1]) == [1, 2]\n",
        "assert dedupe([3, 3]) == [3]\n",
    ]
    assert all(test.visible for test in found.tests)
    assert found.dropped == {
        "duplicates": 1,
        "contradictions": 2,
        "not a call with literal arguments and value": 2,
        "does not call the entry point": 1,
        "not one Python assertion": 1,
    }


def test_contradictions_are_settled_by_votes():
    replies = ["assert dedupe([1]) == [1]\nassert dedupe([1]) == [1]\nassert dedupe([1]) == [2]"]
    found = read_tests(replies, DEDUPE)
    assert [test.expected for test in found.tests] == [[1]]
    assert found.dropped == {"duplicates": 1, "contradicted by more votes": 1}


@pytest.mark.parametrize(
    "reply",
    ["", "\0", "\ud800", "assert " * 5000, "assert dedupe(" + "[" * 3000, "```python\n" * 50, "assert\n" * 500,
     "assert dedupe(9**9**9) == 1", "assert dedupe(__import__('os').system('x')) == 0", "no tests, sorry"],
)  # fmt: skip
def test_hostile_replies_give_no_test_and_no_error(reply):
    assert read_tests([reply], DEDUPE).tests == ()


def test_prompts_show_what_a_method_may_see():
    task = DEDUPE.public()
    (message,) = prompt_for_tests(task, count=3)
    assert "Write 3 tests for `dedupe`" in message.content
    text = prompt_for_tests(replace(task, stub='def dedupe(items):\n    """Doc."""\n'), chat=False)
    assert text.endswith("\nassert ")
    compile(text + "dedupe([]) == []", "prompt", "exec")
    with pytest.raises(StropError, match="entry point"):
        prompt_for_tests(replace(task, entry_point=None))


def test_files_of_tests_come_back(tmp_path):
    file = tmp_path / "tests.jsonl"
    written = read_tests([REPLY], DEDUPE)
    assert dump_tests([written], file) == 2
    assert load_tests(file, [DEDUPE])["dedupe"].tests == written.tests
    assert load_tests(file, []) == {}
    file.write_text('{"task_id": "dedupe", "tests": "assert 1"}\n{"tests": []}\n')
    with pytest.raises(StropError, match=r"line 1, field tests[\s\S]*line 2, field task_id"):
        load_tests(file, [DEDUPE])


def test_good_tests_score_above_poor_ones(judge):
    good = read_tests([REPLY, "assert dedupe([]) == []", "assert dedupe([2, 1, 2, 3]) == [2, 1, 3]"], DEDUPE).tests
    poor = read_tests(["assert dedupe([]) == []\nassert dedupe([1]) == [2]"], DEDUPE).tests
    none = ()
    strong, weak, absent = suite_quality([(DEDUPE, good), (DEDUPE, poor), (DEDUPE, none)], judge, mutant_limit=8)
    assert strong.valid == strong.tests
    assert strong.coverage == 1.0
    assert (weak.tests, weak.valid) == (2, 1)
    assert weak.coverage < strong.coverage
    assert weak.mutation_score < strong.mutation_score
    assert (absent.valid, absent.coverage, absent.mutation_score) == (0, 0.0, 0.0)
    with pytest.raises(StropError, match="reference"):
        suite_quality([(replace(DEDUPE, reference=None), good)], judge)


def test_a_hanging_test_or_program_is_an_ordinary_failure(judge):
    hang = "def dedupe(items):\n    while True:\n        pass\n"
    quick = replace(DEDUPE, limits=Limits(cpu_seconds=0.3, wall_seconds=1.0), checks=DEDUPE.checks[:1])
    rows = judged_pool(judge, quick, FAST, hang)
    assert np.array_equal(rows.matrix.values, [[1], [0]])
    (pair,) = build([rows], dstc(), Plain(), method="dstc").pairs
    assert pair.why["rejected_status"] == "timeout"


class Scripted:
    """A model that answers by rote; for the control flow only."""

    name, fingerprint, batch_size = "scripted", "0", 4

    def __init__(self, chat: bool, *answers: str) -> None:
        self.chat, self.answers = chat, answers
        self.requests, self.params = [], None

    def sample(self, requests, params):
        self.requests, self.params = requests, params
        for place in reversed(range(len(requests))):  # models answer in any order
            yield place, Completion(text=self.answers[place], finish_reason="stop", spent=Spent(sampled_tokens=place))


def test_replies_reach_their_tasks_in_whatever_order_they_come():
    other = replace(DEDUPE, id="other", entry_point="unique")
    replies = ("```\nassert dedupe([1]) == [1]\n```", "assert dedupe([2]) == [2]", "assert unique([3]) == [3]", "")
    model = Scripted(True, *replies)
    written, spent = write_tests(model, [DEDUPE, other], samples=2, params=SamplingParams())
    assert [[assertion_text(test) for test in item.tests] for item in written] == [
        ["assert dedupe([1]) == [1]\n", "assert dedupe([2]) == [2]\n"],
        ["assert unique([3]) == [3]\n"],
    ]
    assert spent.sampled_tokens == 0 + 1 + 2 + 3
    assert len({request.seed for request in model.requests}) == 4
    assert "3000" not in str([request.prompt for request in model.requests])  # of the hidden check


def test_base_models_go_on_after_assert_and_stop_at_the_next_definition():
    model = Scripted(False, "dedupe([1]) == [1]\nassert dedupe([4]) == [4]\n")
    (item,), _ = write_tests(model, [DEDUPE], params=SamplingParams(stop=("\n\n\n",)))
    assert [test.args for test in item.tests] == [([1],), ([4],)]
    assert {"\n\n\n", "\ndef "} <= set(model.params.stop)
