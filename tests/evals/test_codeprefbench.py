"""The CodePrefBench loader and its trivial judges, on a file made by hand in the benchmark's layout."""

from __future__ import annotations

import gzip
import json

import pytest

from strop.evals.codeprefbench import (
    both_orders,
    length_baselines,
    load_codeprefbench,
    pair_prompt,
    plain_accuracy,
    position_bias,
    read_choice,
    score_choices,
    without_comments,
)
from strop.types import StropError

LONG = 'def f(x):\n    """A long docstring that says a lot."""\n    return x  # and a remark'
SHORT = "def f(x):\n    return x + 0"


def row(better=0, codes=(LONG, SHORT), **more):
    return {"instruction": "Write f.", "choices": list(codes), "gt_choice": better} | more


@pytest.fixture
def folder(tmp_path):
    rows = [row(0, task_id="a"), row(0, task_id="a"), row(1, task_id="b"), row(0, codes=("x = (", "y"), task_id="c")]
    with gzip.open(tmp_path / "correctness-alignment.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(one) + "\n" for one in rows)
    (tmp_path / "human-preference-alignment.jsonl").write_text(json.dumps(row(1)) + "\n")
    return tmp_path


def test_comments_go_except_for_human_preference(folder):
    items = load_codeprefbench(folder)
    assert [item.aspect for item in items] == ["correctness"] * 4 + ["human-preference"]
    assert items[0].codes == ("def f(x):\n    return x", "def f(x):\n    return x + 0")
    assert items[3].codes[0] == "x = ("
    assert items[4].codes[0] == LONG
    assert load_codeprefbench(folder, remove_comments=False)[0].codes[0] == LONG
    assert without_comments('"""Only a docstring."""') == ""
    assert without_comments('def f():\n    "doc"') == "def f():\n    pass"


def test_trivial_judges_are_scored_by_task(folder):
    items = load_codeprefbench(folder)
    scores = length_baselines(items)
    # Task a: the shorter is right twice; b: wrong; c: the longer one is right.
    assert scores["shorter"]["correctness"].accuracy.value == pytest.approx(1 / 3)
    assert scores["longer"]["correctness"].accuracy.value == pytest.approx(2 / 3)
    assert scores["shorter"]["correctness"].items == 4
    assert plain_accuracy(items[:4], [0, 0, 0, None]) == {"correctness": pytest.approx((1 + 1 + 0 + 0.5) / 4)}
    assert score_choices(items[:4], [None] * 4)["correctness"].undecided == 1.0


def test_a_judge_that_always_says_a_is_right_half_the_time(folder):
    items = both_orders(load_codeprefbench(folder)[:4])
    always_a = [0] * 8
    assert plain_accuracy(items, always_a) == {"correctness": 0.5}
    assert position_bias(always_a) == 1.0
    assert position_bias([0, 1, 1, None, 1, 0, 0, None]) == 0.0
    with pytest.raises(ValueError, match="both orders"):
        position_bias([0])


@pytest.mark.parametrize(
    ("text", "choice"),
    [("A", 0), ("I think...\nProgram B is better.\n", 1), ("A is better than B", None), ("", None), ("Apple", None)],
)
def test_answers_are_read_or_undecided(folder, text, choice):
    assert read_choice(text) == choice


def test_prompts_hold_both_programs(folder):
    item = load_codeprefbench(folder)[0]
    prompt = pair_prompt(item, "It should be right.")
    assert prompt.index(item.codes[0]) < prompt.index(item.codes[1])
    assert prompt.endswith("Answer:")


def test_bad_files_are_named(tmp_path):
    with pytest.raises(StropError, match="holds no file"):
        load_codeprefbench(tmp_path)
    bad = tmp_path / "security-alignment.jsonl"
    bad.write_text("\n".join(json.dumps(one) for one in (row(2), row(codes=("x",)), row(instruction=1))))
    with pytest.raises(
        StropError, match=r"line 1, field gt_choice[\s\S]*line 2, field choices[\s\S]*line 3, field inst"
    ):
        load_codeprefbench(bad)
