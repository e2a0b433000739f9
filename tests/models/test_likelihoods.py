"""Likeliest tokens, scores and hidden states, against a plain forward pass of transformers."""

from __future__ import annotations

import pytest

from strop.models import likelihood, load
from strop.types import Message, Request, SamplingParams

PROMPTS = ["def add(a, b):", (Message("user", "say a"),), "return " * 40]
PAIRS = [(prompt, "return a + b\n" * count) for prompt in PROMPTS for count in (0, 1, 5)]


def forward(model, ids, **options):
    import torch

    with torch.no_grad():
        return model.model(torch.tensor([ids]), **options)


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2"])
def test_likeliest_tokens_equal_a_plain_forward_pass(small_model, kind):
    model = load(f"hf/{small_model(kind)}", batch_size=3)
    requests = [Request(prompt=prompt, seed=seed) for prompt in PROMPTS for seed in range(2)]
    for position, completion in model.sample(requests, SamplingParams(max_tokens=30, logprobs=4, top_k=50)):
        prompt = model.encode(requests[position].prompt)
        logits = forward(model, prompt + completion.token_ids).logits[0].log_softmax(-1)
        assert len(completion.top_logprobs) == len(completion.token_ids)
        for place, top in enumerate(completion.top_logprobs):
            expected = logits[len(prompt) - 1 + place]
            best = expected.topk(4)
            assert [logprob for _, logprob in top] == pytest.approx(best.values.tolist(), abs=1e-3)
            assert [expected[token].item() for token, _ in top] == pytest.approx(best.values.tolist(), abs=1e-3)
            for token, logprob in top:
                if token == completion.token_ids[place]:
                    assert logprob == completion.logprobs[place]


def test_likeliest_tokens_only_when_asked_for(small_model):
    model = load(f"hf/{small_model()}")
    [(_, completion)] = model.sample([Request(prompt="x", seed=0)], SamplingParams(max_tokens=3))
    assert completion.top_logprobs is None


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("most", [4096, 200, 1], ids=["one batch", "some batches", "one by one"])
def test_scores_and_hidden_states_equal_a_plain_forward_pass(small_model, kind, most, monkeypatch):
    monkeypatch.setattr(likelihood, "MOST_TOKENS", most)
    model = load(f"hf/{small_model(kind)}")
    for (prompt, text), score in zip(PAIRS, model.score(PAIRS, hidden=True)):
        ids, rest = model.encode(prompt), tuple(model.tokenizer(text).input_ids)
        output = forward(model, ids + rest, output_hidden_states=True)
        logprobs = output.logits[0].log_softmax(-1)
        expected = [logprobs[len(ids) - 1 + place, token].item() for place, token in enumerate(rest)]
        assert score.token_ids == rest
        assert score.logprobs == pytest.approx(expected, abs=1e-3)
        assert score.hidden.shape == (len(rest), model.model.config.hidden_size)
        assert score.hidden == pytest.approx(output.hidden_states[-1][0, len(ids) :].numpy(), abs=1e-3)


def test_scoring_leaves_no_hook_and_keeps_no_states_unasked(small_model):
    model = load(f"hf/{small_model()}")
    model.score(PAIRS[:2], hidden=True)
    assert not model.model.get_decoder()._forward_hooks
    assert model.score(PAIRS[:2])[1].hidden is None


def test_hidden_states_with_an_adapter_on_are_those_before_the_head(small_model):
    from peft import LoraConfig, get_peft_model

    model = load(f"hf/{small_model()}")
    [plain] = model.score(PAIRS[1:2], hidden=True)
    tuned = get_peft_model(model.model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=True))
    [[ids, rest]] = [(model.encode(prompt), tuple(model.tokenizer(text).input_ids)) for prompt, text in PAIRS[1:2]]
    [score] = likelihood.score_tokens(tuned.eval(), [(ids, rest)], hidden=True)
    assert score.hidden == pytest.approx(plain.hidden, abs=1e-4)


def test_batches_are_smaller_for_large_vocabularies(small_model, monkeypatch):
    model = load(f"hf/{small_model()}")
    sizes = []
    monkeypatch.setattr(likelihood, "MOST_LOGITS", 400 * 100)  # 100 tokens of this vocabulary of 400
    model.model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    model.score([("x" * 10, "y" * 10)] * 12)
    assert sum(rows for rows, _ in sizes) == 12
    assert all(rows * length <= 100 for rows, length in sizes)
    assert len(sizes) > 1
