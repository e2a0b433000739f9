"""The experiments' own arithmetic, by hand and by property."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.papers import harness
from strop.papers.cards import cards
from strop.papers.experiments import p43_codedpo, p91_lbm
from strop.tasks import load
from strop.types import CheckResult, Verdict

MODULES = sorted(Path(harness.__file__).with_name("experiments").glob("p*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_experiment_says_what_it_is(path):
    experiment = harness.load(int(path.stem[1:3]))
    assert experiment is not None
    assert experiment.slug in cards()
    assert experiment.question.endswith("?")
    assert experiment.quick.units <= experiment.planned.units
    assert experiment.quick.seeds <= experiment.planned.seeds
    assert set(experiment.quick_settings) <= set(experiment.settings)
    assert experiment.components, "an experiment tests something of Strop"
    assert experiment.cost.seconds > 0
    version, modules = harness.version_of(experiment)
    assert experiment.module in modules
    assert len(version) == 16


# ---- 91 ----------------------------------------------------------------------------------------


def test_policies_are_equal_but_for_the_gap():
    rng = np.random.default_rng(0)
    means = np.mean([p91_lbm.study(400, 0.1, rng).mean(axis=1) for _ in range(200)], axis=0)
    assert means[:3] == pytest.approx(0.5, abs=0.01)
    assert means[3] == pytest.approx(0.6, abs=0.01)


def test_trials_are_matched():
    rng = np.random.default_rng(0)
    successes = np.concatenate([p91_lbm.study(400, 0.0, rng) for _ in range(20)], axis=1)
    assert np.corrcoef(successes)[0, 1] > 0.04  # variance of difficulty 0.0225 over 0.25


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([20, 50, 100]), st.sampled_from([0.0, 0.3]))
def test_correction_never_separates_more(seed, trials, gap):
    found = p91_lbm.separated(p91_lbm.study(trials, gap, np.random.default_rng(seed)))
    assert not (found["holm"] & ~found["uncorrected"]).any()


# ---- 43 ----------------------------------------------------------------------------------------

R = p43_codedpo.RIGHT
ANSWERS = [[R, R, R, R], [R, R, R, R], [R, "7", R, R], [R, "7", "8", None]]
SETTINGS = {"programs": 10, "spoiled": 0.5}


def test_programs_are_right_when_they_pass_every_call():
    for share in (0.2, 0.6):
        drawn = p43_codedpo.draw(ANSWERS, share, SETTINGS, np.random.default_rng(1))
        assert drawn is not None
        matrix, right = drawn
        assert matrix.shape == (10, 4)
        assert right.sum() == 10 * share


def test_tasks_without_both_kinds_say_nothing():
    for rows in (ANSWERS[:2], ANSWERS[2:]):
        assert p43_codedpo.draw(rows, 0.6, SETTINGS, np.random.default_rng(1)) is None


def test_a_spoiled_test_asks_for_a_wrong_programs_answer():
    seen = set()
    for seed in range(40):
        drawn = p43_codedpo.draw(ANSWERS, 0.5, SETTINGS, np.random.default_rng(seed))
        assert drawn is not None
        matrix, right = drawn
        assert (matrix[:, [0, 3]][right == 1] == 1).all()  # nothing wrong to ask for there
        column = matrix[:, 1]
        seen.add("spoiled" if (column[right == 1] == 0).all() else "kept")
        assert set(column) <= {0.0, 1.0}
        assert (column[right == 1] == column[right == 1][0]).all()
    assert seen == {"spoiled", "kept"}


@given(st.integers(0, 1000))
def test_draws_depend_on_the_seed_alone(seed):
    first, second = (p43_codedpo.draw(ANSWERS, 0.6, SETTINGS, np.random.default_rng(seed)) for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first[0] == second[0]).all()
    assert (first[1] == second[1]).all()


def test_answers_are_read_from_verdicts():
    def verdict(status, actual=None):
        check = CheckResult(name="", passed=status == "passed", visible=False, status=status, actual=actual)
        return Verdict(status=status, fraction=0.0, checks=(check,))

    assert p43_codedpo.answer(verdict("passed")) == R
    assert p43_codedpo.answer(verdict("failed", "7")) == "7"
    assert p43_codedpo.answer(verdict("runtime_error")) is None
    assert p43_codedpo.answer(Verdict(status="timeout", fraction=0.0)) is None


def test_calls_are_the_plain_assertions_of_a_task():
    tasks = {task.id: task for task in load("humaneval")}
    found = p43_codedpo.calls(tasks["HumanEval/2"])  # its other assertions compare within a tolerance
    assert [(call.args, call.expected) for call in found] == [((3.5,), 0.5)]
    assert len(p43_codedpo.calls(tasks["HumanEval/0"])) >= p43_codedpo.FEWEST_CALLS
