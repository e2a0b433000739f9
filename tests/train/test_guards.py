"""Held-out tasks stay unseen: division, selection, near-duplicates."""

from __future__ import annotations

import pytest

from strop.tasks.likeness import near_duplicates
from strop.train.guard import humaneval_slice, keep_apart
from strop.train.splits import divide, pick
from strop.types import CallCheck, StropError, Task


def task(task_id, prompt="", split="test", tag="a"):
    check = CallCheck(function="f", expected=1)
    return Task(id=task_id, prompt=prompt or f"problem {task_id}", checks=(check,), split=split, tags=(tag,))


def test_a_task_on_both_sides_is_refused():
    with pytest.raises(StropError, match="t1"):
        keep_apart([task("t0"), task("t1")], [task("t1")])


def test_near_duplicate_prompts_are_refused_and_different_ones_are_not():
    words = "return the sum of all even numbers in the list called numbers or zero if there are none at all in it"
    practice = [task("p", words)]
    assert near_duplicates(practice, [task("h", "count how many vowels the text holds, upper or lower case")]) == []
    with pytest.raises(StropError, match=r"p ~ h"):
        keep_apart(practice, [task("h", words + " please")])


def test_named_splits_decide():
    tasks = [task("a", split="train"), task("b", split="held-out-near"), task("c", split="test")]
    practice, held_out, how = divide(tasks)
    assert [t.id for t in practice] == ["a"]
    assert [t.id for t in held_out] == ["b"]
    assert "held-out" in how


def test_without_splits_the_division_is_stable_when_tasks_are_added():
    few = [task(f"t{i}") for i in range(20)]
    practice, held_out, _ = divide(few)
    assert len(held_out) == 6
    assert not {t.id for t in practice} & {t.id for t in held_out}
    assert divide(few)[1] == held_out


def test_too_few_tasks_to_divide():
    with pytest.raises(StropError, match="at least 4"):
        divide([task("a"), task("b")])


def test_pick_spreads_over_tags_and_keeps_order():
    tasks = [task(f"t{i:02}", tag="ab"[i >= 15]) for i in range(20)]
    chosen = pick(tasks, 8, seed=1)
    assert [t.id for t in chosen] == sorted(t.id for t in chosen)
    assert sum(t.tags == ("b",) for t in chosen) == 4
    assert pick(tasks, 8, seed=1) == chosen
    assert pick(tasks, 8, seed=2) != chosen
    assert pick(tasks, None, seed=1) == tasks


def test_slice_does_not_depend_on_order():
    tasks = [task(f"t{i}") for i in range(30)]
    assert humaneval_slice(tasks, 5) == humaneval_slice(tasks[::-1], 5)
