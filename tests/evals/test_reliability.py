"""The report on scorers: each figure against a case worked out by hand or by another library."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.evals.reliability import (
    Judged,
    binned_r2,
    lines,
    pair_accuracy,
    reliability_report,
    residual_variance,
    spearman,
)
from strop.evals.scorers import PairJudge, load_scorer, text_of
from strop.models import Score
from strop.models.scorers import Length, Scorer, score
from strop.types import Message, Preference, StropError


class Told:
    """Scores by a table."""

    name = "told"

    def __init__(self, table):
        self.table = table

    def scores(self, prompt, programs):
        return [self.table[program] for program in programs]


def judged(rights, task_id="t", programs=None):
    programs = programs or [f"{task_id}{place}" + "x" * place for place in range(len(rights))]
    return Judged(task_id=task_id, prompt="p", programs=tuple(programs), right=tuple(rights))


def test_a_perfect_scorer_and_the_trivial_ones():
    tasks = [judged([1, 0, 0, 1], f"t{n}") for n in range(12)]
    table = {program: right for task in tasks for program, right in zip(task.programs, task.right)}
    shorter, longer, told = reliability_report(tasks, [Told(table)])
    assert [row.scorer for row in (shorter, longer, told)] == ["shorter", "longer", "told"]
    assert (told.auc.value, told.top.value, told.gain.value) == (1.0, 1.0, 0.5)
    assert told.r2 == pytest.approx(1.0)
    assert told.residual_variance == pytest.approx((0, 0, 0, 0), abs=1e-12)
    # Right are the shortest and the longest: each length rule orders 2 of 4 pairs, and its top choice is right.
    assert shorter.auc.value == longer.auc.value == 0.5
    assert (shorter.top.value, longer.top.value) == (1.0, 1.0)
    assert (shorter.length_correlation.value, longer.length_correlation.value) == (-1.0, 1.0)
    assert (told.over_trivial.value, shorter.over_trivial) == (0.5, None)
    assert any("over the better length rule: higher" in line for line in lines([told]))


def test_ties_and_blind_scorers_gain_nothing():
    tasks = [judged([1, 0, 0, 0], f"t{n}") for n in range(6)]
    blind = Told({program: 3.0 for task in tasks for program in task.programs})
    row = reliability_report(tasks, [blind])[-1]
    assert (row.auc.value, row.top.value, row.gain.value) == (0.5, 0.25, 0.0)
    assert row.r2 is None
    assert row.residual_variance == ()
    assert row.length_correlation is None


def test_bad_input_says_what_can_be_said():
    nan = float("nan")
    with pytest.raises(ValueError, match="no task"):
        reliability_report([judged([nan, nan])], [])
    with pytest.raises(ValueError, match="no task"):
        reliability_report([], [])
    tasks = [judged([1, 1], "all"), judged([0, 0], "none"), judged([1], "one"), judged([nan, 0, 1], "some")]
    shorter = reliability_report(tasks, [])[0]
    assert (shorter.tasks, shorter.programs) == (4, 7)
    assert shorter.auc.n == 1, "only one task has right and wrong programs"
    assert shorter.top.n == 4
    same = reliability_report([judged([1, 0], programs=["a", "a"])], [])[0]
    assert same.top.value == 0.5, "identical programs with contradicting verdicts"


def test_r2_grows_with_the_range_and_residual_variance_does_not():
    """The dossier's warning: choosing extremes raises R^2 while scores are as noisy as before."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(400, 5))
    truth = scores + rng.normal(size=scores.shape)
    order = np.argsort(-scores, axis=1)
    ranked_scores, ranked_truth = np.take_along_axis(scores, order, 1), np.take_along_axis(truth, order, 1)
    ends = [0, 4]
    whole = binned_r2(scores.ravel(), (truth > 0).astype(float).ravel())
    assert whole > 0.9
    variance = residual_variance(list(ranked_scores), list(ranked_truth))
    assert len(variance) == 5
    assert max(variance) / min(variance) < 1.5
    assert residual_variance(list(ranked_scores[:, ends]), list(ranked_truth[:, ends])) == pytest.approx(
        (variance[0], variance[4]), rel=0.15
    )


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1)), min_size=0, max_size=60))
def test_r2_is_at_most_one_and_ignores_order(rows):
    scores, right = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows], float)
    found = binned_r2(scores, right)
    assert found is None or -1e-9 <= found <= 1 + 1e-9
    turned = binned_r2(scores[::-1], right[::-1])
    assert (found is None and turned is None) or found == pytest.approx(turned)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=20))
def test_spearman_is_scipys(rows):
    from scipy.stats import spearmanr

    one, other = zip(*rows)
    found = spearman(one, other)
    if len(set(one)) > 1 and len(set(other)) > 1:
        assert found == pytest.approx(spearmanr(one, other).statistic)
    else:
        assert found is None


def test_pairs_are_scored_by_their_programs_a_task_at_a_time():
    def pair(task_id, chosen, rejected):
        why = {"task_id": task_id, "chosen_program": chosen, "rejected_program": rejected}
        return Preference(prompt="p", chosen="", rejected="", why=why)

    pairs = [pair("a", "x", "xx"), pair("a", "xx", "x"), pair("a", "x", "x"), pair("b", "x", "xxx")]
    assert pair_accuracy(Length(), pairs).value == 0.75
    assert pair_accuracy(Length(shorter=False), pairs).value == 0.25


# ---- the judge of pairs ----------------------------------------------------------------------------


class Answering:
    """Says A or B by a rule over the question's two programs."""

    name = "rule"

    def __init__(self, likes_a):
        self.likes_a = likes_a

    def score(self, pairs):
        found = []
        for question, answer in pairs:
            one, other = (part.split("\n")[1] for part in question.split("```python")[1:3])
            liking = float(self.likes_a(one, other)) * (1 if answer == " A" else -1)
            found.append(Score(logprobs=(liking,), token_ids=(0,)))
        return found


def test_a_judge_that_always_says_a_scores_all_alike_and_is_found_out():
    judge = PairJudge(Answering(lambda one, other: 1))
    assert isinstance(judge, Scorer)
    assert judge.position_bias is None
    found = judge.scores("p", ["aa", "b", "cc"])
    assert found == pytest.approx([0.5] * 3)
    assert judge.position_bias == 1.0
    assert score(judge, "p", "alone") == 0.5


def test_a_judge_with_an_opinion_orders_programs_whatever_their_order():
    judge = PairJudge(Answering(lambda one, other: len(other) - len(one)))
    found = judge.scores((Message("user", "task"), Message("assistant", "begun")), ["aaa", "a", "aa"])
    assert np.argsort(found).tolist() == [0, 2, 1]
    assert judge.position_bias == 0.0
    assert text_of((Message("user", "task"), Message("assistant", "begun"))) == "task"


def test_scorers_by_name():
    assert load_scorer("longer").scores("", ["a", "aaa"]) == [1, 3]
    for name in ("best", "reward/", "pair", ""):
        with pytest.raises(StropError, match="reward/BASE"):
            load_scorer(name)
