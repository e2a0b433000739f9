"""The rules of judging on a cluster without one: a node's judge by itself, and who gets what when a scripted Ray loses
answers, actors and nodes in every order that hypothesis thinks of."""

from __future__ import annotations

import pickle
import sys
from collections import Counter
from concurrent.futures import Future
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop import __version__
from strop.judge import cluster
from strop.judge.node import Node, NodeJudge
from strop.judge.staff import Call, Job
from strop.types import CallCheck, StropError, Task, Verdict

SQUARE = Task(id="square", prompt="", checks=(CallCheck(function="f", args=(3,), expected=9),))
GOOD, BAD = "def f(x): return x * x", "def f(x): return 8"


# ---- the actor ---------------------------------------------------------------------------------


def test_a_nodes_judge_answers_a_batch_in_order():
    judge = NodeJudge({"workers": 1})
    try:
        assert judge.level(__version__) in ("userns", "root", "plain")
        cobol = Task(id="c", prompt="", language="cobol", checks=SQUARE.checks)
        tasks = {7: pickle.dumps(SQUARE), 8: pickle.dumps(cobol)}
        answers, inside, rate = judge.answer(("all", tasks, [(7, GOOD), (8, GOOD), (7, BAD)]))
        assert [getattr(answer, "status", None) for answer in answers] == ["passed", None, "failed"]
        assert isinstance(answers[1], StropError)
        assert inside > 0
        assert rate > 0
        first = judge._tasks[7]
        judge.answer(("all", {7: pickle.dumps(SQUARE)}, [(7, GOOD)]))
        assert judge._tasks[7] is first, "workers know a task again by the object"
    finally:
        judge._open().close()


def test_another_strop_is_refused():
    with pytest.raises(StropError, match="it has Strop"):
        NodeJudge({}).level("0.0.0")


@given(st.floats(1e-4, 2), st.floats(0.01, 1e5), st.integers(1, 256))
def test_a_batch_is_large_enough_for_the_overhead_and_for_every_worker(overhead, rate, workers):
    node = Node("id", "name", workers, None, overhead=overhead)
    node.rate = rate
    assert node.size >= min(workers, 2048)
    if workers < node.size < 2048:
        assert overhead <= 0.02 * node.size / rate * (1 + 1e-9)
        assert overhead > 0.02 * (node.size - 1) / rate * (1 - 1e-9)


# ---- who gets what -----------------------------------------------------------------------------


class RayError(Exception):
    """Stands for Ray's: an actor or a node is gone."""


class ScriptedRay:
    """What `cluster.py` uses of Ray; calls stay open until the test settles them."""

    def __init__(self) -> None:
        self.alive = {"n0": 1, "n1": 4}
        self.made = 2
        self.open: list[SimpleNamespace] = []

    def install(self, patch: pytest.MonkeyPatch) -> None:
        ray, exceptions, util, strategies = (ModuleType(name) for name in ("ray", "e", "u", "s"))
        ray.nodes = lambda: [
            {"NodeID": name, "Alive": True, "NodeName": name, "Resources": {"CPU": cpus}}
            for name, cpus in self.alive.items()
        ]
        ray.kill = lambda actor: None
        ray.remote = lambda made: SimpleNamespace(options=lambda **options: SimpleNamespace(remote=self.actor))
        exceptions.RayError = RayError
        strategies.NodeAffinitySchedulingStrategy = lambda name, soft: name
        for name, module in (("", ray), (".exceptions", exceptions), (".util", util)):
            patch.setitem(sys.modules, f"ray{name}", module)
        patch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)

    def actor(self, options):
        def method(kind):
            def remote(asked):
                call = SimpleNamespace(kind=kind, asked=asked, future=Future())
                self.open.append(call)
                return SimpleNamespace(future=lambda: call.future)

            return SimpleNamespace(remote=remote)

        return SimpleNamespace(level=method("level"), answer=method("answer"))

    def settle(self, place: int, fails: bool) -> None:
        call = self.open.pop(place % len(self.open))
        if fails:
            call.future.set_exception(RayError("gone"))
        elif call.kind == "level":
            call.future.set_result("userns")
        else:
            _, tasks, programs = call.asked
            assert {number for number, _ in programs} <= tasks.keys()
            verdicts = [Verdict(status="passed", fraction=1.0, detail=code) for _, code in programs]
            call.future.set_result((verdicts, 0.1, 100.0))


events = st.lists(
    st.tuples(st.sampled_from(["answer", "answer", "answer", "fail", "lose", "join", "look"]), st.integers(0, 99)),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(count=st.integers(1, 300), events=events)
def test_every_program_gets_one_verdict_whatever_is_lost(count, events):
    ray, delivered = ScriptedRay(), Counter()

    def deliver(item):
        key, verdict = item
        delivered[key] += 1
        assert verdict.status == "judge_error" or verdict.detail == f"program {key}", "another program's verdict"

    with pytest.MonkeyPatch.context() as patch:
        ray.install(patch)
        patch.setattr(cluster, "LOOK_SECONDS", 0.0)
        patch.setattr(cluster, "NODE_FAILURES", 10_000)
        dispatcher = cluster.Cluster("auto", None, {})
        call = Call(deliver, "all")
        dispatcher.submit([Job(call, n, SQUARE, f"program {n}") for n in range(count)])

        def step():
            dispatcher._look()
            dispatcher._hand_out()
            dispatcher.events.put(None)
            dispatcher._hear()
            dispatcher._hand_out()

        step()
        for event, place in events:
            if event in ("answer", "fail") and ray.open:
                ray.settle(place, event == "fail")
            elif event == "lose" and len(ray.alive) > 1:  # its calls stay open: they may still be answered, too late
                del ray.alive[sorted(ray.alive)[place % len(ray.alive)]]
            elif event == "join":
                ray.alive[f"n{ray.made}"] = 1 + place % 8
                ray.made += 1
            step()
        for _ in range(10_000):
            if not ray.open:
                break
            ray.settle(0, False)
            step()
    assert delivered == Counter(range(count))


def test_all_nodes_refusing_is_an_error():
    ray = ScriptedRay()
    with pytest.MonkeyPatch.context() as patch:
        ray.install(patch)
        dispatcher = cluster.Cluster("auto", None, {})
        dispatcher._look()
        for call in ray.open:
            error = RayError("task failed")
            error.cause = StropError("level userns does not hold here")  # type: ignore[attr-defined]
            call.future.set_exception(error)
        with pytest.warns(UserWarning, match="It judges nothing"):
            dispatcher._hear()
        with pytest.raises(StropError, match="No node of the Ray cluster can judge: n0: level userns"):
            dispatcher._look()
