"""Rank filters, reliability and duration weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.train.rl import weights


def test_filters_of_five_distinct_rewards_are_the_papers():
    rewards = [0.1, 0.9, 0.5, -0.2, 0.3]
    assert weights.by_rank(rewards, "none") == [1] * 5
    assert weights.by_rank(rewards, "best") == [0, 5, 0, 0, 0]
    assert weights.by_rank(rewards, "best-random") == pytest.approx([0.625, 2.5, 0.625, 0.625, 0.625])
    assert weights.by_rank(rewards, "best-worst") == [0, 2.5, 0, 2.5, 0]
    powers = np.abs(rewards) ** 3
    assert weights.by_rank(rewards, "power") == pytest.approx(list(5 * powers / powers.sum()))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), min_size=1, max_size=9), st.sampled_from(
    ["none", "best", "best-random", "best-worst", "power"]
))  # fmt: skip
def test_weights_add_up_and_equal_rewards_weigh_the_same(rewards, how):
    found = weights.by_rank(rewards, how)
    assert sum(found) == pytest.approx(len(rewards))
    assert all(w >= 0 for w in found)
    for value in set(rewards):
        same = [w for w, r in zip(found, rewards) if r == value]
        assert max(same) == pytest.approx(min(same))


def test_duration_weights_have_mean_one():
    torch = pytest.importorskip("torch")
    found = weights.by_duration(torch.tensor([1.0, 10.0, 1.0]))
    assert found.tolist() == pytest.approx([0.25, 2.5, 0.25])


def test_reliability_of_a_perfect_and_of_a_useless_reward():
    generator = np.random.default_rng(0)
    truth = [list(generator.integers(0, 2, 5).astype(float)) for _ in range(200)]
    perfect = weights.reliability(truth, truth)
    assert (perfect.r_squared, perfect.auc) == (pytest.approx(1), 1)
    assert perfect.residual_variance == pytest.approx(0)
    useless = weights.reliability([list(generator.random(5)) for _ in truth], truth)
    assert abs(useless.auc - 0.5) < 0.05
    assert useless.residual_variance == pytest.approx(0.25, abs=0.02)


def test_r_squared_follows_the_range_where_the_noise_is_the_same_everywhere():
    """The warning in the docstring: with equal noise, best-worst looks more reliable than none, best less so."""
    generator = np.random.default_rng(1)
    rewards = generator.normal(size=(400, 5))
    truth = rewards + generator.normal(size=rewards.shape)
    found = {how: weights.reliability(rewards, truth, how, bins=2000) for how in ("none", "best", "best-worst")}
    assert found["best"].r_squared < found["none"].r_squared < found["best-worst"].r_squared
    assert all(abs(one.residual_variance - 1) < 0.25 for one in found.values())
