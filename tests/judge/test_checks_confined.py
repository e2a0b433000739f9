# ruff: noqa: E501 (checks are easier to read on one line)
"""Checks that nobody has read: a hostile check, or a hostile task file, harms neither the machine nor the judge."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from pathlib import Path

import pytest
from judge_helpers import QUICK, family, settle, task

from strop.judge import Judge
from strop.judge.staff import verdict_of
from strop.types import CallCheck, Limits, ScriptCheck, StdioCheck, StropError, Task

SQUARE = Task(id="square", prompt="", checks=(CallCheck(function="f", args=(3,), expected=9),))
GOOD = "def f(x): return x * x"

# Each tries something and passes if it was refused.
REFUSED = {
    "forks": "import os\ntry:\n    pid = os.fork()\nexcept OSError:\n    pass\nelse:\n    os._exit(1) if pid == 0 else None\n    assert False",
    "starts a process": "import subprocess\ntry:\n    subprocess.run(['/bin/true'])\nexcept OSError:\n    pass\nelse:\n    assert False",
    "spawns a process": "import os\ntry:\n    os.posix_spawn('/bin/true', ['true'], {})\nexcept OSError:\n    pass\nelse:\n    assert False",
    "starts a thread": "import threading\ntry:\n    threading.Thread(target=print).start()\nexcept RuntimeError:\n    pass\nelse:\n    assert False",
    "opens a network socket": "import socket\ntry:\n    socket.create_connection(('127.0.0.1', PORT), 1)\nexcept OSError:\n    pass\nelse:\n    assert False",
    "sends a datagram to a local socket": "import socket\ntry:\n    socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\nexcept OSError:\n    pass\nelse:\n    assert False",
    "writes a file": "try:\n    open('FOLDER/strop_leak', 'w')\nexcept OSError:\n    pass\nelse:\n    assert False",
    "appends to a file": "try:\n    open('FOLDER/here', 'a')\nexcept OSError:\n    pass\nelse:\n    assert False",
    "removes a file": "import os\ntry:\n    os.unlink('FOLDER/here')\nexcept OSError:\n    pass\nelse:\n    assert False",
    "makes a directory": "import os\ntry:\n    os.mkdir('FOLDER/strop_leak')\nexcept OSError:\n    pass\nelse:\n    assert False",
    "changes a mode": "import os\ntry:\n    os.chmod('FOLDER/here', 0o777)\nexcept OSError:\n    pass\nelse:\n    assert False",
    "reads a file of the user": "try:\n    open('FOLDER/here').read()\nexcept OSError:\n    pass\nelse:\n    assert False",
    "reads another process": "try:\n    open('/proc/PARENT/environ').read()\nexcept OSError:\n    pass\nelse:\n    assert False",
    "kills its parent": "import os\ntry:\n    os.kill(PARENT, 9)\nexcept OSError:\n    pass\nelse:\n    assert False",
    "kills everything": "import os\ntry:\n    os.kill(-1, 9)\nexcept OSError:\n    pass\nelse:\n    assert False",
    "raises its limits": "import resource\ntry:\n    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nexcept (OSError, ValueError):\n    pass\nelse:\n    assert False",
    "makes files in memory": "import os\ntry:\n    os.memfd_create('x')\nexcept OSError:\n    pass\nelse:\n    assert False",
}  # fmt: skip


@pytest.fixture(params=["userns", "root", "plain"])
def own_judge(request):
    """A judge that no other test shares, since its workers are attacked."""
    try:
        judge = Judge(workers=1, level=request.param, limits=QUICK)
    except StropError as error:
        pytest.skip(f"level {request.param} does not hold here: {error}")
    with judge:
        yield judge


def test_what_harms_others_is_refused(own_judge):
    canary = socket.create_server(("127.0.0.1", 0))
    canary.setblocking(False)
    with tempfile.TemporaryDirectory() as folder, canary:
        here = Path(folder, "here")
        here.write_text("secret")

        def adapted(code: str) -> Task:
            code = code.replace("FOLDER", folder).replace("PARENT", str(os.getpid()))
            return task(f"{code.replace('PORT', str(canary.getsockname()[1]))}\nassert f(3) == 9", entry_point="f")

        verdicts = dict(own_judge.stream((name, adapted(code), GOOD) for name, code in REFUSED.items()))
        assert {name: v for name, v in verdicts.items() if not v.passed} == {}
        assert list(Path(folder).iterdir()) == [here]
        assert here.read_text() == "secret"
        assert here.stat().st_mode & 0o777 != 0o777
        with pytest.raises(BlockingIOError):
            canary.accept()


SPOILED = {
    "ends its process": "import os\nos._exit(0)",
    "crashes its process": "import ctypes\nctypes.string_at(0)",
    "eats memory": "keep = []\nwhile True: keep.append(bytearray(1 << 24))",
    "eats memory at once": "x = bytearray(1 << 40)",
    "never ends": "while True: pass",
    "never ends, and swallows every exception": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "sleeps through every alarm": "import signal\nsignal.signal(signal.SIGVTALRM, signal.SIG_IGN)\nwhile True: pass",
    "is one endless call into C": "x = 3 ** (2 ** 40)",
    "recurses without end": "def g(): g()\ng()",
    "closes every descriptor": "import os\nos.closerange(0, 64)",
    "prints without end": "import os\nfor _ in range(10_000): print('x' * 10_000)\nassert False",
    "talks to the supervisor": "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'\\x05\\0\\0\\0{\"a\"}' * 99)\n    except OSError: pass\nassert False",
    "announces four gigabytes": "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'\\xff\\xff\\xff\\xff')\n    except OSError: pass\nassert False",
    "refuses every level": "import os, struct, json\nm = json.dumps({'refused': {}}).encode()\nfor fd in range(3, 64):\n    try: os.write(fd, struct.pack('<I', len(m)) + m)\n    except OSError: pass\nassert False",
    "asks for a thousand processes": "import gc\nfor z in [o for o in gc.get_objects() if type(o).__name__ == 'Zygote']:\n    for _ in range(1000): z._fork(__import__('strop.judge.bounds').judge.bounds.Bounds(9, 9, 1 << 40, 1 << 40))\nassert False",
}  # fmt: skip


QUICK_ONES = ("eats memory at once", "closes every descriptor", "announces four gigabytes", "refuses every level")


def test_what_harms_the_judge_costs_the_task_only():
    with Judge(workers=1, limits=QUICK) as judge:
        harm(judge, QUICK_ONES)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_harms_the_judge_at_any_level(own_judge):
    harm(own_judge, tuple(SPOILED))


def harm(own_judge: Judge, names: tuple[str, ...]) -> None:
    before = set(family())
    checks = {name: task(f"f(3)\n{SPOILED[name]}", entry_point="f") for name in names}
    verdicts = dict(own_judge.stream((name, check, GOOD) for name, check in checks.items()))
    assert len(verdicts) == len(names)
    assert not {name: v for name, v in verdicts.items() if v.passed}
    good, bad = own_judge.run(SQUARE, [GOOD, "def f(x): return 8"])
    assert good.passed, good
    assert bad.status == "failed"
    assert len(settle(lambda: set(family()) - before)) <= 2, "one worker and its zygote, in place of those that died"


def test_a_hostile_task_file_is_only_data(own_judge):
    """Set-up, stub, reference and comparer run or are read beside the checks."""
    attack = "import os\nos.posix_spawn('/bin/touch', ['touch', '/tmp/strop_leak_task'], {})"
    tasks = [
        task("assert f(3) == 9", entry_point="f", setup=attack),
        task("assert f(3) == helper()", entry_point="f", stub=f"{attack}\ndef helper():\n    return 9\ndef f(x): ..."),
        task("assert f(3) == 9", entry_point="f", reference="(" * 100_000),
        Task(id="c", prompt="", checks=(StdioCheck(stdin="", stdout="", comparer=f"{attack}\ndef compare(*a): return True"),)),
        Task(id="l", prompt="", checks=(ScriptCheck(code="assert f(3) == 9\n" * 200_000 + "assert f(3) == 8"),), limits=Limits(cpu_seconds=0.2)),
        Task(id="s", prompt="", checks=(StdioCheck(stdin="x" * (65 << 20), stdout=""),)),
    ]  # fmt: skip
    verdicts = [own_judge.run(one, [GOOD])[0] for one in tasks]
    assert [v.passed for v in verdicts] == [False, True, True, False, False, False], verdicts
    assert verdicts[0].status == verdicts[3].status == "judge_error"
    assert "standard input" in verdicts[5].detail
    assert not Path("/tmp/strop_leak_task").exists()
    assert own_judge.run(SQUARE, [GOOD])[0].passed


def test_checks_may_use_the_library_and_the_packages_that_were_asked_for(own_judge):
    code = """
import collections, decimal, json, math, random, re, statistics, unittest, zoneinfo
import numpy as np
assert np.allclose(f(3), 9)
assert json.loads(json.dumps([f(3)])) == [9]
"""
    verdict = own_judge.run(task(code, entry_point="f"), [GOOD])[0]
    assert verdict.passed, verdict
    started = time.monotonic()
    assert own_judge.run(SQUARE, ["import numpy\ndef f(x): return int(numpy.square(x))"])[0].passed
    assert time.monotonic() - started < 60, "a worker with numpy takes the place of the one without"


@pytest.mark.parametrize(
    "change",
    [{"status": "won"}, {"fraction": "all"}, {"checks": [["a"]]}, {"checks": [["a", True, "won", "", None, None]]}, {"flags": 7}],
)  # fmt: skip
def test_a_verdict_that_is_none_is_refused(change):
    message = {
        "status": "passed", "fraction": 1.0, "checks": [], "seconds": 0, "wall": 0, "memory": 0, "detail": "", "output": "", "flags": [],
    }  # fmt: skip
    assert verdict_of(message, "userns").passed
    with pytest.raises((ValueError, TypeError, LookupError)):
        verdict_of(message | change, "userns")
