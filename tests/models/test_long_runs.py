"""The measuring loop over an endpoint: what is paid is kept, limits hold before the call, `kill -9` costs one chunk."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from accepting import AcceptAll
from fault_server import FAULTS, echo

from strop.budget import Budget, Meter
from strop.evals.solve import measure
from strop.models import load
from strop.run import Run
from strop.tasks.protocols import get_protocol
from strop.types import Message, Request, SamplingParams, Spent, StropError, Task, TextCheck

TASKS = [Task(id=f"t{number}", prompt=f"Task {number}.", checks=(TextCheck(reference="x"),)) for number in range(4)]


def measured(server, folder, meter, samples=5):
    model = load(f"openai/m@{server.url}", concurrency=2, first_pause=0.01, retries=1)
    model.probe()
    server.seen.clear()
    with Run.open(folder, command="test", config={}) as run:
        try:
            measure(
                run, "eval", model, TASKS, AcceptAll(), get_protocol("chat"), samples_per_task=samples,
                params=SamplingParams(max_tokens=16), seed=0, meter=meter,
            )  # fmt: skip
        finally:
            model.close()


def tokens_of(number, path, body):
    """Answers with 16 tokens, the most that is asked for."""
    reply = echo(number, path, body)
    return reply | {"usage": {"prompt_tokens": 7, "completion_tokens": body.get("max_tokens", 0)}} if body else reply


@pytest.mark.parametrize("limit", ["sampled_tokens=100", "model_calls=7", "programs=7", "sampled_tokens=15"])
def test_a_limit_stops_before_the_call(server, tmp_path, limit):
    """Every answer is as long as it may be, and no limit is passed."""
    server.behave = tokens_of
    meter = Meter(Budget.parse(limit))
    measured(server, tmp_path / "run", meter)
    with Run.read(tmp_path / "run") as run:
        spent, count = run.spent("eval"), len(run.samples("eval"))
        assert [data["drawn"] for _, _, data in run.events("budget")] == [count]
    assert all(getattr(spent, name) <= most for name, most in meter.budget.limits().items())
    assert count == {"sampled_tokens=100": 6, "sampled_tokens=15": 0}.get(limit, 7)
    assert len(server.seen) == count


def test_short_answers_leave_room_for_more(server, tmp_path):
    """100 tokens pay for 6 answers of 16; answers that have 4 leave enough for 22 until 16 are no more there."""

    def brief(number, path, body):
        reply = echo(number, path, body)
        return reply | {"usage": {"prompt_tokens": 7, "completion_tokens": 4}} if body else reply

    server.behave = brief
    meter = Meter(Budget.parse("sampled_tokens=100"))
    measured(server, tmp_path / "run", meter, samples=10)
    assert meter.spent.sampled_tokens == 88
    assert len(server.seen) == 22


def test_what_was_paid_before_an_error_is_kept(server, tmp_path):
    def breaks(number, path, body):
        return (400, {}, '{"error": {"message": "no more"}}') if number >= 9 else echo(number, path, body)

    model = load(f"openai/m@{server.url}", concurrency=1)
    model.probe()
    server.seen.clear()
    server.behave = breaks
    arguments = {"samples_per_task": 5, "params": SamplingParams(max_tokens=16), "seed": 0}
    with Run.open(tmp_path / "run", command="test", config={}) as run:
        with pytest.raises(StropError, match="no more"):
            measure(run, "eval", model, TASKS, AcceptAll(), get_protocol("chat"), **arguments)
        assert len(run.samples("eval")) == 9
        assert run.spent("eval").programs == 9
        assert len(run.unjudged("eval")) == 9 % model.batch_size, "whole batches are judged as they come"
        server.behave = echo
        measure(run, "eval", model, TASKS, AcceptAll(), get_protocol("chat"), **arguments)
        assert len(run.samples("eval")) == len(run.verdicts("eval")) == run.spent("eval").programs == 20
        assert not run.unjudged("eval")
    assert len(server.seen) == 9 + 1 + 11


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_many_requests_with_faults_of_every_kind(server, count):
    """A fifth of all answers is a fault; each request is answered once, and what was answered is what is charged."""
    quick = [*[fault for fault in FAULTS if fault != "stall"], "retry-after"]
    slow = ["stall", "trickle"] if count > 1000 else []
    dice, lock, misbehaved = random.Random(0), threading.Lock(), Counter()

    def shaky(number, path, body):
        with lock:
            if dice.random() >= 0.2:
                return echo(number, path, body)
            fault = dice.choice(slow if slow and dice.random() < 0.01 else quick)
            misbehaved[fault] += 1
        return (429, {"retry-after": "0.05"}, "{}") if fault == "retry-after" else fault

    server.stall = 6.0
    options = {"first_pause": 0.01, "longest_pause": 0.05, "request_timeout": 3.0 if slow else 30.0, "retries": 30}
    model = load(f"openai/m@{server.url}", concurrency=8, price_prompt=1.0, price_sampled=10.0, **options)
    model.probe()
    server.seen.clear()
    server.behave = shaky
    requests = [Request(prompt=(Message("user", f"question {number}"),), seed=number) for number in range(count)]
    pairs = list(model.sample(requests, SamplingParams(max_tokens=16)))
    assert sorted(position for position, _ in pairs) == list(range(count)), "none lost, none doubled"
    assert all(completion.text == f"question {position} {position}" for position, completion in pairs)
    spent = sum((completion.spent for _, completion in pairs), Spent())
    assert (spent.prompt_tokens, spent.sampled_tokens) == (7 * count, 3 * count)
    assert spent.money == pytest.approx((7 * 1.0 + 3 * 10.0) * count / 1e6)
    assert set(misbehaved) == {*quick, *slow}
    # A request on a connection that the server has just closed is an attempt that the server never sees.
    assert count + misbehaved.total() <= len(server.seen) <= spent.model_calls == count + model.retried


def test_requests_that_fail_for_good_are_each_reported_with_the_reason(server):
    """Half of the requests meet a fault at every attempt: one answer or one reason for each, and no more calls."""
    model = load(f"openai/m@{server.url}", first_pause=0.001, longest_pause=0.002, retries=2)
    model.probe()
    server.seen.clear()
    quick = [fault for fault in FAULTS if fault != "stall"]
    server.behave = lambda n, p, body: quick[body["seed"] // 2 % len(quick)] if body["seed"] % 2 else echo(n, p, body)
    answered, reported = [], []
    for number in range(2 * len(quick)):
        try:
            answered += list(model.sample([Request(prompt=(Message("user", "q"),), seed=number)], SamplingParams()))
        except StropError as error:
            reported.append(str(error))
    assert (len(answered), len(reported)) == (len(quick), len(quick))
    assert all("failed 3 times" in reason and "\n" not in reason for reason in reported)
    for fault, reason in zip(quick, reported):
        assert (
            fault in reason
            if fault.isdigit()
            else any(words in reason for words in ("connection broke", "not JSON", "not an object", "unreadable"))
        )
    assert len(server.seen) <= len(quick) * (1 + 3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_and_resumed(tmp_path):
    script = Path(__file__).parents[2] / "benchmarks" / "long_run.py"
    done = subprocess.run(
        [sys.executable, script, "--samples", "4000", "--kills", "4"], capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)  # the script itself compares the folder with the plan, sample by sample
    assert len(result["killed_at_samples"]) == 4
    assert 0 <= result["requests_paid_twice"] <= 4 * result["chunk"]
    assert result["distinct_texts"] == 4000
