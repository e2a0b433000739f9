"""Settings from files and words: every wrong one is refused by name."""

from __future__ import annotations

import pytest

from strop.train.rl.recipes import RECIPES, RLSettings, read, settings
from strop.types import StropError


def test_a_recipe_sets_defaults_and_words_win(tmp_path):
    file = tmp_path / "rl.toml"
    file.write_text('recipe = "dr-grpo"\ngroup = 6\nlearning_rate = 1\n')
    found = read(
        file,
        ["group=4", "steps = 3", "kl-in=loss", "practice_tasks=none", "filter=none", 'model="hf/x"', "tasks=basics"],
    )
    assert (found.recipe, found.advantage, found.aggregation) == ("dr-grpo", "group-mean", "constant")
    assert (found.group, found.steps, found.learning_rate, found.practice_tasks) == (4, 3, 1.0, None)
    assert found.filter == "none"
    assert (found.model, found.tasks) == ("hf/x", "basics")


def test_no_settings_are_the_defaults():
    assert settings({}) == RLSettings()


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_whole(recipe):
    more = {"equivalents": "groups.jsonl"} if recipe == "oorl" else {}
    assert settings({"recipe": recipe} | more).recipe == recipe


def test_words_win_over_options_and_options_over_the_recipe():
    found = read(None, ["steps=17"], {"recipe": "bcoder", "group": 3, "steps": 20, "gamma": 0.9})
    assert (found.loss, found.group, found.steps, found.gamma) == ("td", 3, 17, 0.9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grop=3"], "no setting is called grop"),
        (["group"], "write NAME=VALUE"),
        (["group=many"], "group: Input should be a valid integer"),
        (["group=1"], "group must be at least 2"),
        (["recipe=sarsa"], "no recipe 'sarsa'"),
        (["advantage=lucky"], "advantage: Input should be"),
        (["reward=applause"], "no reward 'applause'"),
        (["steps=0"], "field steps must be at least 1"),
        (["temperature=0"], "temperature 0"),
        (["kl_in=reward", "kl_coefficient=0.1"], "gae"),
        (["minibatches=9", "prompts=4"], "9 minibatches"),
        (["loss=rrhf", "group=1", "advantage=none"], "RRHF ranks"),
        (["recipe=oorl"], "strop data ir-groups"),
        (["languages=lua", "protocol=chat"], "languages bring a prompt protocol"),
        (["recipe=bcoder", "steps=5"], "all 5 steps are value_steps"),
        (["recipe=bcoder", "kl_coefficient=0.1"], 'kl_coefficient does nothing with loss "td"'),
    ],
)
def test_wrong_words_are_named(words, message):
    with pytest.raises(StropError, match=message):
        read(None, words)


def test_wrong_files_are_named(tmp_path):
    file = tmp_path / "rl.toml"
    with pytest.raises(StropError, match="cannot be read"):
        read(file, [])
    file.write_text("group = = 3")
    with pytest.raises(StropError, match=r"rl\.toml is not TOML.*line 1"):
        read(file, [])
    file.write_text("groups = 3")
    with pytest.raises(StropError, match=r"rl\.toml: no setting is called groups"):
        read(file, [])
