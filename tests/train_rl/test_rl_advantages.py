"""Advantages against hand-computed values and against TRL's own code on the same rewards."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from strop.train.rl import advantages as adv  # noqa: E402


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


GROUPS = torch.tensor([0, 0, 0, 1, 1, 1])


def test_group_relative_by_hand():
    found = adv.group_relative(t(1, 0, 0, 0, 1, 1), GROUPS, epsilon=0.0)
    deviation = math.sqrt(1 / 3)  # unbiased, of {1, 0, 0}
    assert torch.allclose(found, t(2 / 3, -1 / 3, -1 / 3, -2 / 3, 1 / 3, 1 / 3) / deviation)


def test_dr_grpo_does_not_divide_and_batch_divides_by_one_deviation():
    rewards = t(1, 0, 0, 0, 1, 1)
    plain = adv.group_relative(rewards, GROUPS, scale="none")
    assert torch.allclose(plain, t(2 / 3, -1 / 3, -1 / 3, -2 / 3, 1 / 3, 1 / 3))
    assert torch.allclose(adv.group_relative(rewards, GROUPS, scale="batch", epsilon=0), plain / rewards.std())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=8).filter(bool), st.sampled_from(["group", "batch", "none"]))
def test_equal_rewards_give_exactly_nothing(values, scale):
    rewards = torch.full((len(values),), values[0], dtype=torch.float64)
    found = adv.group_relative(rewards, torch.zeros(len(values), dtype=torch.long), scale=scale)
    assert (found == 0).all()


def test_leave_one_out_by_hand_and_alone():
    assert torch.allclose(adv.leave_one_out(t(1, 0, 0.5), torch.zeros(3, dtype=torch.long)), t(0.75, -0.75, 0.0))
    assert adv.leave_one_out(t(7.0), torch.tensor([4])).tolist() == [0.0]


def test_uneven_groups_after_dropped_samples():
    found = adv.leave_one_out(t(1, 0, 5, 1, 0, 0), torch.tensor([0, 0, 1, 2, 2, 2]))
    assert torch.allclose(found, t(1, -1, 0, 1, -0.5, -0.5))


def test_greedy_baseline_can_be_negative_for_everyone():
    assert adv.against(t(-0.3, 1.0), t(1.0, 1.0)).tolist() == pytest.approx([-1.3, 0.0])


def test_normalised_over_mask():
    values, mask = t(1, 2, 3, 100).reshape(2, 2), torch.tensor([[1, 1], [1, 0]])
    found = adv.normalised(values, mask, epsilon=0)
    assert torch.allclose(found, t(-1, 0, 1, 0).reshape(2, 2))


def test_gae_by_hand():
    # One sequence of two tokens and a padded place; reward 1 at the end.
    gamma, lam = 0.9, 0.5
    rewards, values = t(0, 1, 99).reshape(1, 3), t(0.2, 0.4, 99).reshape(1, 3)
    found, returns = adv.gae(rewards, values, torch.tensor([[1, 1, 0]]), gamma=gamma, lam=lam)
    last = 1 - 0.4
    first = gamma * 0.4 - 0.2 + gamma * lam * last
    assert torch.allclose(found, t(first, last, 0).reshape(1, 3))
    assert torch.allclose(returns, t(first + 0.2, 1.0, 0).reshape(1, 3))


def test_gae_with_lambda_one_is_return_minus_value():
    rewards = torch.rand(3, 5, dtype=torch.float64)
    values = torch.rand(3, 5, dtype=torch.float64)
    mask = torch.tensor([[1] * 5, [1] * 2 + [0] * 3, [1] * 4 + [0]])
    found, _ = adv.gae(rewards, values, mask, gamma=1.0, lam=1.0)
    to_go = (rewards * mask).flip(1).cumsum(1).flip(1)
    assert torch.allclose(found, (to_go - values) * mask)
