"""Completions drawn once: the file that runs share, and a recorded run as a model."""

from __future__ import annotations

import sqlite3

import pytest
from accepting import AcceptAll
from fault_server import echo

from strop.evals.solve import draw_each, measure
from strop.models import Model, cache, load, parse_spec
from strop.models.cache import CachedModel, DrawCache
from strop.models.spec import is_local
from strop.run import Run
from strop.tasks.protocols import get_protocol
from strop.types import Message, Request, SamplingParams, StropError, Task, TextCheck

PARAMS = SamplingParams(max_tokens=16)
TASKS = [Task(id=f"t{number}", prompt=f"Task {number}.", checks=(TextCheck(reference="x"),)) for number in range(3)]
CHAT = get_protocol("chat")


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("STROP_SAMPLES", str(tmp_path / "samples.sqlite"))
    return tmp_path / "samples.sqlite"


def asked(count, seed=0):
    return [Request(prompt=(Message("user", f"question {n}"),), seed=seed + n) for n in range(count)]


def drawn(model, requests, params=PARAMS):
    return dict(model.sample(requests, params))


def endpoint(server, cached=True, **options):
    model = load(f"openai/m@{server.url}", cache=cached, first_pause=0.01, **options)
    model.probe()
    server.seen.clear()
    return model


def test_what_was_drawn_is_not_drawn_again_in_another_run(server, file):
    first = endpoint(server)
    assert isinstance(first, Model)
    whole = drawn(first, asked(10))
    assert (len(server.seen), first.reused) == (10, 0)
    first.close()
    second = endpoint(server)
    assert drawn(second, asked(12)) == whole | {n: c for n, c in drawn(second, asked(12)).items() if n >= 10}
    assert len(server.seen) == 2
    assert second.reused == 10 + 12


@pytest.mark.parametrize("changed", [{"seed": 100}, {"temperature": 0.5}, {"max_tokens": 17}, {"stop": ("x",)}])
def test_anything_else_is_drawn(server, file, changed):
    model = endpoint(server)
    drawn(model, asked(3))
    server.seen.clear()
    seed = changed.pop("seed", 0)
    drawn(model, asked(3, seed), SamplingParams(**({"max_tokens": 16} | changed)))
    assert len(server.seen) == 3


def test_equal_requests_are_drawn_once(server, file):
    model = endpoint(server)
    greedy = SamplingParams(temperature=0, max_tokens=16)
    requests = [Request(prompt="def f", seed=seed) for seed in range(8)]
    done = drawn(model, requests, greedy)
    assert sorted(done) == list(range(8))
    assert (len(server.seen), model.reused) == (1, 7)
    assert len(set(done.values())) == 1


def test_everything_about_a_completion_is_kept(small_model, file):
    params = SamplingParams(max_tokens=8, logprobs=3)
    requests = [Request(prompt="def f", seed=seed) for seed in range(3)]
    first, second = (load(f"hf/{small_model()}", cache=True) for _ in range(2))
    assert drawn(first, requests, params) == drawn(second, requests, params)
    assert second.reused == 3
    assert second.room("def f") == first.room("def f") > 0
    assert drawn(load(f"hf/{small_model('qwen2')}", cache=True), requests, params) != drawn(first, requests, params)


def test_what_came_before_an_error_is_kept(server, file):
    model = endpoint(server, concurrency=1)
    server.behave = lambda n, p, b: (400, {}, "{}") if n >= 4 else echo(n, p, b)
    with pytest.raises(StropError):
        drawn(model, asked(10))
    server.behave = echo
    server.seen.clear()
    assert len(drawn(model, asked(10))) == 10
    assert len(server.seen) == 6


def test_the_cache_can_be_switched_off(server, monkeypatch):
    monkeypatch.setenv("STROP_SAMPLES", "off")
    assert cache.shared_file() is None
    assert not isinstance(endpoint(server), CachedModel)


def test_a_damaged_file_is_one_clear_paragraph(server, file):
    drawn(endpoint(server), asked(1))
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE draws SET value = x'00'")
    with pytest.raises(StropError, match="may be deleted"):
        drawn(endpoint(server), asked(1))
    other = file.with_name("other.sqlite")
    other.write_text("no database at all" * 100)
    with pytest.raises(StropError, match="cannot be used"):
        DrawCache(other)


def test_drawings_of_earlier_versions_are_read(file):
    kept = DrawCache(file)
    with sqlite3.connect(file) as connection:
        connection.execute("INSERT INTO draws VALUES ('k', '{\"text\": \"plain\"}')")
    assert kept.get("k") == {"text": "plain"}


# ---- replay ----------------------------------------------------------------------------------------


@pytest.fixture
def recorded(server, tmp_path):
    """A run of 3 tasks x 4 samples from an endpoint, which is gone afterwards."""
    model = endpoint(server, cached=False)
    config = {"model": model.name, "temperature": 0.8, "top_p": 0.95, "max_tokens": 16, "seed": 5, "protocol": ["chat"]}
    with Run.open(
        tmp_path / "run", command="strop eval", config=config, inputs={"model_fingerprint": model.fingerprint}
    ) as run:
        measure(run, "eval", model, TASKS, AcceptAll(), CHAT, samples_per_task=4, params=PARAMS, seed=5)
        fingerprint, samples = model.fingerprint, run.samples("eval")
    server.behave = lambda n, p, b: "500"
    return f"replay/{tmp_path / 'run'}", fingerprint, samples


def test_a_recorded_run_gives_its_samples_again(recorded):
    name, fingerprint, samples = recorded
    model = load(name)
    assert isinstance(model, Model)
    assert (model.name, model.fingerprint, is_local(name)) == (name, fingerprint, False)
    items = [(task, index) for task in TASKS for index in range(4)]
    again = sorted(draw_each(model, items, CHAT, PARAMS, 5), key=lambda one: (one.task_id, one.index))
    assert again == samples
    model.close()


@pytest.mark.parametrize(
    ("seed", "count", "params", "words"),
    [
        (6, 4, PARAMS, r"12 of 12 requests.*seed 5, protocol \['chat'\]"),
        (5, 5, PARAMS, "3 of 15 requests"),
        (5, 4, SamplingParams(max_tokens=17), r"max_tokens 16 \(asked: 17\)"),
        (5, 4, SamplingParams(max_tokens=16, temperature=0), "temperature"),
        (5, 4, SamplingParams(max_tokens=16, logprobs=1), "alternatives"),
    ],
)
def test_what_the_run_did_not_draw_is_refused(recorded, seed, count, params, words):
    items = [(task, index) for task in TASKS for index in range(count)]
    with pytest.raises(StropError, match=words):
        list(draw_each(load(recorded[0]), items, CHAT, params, seed))


def test_a_stage_is_named_where_two_drew_with_the_same_seeds(recorded, server):
    name, _, samples = recorded
    server.behave = echo
    with Run.open(name.removeprefix("replay/"), command="strop eval", config=Run.read(name[7:]).manifest["config"],
                  inputs={"model_fingerprint": recorded[1]}) as run:  # fmt: skip
        run.save_samples("after", [sample for sample in samples if sample.task_id == "t0"])
    request = Request(prompt="x", seed=samples[0].seed)
    with pytest.raises(StropError, match="stages after, eval; name one"):
        drawn(load(name), [request])
    assert drawn(load(f"{name}@after"), [request])[0].text == samples[0].text
    with pytest.raises(StropError, match="no stage 'before'; it has eval, after"):
        load(f"{name}@before")


def test_what_a_recorded_run_cannot_do_is_said(recorded, tmp_path):
    with pytest.raises(StropError, match="cannot score"):
        load(recorded[0]).score([("a", "b")])
    with pytest.raises(StropError, match="takes no options"):
        load(recorded[0], threads=2)
    with pytest.raises(StropError, match="does not exist"):
        load(f"replay/{tmp_path / 'absent'}")
    assert parse_spec("replay/a/b").kind == "replay"
