"""Long mixed load: every program gets its verdict, none is misjudged, nothing is left behind."""

from __future__ import annotations

import random

import pytest

from strop.judge import Judge
from strop.types import CallCheck, Limits, Task

KINDS = {
    "good": "def f(x):\n    return x * x\n",
    "wrong": "def f(x):\n    return x + {n}\n",
    "raises": "def f(x):\n    raise KeyError({n})\n",
    "hang": "def f(x):\n    while True:\n        pass\n",
    "memory": "def f(x):\n    keep = []\n    while True:\n        keep.append(bytearray(16 << 20))\n",
    "flood": "import os\ndef f(x):\n    for _ in range(400):\n        os.write(1, b'x' * (1 << 20))\n",
    "forks": "import os\nfor _ in range(40):\n    os.fork()\ndef f(x):\n    return x * x\n",
}
EXPECTED = {
    "good": {"passed"},
    "wrong": {"failed"},
    "raises": {"runtime_error"},
    "hang": {"timeout"},
    "memory": {"out_of_memory"},
    "flood": {"runtime_error"},
    "forks": {"forbidden"},
}
SHARES = {"good": 60, "wrong": 14, "raises": 10, "hang": 5, "memory": 5, "flood": 5, "forks": 1}


def mixed(count: int) -> dict:
    """Kinds that were misjudged, of `count` programs in the shares above."""
    task = Task(id="square", prompt="", checks=(CallCheck(function="f", args=(7,), expected=49),))
    kinds = random.Random(1).choices(list(SHARES), list(SHARES.values()), k=count)
    jobs = (((i, kind), task, KINDS[kind].replace("{n}", str(i))) for i, kind in enumerate(kinds))
    missed, seen = {}, 0
    with Judge(workers=2, limits=Limits(cpu_seconds=0.5, wall_seconds=1.0, memory_mb=256)) as judge:
        for (index, kind), verdict in judge.stream(jobs):
            seen += 1
            if verdict.status not in EXPECTED[kind]:
                missed[index, kind] = (verdict.status, verdict.detail)
    assert seen == count
    return missed


def test_a_short_mixed_load():
    assert mixed(60) == {}


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_twenty_thousand_mixed_programs():
    assert mixed(20_000) == {}
