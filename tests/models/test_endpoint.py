"""The endpoint client against a server that misbehaves in every way we know."""

from __future__ import annotations

import email.utils
import logging
import socket
import time

import pytest
from fault_server import FAULTS, chat_answer, echo

from strop.models import load
from strop.models.replies import read_reply
from strop.types import Message, Request, SamplingParams, StropError

PARAMS = SamplingParams(max_tokens=16)
GREEDY = SamplingParams(max_tokens=16, temperature=0)
FAST = {"first_pause": 0.01, "longest_pause": 0.05, "request_timeout": 1.0}
KEY = "sk-strop-test-0123456789abcdef"


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("STROP_API_KEY", raising=False)


def endpoint(server, **options):
    return load(f"openai/m@{server.url}", **(FAST | options))


def ask(count):
    return [Request(prompt=(Message("user", f"question {number}"),), seed=number) for number in range(count)]


def answers(model, requests, params=PARAMS):
    return dict(model.sample(requests, params))


def after_probe(model, server, behave):
    """Let the probe succeed, then misbehave; request numbers start from 0 again."""
    model.probe()
    server.seen.clear()
    server.behave = behave
    return model


def test_every_request_is_answered_once_with_its_own_seed(server):
    model = endpoint(server)
    done = answers(model, ask(40))
    assert sorted(done) == list(range(40))
    assert all(done[number].text == f"question {number} {number}" for number in done)
    assert sum(c.spent.sampled_tokens for c in done.values()) == 40 * 3
    assert all(c.spent.prompt_tokens == 7 and c.spent.model_calls == 1 for c in done.values())
    assert model.chat


def test_the_probe_reports_what_the_server_can_do(server):
    able = endpoint(server).probe()
    assert (able.listed, able.chat, able.completions, able.n) == (True, True, True, True)
    assert (able.logprobs, able.stop, able.seed, able.usage) == (True, True, True, True)
    assert (able.varies, able.top_k, able.context) == (True, True, None)


def test_the_probe_sees_what_a_server_cannot_do(server):
    def poor(number, path, body):
        if path.endswith(("/models", "/completions")) and "chat" not in path:
            return "404"
        if body.get("n") or body.get("logprobs") or "seed" in body:
            return 400, {}, '{"error": {"message": "unknown field"}}'
        return chat_answer("one two three four five", usage=None)

    server.behave = poor
    model = endpoint(server)
    able = model.probe()
    assert (able.listed, able.chat, able.completions, able.n) == (None, True, False, False)
    assert (able.logprobs, able.stop, able.seed, able.usage) == (False, False, False, False)
    assert not able.varies
    with pytest.raises(StropError, match="would be copies"):
        answers(model, ask(1))
    with pytest.raises(StropError, match="raw text"):
        answers(model, [Request(prompt="def f", seed=0)], GREEDY)
    with pytest.raises(StropError, match="no log-probabilities"):
        answers(model, ask(1), SamplingParams(temperature=0, logprobs=2))


@pytest.mark.parametrize(
    ("entry", "context"),
    [
        ({"max_model_len": 4096}, 4096),
        ({"context_length": 8192}, 8192),
        ({"meta": {"n_ctx": 1024, "n_ctx_train": 8192}}, 1024),
        ({"max_model_len": "much", "meta": 7}, None),
    ],
)
def test_the_context_is_read_from_the_list_of_models(server, entry, context):
    server.behave = lambda n, p, b: {"data": [{"id": "m"} | entry]} if b is None else echo(n, p, b)
    assert endpoint(server).probe().context == context


def test_a_server_without_a_working_list_of_models_is_used_all_the_same(server):
    """transformers' own server answers /models with an error when there is no hub cache."""
    server.behave = lambda n, p, b: "500" if b is None else echo(n, p, b)
    model = endpoint(server)
    assert model.probe().listed is None
    assert [path for path, body, *_ in server.seen if body is None] == ["/v1/models"]


def test_the_limits_that_servers_apply_unasked_are_switched_off(server):
    model = after_probe(endpoint(server), server, echo)
    answers(model, ask(1))
    answers(model, ask(1), SamplingParams(top_k=7))
    answers(model, ask(1), GREEDY)
    sent = [body for _, body, *_ in server.seen]
    assert [(body.get("top_k"), body.get("min_p")) for body in sent] == [(-1, 0.0), (7, 0.0), (None, None)]


def test_a_server_that_takes_no_top_k(server):
    def plain(number, path, body):
        return (
            (400, {}, '{"error": {"message": "what is top_k?"}}')
            if body and "top_k" in body
            else echo(number, path, body)
        )

    server.behave = plain
    model = endpoint(server)
    assert not model.probe().top_k
    assert answers(model, ask(1))[0].text == "question 0 0"
    with pytest.raises(StropError, match="does not take top_k"):
        answers(model, ask(1), SamplingParams(top_k=7))


def test_a_server_that_insists_on_max_completion_tokens(server):
    def modern(number, path, body):
        if body and "max_tokens" in body:
            return 400, {}, '{"error": {"message": "max_tokens is not supported, use max_completion_tokens"}}'
        return echo(number, path, body)

    server.behave = modern
    model = endpoint(server)
    assert answers(model, ask(1))[0].text == "question 0 0"
    assert server.seen[-1][1]["max_completion_tokens"] == 16


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_retried(server, fault):
    model = after_probe(endpoint(server), server, lambda n, p, b: fault if n < 2 else echo(n, p, b))
    [(position, completion)] = answers(model, ask(1)).items()
    assert (position, completion.text) == (0, "question 0 0")
    assert completion.spent.model_calls == 3
    assert model.retried == 2


@pytest.mark.parametrize("fault", ["trickle", "flood"])
def test_an_answer_without_end_is_cut_off(server, fault):
    model = after_probe(
        endpoint(server, request_timeout=0.5), server, lambda n, p, b: fault if n < 1 else echo(n, p, b)
    )
    started = time.monotonic()
    assert answers(model, ask(1))[0].text == "question 0 0"
    assert time.monotonic() - started < 20


def test_concurrency_is_limited(server):
    def slow(number, path, body):
        time.sleep(0.02)
        return echo(number, path, body)

    model = after_probe(endpoint(server, concurrency=3), server, slow)
    assert len(answers(model, ask(24))) == 24
    assert 2 <= server.most_running <= 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(server, form):
    def busy(number, path, body):
        if number:
            return echo(number, path, body)
        value = "1" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
        return 429, {"retry-after": value}, "{}"

    model = after_probe(endpoint(server), server, busy)
    answers(model, ask(1))
    first, second = (seen[3] for seen in server.seen)
    assert second - first >= 0.95


def test_a_pause_longer_than_the_total_time_out_ends_at_once(server):
    model = after_probe(
        endpoint(server, total_timeout=2.0), server, lambda n, p, b: (429, {"retry-after": "3600"}, "{}")
    )
    started = time.monotonic()
    with pytest.raises(StropError, match="out of time"):
        answers(model, ask(1))
    assert time.monotonic() - started < 5


def test_attempts_run_out_with_the_reason(server):
    model = after_probe(endpoint(server, retries=2), server, lambda n, p, b: "503")
    with pytest.raises(StropError, match=r"failed 3 times.*503.*try later"):
        answers(model, ask(1))
    assert len(server.seen) == 3


def test_what_was_answered_is_handed_out_before_an_error(server):
    def one_bad(number, path, body):
        return (400, {}, '{"error": {"message": "too long"}}') if body["seed"] == 7 else echo(number, path, body)

    model = after_probe(endpoint(server, concurrency=1), server, one_bad)
    stream = model.sample(ask(20), PARAMS)
    assert [next(stream)[0] for _ in range(7)] == list(range(7))
    with pytest.raises(StropError, match="too long"):
        next(stream)


def test_a_caller_that_leaves_early_leaves_nothing_running(server):
    model = after_probe(endpoint(server, concurrency=2), server, echo)
    stream = model.sample(ask(50), PARAMS)
    next(stream)
    stream.close()
    time.sleep(0.3)
    count = len(server.seen)
    assert count < 10
    time.sleep(0.2)
    assert len(server.seen) == count
    assert server.running == 0


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (401, '{"error": {"message": "Incorrect API key provided: KEY"}}', "refused the key"),
        (403, "KEY is not allowed", "refused the key"),
        (404, '{"error": {"message": "no such model"}}', "no route"),
        (400, '{"detail": "bad header Bearer KEY"}', "rejected the request"),
        (307, "", "redirects"),
    ],
)
def test_final_refusals_are_one_clear_paragraph_without_the_key(server, monkeypatch, caplog, status, text, words):
    monkeypatch.setenv("STROP_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    server.behave = lambda n, p, b: (status, {"location": "http://localhost:1/"}, text.replace("KEY", KEY))
    model = endpoint(server)
    with pytest.raises(StropError, match=words) as caught:
        answers(model, ask(1))
    assert "\n" not in str(caught.value)
    assert server.seen[0][2]["Authorization"] == f"Bearer {KEY}"
    everything = f"{caught.value} {caught.value.__cause__} {caplog.text} {model!r} {model.fingerprint} {model.name}"
    assert KEY not in everything


def test_the_key_is_not_part_of_the_fingerprint(server, monkeypatch):
    before = endpoint(server).fingerprint
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert endpoint(server).fingerprint == before


def test_a_refused_connection():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = load(f"openai/m@http://127.0.0.1:{port}/v1", **FAST, retries=1)
    with pytest.raises(StropError, match="no connection could be made"):
        answers(model, ask(1))


def test_an_address_that_answers_html(server):
    server.behave = lambda n, p, b: "garbage"
    with pytest.raises(StropError, match="not JSON"):
        endpoint(server, retries=1).probe()


def test_unknown_token_counts_are_counted_as_unknown(server):
    model = after_probe(endpoint(server), server, lambda n, p, b: chat_answer("x", usage=None))
    assert answers(model, ask(3))[0].spent.sampled_tokens == 0
    assert model.usage_missing == 3


@pytest.mark.parametrize("usage", [{"prompt_tokens": -1}, {"completion_tokens": "many"}, {"prompt_tokens": True}])
def test_impossible_token_counts_are_a_broken_answer(server, usage):
    model = after_probe(endpoint(server, retries=1), server, lambda n, p, b: chat_answer("x", usage=usage))
    with pytest.raises(StropError, match="usage"):
        answers(model, ask(1))


def test_money_is_tokens_times_price(server):
    model = endpoint(server, price_prompt=2.0, price_sampled=10.0)
    assert answers(model, ask(1))[0].spent.money == pytest.approx((7 * 2 + 3 * 10) / 1e6)


def test_stop_strings_are_cut_here_too(server):
    model = after_probe(endpoint(server), server, lambda n, p, b: chat_answer("a b STOP c"))
    completion = answers(model, ask(1), SamplingParams(stop=("1", "2", "3", "4", "STOP")))[0]
    assert (completion.text, completion.finish_reason) == ("a b ", "stop_string")
    assert server.seen[0][1]["stop"] == ["1", "2", "3", "4"]


def test_log_probabilities_come_when_asked_for(server):
    model = endpoint(server)
    assert answers(model, ask(1))[0].logprobs is None
    assert answers(model, ask(1), SamplingParams(logprobs=1))[0].logprobs == (-0.5,) * 3


def test_the_likeliest_tokens_come_when_asked_for(server):
    model = endpoint(server)
    assert answers(model, ask(1))[0].top_logprobs is None
    top = answers(model, ask(1), SamplingParams(logprobs=2))[0].top_logprobs
    assert top == ((("x", -0.5), ("y", -1.5)),) * 3


@pytest.mark.parametrize(
    "found",
    [
        {"content": [{"token": "a", "logprob": "high"}]},
        {"content": [{"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "a"}]}]},
        {"token_logprobs": [-1.0, None]},
        {"token_logprobs": [-1.0], "top_logprobs": [{"a": float("nan")}]},
    ],
)
def test_log_probabilities_that_are_no_numbers_are_a_broken_answer(server, found):
    model = after_probe(endpoint(server, retries=1), server, lambda n, p, b: chat_answer("x", logprobs=found))
    with pytest.raises(StropError, match="not numbers"):
        answers(model, ask(1), SamplingParams(logprobs=1))


def test_likeliest_tokens_in_the_completions_form():
    found = {"token_logprobs": [-1.0, -2.0], "top_logprobs": [{"a": -3.0, "b": -1.0}, None]}
    reply = read_reply({"choices": [{"text": "ba", "finish_reason": "stop", "logprobs": found}]})
    assert reply.logprobs == (-1.0, -2.0)
    assert reply.top_logprobs == ((("b", -1.0), ("a", -3.0)), ())


def test_refusal_and_empty_answers(server):
    model = after_probe(
        endpoint(server), server, lambda n, p, b: chat_answer("", message={"content": None, "refusal": "I cannot"})
    )
    completion = answers(model, ask(1))[0]
    assert (completion.text, completion.finish_reason) == ("I cannot", "content_filter")


def test_what_endpoints_cannot_do_is_said(server):
    model = endpoint(server)
    with pytest.raises(StropError, match="cannot score"):
        model.score([("a", "b")])
    with pytest.raises(StropError, match="continue an assistant message"):
        answers(model, [Request(prompt=(Message("user", "a"), Message("assistant", "b")), seed=0)])
    with pytest.raises(StropError, match="Unknown endpoint option"):
        endpoint(server, colour="red")
    with pytest.raises(StropError, match="concurrency"):
        endpoint(server, concurrency=0)
    with pytest.raises(StropError, match="options of local models"):
        endpoint(server, dtype="float32")
