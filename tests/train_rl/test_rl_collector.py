"""Asynchronous collection with real processes: what is lost, what is carried over, and what that does to a policy."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import numpy as np
import pytest

from strop.train.rl.collector import Collector, Finished
from strop.train.rl.duration import FAILURE, Categorical, menu, practise, reward

QUICK = "print('score 0.25')"
ENDLESS = "import time\nwhile True: time.sleep(1)"


def sleeping(seconds: float) -> str:
    return f"import time; time.sleep({seconds}); print('score 0.5')"


def always(action: int):
    return lambda: action


def test_what_is_in_flight_is_lost_or_carried_over():
    with Collector([ENDLESS], workers=2, inflight="discard") as collector:
        for version in range(2):
            found = collector.window(always(0), version, 0.3)
            assert (found.finished, found.running) == ((), 0)
            assert [action for action, _ in found.discarded] == [0, 0]
            assert all(0.2 < seconds < 10 for _, seconds in found.discarded)
    with Collector([ENDLESS], workers=2, inflight="carry") as collector:
        pids = set()
        for version in range(2):
            found = collector.window(always(0), version, 0.2)
            assert (found.finished, found.discarded, found.running) == ((), (), 2)
            pids |= {one.process.pid for one in collector._running}
        assert len(pids) == 2  # the same two processes all the time
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_an_action_carried_over_keeps_the_version_that_chose_it_and_its_whole_duration():
    with Collector([sleeping(0.8)], workers=1, inflight="carry") as collector:
        first = collector.window(always(0), 0, 0.3)
        assert first.finished == ()
        seen = next(
            found.finished
            for version in itertools.count(1)
            if (found := collector.window(always(0), version, 0.3)).finished
        )
    assert seen[0].version == 0
    assert seen[0].seconds >= 0.8
    assert reward(seen[0]) == 0.5


def test_actions_of_policies_too_old_are_set_aside():
    with Collector([sleeping(0.8)], workers=1, inflight="carry", max_staleness=0) as collector:
        windows = [collector.window(always(0), version, 0.3) for version in range(1)]
        while not windows[-1].stale and len(windows) < 60:
            windows.append(collector.window(always(0), len(windows), 0.3))
    assert windows[-1].stale[0].version < len(windows) - 1
    assert not any(window.finished for window in windows)


def test_an_action_past_its_limit_has_failed_and_takes_its_children_along(tmp_path):
    file = tmp_path / "pid"
    forks = f"import os, time\nif os.fork() == 0:\n    open({str(file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    with Collector([forks], workers=1, inflight="carry", limit=1.5) as collector:
        found = collector.window(always(0), 0, 2.5)
    assert [one.ok for one in found.finished] == [False]
    assert found.finished[0].seconds >= 1.5
    child = int(file.read_text())
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{child}/cmdline") and time.monotonic() < deadline:
        if " Z " in Path(f"/proc/{child}/stat").read_text():
            break  # dead; whoever inherited it has not looked yet
        time.sleep(0.05)
    else:
        assert not os.path.exists(f"/proc/{child}/cmdline")


def finished(output: str, ok: bool = True) -> Finished:
    return Finished(action=0, output=output, ok=ok, seconds=1.0, version=0)


@pytest.mark.parametrize(
    ("output", "ok", "expected"),
    [("score 0.9\n", True, 0.9), ("score 0.1\nscore 0.7\n", True, 0.7), ("score 0.9\n", False, FAILURE),
     ("", True, FAILURE), ("score nan\n", True, FAILURE), ("score high\n", True, FAILURE),
     ("my score 1\n", True, FAILURE)],
)  # fmt: skip
def test_rewards(output, ok, expected):
    assert reward(finished(output, ok)) == expected


def test_the_gradient_is_that_of_the_weighted_log_likelihood():
    policy = Categorical(3, seed=0, learning_rate=1.0)
    policy.logits = np.array([0.3, -0.2, 0.1])
    actions, rewards, weights = [0, 2, 2], [1.0, 0.0, 0.5], [2.0, 0.5, 0.5]

    def value(logits):
        logs = logits - np.log(np.exp(logits).sum())
        return sum(w * (r - 0.5) * logs[a] for a, r, w in zip(actions, rewards, weights)) / 3

    start = policy.logits.copy()
    policy.learn(actions, rewards, weights)
    step = 1e-6
    numeric = [(value(start + step * row) - value(start - step * row)) / (2 * step) for row in np.eye(3)]
    assert (policy.logits - start).tolist() == pytest.approx(numeric, abs=1e-6)


def test_windows_that_bring_nothing_leave_the_policy_alone():
    policy = Categorical(1, seed=0)
    with Collector([ENDLESS], workers=1, inflight="discard") as collector:
        log = practise(policy, collector, windows=2, seconds=0.1, weigh=True)
    assert policy.logits.tolist() == [0.0]
    assert [one.discarded for one in log] == [1, 1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_training_programs_a_short_window_hides_the_slow_one_and_carrying_shows_it():
    pytest.importorskip("sklearn")
    programs = menu()
    with Collector(programs, workers=1, inflight="carry") as collector:
        lengths = []
        for action in range(4):
            found = ()
            while not found:
                found = collector.window(always(action), 0, 0.5).finished
            lengths.append((found[0].seconds, reward(found[0])))
            collector.__exit__()
    (slow, best), (fast, fair), (_, poor), (_, failed) = lengths
    assert slow > 1.3 * fast
    assert best > fair > poor > failed == FAILURE
    window = 0.9 * slow
    shares = {}
    for inflight in ("discard", "carry"):
        seen = [0, 0]
        with Collector(programs[:2], workers=2, inflight=inflight) as collector:
            order = itertools.cycle([0, 1])
            for version in range(8):
                for one in collector.window(order.__next__, version, window).finished:
                    seen[one.action] += 1
        shares[inflight] = seen[0] / max(1, sum(seen))
    assert shares["discard"] < 0.2 < shares["carry"]
