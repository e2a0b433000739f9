"""The loop end to end on a tiny random model and the real judge: it learns, resumes, and survives what goes wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from rl_tiny import TASKS, letters  # noqa: E402

from strop.data import ir_groups  # noqa: E402
from strop.judge import Judge  # noqa: E402
from strop.rewards import batch_part, part  # noqa: E402
from strop.run import Run  # noqa: E402
from strop.tasks import protocols  # noqa: E402
from strop.train.rl.learner import Learner  # noqa: E402
from strop.train.rl.loop import Buffer, Work, train  # noqa: E402
from strop.train.rl.policy import Policy  # noqa: E402
from strop.train.rl.recipes import RECIPES, settings  # noqa: E402
from strop.types import StropError  # noqa: E402

SMALL = {
    "steps": 2, "prompts": 2, "group": 4, "max_tokens": 8, "learning_rate": 0.01, "lora_rank": 4, "warmup": 0,
    "held_out_samples": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as made:
        yield made


@pytest.fixture
def go(tiny, tmp_path, judge):
    """`go(rule, **settings)`: train in `tmp_path / "run"`; returns the run, open for reading."""

    def start(
        rule=None, before=lambda policy: None, on_step=lambda step, values: None, held_out=(), folder="run", **given
    ):
        chosen = settings(SMALL | {"model": f"hf/{tiny}"} | given)
        policy = Policy(chosen.model, lora_rank=chosen.lora_rank, lora_alpha=8, seed=chosen.seed)
        before(policy)
        work = Work(
            practice=list(TASKS), held_out=list(held_out), division="", protocol=protocols.get_protocol("completion")
        )
        with Run.open(tmp_path / folder, command="train rl", config=given) as run:
            train(run, chosen, work, policy, judge, rule or letters(), on_step=on_step)
        return Run.read(tmp_path / folder)

    return start


def metrics(run, name):
    return [one.value for one in run.metrics("train-1") if one.name == name]


def fingerprints(run, steps=2):
    return [run.result(f"policy-{step}")["fingerprint"] for step in range(1, steps + 1)]


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name not in ("acecode", "oorl")])
def test_every_recipe_takes_steps_that_change_the_weights(go, recipe):
    with go(recipe=recipe, step_kl=None, value_steps=0) as run:
        assert len(set(fingerprints(run))) == 2
        assert all(math.isfinite(one.value) for one in run.metrics("train-1"))
        assert metrics(run, "grad_norm")[0] > 0
        assert max(metrics(run, "sampler_gap")) < 1e-3
        assert (run.path / "adapter" / "adapter_model.safetensors").exists()
        assert not (run.path / "checkpoint").exists()


def test_a_reward_that_can_be_had_rises(go):
    with go(steps=12, prompts=4, group=8, learning_rate=0.02) as run:
        rewards = metrics(run, "reward")
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.2, rewards


def test_held_out_tasks_are_measured_before_and_after(go):
    with go(steps=1, held_out_samples=2, held_out=[replace(TASKS[0], id="held/0", split="test")]) as run:
        assert run.stages()[0] == "before"
        assert len(run.samples("before")) == len(run.samples("after-1")) == 2
        assert len(run.verdicts("after-1")) == 2


def test_a_finished_run_does_nothing(go):
    go().close()
    steps = []
    go(on_step=lambda step, values: steps.append(step)).close()
    assert steps == []


def test_tasks_come_in_whole_passes_and_never_twice_in_a_step(tiny, tmp_path):
    work = Work(practice=list(TASKS), held_out=[], division="", protocol=protocols.get_protocol("completion"))
    with Run.open(tmp_path / "run", command="train rl", config={}) as run:
        buffer = Buffer(run, settings(SMALL | {"prompts": 3}), work, None, letters())  # type: ignore[arg-type]
        steps = [[task.id for task in buffer.tasks(step)] for step in range(1, 6)]
        many = Buffer(run, settings(SMALL | {"prompts": 99}), work, None, letters())  # type: ignore[arg-type]
        assert sorted(task.id for task in many.tasks(4)) == sorted(task.id for task in TASKS)
    assert all(len(set(step)) == 3 for step in steps)
    assert sorted(steps[0] + steps[1][:2]) == sorted(task.id for task in TASKS)


# ---- what goes wrong ----


def test_equal_rewards_leave_the_weights_alone(go):
    with go(part("same", lambda case: 0.1)) as run:
        assert len(set(fingerprints(run))) == 1
        assert metrics(run, "informative_groups") == [0, 0]
        assert metrics(run, "updates") == [0, 0]


@pytest.mark.parametrize("recipe", ["grpo", "ppo"])
def test_steps_without_any_reward_are_left_out_and_three_in_a_row_stop(go, recipe):
    with pytest.raises(StropError, match="No sample of the last 3 steps got a reward"):
        go(part("none", lambda case: None), steps=5, recipe=recipe)


def test_a_step_without_rewards_is_counted_and_the_next_goes_on(go):
    calls = []

    def rule(cases):
        calls.append(1)
        return [None] * len(cases) if len(calls) == 1 else letters()(cases)

    with go(rule) as run:
        assert metrics(run, "without_reward") == [8, 0]
        assert metrics(run, "updates") == [0, 1]


def test_some_missing_rewards_are_dropped_from_their_group(go):
    with go(part("some", lambda case: None if case.sample.index % 3 == 0 else len(case.sample.text))) as run:
        assert all(value > 0 for value in metrics(run, "dropped"))
        assert len(set(fingerprints(run))) == 2


def test_a_raising_reward_stops_and_the_run_goes_on_once_it_is_mended(go, tmp_path):
    def broken(cases):
        if any(case.sample.index >= 8 for case in cases):  # the second step
            raise KeyError("score")
        return [0.5 * len(case.sample.text) for case in cases]

    with pytest.raises(StropError, match=r"KeyError.*last checkpoint is whole"):
        go(batch_part("broken", broken))
    assert (tmp_path / "run" / "checkpoint" / "state.pt").exists()
    done = []
    go(on_step=lambda step, values: done.append(step)).close()
    assert done == [2]


@pytest.mark.parametrize("recipe", ["bcoder", "coderl", "oorl"])
def test_methods_with_a_state_of_their_own_resume_with_the_same_bits(go, tmp_path, recipe):
    """Values, critic and place among the groups are in the checkpoint; the step that failed is drawn only once."""
    given = {"recipe": recipe, "steps": 3}
    if recipe == "bcoder":
        given |= {"value_steps": 2}
    if recipe == "oorl":
        groups = [
            ir_groups.Group(source=f"int f{n}();", winners=("a", f"b{n}"), losers=("c",), levels=(), edits=())
            for n in range(3)
        ]
        ir_groups.dump(groups, tmp_path / "groups.jsonl")
        given |= {"equivalents": str(tmp_path / "groups.jsonl"), "languages": "", "reward": "outcome"}
    with go(folder="whole", **given) as run:
        expected = fingerprints(run, 3)

    def broken(cases):
        if any(case.sample.index >= 12 for case in cases):  # the third step
            raise KeyError("score")
        return letters()(cases)

    with pytest.raises(StropError, match="KeyError"):
        go(broken, **given)
    with go(**given) as run:
        assert fingerprints(run, 3) == expected
        assert len(set(expected)) == (2 if recipe == "bcoder" else 3)
        assert not run.events("not-reproduced")


def test_a_loss_that_is_not_finite_stops_before_it_reaches_the_weights(go, tmp_path):
    """The weights of the last checkpoint are finite, and the message says what to do."""

    def poison(policy):
        score = policy.score
        calls = []

        def scored(*args, **options):
            found = score(*args, **options)
            calls.append(1)
            return replace(found, logprobs=found.logprobs * float("nan")) if len(calls) > 2 else found

        policy.score = scored

    with pytest.raises(StropError, match=r"is nan.*smaller learning_rate"):
        go(before=poison, micro_batch=8)
    state = torch.load(tmp_path / "run" / "checkpoint" / "state.pt", weights_only=True)
    assert state["step"] == 1
    assert all(torch.isfinite(value).all() for value in state["learner"]["weights"].values())


def test_a_policy_that_runs_away_from_the_start_is_stopped(go, tmp_path):
    with pytest.raises(StropError, match="more than reference_kl"):
        go(steps=6, learning_rate=1.0, max_grad_norm=1e9, reference_kl=0.5)
    assert (tmp_path / "run" / "checkpoint" / "state.pt").exists()


def test_updates_end_when_a_step_has_moved_far_enough(go):
    many = {"epochs": 4, "minibatches": 1, "learning_rate": 0.5}
    with go(steps=1, step_kl=0.01, **many) as run:
        assert metrics(run, "stopped_early") == [1]
        assert metrics(run, "updates")[0] < 4


def test_answers_without_tokens_are_dropped_and_empty_texts_learned_from(go):
    """The end token alone is an answer like any other; an endpoint's answer without token ids is not."""

    def strip(policy):
        sample = policy.sampler.sample

        def stripped(requests, params):
            for position, completion in sample(requests, params):
                if position % 4 == 0:
                    completion = replace(completion, text="", token_ids=(), logprobs=())
                elif position % 4 == 1:
                    completion = replace(completion, text="", token_ids=(0,), logprobs=(-3.0,), finish_reason="stop")
                yield position, completion

        policy.sampler.sample = stripped

    # Temperature off 1: the sampler's notes are not compared, since half of them are made up here.
    with go(before=strip, temperature=0.9) as run:
        assert metrics(run, "dropped") == [2, 2]
        assert metrics(run, "no_program")[0] >= 0
        assert len(set(fingerprints(run))) == 2


def test_a_sampler_with_other_weights_is_noticed(go):
    def stale(policy):
        policy.sampler.model.model.embed_tokens.weight.data.mul_(1.5)

    with pytest.raises(StropError, match="not drawn from the weights that learn"):
        go(before=stale)


def test_a_damaged_checkpoint_is_named(go, tmp_path):
    with pytest.raises(StropError):
        go(part("late", lambda case: 1.0 / (case.sample.index < 8)))
    file = tmp_path / "run" / "checkpoint" / "state.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(StropError, match=r"state\.pt is damaged"):
        go()


def test_learning_again_from_kept_samples_after_other_weights_is_noted(go, tmp_path):
    """A resume whose bits differ says so instead of pretending."""
    with pytest.raises(StropError):
        go(part("late", lambda case: len(case.sample.text) / (case.sample.index < 8)), save_every=2)

    def nudge(policy):
        with torch.no_grad():
            next(iter(policy.trainable.values())).add_(1e-3)

    with go(before=nudge, save_every=2) as run:
        ((_, _, data),) = run.events("not-reproduced")
        assert data["step"] == 1


def test_the_learner_can_be_saved_and_loaded_between_any_two_steps(tiny):
    chosen = settings(SMALL | {"model": f"hf/{tiny}", "recipe": "coderl"})
    policy = Policy(chosen.model, lora_rank=4, lora_alpha=8, seed=0)
    first = Learner(policy, chosen)
    state = first.state()
    assert {"weights", "optimizer", "updates", "critic"} == set(state)
    Learner(policy, chosen).load(state)
