"""The people of a judge: callers, their jobs, and the workers that do them."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

from strop.judge.sandbox.layout import ENVIRONMENT
from strop.types import CheckResult, Limits, Status, StdioCheck, StropError, Task, Verdict

_SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_START = f"import sys; sys.path.insert(0, {_SOURCE!r}); from strop.judge.worker import main; main()"
MAX_PROGRAM = 2 << 20
"""Characters of program text; longer ones are refused unread."""
SLACK_SECONDS = 1.0
"""What a worker may exceed its own allowance by before it is killed."""
MOST_COMPILING = 180.0
"""Wall seconds on top for building a program of another language, once for each kind of check."""
_STATUSES = frozenset(get_args(Status))
_slots = itertools.count(os.getpid() * 7)


@dataclass(slots=True, eq=False)
class Call:
    """One caller's `run` or `stream`."""

    deliver: Callable[[Any], None]
    checks: str
    cancelled: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """One program to judge."""

    call: Call
    key: Any
    task: Task
    program: str
    attempts: int = 0
    done: bool = False
    grace: float = 1.0
    """Factor on the limits: above 1 when a borderline time-out is run again."""
    cache_key: str = ""


@dataclass(slots=True, eq=False)
class Worker:
    process: subprocess.Popen[bytes]
    channel: socket.socket
    slot: int
    core: int | None = None
    """The core that it keeps to, with its programs."""
    heavy: bool = False
    """Has it zygotes with packages?"""
    languages: frozenset[str] = frozenset()
    """Other languages that it has boxes for."""
    ready: bool = False
    jobs: OrderedDict[int, Job] = field(default_factory=OrderedDict)
    """Handed out and not answered, oldest first; the first is running."""
    tasks: OrderedDict[int, Task] = field(default_factory=OrderedDict)
    """Tasks it knows, by id(); kept alive here so that an id stays unique."""
    inbox: bytearray = field(default_factory=bytearray)
    outbox: bytearray = field(default_factory=bytearray)
    since: float = 0.0
    """When the running job began, and the worker's CPU time then."""
    cpu_then: float = 0.0
    level: str = ""
    slowness: float = 1.0

    def stamp(self) -> None:
        """The next job begins now."""
        self.since = time.monotonic()
        self.cpu_then = cpu_of(self.process.pid)


def core_for(count: int, workers: list[Worker]) -> int | None:
    """A core that none of these `workers` keeps to, where there is one of `count` workers for every core.

    A worker and its program take turns, and what one has just written the other reads: kept on one core, both find it
    in that core's cache, and no other core has to be woken. Fewer workers would leave cores idle that they could use.
    """
    cores = os.sched_getaffinity(0)
    return min(cores - {worker.core for worker in workers}, default=None) if count >= len(cores) else None


def start_worker(common: dict[str, Any], core: int | None = None) -> Worker:
    """A new worker process, on its way up. Raises StropError when no interpreter can be started."""
    ours, theirs = socket.socketpair()
    slot = next(_slots) % 4000
    config = common | {"slot": slot, "core": core, "parent": os.getpid(), "socket": theirs.fileno()}
    command = [sys.executable, "-P", "-s", "-S", "-B", "-X", "utf8", "-c", _START, json.dumps(config)]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if os.environ.get("STROP_JUDGE_DEBUG") else subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            # The zygote's hash seed, so that sets keep their order on the way; and checks may not start threads.
            env={"PYTHONHASHSEED": "0", **ENVIRONMENT},
        )
    except OSError as error:
        ours.close()
        raise StropError(f"The judge cannot start a worker: {error}") from None
    finally:
        theirs.close()
    ours.setblocking(False)
    languages = frozenset(common["languages"])
    return Worker(process, ours, slot, core, common["heavy"], languages, since=time.monotonic())


def verdict_of(message: dict[str, Any], level: str) -> Verdict:
    """The verdict in a worker's message. Raises ValueError, TypeError or LookupError when it holds none."""
    statuses = {message["status"], *(check[2] for check in message["checks"])}
    if not statuses <= _STATUSES:
        raise ValueError(f"unknown status among {statuses}")
    return Verdict(
        status=message["status"],
        fraction=min(1.0, max(0.0, float(message["fraction"]))),
        checks=tuple(
            CheckResult(
                name=str(name),
                passed=status == "passed",
                visible=visible is True,
                status=status,
                message=str(text),
                actual=None if actual is None else str(actual),
                expected=None if expected is None else str(expected),
            )
            for name, visible, status, text, actual, expected in message["checks"]
        ),
        seconds=float(message["seconds"]),
        wall_seconds=float(message["wall"]),
        memory_mb=float(message["memory"]),
        detail=str(message["detail"]),
        output=str(message["output"]),
        isolation=level,
        flags=tuple(map(str, message["flags"])),
    )


def allowance(worker: Worker, job: Job, common: Limits, repeat: int) -> tuple[float, float]:
    """CPU seconds of the worker itself, and wall seconds in all, that one job may take."""
    own = job.task.limits
    cpu = (own.cpu_seconds or common.cpu_seconds or 3.0 * worker.slowness) * job.grace
    wall = (own.wall_seconds or common.wall_seconds or cpu + 2.0) * job.grace
    runs = repeat * max(1, sum(isinstance(check, StdioCheck) for check in job.task.checks))
    # Wall time is only a net below the worker's own limits, which leave out time spent waiting for a core.
    compiler = 0 if job.task.language == "python" else MOST_COMPILING
    return repeat * cpu + SLACK_SECONDS, 20 * runs * (wall + cpu) + 30 + compiler


def stalled(job: Job) -> Verdict:
    return Verdict(
        status="timeout",
        fraction=0.0,
        detail="checking what the program returned took too long",
        flags=("judge_limit",),
    )


def refusal(why: dict[str, str], levels: list[str]) -> str:
    reasons = " ".join(f"{level}: {reason}." for level, reason in why.items())
    return (
        f"No isolation level that was allowed ({', '.join(levels)}) holds on this machine. {reasons} "
        "Run where user namespaces or Landlock are available, or pass unsafe=True (--unsafe) to run without isolation."
    )


def delay_of(pid: int) -> float:
    """Seconds that a process was ready to run and had to wait for a core."""
    try:
        with open(f"/proc/{pid}/schedstat") as stat:
            return int(stat.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def cpu_of(pid: int) -> float:
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0
