"""The arithmetic of the experiments on pairs, rankers and judges; slow: whole testbed experiments at the least size."""

from __future__ import annotations

import numpy as np
import pytest

from strop.data import Candidate, Pool
from strop.papers import harness
from strop.papers.experiment import Item, Lab, Size
from strop.papers.experiments import (
    p03_codeboost,
    p22_dstc,
    p29_plum,
    p43_codedpo,
    p50_codefavor,
    p83_humaneval_pro,
    p85_algo_diversity,
)
from strop.papers.tinycoder.practice import pass_rates, split
from strop.types import StropError

R = p43_codedpo.RIGHT
ANSWERS = [[R, R, R, R], [R, R, R, R], [R, "7", R, R], [R, "7", "8", None]]


def test_farthest_takes_what_is_least_alike_to_its_nearest_neighbour():
    # On a line at 0, 1, 5, 9: from 0 the farthest is 9, then 5 (4 away from 9; 1 is 1 away from 0).
    places = [0, 1, 5, 9]
    alike = {(a, b): -abs(places[a] - places[b]) for a in range(4) for b in range(a + 1, 4)}
    assert p03_codeboost.farthest(alike, range(4), 3) == [0, 3, 2]
    assert p03_codeboost.farthest(alike, range(4), 1) == [0]


def test_naive_choice_is_half_of_what_minimax_must_beat(monkeypatch, tmp_path):
    monkeypatch.setattr(p22_dstc, "bench", lambda lab, units: dict.fromkeys(units, ANSWERS))
    lab = Lab({"programs": 10, "share": 0.5}, tmp_path, quick=True)
    rows = list(p22_dstc.measure(lab, Item(("minimax", "naive", "count", "mutual"), ("a", "b"), 3)))
    assert len(rows) == 8
    by_arm = {row.arm: row.values for row in rows if row.unit == "a"}
    naive = by_arm["naive"]["true pairs, 30% of tests wrong"]
    for values in by_arm.values():
        known = values["true pairs, 30% of tests wrong"]
        assert values["over twice naive, 30% of tests wrong"] == pytest.approx(known - 2 * naive)
    assert by_arm["naive"]["over twice naive, 30% of tests wrong"] == pytest.approx(-naive)


def pool(number: int, rights: str) -> Pool:
    task = split("train")[number]
    candidates = [
        Candidate(
            program=f"{task.stub}    return {place}\n", index=place, status="passed" if right == "1" else "failed"
        )
        for place, right in enumerate(rights)
    ]
    return Pool(task=task, candidates=tuple(candidates))


@pytest.mark.parametrize("kind", ["DPO", "KTO"])
def test_both_authors_give_as_many_lessons(kind):
    own, other = [pool(0, "1100"), pool(1, "10")], [pool(0, "10"), pool(1, "00")]
    found = p29_plum.lessons(kind, own, other, per_task=2, seed=0)
    assert len(found["own"]) == len(found["other"]) > 0


def test_samples_without_a_program_count_as_wrong():
    task = pool(0, "110").task
    assert pass_rates([pool(0, "110")], [task, split("train")[5]], 4) == {task.id: 0.5, split("train")[5].id: 0.0}


def test_pairs_of_a_task_are_right_against_wrong_each_once(monkeypatch):
    monkeypatch.setattr(p50_codefavor, "programs", lambda: {"u": ["a", "b", "c", "d"]})
    made = p50_codefavor.pairs_of("u", ANSWERS, "prompt", 5, seed=1)
    assert {pair.chosen for pair in made} == {"a", "b"}
    assert {pair.rejected for pair in made} == {"c", "d"}
    assert made == p50_codefavor.pairs_of("u", ANSWERS, "prompt", 5, seed=1)
    assert p50_codefavor.pairs_of("u", ANSWERS[:2], "prompt", 5, seed=1) == []


def test_only_solvable_items_with_a_base_problem_take_part():
    try:
        found = p83_humaneval_pro.items()
    except StropError as error:
        pytest.skip(str(error).split(",")[0])
    assert len(found) == 154
    assert {"HumanEval/3", "HumanEval/112"} & set(found) == set()
    assert next(iter(found)) == "HumanEval/0"


def test_easy_problems_come_first_and_none_is_lost():
    found = p85_algo_diversity.problems()
    assert len(found) == 164
    lengths = [len(task.reference) - len(task.stub) for task in found.values()]
    assert lengths == sorted(lengths)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("paper", [29, 30])
def test_testbed_experiments_run_and_resume(paper, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = harness.load(paper)
    settings = {"pretraining_steps": 120, "practised": 12, "samples": 4, "epochs": 1.0}
    plan = harness.plan(
        experiment, quick=True, size=Size(units=6, seeds=1), settings=settings, file=tmp_path / "results.json"
    )
    found = harness.execute(plan)
    table = found.table()
    assert set(table.arms) == set(experiment.arms)
    for arm in experiment.arms:
        values = [table.value(next(iter(experiment.metrics)), arm, unit, 0) for unit in table.units]
        assert np.isfinite(np.array(values, dtype=float)).all()
    again = harness.plan(
        experiment, quick=True, size=Size(units=6, seeds=1), settings=settings, file=tmp_path / "results.json"
    )
    assert again.left == ()
