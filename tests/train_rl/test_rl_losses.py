"""Losses against hand-computed values, finite differences and simple definitions written out."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from strop.train.rl import losses, qlearning, ranking  # noqa: E402

MASK = torch.tensor([[1, 1, 1], [1, 0, 0]])


def doubles(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def check_gradient(function, *arguments):
    """Analytic against central differences, in float64."""
    leaves = [argument.clone().requires_grad_(True) for argument in arguments]
    assert torch.autograd.gradcheck(function, leaves, eps=1e-6, atol=1e-6)


def test_token_coefficients_of_every_kind():
    assert losses.token_coefficients(MASK, "sequence").tolist() == [
        pytest.approx([1 / 6] * 3), pytest.approx([1 / 2, 0, 0])
    ]  # fmt: skip
    assert losses.token_coefficients(MASK, "token").tolist() == [[0.25] * 3, [0.25, 0, 0]]
    assert losses.token_coefficients(MASK, "constant", length=10).tolist() == [
        pytest.approx([0.05] * 3), pytest.approx([0.05, 0, 0])
    ]  # fmt: skip
    with pytest.raises(ValueError, match="length"):
        losses.token_coefficients(MASK, "constant")
    for how in ("sequence", "token"):
        assert losses.token_coefficients(MASK, how).sum() == pytest.approx(1)
        assert losses.token_coefficients(MASK * 0, how).sum() == 0  # nothing to learn from, and no division by zero


def test_clipped_surrogate_by_hand():
    old = torch.zeros(1, 4, dtype=torch.float64)
    new = torch.log(torch.tensor([[1.5, 0.5, 1.5, 0.5]], dtype=torch.float64))
    advantages = torch.tensor([[1.0, 1.0, -1.0, -1.0]], dtype=torch.float64)
    found = losses.clipped(new, old, advantages, torch.ones(1, 4), low=0.2, high=0.28)
    # min(1.5, 1.28) = 1.28; min(0.5, 0.8) = 0.5; min(-1.5, -1.28) = -1.5; min(-0.5, -0.8) = -0.8; then the sign
    assert found[0].tolist() == pytest.approx([-1.28, -0.5, 1.5, 0.8])
    assert losses.clip_share(new, old, advantages, torch.ones(1, 4), 0.2, 0.28) == 0.5


def test_clipping_cuts_the_gradient_exactly_where_it_says():
    old = torch.zeros(1, 4, dtype=torch.float64)
    new = torch.log(torch.tensor([[1.5, 0.5, 1.5, 0.5]], dtype=torch.float64)).requires_grad_(True)
    advantages = torch.tensor([[1.0, 1.0, -1.0, -1.0]], dtype=torch.float64)
    losses.clipped(new, old, advantages, torch.ones(1, 4)).sum().backward()
    assert (new.grad[0] != 0).tolist() == [False, True, True, False]


def test_at_ratio_one_the_clipped_gradient_is_reinforce():
    logprobs, advantages = doubles(2, 3), doubles(2, seed=1)
    gradients = []
    for function in (
        lambda x: losses.clipped(x, logprobs, advantages, MASK),
        lambda x: losses.cispo(x, logprobs, advantages, MASK),
        lambda x: losses.reinforce(x, advantages),
    ):
        x = logprobs.clone().requires_grad_(True)
        (function(x) * MASK).sum().backward()
        gradients.append(x.grad)
    assert torch.allclose(gradients[0], gradients[1])
    assert torch.allclose(gradients[0], gradients[2])


def test_sequence_ratios():
    new, old = torch.tensor([[0.1, 0.2, 0.3], [0.5, 9, 9]]), torch.zeros(2, 3)
    whole = losses.importance_ratio(new, old, MASK, "sequence")
    assert whole[:, 0].tolist() == pytest.approx([math.exp(0.6), math.exp(0.5)])
    mean = losses.importance_ratio(new, old, MASK, "sequence-mean")
    assert mean[:, 2].tolist() == pytest.approx([math.exp(0.2), math.exp(0.5)])


@pytest.mark.parametrize("level", ["token", "sequence", "sequence-mean"])
def test_clipped_gradient_against_finite_differences(level):
    old, advantages = doubles(2, 3) * 0.1, doubles(2, seed=1)
    check_gradient(
        lambda x: losses.clipped(x, old, advantages, MASK, level=level) * MASK, old + 0.05 * doubles(2, 3, seed=2)
    )


def test_micro_batches_add_up_to_the_batch():
    logprobs, old, advantages = doubles(6, 5), doubles(6, 5, seed=1), doubles(6, seed=2)
    mask = (torch.arange(5) < torch.tensor([[5], [1], [3], [2], [4], [5]])).double()
    for how in ("sequence", "token", "constant"):
        weight = losses.token_coefficients(mask, how, length=7)
        whole = (losses.clipped(logprobs, old, advantages, mask) * weight).sum()
        parts = sum(
            (losses.clipped(logprobs[s], old[s], advantages[s], mask[s]) * weight[s]).sum()
            for s in (slice(0, 1), slice(1, 4), slice(4, 6))
        )
        assert torch.allclose(whole, parts)


# ---- KL ----


def test_kl_estimators_against_the_exact_divergence():
    p, q = torch.softmax(doubles(6), 0), torch.softmax(doubles(6, seed=1), 0)
    exact = float((p * (p / q).log()).sum())
    tokens = torch.arange(6)
    for name in ("k1", "k3"):  # unbiased: the expectation under p is the divergence
        estimate = losses.kl_estimate(p.log()[tokens], q.log()[tokens], name)
        assert float((p * estimate).sum()) == pytest.approx(exact)
    assert (losses.kl_estimate(p.log(), q.log(), "k3") >= 0).all()
    near = torch.softmax(p.log() + 0.01 * doubles(6, seed=2), 0)
    estimate = float((p * losses.kl_estimate(p.log(), near.log(), "k2")).sum())
    assert estimate == pytest.approx(float((p * (p / near).log()).sum()), rel=0.05)


def test_the_gradients_of_the_estimators_used_as_a_loss():
    """In expectation k1's gradient is zero, k2's is that of the KL."""
    logits = doubles(6).requires_grad_(True)
    q = torch.log_softmax(doubles(6, seed=1), 0)
    exact = torch.autograd.grad((torch.softmax(logits, 0) * (torch.log_softmax(logits, 0) - q)).sum(), logits)[0]
    p = torch.softmax(logits, 0).detach()
    for name, expected in (("k1", torch.zeros(6, dtype=torch.float64)), ("k2", exact)):
        value = (p * losses.kl_estimate(torch.log_softmax(logits, 0), q, name)).sum()
        assert torch.allclose(torch.autograd.grad(value, logits)[0], expected, atol=1e-12)


def test_value_loss_by_hand():
    values, old, returns = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.9]), torch.tensor([2.0, 0.0])
    # First: kept at 0.2, so the larger error 1.8^2; second: within the clip, 1.
    assert losses.clipped_value(values, old, returns).tolist() == pytest.approx([0.5 * 1.8**2, 0.5])


def test_entropy():
    assert float(losses.entropies(torch.zeros(1, 1, 8))) == pytest.approx(math.log(8))
    p = torch.softmax(doubles(5), 0)
    assert float(losses.entropies(p.log())) == pytest.approx(float(-(p * p.log()).sum()), rel=1e-5)


# ---- RRHF and GEPO ----


def test_rrhf_by_hand():
    logprobs = torch.tensor([[-1.0, -1.0, -1.0], [-3.0, 9.0, 9.0]], dtype=torch.float64)
    # p = (-1, -3). Scores say the second is better: the pair costs -1 - -3 = 2; cross-entropy of the second is 3.
    assert float(ranking.rrhf(logprobs, MASK, torch.tensor([0.0, 1.0]))) == pytest.approx(2 + 3)
    assert float(ranking.rrhf(logprobs, MASK, torch.tensor([0.0, 1.0]), rank_weight=100)) == pytest.approx(200 + 3)
    assert float(ranking.rrhf(logprobs, MASK, torch.tensor([1.0, 0.0]))) == pytest.approx(0 + 1)
    assert float(ranking.rrhf(logprobs, MASK, torch.tensor([0.5, 0.5]))) == pytest.approx(1)  # ties: no pair


def test_rrhf_gradient():
    scores = torch.tensor([0.0, 1.0, 0.5])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0]])
    check_gradient(lambda x: ranking.rrhf(x, mask, scores), -doubles(3, 3).abs())


def test_gepo_by_hand_and_gradient():
    w, w0 = torch.tensor([-1.0, -3.0]), torch.tensor([-2.0, -2.0])
    losers, l0 = torch.tensor([-5.0]), torch.tensor([-4.0])
    # r_w = (1, -1), r_l = -1; beta 0.5: mean difference 0.5 * (0 + 1); variance of (0.5, -0.5) = 0.25
    expected = math.log(1 + math.exp(-0.5)) + 0.25
    assert float(ranking.gepo(w, w0, losers, l0, beta=0.5)) == pytest.approx(expected)
    assert float(ranking.gepo(w, w0, losers, l0, beta=0.5, variance_weight=0)) == pytest.approx(expected - 0.25)
    check_gradient(lambda a, b: ranking.gepo(a, w0.double(), b, l0.double()), w.double(), losers.double())


# ---- B-Coder ----


def test_q_starts_as_the_language_model():
    logits = doubles(2, 3, 5)
    q = qlearning.advantages(logits) + 0.3
    assert torch.allclose(torch.softmax(q, -1), torch.softmax(logits, -1))
    assert (qlearning.advantages(logits) <= 0).all()
    assert (qlearning.advantages(logits).amax(-1) == 0).all()


def test_values_stay_below_the_largest_return():
    values = qlearning.capped(torch.linspace(-50, 50, 101, dtype=torch.float64))
    assert float(values.max()) == pytest.approx(1.0)
    assert (values <= 1).all()


def test_td_loss_by_hand():
    # Two tokens, three words, alpha 1. Frozen greedy tokens differ from those taken.
    logits = torch.tensor([[[0.0, 1.0, 2.0], [1.0, 0.0, 3.0]]], dtype=torch.float64)
    values = torch.tensor([[0.1, 0.2]], dtype=torch.float64)
    tokens, greedy = torch.tensor([[1, 0]]), torch.tensor([[2, 1]])
    rewards = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    q_taken = [(1 - 2) + 0.1, (1 - 3) + 0.2]
    backed_up = (0 - 3) + 0.2  # the *frozen* model's token 1 at the second state, though token 2 is the learned best
    expected = ((0.9 * backed_up - q_taken[0]) ** 2 + (1 - q_taken[1]) ** 2) / 2
    found = qlearning.td_loss(logits, values, tokens, greedy, rewards, torch.ones(1, 2), gamma=0.9)
    assert float(found) == pytest.approx(expected)


def test_td_target_has_no_gradient_and_padding_no_say():
    tokens, greedy = torch.tensor([[1, 0, 2]]), torch.tensor([[2, 1, 0]])
    rewards, mask = torch.tensor([[0.0, 1.0, 50.0]]).double(), torch.tensor([[1, 1, 0]])
    logits, values = doubles(1, 3, 4), doubles(1, 3, seed=1)
    base = qlearning.td_loss(logits, values, tokens, greedy, rewards, mask)
    values[0, 2] = 99.0
    logits[0, 2] = 99.0
    assert torch.equal(base, qlearning.td_loss(logits, values, tokens, greedy, rewards, mask))
    v = values.clone().requires_grad_(True)
    qlearning.td_loss(logits, v, tokens, greedy, rewards, torch.tensor([[1, 0, 0]])).backward()
    assert v.grad[0, 1:].tolist() == [0, 0]  # the value of the next state enters the target only


def test_program_score_telescopes_for_greedy_programs():
    """Along greedy tokens A = 0, so with gamma 1 the score is V of the first state."""
    logits, values = doubles(2, 3, 5), doubles(2, 3, seed=1)
    tokens = logits.argmax(-1)
    found = qlearning.program_score(logits, values, tokens, MASK, gamma=1.0)
    assert torch.allclose(found, values[:, 0])


def test_residual_value_head_starts_as_the_first_one():
    first = qlearning.value_head(4)
    torch.nn.init.normal_(first.linear.weight)
    head = qlearning.residual_value_head(first, 4)
    hidden = torch.randn(2, 3, 4)
    assert torch.equal(head(hidden), first(hidden))
    assert {name for name, p in head.named_parameters() if p.requires_grad} == {"learned.weight", "learned.bias"}
