"""Both decoding engines, on small random models of several architectures, against transformers itself."""

from __future__ import annotations

import random

import pytest

from strop.models import load
from strop.models.starts import part_ends
from strop.types import Message, Request, SamplingParams, StropError, request_seed

GREEDY = SamplingParams(temperature=0, max_tokens=90)
PROMPTS = ["def add(a, b):", "x", (Message("user", "say a"),), "return " * 40]


def drawn(model, requests, params):
    return [completion for _, completion in sorted(model.sample(requests, params), key=lambda pair: pair[0])]


def mixed_requests():
    """Samples of four prompts of different length, in no order."""
    requests = [
        Request(prompt=prompt, seed=request_seed(0, str(prompt), index))
        for prompt, count in zip(PROMPTS, (9, 1, 4, 2))
        for index in range(count)
    ]
    random.Random(1).shuffle(requests)
    return requests


@pytest.mark.parametrize(
    ("kind", "engine"), [("llama", "grouped"), ("qwen2", "grouped"), ("mistral", "padded"), ("gpt2", "grouped")]
)
def test_greedy_equals_transformers_generate(small_model, kind, engine):
    import torch

    model = load(f"hf/{small_model(kind)}", batch_size=3)
    assert model.engine == engine
    requests = [Request(prompt=prompt, seed=0) for prompt in PROMPTS]
    for request, completion in zip(requests, drawn(model, requests, GREEDY)):
        ids = torch.tensor([model.encode(request.prompt)])
        expected = model.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=90)
        assert completion.token_ids == tuple(expected[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_a_sample_does_not_depend_on_its_batch(small_model, kind, batch_size):
    """The same tokens in other batch sizes, another order, other company; log-probabilities equal to rounding.

    Most products are arranged so that their last bits do not depend on the batch, but not on every processor all.
    """
    params = SamplingParams(temperature=1.0, max_tokens=150)
    requests = mixed_requests()
    whole = {
        r.seed: c for r, c in zip(requests, drawn(load(f"hf/{small_model(kind)}", batch_size=32), requests, params))
    }
    model = load(f"hf/{small_model(kind)}", batch_size=batch_size)
    some = list(reversed(requests))[::2]
    for request, completion in zip(some, drawn(model, some, params)):
        assert completion.token_ids == whole[request.seed].token_ids
        assert completion.logprobs == pytest.approx(whole[request.seed].logprobs, abs=1e-4)


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2"])
def test_log_probabilities_equal_a_plain_forward_pass(small_model, kind):
    import torch

    model = load(f"hf/{small_model(kind)}", batch_size=5)
    requests = mixed_requests()
    for request, completion in zip(requests, drawn(model, requests, SamplingParams(max_tokens=80))):
        prompt = model.encode(request.prompt)
        with torch.no_grad():
            logits = model.model(torch.tensor([prompt + completion.token_ids])).logits[0].log_softmax(-1)
        for place, (token, logprob) in enumerate(zip(completion.token_ids, completion.logprobs)):
            assert logprob == pytest.approx(logits[len(prompt) - 1 + place, token].item(), abs=1e-3)


def test_every_request_is_answered_once_and_counted(small_model):
    model = load(f"hf/{small_model()}", batch_size=4)
    requests = mixed_requests()
    positions = [position for position, _ in model.sample(requests, SamplingParams(max_tokens=30))]
    assert sorted(positions) == list(range(len(requests)))
    for completion, request in zip(drawn(model, requests, SamplingParams(max_tokens=30)), requests):
        assert completion.spent.prompt_tokens == len(model.encode(request.prompt))
        assert completion.spent.sampled_tokens == len(completion.token_ids) == len(completion.logprobs) <= 30
        assert completion.spent.model_calls == 1
        assert completion.spent.seconds > 0


def test_sampling_leaves_the_model_as_it_was(small_model):
    import torch

    model = load(f"hf/{small_model()}")
    ids = torch.tensor([[5, 6, 7]])
    before = model.model(ids).logits
    stream = model.sample(mixed_requests(), SamplingParams(max_tokens=10))
    next(stream)
    assert torch.equal(model.model(ids).logits, before)
    stream.close()
    assert model.model.config._attn_implementation == "sdpa"


def test_weights_changed_by_training_are_used_at_once(small_model):
    import torch

    model = load(f"hf/{small_model()}")
    [before] = drawn(model, [Request(prompt="x", seed=1)], GREEDY)
    with torch.no_grad():
        for parameter in model.model.model.layers.parameters():
            parameter.mul_(0.5)
    [after] = drawn(model, [Request(prompt="x", seed=1)], GREEDY)
    assert after.logprobs != before.logprobs


def conversation(turns):
    """One that grows: each prompt begins with all of the one before it."""
    messages = [Message("system", "You write Python. " * 3)]
    for number in range(turns):
        messages += [Message("user", f"Write function {number}. " * 3)]
        yield tuple(messages)
        messages += [Message("assistant", f"def f{number}(): return {number}\n" * 2)]


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_remembered_start_changes_no_bit(small_model, kind):
    """The turns of a conversation one after another, each against a model that remembers nothing."""
    model, params = load(f"hf/{small_model(kind)}"), SamplingParams(max_tokens=20)
    length = 0
    for prompt in conversation(3):
        requests = [Request(prompt=prompt, seed=seed) for seed in range(3)]
        reused = model.reused_prompt_tokens
        after = drawn(model, requests, params)
        fresh = drawn(load(f"hf/{small_model(kind)}"), requests, params)
        assert [c.token_ids for c in after] == [c.token_ids for c in fresh]
        assert [c.logprobs for c in after] == [c.logprobs for c in fresh]
        assert [c.spent.prompt_tokens for c in after] == [len(model.encode(prompt))] * 3
        assert model.reused_prompt_tokens - reused == max([0, *part_ends(length)])
        length = len(model.encode(prompt))
    assert length > 256, "three parts"


def test_remembered_starts_go_when_the_weights_change(small_model):
    import torch

    model, [*_, prompt] = load(f"hf/{small_model()}"), conversation(1)
    drawn(model, [Request(prompt=prompt, seed=0)], GREEDY)
    with torch.no_grad():
        model.model.model.layers[0].self_attn.k_proj.weight.mul_(0.5)
    drawn(model, [Request(prompt=prompt, seed=0)], GREEDY)
    assert model.reused_prompt_tokens == 0


def test_few_starts_are_remembered_when_memory_is_short(small_model, monkeypatch):
    from strop.models import starts

    monkeypatch.setattr(starts, "BYTES_KEPT", 1)
    model = load(f"hf/{small_model()}")
    for prompt in conversation(2):
        after = drawn(model, [Request(prompt=prompt, seed=0)], GREEDY)
        fresh = drawn(load(f"hf/{small_model()}"), [Request(prompt=prompt, seed=0)], GREEDY)
        assert [c.logprobs for c in after] == [c.logprobs for c in fresh]
    assert len(model._starts._kept) == 1


def test_the_context_ends_a_completion(small_model):
    model = load(f"hf/{small_model()}")
    prompt = "return " * 500
    room = 512 - len(model.encode(prompt))
    assert 0 < room < 90, "the prompt must nearly fill the context"
    [completion] = drawn(model, [Request(prompt=prompt, seed=1)], SamplingParams(temperature=0, max_tokens=600))
    assert len(completion.token_ids) <= room
    with pytest.raises(StropError, match="leaves no room"):
        drawn(model, [Request(prompt=prompt * 2, seed=1)], GREEDY)


def test_scores_of_many_lengths_equal_single_ones(small_model):
    model = load(f"hf/{small_model()}")
    pairs = [(prompt, "return a + b\n" * count) for prompt in PROMPTS for count in (0, 1, 5)]
    for pair, score in zip(pairs, model.score(pairs)):
        [alone] = model.score([pair])
        assert score.token_ids == alone.token_ids == tuple(model.tokenizer(pair[1]).input_ids)
        assert score.logprobs == pytest.approx(alone.logprobs, abs=1e-3)


def test_architectures_that_cannot_be_batched_are_refused(small_model):
    model = load(f"hf/{small_model('mamba')}")
    with pytest.raises(StropError, match="mamba"):
        drawn(model, [Request(prompt="x", seed=0)], GREEDY)


def test_bfloat16_is_recorded(small_model):
    plain, half = (load(f"hf/{small_model()}", dtype=dtype) for dtype in (None, "bfloat16"))
    assert plain.fingerprint != half.fingerprint
    [completion] = drawn(half, [Request(prompt="x", seed=0)], SamplingParams(max_tokens=5))
    assert completion.token_ids
    with pytest.raises(StropError, match="dtype"):
        load(f"hf/{small_model()}", dtype="int3")
