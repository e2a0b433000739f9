"""A busy machine changes no verdict: limits count what a program used, and time-outs near a limit are asked again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from strop.judge import Judge
from strop.types import CallCheck, Limits, Task

SQUARE = Task(id="square", prompt="", checks=(CallCheck(function="f", args=(3,), expected=9),))
LIMITS = Limits(cpu_seconds=1.0, wall_seconds=1.6)

WORK = "import time\ndef f(x):\n    while time.process_time() < {cpu}: pass\n    return x * x"
SLEEP = "import time\ndef f(x):\n    time.sleep({wall})\n    return x * x"
KINDS = {
    "light": ("def f(x): return x * x", "passed"),
    "wrong": ("def f(x): return 8", "failed"),
    "half of the CPU time": (WORK.replace("{cpu}", "0.5"), "passed"),
    "half of the wall time": (SLEEP.replace("{wall}", "0.8"), "passed"),
    "too much CPU time": (WORK.replace("{cpu}", "30"), "timeout"),
    "too much wall time": (SLEEP.replace("{wall}", "30"), "timeout"),
}


@contextmanager
def load(times: int) -> Iterator[None]:
    """`times` busy processes a core. They end with this process: each waits for the end of a pipe that it holds."""
    watch = "import os, sys, threading\nthreading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()\n"
    burners = [
        subprocess.Popen([sys.executable, "-I", "-S", "-c", watch + "while True: pass"], stdin=subprocess.PIPE)
        for _ in range(times * len(os.sched_getaffinity(0)))
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
        for burner in burners:
            burner.communicate()


def statuses(judge: Judge, times: int) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {name: set() for name in KINDS}
    jobs = (((i, name), SQUARE, KINDS[name][0]) for i in range(times) for name in KINDS)
    for (_, name), verdict in judge.stream(jobs):
        found[name].add(verdict.status)
    return found


def test_a_loaded_machine_changes_no_verdict():
    with Judge(workers=1, limits=LIMITS) as judge, load(1):
        assert statuses(judge, 1) == {name: {status} for name, (_, status) in KINDS.items()}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_eightfold_load_changes_no_verdict():
    with Judge(workers=2, limits=LIMITS) as judge:
        quiet = statuses(judge, 10)
        with load(8):
            loaded = statuses(judge, 10)
    assert quiet == loaded == {name: {status} for name, (_, status) in KINDS.items()}
