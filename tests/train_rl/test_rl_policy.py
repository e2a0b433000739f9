"""The policy's two copies of the weights, and one prompt read once for all its answers."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from strop.train.rl.policy import Policy  # noqa: E402
from strop.types import Request, SamplingParams, StropError  # noqa: E402


@pytest.fixture
def policy(tiny):
    return Policy(f"hf/{tiny}", lora_rank=4, lora_alpha=8, seed=0)


def shake(policy, size=0.05):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in policy.trainable.values():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return policy.sync()


PROMPT = torch.tensor([5, 6, 7, 8, 9])
TOKENS = torch.tensor([[11, 12, 13, 14], [15, 0, 0, 0], [11, 12, 18, 0], [11, 12, 13, 14]])
MASK = torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])


def plain(model, temperature=1.0):
    """The textbook way: every row with its own copy of the prompt, one forward pass, log-softmax."""
    ids = torch.cat([PROMPT.expand(4, -1), TOKENS], 1)
    logits = model(input_ids=ids, use_cache=False).logits[:, len(PROMPT) - 1 : -1] / temperature
    return torch.log_softmax(logits, -1).gather(2, TOKENS[..., None])[..., 0] * MASK


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_merging_prompts_and_beginnings_changes_neither_scores_nor_gradients(policy, temperature):
    shake(policy)
    assert policy._merges
    shared = policy.score(PROMPT, TOKENS, MASK, temperature, entropy=True, hidden=True)
    expected = plain(policy.model, temperature)
    assert torch.allclose(shared.logprobs, expected, atol=1e-5)
    assert shared.hidden.shape == (4, 4, 64)
    weight = torch.rand(4, 4)
    names = list(policy.trainable)
    mine = torch.autograd.grad((shared.logprobs * weight).sum(), policy.trainable.values())
    theirs = torch.autograd.grad((expected * weight).sum(), policy.trainable.values())
    for name, a, b in zip(names, mine, theirs):
        assert torch.allclose(a, b, atol=1e-4, rtol=1e-3), name


def test_the_hidden_states_are_those_before_each_token(policy):
    shared = policy.score(PROMPT, TOKENS, MASK, 1.0, hidden=True).hidden
    policy._merges = False
    apart = policy.score(PROMPT, TOKENS, MASK, 1.0, entropy=True, hidden=True)
    assert torch.allclose(shared, apart.hidden, atol=1e-5)
    assert torch.allclose(apart.logprobs, plain(policy.model), atol=1e-5)


def test_a_single_token_and_a_single_row(policy):
    whole = policy.score(PROMPT, TOKENS, MASK, 1.0).logprobs
    assert torch.allclose(policy.score(PROMPT, TOKENS[:, :1], MASK[:, :1], 1.0).logprobs, whole[:, :1], atol=1e-5)
    assert torch.allclose(policy.score(PROMPT, TOKENS[:1], MASK[:1], 1.0).logprobs, whole[:1], atol=1e-5)


def test_the_sampler_follows_the_learner(policy):
    """Log-probabilities noted while sampling are those of the weights that learn, before and after an update."""
    requests = [Request(prompt="def f(x):\n", seed=seed) for seed in range(4)]
    for number in range(3):
        fingerprint = policy.sync() if not number else shake(policy, 0.1)
        assert policy.sampler.fingerprint == fingerprint
        drawn = dict(policy.sampler.sample(requests, SamplingParams(temperature=1, top_p=1, max_tokens=6)))
        for completion in drawn.values():
            tokens = torch.tensor([completion.token_ids])
            prompt = torch.tensor(policy.sampler.encode("def f(x):\n"))
            found = policy.score(prompt, tokens, torch.ones(tokens.shape), 1.0).logprobs[0]
            assert torch.allclose(found, torch.tensor(completion.logprobs), atol=2e-4)


def test_fingerprints_name_the_weights(policy, tiny):
    before = policy.sync()
    assert policy.sync() == before
    assert shake(policy) != before
    assert Policy(f"hf/{tiny}", lora_rank=4, lora_alpha=8, seed=0).sync() == before
    assert Policy(f"hf/{tiny}", lora_rank=4, lora_alpha=8, seed=1).sync() != before  # A is drawn from the seed


@pytest.mark.parametrize("rank", [4, 0])
def test_the_start_can_always_be_asked(tiny, rank):
    policy = Policy(f"hf/{tiny}", lora_rank=rank, lora_alpha=8, seed=0)
    before = policy.score(PROMPT, TOKENS, MASK, 1.0).logprobs.detach()
    shake(policy)
    assert not torch.allclose(policy.score(PROMPT, TOKENS, MASK, 1.0).logprobs, before, atol=1e-3)
    with policy.at_start() as start:
        assert torch.allclose(policy.score(PROMPT, TOKENS, MASK, 1.0, model=start).logprobs, before, atol=1e-5)


@pytest.mark.parametrize("rank", [4, 0])
def test_what_is_saved_loads_as_a_model(tiny, tmp_path, rank):
    from strop.models import load

    policy = Policy(f"hf/{tiny}", lora_rank=rank, lora_alpha=8, seed=0)
    shake(policy, 0.1)
    policy.save(tmp_path / "out")
    loaded = load(f"hf/{tiny}+{tmp_path / 'out'}" if rank else f"hf/{tmp_path / 'out'}")
    (score,) = loaded.score([("def f(x):\n", "    return x")])
    tokens = torch.tensor([score.token_ids])
    prompt = torch.tensor(policy.sampler.encode("def f(x):\n"))
    found = policy.score(prompt, tokens, torch.ones(tokens.shape), 1.0).logprobs[0]
    assert torch.allclose(found, torch.tensor(score.logprobs), atol=1e-4)


def test_an_adapter_goes_on_learning(tiny, tmp_path):
    first = Policy(f"hf/{tiny}", lora_rank=4, lora_alpha=8, seed=0)
    shake(first)
    first.save(tmp_path / "adapter")
    spec = f"hf/{tiny}+{tmp_path / 'adapter'}"
    second = Policy(spec, lora_rank=4, lora_alpha=8, seed=9)
    expected = first.score(PROMPT, TOKENS, MASK, 1.0).logprobs.detach()
    assert torch.allclose(second.score(PROMPT, TOKENS, MASK, 1.0).logprobs, expected, atol=1e-5)
    shake(second)
    with second.at_start() as start:  # where this run began: with the first adapter
        assert torch.allclose(second.score(PROMPT, TOKENS, MASK, 1.0, model=start).logprobs, expected, atol=1e-4)
    with pytest.raises(StropError, match="lora_rank = 0"):
        Policy(spec, lora_rank=0, lora_alpha=8, seed=0)
