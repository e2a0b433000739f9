"""The endpoint client against real servers with real weights: transformers' own server, and llama.cpp's."""

from __future__ import annotations

import shutil

import httpx2
import pytest
from real_servers import llama_cpp_server, sampled_like_asked, transformers_server

from strop.models import load, parse_spec
from strop.models.weights import gguf_path
from strop.types import Message, Request, SamplingParams, StropError

pytestmark = pytest.mark.model

CHAT = (Message("user", "Name three colours."),)
RAW = "def is_prime(n):\n    "
GREEDY = SamplingParams(temperature=0, max_tokens=12)


@pytest.fixture(scope="module")
def transformers_url(smollm2, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    smollm2.model.save_pretrained(folder)
    smollm2.tokenizer.save_pretrained(folder)
    sampled_like_asked(folder)
    with transformers_server(folder, folder / "log") as url:
        yield f"openai/{folder}@{url}"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def llama_cpp_url(tmp_path_factory):
    pytest.importorskip("xllamacpp")
    with llama_cpp_server(gguf_path(parse_spec("smollm2")), "tiny", tmp_path_factory.mktemp("llama") / "log") as url:
        yield url


def asked(prompts, count=1):
    return [Request(prompt=prompt, seed=seed) for prompt in prompts for seed in range(count)]


def drawn(model, requests, params):
    return [completion for _, completion in sorted(model.sample(requests, params), key=lambda pair: pair[0])]


def usage(url, route, fields):
    """What the server itself says that a request took, asked without Strop."""
    answer = httpx2.post(f"{url}/{route}", json=fields, timeout=120).json()["usage"]
    return answer["prompt_tokens"], answer["completion_tokens"]


@pytest.mark.slow
def test_transformers_server(transformers_url, smollm2):
    """Greedy texts and token counts equal those of the same weights in this process; draws differ by seed."""
    model = load(transformers_url, concurrency=2)
    able = model.probe()
    assert (able.chat, able.completions, able.stop, able.usage, able.varies) == (True,) * 5
    assert (able.n, able.logprobs, able.top_k) == (False,) * 3

    ours, theirs = drawn(smollm2, asked([RAW, CHAT]), GREEDY), drawn(model, asked([RAW, CHAT]), GREEDY)
    assert [completion.text for completion in theirs] == [completion.text for completion in ours]
    assert [completion.finish_reason for completion in theirs] == ["length", "length"]
    for mine, other in zip(ours, theirs):
        assert other.spent.prompt_tokens == mine.spent.prompt_tokens
        assert other.spent.sampled_tokens == mine.spent.sampled_tokens == 12

    stop = ours[0].text[8:11]
    params = SamplingParams(temperature=0, max_tokens=12, stop=(stop,))
    [mine], [other] = drawn(smollm2, asked([RAW]), params), drawn(model, asked([RAW]), params)
    assert (other.text, other.finish_reason) == (mine.text, "stop_string")
    assert other.spent.sampled_tokens == mine.spent.sampled_tokens < 12

    some = drawn(model, asked([CHAT], 3), SamplingParams(temperature=1.0, max_tokens=8))
    assert len({completion.text for completion in some}) > 1
    with pytest.raises(StropError, match="no log-probabilities"):
        drawn(model, asked([CHAT]), SamplingParams(logprobs=1))


@pytest.mark.slow
def test_a_server_that_samples_greedily_whatever_it_is_asked_is_refused(small_model, tmp_path):
    """transformers' server, for a model whose generation config does not say `do_sample`."""
    with transformers_server(small_model(), tmp_path / "log") as url:
        model = load(f"openai/{small_model()}@{url}")
        assert not model.probe().varies
        with pytest.raises(StropError, match="do_sample"):
            drawn(model, asked([RAW], 2), SamplingParams(max_tokens=4))
        assert drawn(model, asked([RAW]), SamplingParams(temperature=0, max_tokens=4))[0].spent.sampled_tokens == 4


def test_llama_cpp_server(llama_cpp_url, smollm2):
    model = load(f"openai/tiny@{llama_cpp_url}", concurrency=2)
    able = model.probe()
    assert (able.listed, able.chat, able.completions, able.n, able.logprobs) == (True,) * 5
    assert (able.stop, able.seed, able.usage, able.varies, able.top_k) == (True,) * 5
    assert able.context == 1024

    params = SamplingParams(temperature=0, max_tokens=6, logprobs=3)
    for mine, other in zip(drawn(smollm2, asked([RAW, CHAT]), params), drawn(model, asked([RAW, CHAT]), params)):
        # llama.cpp rounds activations to 8 bits, so its figures are near ours and not equal to them.
        assert other.spent.prompt_tokens == mine.spent.prompt_tokens
        assert other.logprobs[0] == pytest.approx(mine.logprobs[0], abs=0.3)
        assert len(other.logprobs) == len(other.top_logprobs) == other.spent.sampled_tokens == 6
        for chosen, top in zip(other.logprobs, other.top_logprobs):
            assert len(top) == 3
            assert top[0][1] == chosen
            assert top == tuple(sorted(top, key=lambda pair: -pair[1]))
        assert smollm2.decode([mine.top_logprobs[0][0][0]]) == other.top_logprobs[0][0][0]

    [whole] = drawn(model, asked([RAW]), SamplingParams(temperature=0, max_tokens=12))
    [cut] = drawn(model, asked([RAW]), SamplingParams(temperature=0, max_tokens=12, stop=(whole.text[8:11],)))
    assert cut.text == whole.text[:8]
    assert cut.finish_reason in ("stop", "stop_string")

    fields = {"model": "tiny", "max_tokens": 5, "temperature": 0}
    [answer] = drawn(model, asked([CHAT]), SamplingParams(temperature=0, max_tokens=5))
    messages = [{"role": "user", "content": CHAT[0].content}]
    theirs = usage(llama_cpp_url, "chat/completions", fields | {"messages": messages})
    assert (answer.spent.prompt_tokens, answer.spent.sampled_tokens) == theirs


def test_a_prompt_too_long_for_the_server_is_refused_with_its_words(llama_cpp_url):
    model = load(f"openai/tiny@{llama_cpp_url}")
    with pytest.raises(StropError, match="exceed"):
        drawn(model, asked(["a b c d " * 600]), GREEDY)


def test_the_same_seed_gives_the_same_draw(llama_cpp_url):
    model = load(f"openai/tiny@{llama_cpp_url}", concurrency=1)
    params = SamplingParams(temperature=1.0, max_tokens=8)
    first, again = (drawn(model, asked([CHAT], 3), params) for _ in range(2))
    assert [completion.text for completion in first] == [completion.text for completion in again]
    assert len({completion.text for completion in first}) > 1
