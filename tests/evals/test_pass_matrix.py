"""Scorers against brute force, and the matrix itself through a real judge."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from strop.evals.label_quality import auc, label_quality, minimax_precision, naive_precision, scorer_precision
from strop.evals.pass_matrix import (
    SCORERS,
    Cell,
    agreement,
    all_pass,
    count,
    extremes,
    get_scorer,
    minimax,
    mutual,
    pass_matrices,
    pass_matrix,
)
from strop.judge import Judge
from strop.types import CallCheck, Limits, ScriptCheck, StropError, Task

NAN = float("nan")
quick = settings(deadline=None, max_examples=60)
SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6)
KNOWN = arrays(float, SHAPES, elements=st.sampled_from([0.0, 1.0]))
ANY = arrays(float, SHAPES, elements=st.sampled_from([0.0, 1.0, NAN]))


# ---- scorers -------------------------------------------------------------------------------------


@quick
@given(ANY, st.randoms())
def test_scores_follow_programs_and_ignore_the_order_of_tests(matrix, random):
    programs, tests = list(range(matrix.shape[0])), list(range(matrix.shape[1]))
    random.shuffle(programs)
    random.shuffle(tests)
    for scorer in SCORERS.values():
        plain, shuffled = scorer(matrix), scorer(matrix[programs][:, tests])
        np.testing.assert_allclose(shuffled, plain[programs], rtol=1e-9)


@quick
@given(ANY)
def test_unknown_is_no_score_and_known_is_finite(matrix):
    nothing = np.isnan(matrix).all(axis=1)
    for name, scorer in SCORERS.items():
        scores = scorer(matrix)
        assert scores.shape == (len(matrix),)
        assert np.isnan(scores[nothing]).all()
        if name != "agreement":  # which may lack a test that all programs share
            assert np.isfinite(scores[~nothing]).all()
            assert ((scores[~nothing] >= 0) & (scores[~nothing] <= 1 + 1e-12)).all()


@quick
@given(KNOWN)
def test_a_program_that_passes_more_of_the_same_tests_never_scores_lower(matrix):
    for name in ("count", "all_pass", "mutual"):
        scores = SCORERS[name](matrix)
        for one, other in product(range(len(matrix)), repeat=2):
            if (matrix[one] >= matrix[other]).all():
                assert scores[one] >= scores[other] - 1e-9


@quick
@given(KNOWN)
def test_agreement_is_size_times_tests(matrix):
    expected = [sum((matrix == row).all(axis=1)) * row.sum() for row in matrix]
    np.testing.assert_array_equal(agreement(matrix), expected)


@quick
@given(KNOWN)
def test_mutual_keeps_the_order_of_the_unscaled_recursion(matrix):
    c, s = [1] * matrix.shape[0], [1] * matrix.shape[1]  # whole numbers: exact, whatever their size
    cells = matrix.astype(int).tolist()
    for _ in range(10):
        c, s = (
            [15 * c[i] + 85 * sum(m * w for m, w in zip(cells[i], s)) for i in range(len(c))],
            [15 * s[j] + 85 * sum(row[j] * w for row, w in zip(cells, c)) for j in range(len(s))],
        )
    np.testing.assert_allclose(mutual(matrix), [value / max(c) for value in c], rtol=1e-9)


def test_a_wrong_test_that_nobody_passes_changes_nothing_for_mutual():
    matrix = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0]], dtype=float)
    without = mutual(matrix[:, :2])
    assert np.argsort(mutual(matrix)).tolist() == np.argsort(without).tolist()


def test_mutual_beats_count_when_most_are_right_and_loses_when_few_are():
    # Three tests, of which two ask for the wrong answer that one family of programs gives.
    def auc_of(right, wrong, scorer):
        matrix = np.array([[1, 1, 0, 0]] * right + [[0, 0, 1, 1]] * wrong, dtype=float)
        return auc(scorer(matrix), np.array([1] * right + [0] * wrong))

    assert auc_of(6, 3, mutual) == 1.0
    assert auc_of(6, 3, count) == 0.5
    assert auc_of(3, 6, mutual) == 0.0


def test_broken_tests_and_judge_errors_are_left_out():
    matrix = np.array([[1, NAN, 1], [1, NAN, 0], [NAN, NAN, NAN]])
    assert count(matrix)[:2].tolist() == [1.0, 0.5]
    assert all_pass(matrix)[:2].tolist() == [1.0, 0.0]
    assert agreement(matrix)[:2].tolist() == [2.0, 1.0]
    assert minimax(matrix) == ([Cell(0, 2)], [Cell(1, 2)])


@pytest.mark.parametrize("bad", [np.zeros(3), np.full((2, 2), 0.5), np.full((1, 1), np.inf)])
def test_what_is_no_pass_matrix_is_refused(bad):
    for scorer in (*SCORERS.values(), minimax):
        with pytest.raises(ValueError, match="pass matrix"):
            scorer(bad)


def test_unknown_scorer_is_a_user_error():
    with pytest.raises(StropError, match="count, all_pass, agreement, mutual"):
        get_scorer("best")


def test_matrices_without_tests_or_programs_score_nothing():
    for scorer in SCORERS.values():
        assert np.isnan(scorer(np.zeros((2, 0)))).all()
        assert scorer(np.zeros((0, 2))).shape == (0,)
    assert minimax(np.zeros((0, 0))) == ([], [])


# ---- pairs ---------------------------------------------------------------------------------------


@quick
@given(KNOWN)
def test_minimax_follows_its_definition(matrix):
    chosen, rejected = minimax(matrix)
    if matrix.min() == 1 or matrix.max() == 0:
        assert (chosen, rejected) == ([], [])
        return
    passes, passed_by = matrix.sum(axis=1), matrix.sum(axis=0)
    assert chosen
    assert rejected
    for program, test in chosen:
        assert matrix[program, test] == 1
        assert passes[program] == passes.max()
        assert passed_by[test] <= min(passed_by[matrix[program] == 1])
    failed = [test for test in range(matrix.shape[1]) if matrix[:, test].min() == 0]
    for program, test in rejected:
        assert matrix[program, test] == 0
        assert passed_by[test] == max(passed_by[failed])
        assert passes[program] <= min(passes[matrix[:, test] == 0])


@quick
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, NAN]), max_size=7))
def test_extremes_are_apart_or_absent(scores):
    best, worst = extremes(np.array(scores))
    assert not set(best) & set(worst)
    assert (len(best) == 0) == (len({value for value in scores if value == value}) < 2)


@quick
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0, NAN]), st.sampled_from([0.0, 1.0, NAN])), max_size=8))
def test_auc_counts_ordered_pairs(rows):
    scores, right = np.array([a for a, _ in rows]), np.array([b for _, b in rows])
    outcomes = [(a > b) + 0.5 * (a == b) for a, t in rows for b, u in rows if t == 1 and u == 0 and a == a and b == b]
    expected = sum(outcomes) / len(outcomes) if outcomes else None
    assert auc(scores, right) == (None if expected is None else pytest.approx(expected))


@quick
@given(KNOWN, st.data())
def test_pair_precisions_are_what_random_tie_breaking_gives(matrix, data):
    right = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=len(matrix), max_size=len(matrix))))
    chosen, rejected = minimax(matrix)
    pairs = [right[a.program] * (1 - right[b.program]) for a, b in product(chosen, rejected)]
    assert minimax_precision(matrix, right) == (pytest.approx(np.mean(pairs)) if pairs else None)
    cells = list(product(range(matrix.shape[0]), range(matrix.shape[1])))
    any_pair = [right[a[0]] * (1 - right[b[0]]) for a, b in product(cells, cells) if matrix[a] == 1 and matrix[b] == 0]
    assert naive_precision(matrix, right) == (pytest.approx(np.mean(any_pair)) if any_pair else None)
    best, worst = extremes(count(matrix))
    ends = [right[a] * (1 - right[b]) for a, b in product(best, worst)]
    assert scorer_precision(count(matrix), right) == (pytest.approx(np.mean(ends)) if ends else None)


def test_report_counts_what_it_dropped_and_warns_below_the_majority():
    useful = np.array([[1, 1], [0, 0], [0, 1], [0, 0]], dtype=float)
    matrices = [useful] * 12 + [useful[:2], useful[:2], np.full((2, 2), NAN)]
    truths = [np.array([1.0, 0, 0, 0])] * 12 + [np.ones(2), np.zeros(2), np.array([1.0, 0.0])]
    quality = label_quality(matrices, truths)
    assert quality.dropped == {"all programs right": 1, "all programs wrong": 1, "no test": 1}
    assert list(quality.bands) == ["0.2-0.4"]
    by_name = {row.scorer: row for row in quality.overall}
    assert by_name["count"].auc.value == 1.0
    assert by_name["count"].pairs == 12
    assert by_name["minimax"].auc is None
    assert "majority" in " ".join(quality.warnings)


def test_report_of_nothing_says_so():
    quality = label_quality([], [])
    assert quality.share_right is None
    assert "nothing can be said" in quality.warnings[0]


# ---- through the judge ---------------------------------------------------------------------------

DOUBLE = Task(id="double", prompt="", checks=(), entry_point="f", limits=Limits(cpu_seconds=0.5, wall_seconds=2.0))
TESTS = (
    CallCheck(function="f", args=(2,), expected=4),
    CallCheck(function="f", args=(0,), expected=0),
    CallCheck(function="f", args=(3,), expected=9),  # a wrong test, which squaring passes
    ScriptCheck(code="assert undefined_helper_of_the_test / 0 == f(1"),  # not Python: nobody can be blamed
)
PROGRAMS = (
    "def f(x):\n    return 2 * x\n",
    "def f(x):\n    return x * x\n",
    "def f(x):\n    while x == 3:\n        pass\n    return 2 * x\n",
    "def f(x:\n",
    "def f(x):\n    return 2 * x\n",
    "calls = []\ndef f(x):\n    calls.append(x)\n    return 2 * x * len(calls)\n",
)


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as bench:
        yield bench


def test_each_program_meets_each_test_alone(judge):
    matrix = pass_matrix(DOUBLE, PROGRAMS, TESTS, judge)
    expected = [
        [1, 1, 0, NAN],
        [1, 1, 1, NAN],
        [1, 1, 0, NAN],
        [0, 0, 0, NAN],
        [1, 1, 0, NAN],
        [1, 1, 0, NAN],  # no memory of the calls before
    ]
    np.testing.assert_array_equal(matrix.values, expected)
    assert matrix.statuses[2][2] == "timeout"
    assert matrix.statuses[3][0] == "syntax_error"
    assert matrix.statuses[0][3] == "judge_error"
    assert matrix.statuses[4] == matrix.statuses[0]
    assert matrix.seconds[2][2] > 0.4 > matrix.seconds[0][0]
    np.testing.assert_array_equal(matrix.without_tests([3]).values, np.array(expected)[:, :3])


def test_tasks_with_nothing_to_run_give_empty_matrices(judge):
    no_tests, no_programs = pass_matrices([(DOUBLE, PROGRAMS[:1], ()), (DOUBLE, (), TESTS)], judge)
    assert no_tests.values.shape == (1, 0)
    assert no_programs.values.shape == (0, 4)
