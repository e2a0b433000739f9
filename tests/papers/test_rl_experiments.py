"""The experiments on rewards and reinforcement learning: their arithmetic, and one step of each on the least model."""

from __future__ import annotations

import importlib.util
import math
import random

import numpy as np
import pytest

from strop.papers import harness
from strop.papers.experiment import Item, Lab, Outcome, Table
from strop.papers.experiments import (
    p07_pie_rrhf,
    p13_coderl,
    p38_b_coder,
    p48_gepo,
    p62_acecode,
    p64_rl4mle,
    p67_simplerl_zoo,
    p71_pf_ppo,
)
from strop.papers.pie_inputs import INPUTS, imported
from strop.papers.tinycoder.cost import cost
from strop.papers.tinycoder.practice import split
from strop.papers.tinycoder.speed import CountedCost, dear, log_cost
from strop.rewards import Case
from strop.types import CheckResult, Sample, Spent, StropError, Verdict

needs_models = pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs the train extra")
PAPERS = (7, 13, 38, 48, 62, 64, 67, 71)


def sample(task_id: str, code: str, index: int = 0) -> Sample:
    return Sample(
        task_id=task_id, index=index, text=code, code=code, finish_reason="stop", seed=0, protocol="", spent=Spent()
    )


def case(task, code: str, status="passed") -> Case:
    verdict = Verdict(status=status, fraction=float(status == "passed"))
    return Case(task=task, sample=sample(task.id, code), verdict=verdict)


# ---- verdicts follow from outcomes -----------------------------------------------------------------


@pytest.mark.parametrize("paper", PAPERS)
def test_conditions_are_worked_out_from_any_complete_table(paper):
    experiment = harness.load(paper)
    assert experiment is not None
    rng = np.random.default_rng(paper)
    units = [f"unit {number}" for number in range(8)]
    units[0] = p71_pf_ppo.REAL if paper == 71 else units[0]
    outcomes = [
        Outcome(arm, unit, seed, {metric: float(rng.uniform(0.2, 0.8)) for metric in experiment.metrics})
        for arm in experiment.arms
        for unit in units
        for seed in range(5)
    ]
    table = Table(outcomes, experiment.arms, experiment.metrics)
    conditions = experiment.conclude(table)
    assert any(one.required for one in conditions)
    assert all(math.isfinite(one.value) for one in conditions)
    # Noise alone shows no claim about a difference of arms.
    assert not all(one.verdict == "shown" for one in conditions if one.required)


def test_a_gate_that_works_is_shown_and_one_that_costs_correctness_is_not():
    def verdicts(solved: float) -> list[str]:
        rng = np.random.default_rng(0)
        outcomes = []
        for unit in range(30):
            for seed in range(5):
                base, noise = 0.5 + 0.01 * (unit % 5), rng.normal(0, 0.01)
                for arm, rate, dearness in (("correctness", base, 2.0), ("gated", solved, 1.0), ("additive", 0.3, 0.5)):
                    figures = {"solved": rate + noise, "log2 cost of right programs": dearness + noise}
                    outcomes.append(Outcome(arm, str(unit), seed, figures))
                outcomes.append(Outcome("start", str(unit), seed, {"solved": 0.4, "log2 cost of right programs": 2.0}))
        experiment = p62_acecode.EXPERIMENT
        table = Table(outcomes, experiment.arms, experiment.metrics)
        return [one.verdict for one in experiment.conclude(table)]

    assert verdicts(0.52)[:2] == ["shown", "shown"]
    assert verdicts(0.40)[1] == "contradicted"


# ---- rewards ---------------------------------------------------------------------------------------


def test_counted_cost_compares_with_the_reference_or_the_dear_program():
    for task in split("test", 20):
        assert log_cost(task, task.reference) == 0
        assert log_cost(task, dear(task)) > 0.4
        assert CountedCost(dear).compare(task, task.reference).outcome == "faster"
    assert CountedCost().compare(task, "import os") is None
    assert CountedCost().compare(task, "def f(xs:") is None


def test_a_generator_costs_what_its_elements_cost():
    body = "def f(xs):\n    return sum({})\n"
    assert cost(body.format("y for y in xs")) == cost(body.format("[y for y in xs]")) == 80


def test_only_the_gate_keeps_wrong_programs_below_right_ones():
    task, zero = split("test")[0], "def f(xs):\n    return 0\n"
    (gated, wrong), (added, cheap) = (
        [one.total for one in p62_acecode.rule(arm)([case(task, dear(task)), case(task, zero, "failed")])]
        for arm in ("gated", "additive")
    )
    assert gated >= 0 > wrong
    assert cheap > wrong  # the additive reward pays a wrong program for being cheap
    assert added == pytest.approx(0.5)  # a right one that is dear loses half


def test_the_form_counts_for_wrong_answers_too_under_the_rigid_reward():
    task = split("test")[0]
    formed, plain = "def f(xs):\n    ys = xs\n    return ys\n", "def f(xs):\n    return xs\n"
    rule = p67_simplerl_zoo.rule("rigid")
    cases = [case(task, formed), case(task, plain), case(task, formed, "failed"), case(task, plain, "failed")]
    assert [one.total for one in rule(cases)] == [1.0, 0.5, -0.5, -1.0]
    assert [one.total for one in p67_simplerl_zoo.rule("lenient")(cases)] == [1.0, 1.0, 0.0, 0.0]


def test_bands_have_as_many_tasks():
    tasks = split("test", 9)
    rates = dict(zip((task.id for task in tasks), (0.0, 0.0, 0.5, 0.2, 0.8, 0.9, 1.0, 0.1, 0.0)))
    found = p67_simplerl_zoo.bands(rates, tasks)
    assert [task.id for task in found["hard"]] == [tasks[0].id, tasks[1].id, tasks[8].id]
    assert [task.id for task in found["middle"]] == [tasks[2].id, tasks[3].id, tasks[4].id]


def test_a_reward_model_of_words_learns_what_right_programs_have():
    good, bad = p71_pf_ppo.words("return sorted(xs)"), p71_pf_ppo.words("return xs + 1")
    weights = p71_pf_ppo.bradley_terry(np.stack([good - bad, good - bad]))
    assert good @ weights > bad @ weights
    assert p71_pf_ppo.words("").sum() == 0


# ---- paper 7: real pairs ---------------------------------------------------------------------------


def test_inputs_are_lines_of_what_the_problem_reads():
    for problem, make in INPUTS.items():
        text = make(random.Random(problem))
        assert text == make(random.Random(problem)), problem
        assert text.endswith("\n")
        assert all(part.lstrip("-").isalnum() for part in text.split()), problem
    assert imported("import os.path\nfrom a.b import c") == {"os", "a"}
    assert imported("print 1") == {"?"}


def test_a_pair_that_disagrees_is_not_compared():
    pair = p07_pie_rrhf.Pair("a", "p03416", "print(1)", "print(2)", 3.0)
    with p07_pie_rrhf.timer() as judge:
        assert p07_pie_rrhf.task_of(pair, judge) is None
        alike = p07_pie_rrhf.task_of(p07_pie_rrhf.Pair("b", "p03416", "print(1)", "print( 1 )", 3.0), judge)
        assert alike.reference == "print(1)"
        assert judge.run(alike, ["print(1)"])[0].passed


def test_units_of_real_pairs_stand_beside_tasks():
    try:
        known = p07_pie_rrhf.known_pairs()
    except StropError as error:
        pytest.skip(str(error).split(",")[0])
    units = p07_pie_rrhf.units()
    assert len(units) == len(set(units)) == len(known) + 120 == p07_pie_rrhf.EXPERIMENT.planned.units
    assert sum(unit in known for unit in units[:16]) == 8
    assert min(pair.recorded for pair in known.values()) > 2


# ---- paper 64: a collector with real processes -----------------------------------------------------


def test_the_gradient_follows_the_better_action_and_weights_shift_it():
    share = np.array([0.5, 0.5])
    done = [p64_rl4mle.Done(0, 0.1, 0.8), p64_rl4mle.Done(0, 0.1, 0.8), p64_rl4mle.Done(1, 0.4, 0.9)]
    plain, weighted = (p64_rl4mle.gradient(done, share, one, 0.0) for one in (False, True))
    assert plain[1] < 0 < weighted[1]  # seen once in three, the better action loses; by time spent it wins
    assert plain.sum() == pytest.approx(0)
    assert p64_rl4mle.gradient(done, share, False, 0.85)[1] > 0  # against a baseline it wins in any case


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="needs scikit-learn: make setup")
@pytest.mark.parametrize("carry", [False, True])
def test_unfinished_programs_end_with_the_window_or_go_on(carry):
    collector = p64_rl4mle.Collector(0, carry)
    try:
        found = collector.window(1.5, np.array([1.0, 0.0]))
        assert found
        assert all(one.action == 0 and 0.5 < one.accuracy < 1 and one.seconds > 0 for one in found)
        collector.window(0.01, np.array([0.0, 1.0]))
        assert bool(collector.running) == carry
    finally:
        collector.close()
    assert not collector.running


# ---- paper 13: what looks right --------------------------------------------------------------------


def judged_row(number: int, visible: bool, passed: bool):
    task = split("test")[number]
    check = CheckResult(name="a", passed=visible, visible=True, status="passed" if visible else "failed")
    verdict = Verdict(status="passed" if passed else "failed", fraction=0.0, checks=(check,))
    return task, sample(task.id, "x"), verdict


def test_choice_is_among_programs_that_pass_the_visible_checks():
    rows = [
        judged_row(0, True, True),
        judged_row(0, True, False),
        judged_row(0, False, False),
        judged_row(1, False, False),
    ]
    tasks = split("test", 2)
    assert p13_coderl.chosen_right(rows, tasks) == {tasks[0].id: 0.5, tasks[1].id: 0.0}


# ---- papers 38 and 48: rows and losses -------------------------------------------------------------


@needs_models
def test_a_batch_puts_rewards_at_the_last_token_and_states_before_each():
    rows = [p38_b_coder.Row((5, 6), (7, 8, 9), 1.0, True), p38_b_coder.Row((5,), (7,), -0.3, False)]
    batch = p38_b_coder.batch_of(rows)
    assert batch.ids.tolist() == [[5, 6, 7, 8, 9], [5, 7, 0, 0, 0]]
    assert batch.at.tolist() == [[1, 2, 3], [0, 0, 0]]
    assert batch.mask.sum(1).tolist() == [3.0, 1.0]
    assert batch.rewards[0].tolist() == [0.0, 0.0, 1.0]
    assert batch.rewards[1, 0].item() == pytest.approx(-0.3)
    assert batch.human.tolist() == [True, False]


@needs_models
def test_the_group_loss_without_variance_leaves_only_the_preference():
    import torch

    after = torch.tensor([1.0, 3.0, -1.0])
    one = p48_gepo.Rivals(None, [0, 1], [2], torch.zeros(3))
    preference = math.log1p(math.exp(-0.1 * (2.0 - -1.0)))
    assert float(p48_gepo.loss_of("no variance", after, one, 0.1)) == pytest.approx(preference)
    assert float(p48_gepo.loss_of("GEPO", after, one, 0.1)) == pytest.approx(preference + 0.1**2 * 1.0)
    pairs = (math.log1p(math.exp(-0.2)) + math.log1p(math.exp(-0.4))) / 2
    assert float(p48_gepo.loss_of("DPO", after, one, 0.1)) == pytest.approx(pairs)


# ---- one step of each on the least model -----------------------------------------------------------


@pytest.fixture(scope="module")
def least(tmp_path_factory):
    """A lab whose testbed is a model of a few thousand weights after a few steps."""
    from strop.papers.tinycoder import practice, pretrain

    few = pretrain.TinySettings(width=32, layers=1, heads=2, demonstrations=60, steps=12, batch_size=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(practice, "TinySettings", lambda **_: few)
        folder = tmp_path_factory.mktemp("lab") / "experiment"
        folder.mkdir()
        yield folder


SMALL = {
    7: {"steps": 1, "prompts": 2, "group": 3, "held_out_samples": 2},
    13: {"steps": 1, "prompts": 2, "group": 2, "held_out_samples": 2, "programs": 4, "critic_samples": 1},
    38: {"practised": 3, "samples": 3, "ranked": 3, "held_out_samples": 2, "value_steps": 2, "steps": 2, "batch": 6},
    48: {"practised": 6, "samples": 4, "steps": 1, "held_out_samples": 2},
    62: {"steps": 1, "prompts": 2, "group": 2, "held_out_samples": 2},
    71: {"steps": 1, "prompts": 2, "held_out_samples": 2, "taught": 2, "taught_samples": 2, "passes": 1},
}


@needs_models
@pytest.mark.parametrize("paper", sorted(SMALL))
def test_every_arm_runs_and_yields_a_figure(paper, least):
    experiment = harness.load(paper)
    folder = least.parent / f"paper-{paper}"
    folder.mkdir()
    lab = Lab({**experiment.settings, **SMALL[paper]}, folder, quick=True)
    units = tuple(task.id for task in split("test", 3))
    try:
        arms = tuple(arm for arm in experiment.arms if arm not in p07_pie_rrhf.TIMED)
        outcomes = list(experiment.measure(lab, Item(arms, units, 0)))
    finally:
        lab.close()
    assert len(outcomes) == len(arms) * len(units)
    Table(outcomes, experiment.arms, experiment.metrics)
    for arm in arms:
        assert any(one.values for one in outcomes if one.arm == arm) or paper == 48, arm
    assert lab.spent.programs > 0
