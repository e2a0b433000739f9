"""The experiments on search methods measure what they say, on real problems with a model that answers from a script."""

from __future__ import annotations

import math
import re

import pytest
from scripted import Scripted, block

from strop.models.cache import DrawCache
from strop.papers import harness, searching
from strop.papers.experiment import Item, Lab, Size, Table
from strop.papers.experiments import p27_roles_and_debugging, p57_pg_td, p58_tree_of_code, p81_codechain
from strop.search.prompting import form_for
from strop.tasks.protocols import PROTOCOLS

PAPERS = (20, 23, 27, 57, 58, 81)


def reply(text: str, before: int) -> str:
    """The reference now and then, else a program that crashes; lists, scores and opinions where they are asked for."""
    if "Score:" in text:
        return "Score: 2"
    if "holds only" in text:
        return "FAIL" if "tester" in text else "False"
    if "List up to" in text:
        return "1. Read it again.\n2. Think."
    names = re.findall(r"def (\w+)\(", text)
    task = next((one for one in searching.problems().values() if one.entry_point in names), None)
    if task is None:
        return "I cannot."
    crash = f"def {task.entry_point}(*args):\n    return args[0].missing\n"
    return "<thought>it</thought>\n" + block(task.reference if before % 2 else crash)


class Opened:
    def __init__(self, judge) -> None:
        self.model, self.judge, self.draws = Scripted(reply, batch_size=16), judge, DrawCache()
        self.form = form_for(PROTOCOLS["chat"], chat=True, local=False)


@pytest.fixture
def lab(judge, monkeypatch, tmp_path):
    opened = Opened(judge)
    monkeypatch.setattr(searching, "_open", lambda model: opened)

    def make(paper: int) -> Lab:
        experiment = harness.load(paper)
        assert experiment is not None
        return Lab({**experiment.settings, **experiment.quick_settings}, tmp_path, quick=True)

    return make


@pytest.mark.parametrize("paper", PAPERS)
def test_every_arm_has_an_outcome_for_every_problem_and_conditions_follow(lab, paper):
    experiment = harness.load(paper)
    units = tuple(experiment.units())[:2]
    bench = lab(paper)
    outcomes = list(experiment.measure(bench, Item(experiment.arms, units, 0)))
    assert {(one.arm, one.unit) for one in outcomes} == {(arm, unit) for arm in experiment.arms for unit in units}
    assert len(outcomes) == len(experiment.arms) * 2
    table = Table(outcomes, experiment.arms, experiment.metrics)
    conditions = experiment.conclude(table)
    assert len({condition.text for condition in conditions}) == len(conditions) >= 4
    assert any(condition.required for condition in conditions)
    assert bench.spent.programs > 0
    assert bench.spent.seconds == 0, "the harness measures time"
    over = [one.values["over budget"] for one in outcomes if "over budget" in one.values]
    assert set(over) == {0}
    again = list(experiment.measure(bench, Item(experiment.arms, units, 0)))
    assert [one.values for one in again] == [one.values for one in outcomes], "a kept search gives what it gave"


def test_sizes_and_settings_are_those_of_the_comparison():
    for paper in PAPERS:
        experiment = harness.load(paper)
        assert len(experiment.units()) == 100
        assert experiment.planned.units >= 60
        assert {name: experiment.settings[name] for name in ("model", "max_tokens", "temperature", "top_p")} == {
            name: searching.SETTINGS[name] for name in ("model", "max_tokens", "temperature", "top_p")
        }
        assert experiment.quick == Size(units=experiment.quick.units, seeds=1)


def test_caches_are_proved_on_the_same_programs(lab):
    bench = lab(57)
    units = tuple(p57_pg_td.problems())[:2]
    rows = {(one.arm, one.unit): one.values for one in p57_pg_td.proof(bench, Item(("x",), units, 0))}
    for unit in units:
        assert rows["cached", unit]["same programs"] == 1
        assert rows["cached", unit]["tokens written"] < rows["uncached", unit]["tokens written"]
    assert all(not one.values for one in p57_pg_td.proof(bench, Item(("x",), units, 1))), "greedy: no second seed"


def test_false_alarms_count_right_programs_only():
    def trace(said: str) -> dict:
        return {"nodes": [{"words": [{"role": "tester", "reply": said}]}]}

    count = p27_roles_and_debugging.false_alarm
    assert count(trace("Bad.\nFAIL"), [True]) == {"false alarm": 1.0}
    assert count(trace("Good.\nPASS"), [True]) == {"false alarm": 0.0}
    assert count(trace("Bad.\nFAIL"), [False]) == {}
    assert count({"nodes": []}, []) == {}


def test_running_is_not_passing():
    def node(*statuses: str, code: str = "x") -> dict:
        return {"code": code, "checks": [{"status": status} for status in statuses]}

    runs = p58_tree_of_code.runs
    assert runs({"nodes": [node("failed", "passed")]}, [])["runs"] == 1
    assert runs({"nodes": [node("failed", "runtime_error")]}, [])["runs"] == 0
    assert runs({"nodes": [node(code=" ")]}, [])["runs"] == 0


def test_reuse_is_up_to_names_and_layout():
    part = "def twice(value):\n    return value + value\n"
    prompt = f"{p81_codechain.HANDED_ON} Reuse them.\n\n```python\n{part}```\n\nWork in two steps."
    assert len(p81_codechain.shown(prompt)) == 1
    assert p81_codechain.shown("Work in two steps.") == set()
    same = {"code": 'def double(x):\n    """Twice."""\n    return x+x\n', "prompt": prompt}
    other = {"code": "def double(x):\n    return 2 * x\n", "prompt": prompt}
    first = {"code": part, "prompt": "Work in two steps."}
    assert p81_codechain.share_reused([first, same, other]) == 0.5
    assert p81_codechain.share_reused([first]) is None
    assert p81_codechain.share_reused([same, other], parts=p81_codechain.forms("def f(x):\n    return 2 * x\n")) == 0.5
    values = p81_codechain.modularity({"nodes": [first, same]}, [])
    assert values == {"functions": 1.0, "reused": 1.0}
    assert not any(map(math.isnan, values.values()))
