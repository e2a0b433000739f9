"""The local sampler on SmolLM2, against transformers itself."""

from __future__ import annotations

import pytest

from strop.types import Message, Request, SamplingParams, StropError, request_seed

pytestmark = pytest.mark.model

GREEDY = SamplingParams(temperature=0, max_tokens=24)
PROMPTS = [
    (Message("user", "Write a Python function that adds two numbers."),),
    (Message("user", "Name three colours."),),
    "def is_prime(n):\n    ",
]


def drawn(model, requests, params):
    return [completion for _, completion in sorted(model.sample(requests, params), key=lambda pair: pair[0])]


def test_greedy_equals_transformers_generate(smollm2):
    import torch

    requests = [Request(prompt=prompt, seed=index) for index, prompt in enumerate(PROMPTS)]
    for request, completion in zip(requests, drawn(smollm2, requests, GREEDY)):
        ids = torch.tensor([smollm2.encode(request.prompt)])
        expected = smollm2.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24)
        assert completion.token_ids == tuple(expected[0, ids.shape[1] :].tolist())


def test_the_same_requests_give_the_same_completions(smollm2):
    requests = [Request(prompt=PROMPTS[1], seed=request_seed(7, "colours", index)) for index in range(12)]
    first, second = (drawn(smollm2, requests, SamplingParams(max_tokens=16)) for _ in range(2))
    assert [completion.token_ids for completion in first] == [completion.token_ids for completion in second]
    assert len({completion.text for completion in first}) > 6, "seeds must matter"


def test_log_probabilities_equal_a_plain_forward_pass(smollm2):
    import torch

    [completion] = drawn(smollm2, [Request(prompt=PROMPTS[0], seed=3)], SamplingParams(max_tokens=20))
    prompt = smollm2.encode(PROMPTS[0])
    with torch.no_grad():
        logits = smollm2.model(torch.tensor([prompt + completion.token_ids])).logits[0].log_softmax(-1)
    for place, (token, logprob) in enumerate(zip(completion.token_ids, completion.logprobs)):
        assert logprob == pytest.approx(logits[len(prompt) - 1 + place, token].item(), abs=1e-3)


def test_scores_equal_the_log_probabilities_of_what_was_drawn(smollm2):
    completions = drawn(smollm2, [Request(prompt=prompt, seed=1) for prompt in PROMPTS], GREEDY)
    texts = [smollm2.decode(completion.token_ids) for completion in completions]
    for score, completion in zip(smollm2.score(list(zip(PROMPTS, texts))), completions):
        shared = [place for place, token in enumerate(score.token_ids) if token == completion.token_ids[place]]
        assert len(shared) >= 20
        for place in shared:
            assert score.logprobs[place] == pytest.approx(completion.logprobs[place], abs=1e-3)


def test_stop_strings_end_the_text_before_them(smollm2):
    [plain] = drawn(smollm2, [Request(prompt=PROMPTS[0], seed=1)], GREEDY)
    stop = plain.text[15:19]
    [cut] = drawn(
        smollm2, [Request(prompt=PROMPTS[0], seed=1)], SamplingParams(temperature=0, max_tokens=24, stop=(stop,))
    )
    assert cut.finish_reason == "stop_string"
    assert cut.text == plain.text[: plain.text.index(stop)]
    assert cut.token_ids == plain.token_ids[: len(cut.token_ids)]
    assert stop not in smollm2.decode(cut.token_ids[:-1])


def test_an_end_token_is_counted_but_not_shown(smollm2):
    prompt = (Message("user", "Say hi."), Message("assistant", "Hi! How can I help you today?"))
    [completion] = drawn(smollm2, [Request(prompt=prompt, seed=0)], GREEDY)
    assert completion.finish_reason == "stop"
    assert completion.spent.sampled_tokens == len(completion.token_ids) == len(completion.logprobs)
    assert "<|im_end|>" not in completion.text


def test_messages_need_a_chat_template(smollm2):
    from strop.models.local import LocalModel

    class Bare:
        chat_template = None

        def __getattr__(self, name):
            return getattr(smollm2.tokenizer, name)

    model = LocalModel(smollm2.model, Bare(), name="bare", fingerprint="x")
    assert not model.chat
    with pytest.raises(StropError, match="no chat template"):
        list(model.sample([Request(prompt=PROMPTS[0], seed=0)], GREEDY))


def test_a_prompt_longer_than_the_context_is_refused(smollm2):
    with pytest.raises(StropError, match="leaves no room"):
        list(smollm2.sample([Request(prompt="a b " * 5000, seed=0)], GREEDY))


@pytest.mark.parametrize(
    "bad", [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"max_tokens": 0}, {"stop": ("",)}]
)
def test_parameters_out_of_range_are_refused(smollm2, bad):
    with pytest.raises(StropError, match=next(iter(bad))):
        list(smollm2.sample([Request(prompt="a", seed=0)], SamplingParams(**bad)))


def test_a_sample_does_not_depend_on_its_batch(smollm2, monkeypatch):
    requests = [Request(prompt=PROMPTS[index % 3], seed=index) for index in range(7)]
    params = SamplingParams(max_tokens=12)
    whole = drawn(smollm2, requests, params)
    monkeypatch.setattr(smollm2, "batch_size", 2)
    for first, second in zip(whole, reversed(drawn(smollm2, requests[::-1], params))):
        assert first.token_ids == second.token_ids
        assert first.logprobs == pytest.approx(second.logprobs, abs=1e-4)
