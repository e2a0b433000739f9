"""Diversity metrics against their definitions, and clusters against hand-made labels."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from algorithms import PROGRAMS
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.evals.diversity import (
    adjusted_rand,
    cluster,
    compare_effective,
    distinct_at,
    diversity,
    effective,
    nauadc,
    rarefied,
)

quick = settings(deadline=None, max_examples=60)
CLUSTERS = st.lists(st.integers(0, 3), min_size=1, max_size=8)


@quick
@given(CLUSTERS, st.integers(1, 10))
def test_distinct_at_k_is_the_mean_over_all_draws(clusters, k):
    draws = [len(set(draw)) for draw in combinations(clusters, k)] or [len(set(clusters))]
    assert distinct_at(clusters, k) == pytest.approx(sum(draws) / len(draws))


@quick
@given(CLUSTERS)
def test_effective_number_lies_between_one_and_the_number_of_clusters(clusters):
    value = effective(clusters)
    assert 1 - 1e-9 <= value <= len(set(clusters)) + 1e-9
    assert effective([0, 1, 2, 2, 1, 0]) == pytest.approx(3)
    shares = [clusters.count(one) / len(clusters) for one in set(clusters)]
    assert value == pytest.approx(math.prod(share**-share for share in shares))


def test_area_under_the_curve():
    assert nauadc([0] * 30) == pytest.approx(1)
    assert nauadc([0, 1], largest=3) == pytest.approx((1.5 + 2) / 2)
    assert nauadc(list(range(40))) == pytest.approx(13)
    assert nauadc([0, 0, 1]) < nauadc([0, 1, 2])


def test_nothing_correct_is_no_number():
    for metric in (effective, nauadc):
        with pytest.raises(ValueError, match="leave the problem out"):
            metric([])
    with pytest.raises(ValueError, match="at least 1"):
        distinct_at([0], 0)


def test_rarefaction_is_seeded_and_bounded():
    assert rarefied(list(range(9)), 4, seed=1) == rarefied(list(range(9)), 4, seed=1)
    with pytest.raises(ValueError, match="cannot draw"):
        rarefied([0], 2)


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [([0, 0, 1, 1], [5, 5, 7, 7], 1.0), ([0, 0, 1, 1], [0, 1, 0, 1], -0.5), ([0, 0, 0], [1, 1, 1], 1.0)],
)
def test_adjusted_rand_on_known_cases(one, other, value):
    assert adjusted_rand(one, other) == pytest.approx(value)


def test_clusters_agree_with_hand_made_labels():
    labels, found = [], []
    scores = {}
    for problem, rows in PROGRAMS.items():
        numbers = cluster([program for _, program in rows])
        mine = [label for label, _ in rows]
        scores[problem] = adjusted_rand(mine, numbers)
        labels += [(problem, label) for label in mine]
        found += [(problem, number) for number in numbers]
    assert sum(map(len, PROGRAMS.values())) == 40
    assert sum(scores.values()) / len(scores) >= 0.6, scores


def test_reports_leave_out_problems_without_a_correct_program():
    correct = {name: [program for _, program in rows] for name, rows in PROGRAMS.items()}
    report = diversity(correct | {"unsolved": []}, k=3)
    assert report.without_correct == 1
    assert 1 < report.effective.low < report.effective.value <= report.effective.high
    with pytest.raises(ValueError, match="no problem"):
        diversity({"unsolved": []})


def test_models_are_compared_at_equal_counts():
    correct = {name: [program for _, program in rows] for name, rows in PROGRAMS.items()}
    repeated = {name: programs * 4 for name, programs in correct.items()}
    assert compare_effective(correct, correct).value == 0
    # Four times the programs are no more algorithms; drawn to equal numbers they can only be fewer.
    assert compare_effective(correct, repeated).value <= 0
    one_idea = {name: programs[:1] * 5 for name, programs in correct.items()}
    difference = compare_effective(one_idea, correct)
    assert difference.low > 0
    with pytest.raises(ValueError, match="two correct"):
        compare_effective({"a": ["x = 1"]}, {"a": ["x = 1"]})


def test_new_names_and_layout_are_no_new_algorithm():
    for rows in PROGRAMS.values():
        for _, program in rows:
            renamed = program.replace("xs", "values").replace("text", "words") + "\n\n# the end\n"
            assert len(set(cluster([program, renamed]))) == 1


def test_hostile_programs_have_a_cluster():
    assert cluster(["def f(:", "\0", "def f(:", "x" * 10000]) == [0, 1, 0, 2]
