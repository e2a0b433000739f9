"""The pool: streams, order, cancellation, workers and zygotes that die, processes and descriptors that must go."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time

import psutil
import pytest
from judge_helpers import QUICK, REPO, family, running_programs, settle, task

from strop import judge as module
from strop.judge import Judge
from strop.types import CallCheck, Limits, StropError, Task

SQUARE = Task(id="square", prompt="", checks=(CallCheck(function="f", args=(3,), expected=9),))
GOOD, BAD = "def f(x): return x * x", "def f(x): return 8"


def test_verdicts_come_in_the_order_of_the_programs(judge):
    programs = [
        f"import time\ntime.sleep({0.2 if i % 7 == 0 else 0})\ndef f(x): return {9 if i % 3 else i}" for i in range(30)
    ]
    verdicts = judge.run(SQUARE, programs)
    assert [v.passed for v in verdicts] == [i % 3 != 0 or i == 9 for i in range(30)]
    assert judge.run(SQUARE, []) == []


def test_stream_is_lazy_bounded_and_complete(judge):
    taken = 0

    def jobs():
        nonlocal taken
        for i in range(400):
            taken += 1
            yield i, SQUARE, GOOD if i % 2 else BAD

    stream = judge.stream(jobs())
    assert taken == 0
    first = next(stream)
    assert taken <= 16 * judge.workers
    rest = dict([first, *stream])
    assert rest.keys() == set(range(400))
    assert all(v.passed is bool(i % 2) for i, v in rest.items())


def test_an_endless_stream_can_be_left(judge):
    stream = judge.stream((i, SQUARE, GOOD) for i in itertools.count())
    assert len(list(itertools.islice(stream, 20))) == 20
    stream.close()
    assert all(v.passed for v in judge.run(SQUARE, [GOOD] * 10))


def test_an_error_in_the_source_reaches_the_caller(judge):
    def jobs():
        yield 0, SQUARE, GOOD
        raise LookupError("bad source")

    with pytest.raises(LookupError, match="bad source"):
        list(judge.stream(jobs()))
    assert judge.run(SQUARE, [GOOD])[0].passed


def test_several_threads_share_one_judge(judge):
    found: dict[int, list[bool]] = {}

    def ask(n: int) -> None:
        found[n] = [v.passed for v in judge.run(SQUARE, [GOOD, BAD] * 10)]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {n: [True, False] * 10 for n in range(4)}


def test_asyncio(judge):
    async def main():
        both = await asyncio.gather(judge.arun(SQUARE, [GOOD] * 5), judge.arun(SQUARE, [BAD] * 5))
        streamed = [key async for key, verdict in judge.astream((i, SQUARE, GOOD) for i in range(40)) if verdict.passed]
        slow = asyncio.create_task(judge.arun(SQUARE, ["import time\ntime.sleep(1)"] * 50))
        await asyncio.sleep(0.2)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        return both, streamed

    (good, bad), streamed = asyncio.run(main())
    assert all(v.passed for v in good)
    assert not any(v.passed for v in bad)
    assert sorted(streamed) == list(range(40))
    started = time.monotonic()
    assert judge.run(SQUARE, [GOOD])[0].passed, "what was cancelled does not hold up the next"
    assert time.monotonic() - started < 30


def _pids(judge: Judge, word: str) -> list[int]:
    mine = {worker.process.pid for worker in judge._dispatcher.workers if worker.ready}
    return [pid for pid, line in family().items() if word in line and (pid in mine or _parent(pid) in mine)]


def _parent(pid: int) -> int:
    try:
        return psutil.Process(pid).ppid()
    except psutil.NoSuchProcess:
        return 0


@pytest.mark.parametrize("victim", ["strop.judge.worker", "sandbox.zygote"])
def test_killed_workers_and_zygotes_lose_no_verdict(victim):
    with Judge(workers=2, limits=QUICK) as judge:
        stop = threading.Event()

        def killer() -> None:
            for _ in range(4):
                if stop.wait(0.7):
                    return
                for pid in _pids(judge, victim)[:1]:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass

        thread = threading.Thread(target=killer)
        thread.start()
        try:
            jobs = ((i, SQUARE, GOOD if i % 2 else BAD) for i in range(400))
            verdicts = dict(judge.stream(jobs))
        finally:
            stop.set()
            thread.join()
        assert len(verdicts) == 400
        wrong = {i: v for i, v in verdicts.items() if v.passed is not bool(i % 2)}
        assert all(v.status == "judge_error" for v in wrong.values()), wrong
        assert len(wrong) <= 3, "a program is tried three times"


def test_close_ends_everything_even_in_the_middle():
    judge = Judge(workers=2, limits=Limits(cpu_seconds=60, wall_seconds=60))
    errors = []

    def ask() -> None:
        try:
            judge.run(SQUARE, ["while True: pass"] * 8)
        except StropError as error:
            errors.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.7)
    judge.close()
    thread.join(10)
    assert not thread.is_alive()
    assert "closed" in errors[0]
    with pytest.raises(StropError, match="closed"):
        judge.run(SQUARE, [GOOD])
    judge.close()


SCRIPT = """
import sys, time
from strop.judge import Judge
from strop.types import *
task = Task(id="t", prompt="", checks=(CallCheck(function="f", args=(3,), expected=9),))
judge = Judge(workers=2, limits=Limits(cpu_seconds=60, wall_seconds=60))
print("ready", flush=True)
judge.run(task, ["import os\\nwhile True: pass"] * 8)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_caller_that_is_ended_leaves_nothing(how):
    environment = os.environ | {"PYTHONPATH": str(REPO / "src")}
    caller = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"ready\n"
        time.sleep(0.7)
        below = psutil.Process(caller.pid).children(recursive=True)
        assert len(below) >= 4
        caller.send_signal(how)
        assert caller.wait(20) != 0
        assert not settle(lambda: [p for p in below if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], 10)
    finally:
        caller.kill()
        caller.wait()
        if caller.stdout is not None:
            caller.stdout.close()


def test_a_fork_of_the_caller_is_refused_and_harms_nothing(judge):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            judge.run(SQUARE, [GOOD])
            os.write(write, b"ran")
        except StropError as error:
            judge.close()
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    assert b"before a fork" in os.read(read, 1000)
    os.close(read)
    assert judge.run(SQUARE, [GOOD])[0].passed


def test_the_shared_judge():
    try:
        first = module.run(SQUARE, [GOOD, BAD], workers=1, limits=QUICK)
        again = module.run(SQUARE, [BAD], workers=1, limits=QUICK)
        assert [v.passed for v in first + again] == [True, False, False]
    finally:
        module.close()


def test_cache_and_repeat():
    with Judge(workers=1, limits=QUICK, cache=10, repeat=3) as judge:
        flaky = "import os\ndef f(x): return 9 if hash('a') % 2 else 8"
        steady, unsteady = judge.run(SQUARE, [GOOD, "def f(x): return 9 + len({hash('a'), 0}) - 2"])
        assert steady.passed
        assert steady.flags == ()
        assert unsteady.passed
        answers = {judge.run(SQUARE, [flaky.replace("'a'", repr(str(n)))])[0].flags for n in range(8)}
        assert ("flaky",) in answers, "three hash seeds show what depends on them"
        assert judge.run(SQUARE, [GOOD])[0] is judge.run(SQUARE, [GOOD])[0]


def test_bad_options():
    for options in ({"workers": 0}, {"repeat": 0}, {"require": "strong"}, {"level": "unsafe"}):
        with pytest.raises(StropError):
            Judge(**options)
    with Judge(workers=1) as judge, pytest.raises(StropError, match="checks="):
        judge.run(SQUARE, [GOOD], checks="some")


def test_a_task_that_cannot_be_sent_is_the_judges_error(judge):
    odd = Task(id="odd", prompt="", checks=(CallCheck(function="f", expected=lambda: 1),))
    (verdict,) = judge.run(odd, [GOOD])
    assert verdict.status == "judge_error"
    assert "odd" in verdict.detail


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_descriptors_and_memory_stay_flat_over_ten_thousand_programs():
    stay_flat(10_000, 3 << 20)


def test_descriptors_and_memory_stay_flat():
    """A shorter run than the slow one above, against leaks that show at once."""
    stay_flat(600, 2 << 20)


def stay_flat(count: int, growth: int) -> None:
    with Judge(workers=2) as judge:

        def state() -> tuple[int, list[int]]:
            pids = [os.getpid(), *(w.process.pid for w in judge._dispatcher.workers)]
            return (
                sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
                [psutil.Process(pid).memory_info().rss for pid in pids],
            )

        for _ in judge.stream((i, task(f"assert f({i}) == {i * i}"), GOOD) for i in range(400)):
            pass
        descriptors, memory = state()
        for _ in judge.stream((i, task(f"assert f({i}) == {i * i}"), GOOD) for i in range(count)):
            pass
        descriptors_after, memory_after = state()
    assert descriptors_after == descriptors
    for before, after in zip(memory, memory_after):
        assert after - before < growth, (memory, memory_after)


def test_starting_costs_nothing_more_in_a_big_process():
    """The caller is never forked: its size does not matter."""
    code = textwrap.dedent("""
        import json, time
        ballast = bytearray(BYTES)
        ballast[::4096] = b"x" * len(ballast[::4096])
        from strop.judge import Judge
        from strop.types import *
        task = Task(id="t", prompt="", checks=(CallCheck(function="f", args=(3,), expected=9),))
        with Judge(workers=1) as judge:
            judge.run(task, ["def f(x): return 9"] * 20)
            start = time.monotonic()
            assert all(v.passed for v in judge.run(task, ["def f(x): return 9"] * 60))
            print(json.dumps(time.monotonic() - start))
    """)
    environment = os.environ | {"PYTHONPATH": str(REPO / "src")}

    def seconds(size: int) -> float:
        command = [sys.executable, "-c", code.replace("BYTES", str(size))]
        return json.loads(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)

    small, large = min(seconds(1 << 20) for _ in range(2)), min(seconds(1 << 30) for _ in range(2))
    assert large < small * 2 + 0.5, (small, large)  # forking a gigabyte would add 50 ms to each of 60 programs
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


def test_a_language_that_is_not_judged_is_refused(judge):
    cobol = Task(id="rusty", prompt="", language="cobol", checks=SQUARE.checks)
    with pytest.raises(StropError, match=r"'rusty', field `language`: 'cobol' is not one of python"):
        judge.run(cobol, [GOOD])

    async def main():
        await judge.arun(cobol, [GOOD])

    with pytest.raises(StropError, match="rusty"):
        asyncio.run(main())
    with pytest.raises(StropError, match="a program is text, not bytes"):
        judge.run(SQUARE, [GOOD.encode()])
    assert judge.run(SQUARE, [GOOD])[0].passed


def test_the_next_process_is_ready_and_none_is_left_over(judge):
    """Processes are forked ahead only for programs that are here; hangs and deaths in between change nothing."""
    programs = [GOOD, BAD, "import os\nos._exit(0)", GOOD, "raise ValueError", BAD] * 6
    tight = Task(id="tight", prompt="", checks=SQUARE.checks, limits=Limits(memory_mb=300))
    jobs = ((i, tight if i % 3 else SQUARE, program) for i, program in enumerate(programs))  # limits differ
    verdicts = dict(judge.stream(jobs))
    expected = ["passed", "failed", "runtime_error", "passed", "runtime_error", "failed"] * 6
    assert [verdicts[i].status for i in range(36)] == expected
    assert not settle(running_programs)
