"""Searches with real models: small random ones for what tokens must do, the embedded one from the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from strop.types import CallCheck, Request, SamplingParams, StropError, Task

PROMPT = "def add(a, b):\n"
GREEDY = SamplingParams(temperature=0.0, top_p=1.0, max_tokens=20, logprobs=3)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def tiny(request, small_model):
    """A model of two layers; llama takes the fast engine, gpt2 the general one."""
    from strop.models import load

    model = load(f"hf/{small_model(request.param)}", batch_size=4)
    yield model
    model.close()


def test_completing_tokens_is_greedy_sampling_wherever_it_begins(tiny):
    _, whole = next(tiny.sample([Request(prompt=PROMPT, seed=0)], GREEDY))
    length = len(whole.token_ids)
    prefixes = [(PROMPT, whole.token_ids[:n]) for n in (0, 1, length // 2, length - 1, length)]
    answers = dict(tiny.complete_tokens(prefixes, GREEDY))
    assert set(answers) == set(range(5))
    for place, (_, tokens) in enumerate(prefixes):
        found = answers[place]
        assert (*tokens, *found.tokens) == whole.token_ids
        assert found.text == whole.text
        assert found.finish_reason == whole.finish_reason
        assert found.spent.sampled_tokens == length - len(tokens) == len(found.top)
        assert [top[0][0] for top in found.top] == list(found.tokens)
        assert all(len(top) == 3 and top[0][1] >= top[1][1] >= top[2][1] for top in found.top)


def test_stop_strings_are_found_across_the_border(tiny):
    _, whole = next(tiny.sample([Request(prompt=PROMPT, seed=0)], GREEDY))
    words = tiny.decode(whole.token_ids[4:7])
    params = SamplingParams(temperature=0.0, top_p=1.0, max_tokens=20, logprobs=1, stop=(words,))
    _, cut = next(tiny.sample([Request(prompt=PROMPT, seed=0)], params))
    for begun in (0, 5):
        ((_, found),) = tiny.complete_tokens([(PROMPT, cut.token_ids[:begun])], params)
        assert (found.text, found.finish_reason) == (cut.text, "stop_string")
        assert (*cut.token_ids[:begun], *found.tokens) == cut.token_ids


def test_what_cannot_be_completed_is_refused(tiny):
    for params in (SamplingParams(logprobs=3), SamplingParams(temperature=0.0)):
        with pytest.raises(StropError, match="temperature 0"):
            next(tiny.complete_tokens([(PROMPT, ())], params))
    assert 0 < tiny.room(PROMPT) < 512
    assert tiny.room(PROMPT * 500) < 1


def test_pg_td_caches_change_only_the_cost(tiny, judge):
    from strop.budget import Budget
    from strop.search.methods import get_method
    from strop.search.prompting import form_for
    from strop.search.schedule import Scheduler
    from strop.tasks.protocols import PROTOCOLS

    check = CallCheck(function="add", args=(1, 2), expected=3, visible=True)
    tasks = [Task(id=f"t/{n}", prompt=PROMPT, stub=PROMPT * n, entry_point="add", checks=(check,)) for n in (1, 2)]
    form = form_for(PROTOCOLS["completion"], chat=tiny.chat, local=True)
    seen, cost = [], []
    for cache in ("yes", "no"):
        spec = get_method(f"pg-td:rollouts=10:cache={cache}")
        params = SamplingParams(max_tokens=12)
        scheduler = Scheduler(tiny, judge, form=form, params=params, budget=Budget(programs=50))
        found = sorted(scheduler.run(scheduler.start(spec, one, 0) for one in tasks), key=lambda s: s.task.id)
        seen.append([list(dict.fromkeys(node.text for node in search.state.nodes)) for search in found])
        spent = [search.meter.spent for search in found]
        cost.append((sum(s.sampled_tokens for s in spent), sum(s.prompt_tokens + s.sampled_tokens for s in spent)))
    assert seen[0] == seen[1]
    assert all(len(texts) > 2 for texts in seen[0])
    assert cost[0][0] < cost[1][0]
    assert cost[0][1] < cost[1][1]


@pytest.mark.model
@pytest.mark.timeout(900)
def test_the_command_line_compares_resumes_and_writes_its_page(smollm2, tmp_path):
    command = [
        sys.executable, "-m", "strop.cli.main", "search", "--compare", "direct,best-of-n,codetree", "--limit", "2",
        "--budget", "programs=2", "--max-tokens", "48", "--out", str(tmp_path / "run"), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-2000:]
    data = json.loads(done.stdout)
    assert [row["method"] for row in data["methods"]] == ["direct", "best-of-n", "codetree"]
    assert all(row["most"]["programs"] <= 2 for row in data["methods"])
    assert (tmp_path / "run" / "search.html").stat().st_size > 10_000
    again = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert json.loads(again.stdout)["methods"] == data["methods"]
    assert json.loads(again.stdout)["effort"]["drawn"] == data["effort"]["drawn"]
