"""Learners from preferences on a random model: they prefer what was chosen, repeat, and go on after a cut."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from learner_cases import pairs

from strop.data.plum import Labelled
from strop.train.dpo import train_dpo
from strop.train.kto import train_kto
from strop.train.lora import LearnerSettings
from strop.train.reward import train_reward
from strop.types import Preference, StropError

SETTINGS = LearnerSettings(epochs=3, batch_size=4, learning_rate=5e-3, lora_rank=4, max_length=64)


def labelled(count):
    return [
        Labelled(prompt=pair.prompt, completion=text, label=wanted, task_id=pair.why["task_id"])
        for pair in pairs(count)
        for text, wanted in ((pair.chosen, True), (pair.rejected, False))
    ]


LEARNERS = {
    "dpo": lambda base, **options: train_dpo(base, pairs(8), **options),
    "kto": lambda base, **options: train_kto(base, labelled(6), **options),
    "reward": lambda base, **options: train_reward(base, pairs(8), **options),
}


def learn(name, base, folder, stop_after=None):
    """Train into `folder`; raises KeyboardInterrupt after `stop_after` steps. Returns the losses by step."""
    seen = {}

    def on_metrics(step, values):
        if "loss" in values:
            seen[step] = values["loss"]

    def on_progress(done, total):
        if done == stop_after:
            raise KeyboardInterrupt

    LEARNERS[name](
        base, folder=folder / "work", adapter=folder / "adapter", settings=SETTINGS, on_metrics=on_metrics,
        on_progress=on_progress,
    )  # fmt: skip
    return seen


def weights(folder):
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def base(small_model):
    return f"hf/{small_model('llama')}"


def margin(spec):
    """Mean of log-probability of the chosen answer minus that of the rejected one."""
    from strop import models

    model = models.load(spec)
    scores = model.score([(pair.prompt, text) for pair in pairs(8) for text in (pair.chosen, pair.rejected)])
    model.close()
    return sum(one.total - other.total for one, other in zip(scores[::2], scores[1::2])) / 8


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", LEARNERS)
def test_a_cut_run_ends_as_a_whole_one(name, base, tmp_path):
    whole = learn(name, base, tmp_path / "whole")
    assert len(whole) == 6 if name != "kto" else 9
    with pytest.raises(KeyboardInterrupt):
        learn(name, base, tmp_path / "cut", stop_after=5 if name == "kto" else 4)
    assert not (tmp_path / "cut" / "adapter").exists()
    rest = learn(name, base, tmp_path / "cut")
    assert 0 < len(rest) < len(whole), "it began anew"
    assert rest == {step: whole[step] for step in rest}
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert not (tmp_path / "cut" / "work").exists()


@pytest.mark.timeout(600)
def test_dpo_and_kto_prefer_what_was_chosen(base, tmp_path):
    before = margin(base)
    for name in ("dpo", "kto"):
        learn(name, base, tmp_path / name)
        assert margin(f"{base}+{tmp_path / name / 'adapter'}") > before + 0.5, name


@pytest.mark.timeout(600)
def test_an_adapter_goes_on_learning_and_is_its_own_reference(base, tmp_path):
    learn("dpo", base, tmp_path / "first")
    first = f"{base}+{tmp_path / 'first' / 'adapter'}"
    losses = {}
    train_dpo(
        first, pairs(8), folder=tmp_path / "second" / "work", adapter=tmp_path / "second" / "adapter",
        settings=replace(SETTINGS, epochs=1), loss=["sigmoid"], loss_weights=[1.0],
        on_metrics=lambda step, values: losses.update({step: values.get("loss")}), on_progress=lambda *_: None,
    )  # fmt: skip
    assert losses[1] == pytest.approx(math.log(2), abs=1e-3), "the policy is its own reference"
    assert not (tmp_path / "second" / "adapter" / "ref").exists()
    note = json.loads((tmp_path / "second" / "adapter" / "strop_adapter.json").read_text())
    assert note["base"] == base
    assert margin(f"{base}+{tmp_path / 'second' / 'adapter'}") > margin(first)


@pytest.mark.timeout(600)
def test_a_reward_model_scores_and_loads_only_where_it_belongs(base, small_model, tmp_path):
    from strop.models.scorers import RewardModel, score

    learn("reward", base, tmp_path)
    scorer = RewardModel(f"{base}+{tmp_path / 'adapter'}", batch_size=2)
    texts = ["return yes\n", "return no\n", "return yes\n" * 3]
    found = scorer.scores("# 3\n", texts)
    assert found[0] > found[1] + 0.1
    alone = [score(scorer, "# 3\n", text) for text in texts]
    assert found == pytest.approx(alone, abs=1e-4), "neighbours in a batch must not matter"
    with pytest.raises(StropError, match="is a different model"):
        RewardModel(f"hf/{small_model('qwen2')}+{tmp_path / 'adapter'}")
    with pytest.raises(StropError, match="names no reward model"):
        RewardModel(base)
    learn("dpo", base, tmp_path / "writer")
    with pytest.raises(StropError, match="for writing"):
        RewardModel(f"{base}+{tmp_path / 'writer' / 'adapter'}")
    with pytest.raises(StropError, match="bare model"):
        train_reward(
            f"{base}+{tmp_path / 'writer' / 'adapter'}", pairs(2), folder=tmp_path, adapter=tmp_path,
            settings=SETTINGS, on_metrics=print, on_progress=print,
        )  # fmt: skip


def test_what_cannot_be_learned_is_said(base, tmp_path):
    options = {"folder": tmp_path, "adapter": tmp_path / "a", "on_metrics": lambda *_: None, "on_progress": print}
    long = [Preference(prompt="# 1\n", chosen="x = 1\n" * 90, rejected="y\n")]
    cases = [
        (lambda: train_dpo(base, [], settings=SETTINGS, **options), "no preference pairs"),
        (lambda: train_dpo(base, long, settings=SETTINGS, **options), "longer than 64"),
        (lambda: train_dpo(base, pairs(2), settings=SETTINGS, loss=["best"], **options), "no loss 'best'"),
        (lambda: train_dpo(base, pairs(2), settings=SETTINGS, loss=["ipo"], **options), "as many weights"),
        (lambda: train_kto(base, [], settings=SETTINGS, **options), "there are none"),
        (lambda: train_kto(base, labelled(3)[::2], settings=SETTINGS, **options), "only wanted ones"),
        (lambda: train_kto(base, labelled(3)[1::2], settings=SETTINGS, **options), "only unwanted ones"),
        (lambda: train_reward(base, [], settings=SETTINGS, **options), "no pairs"),
        (lambda: train_reward(base, long, settings=SETTINGS, **options), "longer than 64"),
    ]
    for call, words in cases:
        with pytest.raises(StropError, match=words):
            call()
    assert not (tmp_path / "a").exists()
