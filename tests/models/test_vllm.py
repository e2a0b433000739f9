"""The vLLM backend without vLLM: its guard, and the reading of outputs with the fields that vLLM documents."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest

from strop.models import load, load_for_training, parse_spec
from strop.models.vllm import read_output
from strop.types import SamplingParams, StropError


def output(finish, stop=None):
    places = [{5: -0.5, 6: -1.5}, {7: -0.1, 8: -3.0, 9: -4.0}]  # the second place has the chosen token besides two
    logprobs = [{token: SimpleNamespace(logprob=value) for token, value in place.items()} for place in places]
    only = SimpleNamespace(text="ab", token_ids=[6, 9], logprobs=logprobs, finish_reason=finish, stop_reason=stop)
    return SimpleNamespace(outputs=[only], prompt_token_ids=[1, 2, 3])


@pytest.mark.parametrize(
    ("finish", "stop", "reason"),
    [("stop", None, "stop"), ("stop", 2, "stop"), ("stop", "\n", "stop_string"), ("length", None, "length")],
)
def test_an_output_is_read(finish, stop, reason):
    completion = read_output(output(finish, stop), SamplingParams(logprobs=2), 0.5)
    assert (completion.text, completion.finish_reason) == ("ab", reason)
    assert completion.token_ids == (6, 9)
    assert completion.logprobs == (-1.5, -4.0)
    assert completion.top_logprobs == (((5, -0.5), (6, -1.5)), ((7, -0.1), (8, -3.0)))
    assert (completion.spent.prompt_tokens, completion.spent.sampled_tokens) == (3, 2)
    assert read_output(output(finish, stop), SamplingParams(), 0.5).top_logprobs is None


def test_an_unknown_end_is_an_error():
    with pytest.raises(StropError, match="abort"):
        read_output(output("abort"), SamplingParams(), 0.5)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_the_error_says_what_to_install():
    with pytest.raises(StropError, match=r"strop\[vllm\]"):
        load("vllm/org/name")


def test_the_form(small_model):
    assert (parse_spec("vllm/org/name").kind, parse_spec("vllm/org/name").target) == ("vllm", "org/name")
    with pytest.raises(StropError, match="not trained"):
        load_for_training("vllm/org/name")
    with pytest.raises(StropError, match="threads"):
        load("vllm/org/name", threads=2)
