"""Requests that join while others are written get the replies that they would have got alone."""

from __future__ import annotations

from typing import ClassVar

import pytest

from strop.models import load
from strop.models.decoding import LocalFlow
from strop.models.flow import CallFlow, Prefix, open_flow
from strop.types import Message, Request, SamplingParams, StropError

KINDS = [
    SamplingParams(temperature=0.8, top_p=0.95, max_tokens=20),
    SamplingParams(temperature=0.0, max_tokens=9, logprobs=3),
    SamplingParams(temperature=1.2, top_k=7, max_tokens=14, stop=("a", "qu")),
]
PROMPTS = ["def add(a, b):\n    ", (Message("user", "Add two numbers."),), "def add(a, b):\n    return a + b\n" * 6]


@pytest.fixture(params=["llama", "gpt2"])
def model(request, small_model):
    model = load(f"hf/{small_model(request.param)}", batch_size=4)
    yield model
    model.close()


def finish(flow):
    found = {}
    while flow.waiting:
        for key, reply in flow.step():
            assert key not in found
            found[key] = reply
    return found


def content(reply):
    return reply.text, reply.finish_reason, reply.token_ids, reply.top_logprobs and len(reply.top_logprobs)


def test_replies_do_not_depend_on_what_is_written_beside_them(model):
    wanted = [(Request(prompt=PROMPTS[n % 3], seed=n), KINDS[n % len(KINDS)]) for n in range(10)]
    alone = [content(next(iter(model.sample([request], params)))[1]) for request, params in wanted]
    flow = open_flow(model)
    assert isinstance(flow, LocalFlow)
    found, later = {}, list(enumerate(wanted))
    while later or flow.waiting:  # one more joins at every second step
        if later and flow.passes % 2 == 0:
            key, (request, params) = later.pop()
            assert flow.add(key, request, params)
        found |= dict(flow.step())
    assert [content(found[key]) for key in range(10)] == alone
    assert flow.passes < sum(len(reply[2]) for reply in alone)
    assert 1 < flow.rows / flow.passes <= 4


def test_a_row_stays_when_all_before_it_end_as_it_joins(model):
    """Its place lies behind those that become free, and nothing of it is stored yet."""

    def asked(name, tokens):
        return Request(prompt=f"def {name}(", seed=3), SamplingParams(max_tokens=tokens)

    flow = open_flow(model)
    flow.add("first", *asked("first", 2))
    flow.step()
    flow.add("short", *asked("short", 1))
    flow.add("long", *asked("long", 20))
    request, params = asked("long", 20)
    [(_, alone)] = model.sample([request], params)
    assert content(finish(flow)["long"]) == content(alone)


def test_prefixes_of_tokens_join_too(model):
    params = SamplingParams(temperature=0.0, top_p=1.0, max_tokens=12, logprobs=3)
    prefixes = [(PROMPTS[0], ()), (PROMPTS[0], (5, 6, 7)), (PROMPTS[1], (9,)), (PROMPTS[0], tuple(range(5, 17)))]
    alone = dict(model.complete_tokens(prefixes, params))
    flow = open_flow(model)
    for key, (prompt, tokens) in enumerate(prefixes):
        assert flow.add(key, Prefix(prompt, tokens), params)
    assert flow.add("drawn", Request(prompt=PROMPTS[0], seed=1), KINDS[0])
    found = finish(flow)
    assert found["drawn"].token_ids
    for key, reply in alone.items():
        assert (found[key].tokens, found[key].text, found[key].finish_reason) == (
            reply.tokens, reply.text, reply.finish_reason
        )  # fmt: skip
    assert found[3].tokens == (), "a prefix that is as long as allowed is at its end"
    with pytest.raises(StropError, match="temperature 0"):
        flow.add("x", Prefix(PROMPTS[0], ()), KINDS[0])


def test_what_does_not_fit_is_told_at_once(model):
    flow = open_flow(model)
    assert not flow.add(0, Request(prompt="def add(a, b): " * 400, seed=0), KINDS[0])
    assert flow.waiting == 0
    assert flow.step() == []
    with pytest.raises(StropError, match="top_p"):
        flow.add(0, Request(prompt="x", seed=0), SamplingParams(top_p=0))


def test_a_closed_flow_has_nothing_left(model):
    flow = open_flow(model)
    for seed in range(9):
        flow.add(seed, Request(prompt=PROMPTS[0], seed=seed), KINDS[0])
    flow.step()
    flow.close()
    assert flow.waiting == 0


def test_other_models_are_called_with_what_waits_under_one_set_of_parameters(model):
    class Plain:
        """A model behind the protocol alone, as endpoints are."""

        name, fingerprint, batch_size, chat = "plain", "plain", 4, True
        calls: ClassVar[list[int]] = []

        def sample(self, requests, params):
            self.calls.append(len(requests))
            yield from model.sample(requests, params)

    flow = open_flow(Plain())
    assert isinstance(flow, CallFlow)
    for n in range(7):
        flow.add(n, Request(prompt=PROMPTS[0], seed=n), KINDS[n % 2])
    first = flow.step()
    flow.add(7, Request(prompt=PROMPTS[0], seed=7), KINDS[0])
    found = dict(first) | finish(flow)
    assert set(found) == set(range(8))
    assert Plain.calls == [4, 3, 1]
    assert (flow.passes, flow.rows) == (3, 8)
    alone = dict(model.sample([Request(prompt=PROMPTS[0], seed=n) for n in (0, 2, 4, 6, 7)], KINDS[0]))
    assert [found[n].text for n in (0, 2, 4, 6, 7)] == [alone[place].text for place in range(5)]
    with pytest.raises(StropError, match="needs a local model"):
        flow.add("x", Prefix(PROMPTS[0], ()), KINDS[1])
