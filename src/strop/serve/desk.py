"""The desk between requests and judges: who may come in, which judge serves them, and what is counted."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from strop.types import Limits, StropError, Task, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strop.judge import Judge
    from strop.serve.execution import Execution

MOST_SECONDS = 300.0
"""The longest time limit that a request may ask for, in seconds of CPU or wall time."""
MOST_MEMORY_MB = 8192
MOST_CHECKS = 10_000
"""Checks of one task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server is started with."""

    token: str | None = None
    """What requests must show; None only where just this machine can reach the server."""
    workers: int | None = None
    require: str | None = None
    unsafe: bool = False
    limits: Limits = field(default_factory=Limits)
    """Limits of tasks that set none."""
    repeat: int = 1
    tasks: dict[str, tuple[Task, ...]] = field(default_factory=dict)
    """Task sets that requests may name."""
    queue: int = 10_000
    """Programs that may wait or run at once."""
    body_mb: int = 64
    """Largest body of one request; the bodies of all requests together may hold four times as much."""
    head_seconds: float = 10.0
    """How long a connection may take to send a request's head."""
    body_seconds: float = 60.0
    """How long a request may take to send its body, and a client to take what was sent to it."""
    connections: int = 1024
    """Connections held at once; the longest idle ones make room."""
    drain_seconds: float = 600.0
    """How long requests that were begun may go on after SIGTERM."""


class Full(Exception):
    """The queue cannot take the programs now. `seconds`: when to try again; None when they can never fit."""

    def __init__(self, seconds: int | None) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Ticket:
    """The place of one request's programs in the queue."""

    def __init__(self, desk: Desk, programs: int) -> None:
        self._desk = desk
        self._left = programs

    def leave(self, programs: int = 1) -> None:
        """So many of them are done."""
        programs = min(programs, self._left)
        self._left -= programs
        self._desk.waiting -= programs
        self._desk.finished.extend([time.monotonic()] * programs)

    def close(self) -> None:
        """Give back what is left: the request ended, in whatever way."""
        self._desk.waiting -= self._left
        self._left = 0


class Desk:
    """Owns the judges. `verdicts` stops at a program's first failed check; `everything` runs all checks."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.waiting = 0
        self.finished: deque[float] = deque(maxlen=256)
        self.counts = Counts(self)
        self._judges: dict[bool, Judge] = {}
        self._starting = asyncio.Lock()
        self.isolation = ""

    def open(self) -> None:
        """Start the first judge. Raises StropError when no isolation level that is allowed holds."""
        self.isolation = self._start(True).isolation

    def _start(self, stop: bool) -> Judge:
        from strop.judge import Judge

        settings = self.settings
        judge = Judge(
            workers=settings.workers,
            require=settings.require,
            unsafe=settings.unsafe,
            limits=settings.limits,
            repeat=settings.repeat if stop else 1,
            stop_at_first_failure=stop,
        )
        self._judges[stop] = judge
        return judge

    async def _judge(self, stop: bool) -> Judge:
        async with self._starting:
            return self._judges.get(stop) or await asyncio.to_thread(self._start, stop)

    async def _give_up(self, judge: Judge) -> None:
        """A judge that broke is replaced when the next request needs it."""
        for stop, known in list(self._judges.items()):
            if known is judge:
                del self._judges[stop]
                self.counts.restarts.inc()
        await asyncio.to_thread(judge.close)

    def close(self) -> None:
        for judge in self._judges.values():
            judge.close()
        self._judges.clear()

    # ---- the queue

    def admit(self, programs: int) -> Ticket:
        """A place for so many programs. Raises Full."""
        if programs > self.settings.queue:
            raise Full(None)
        if self.waiting + programs > self.settings.queue:
            raise Full(self._seconds_until(self.waiting + programs - self.settings.queue))
        self.waiting += programs
        return Ticket(self, programs)

    @contextmanager
    def admitted(self, programs: int = 1) -> Iterator[Ticket]:
        ticket = self.admit(programs)
        try:
            yield ticket
        finally:
            ticket.close()

    def _seconds_until(self, programs: int) -> int:
        """Until so many have left, at the pace of the last ones."""
        times = self.finished
        pace = len(times) / max(1e-3, time.monotonic() - times[0]) if len(times) > 1 else 10.0
        return min(60, max(1, math.ceil(programs / pace)))

    # ---- judging

    async def stream(
        self, jobs: Iterable[tuple[Any, Task, str]], *, checks: Literal["all", "visible", "hidden"] = "all",
        stop: bool = True, endpoint: str,
    ) -> AsyncGenerator[tuple[Any, Verdict], None]:  # fmt: skip
        """Verdicts as they come. Raises StropError when the judge broke; the next call starts another."""
        judge = await self._judge(stop)
        try:
            # An async generator, though declared as an iterator: closing it drops what has not started.
            async with aclosing(cast(AsyncGenerator, judge.astream(jobs, checks=checks))) as stream:
                async for key, verdict in stream:
                    self.counts.programs.labels(endpoint, verdict.status).inc()
                    self.counts.cpu.inc(verdict.seconds)
                    yield key, verdict
        except StropError:
            await self._give_up(judge)
            raise

    async def verdict(self, task: Task, program: str, *, stop: bool = True, endpoint: str) -> Verdict:
        """The verdict on one program."""
        async with aclosing(self.stream([(0, task, program)], stop=stop, endpoint=endpoint)) as stream:
            async for _, verdict in stream:
                return verdict
        raise StropError("The judge gave no verdict.")

    async def execute(self, source: str, stdin: str, limits: Limits, *, endpoint: str) -> Execution:
        """What a whole program prints. Raises JudgeFailed and StropError."""
        from strop.serve.execution import JudgeFailed, execute

        judge = await self._judge(False)
        try:
            done = await execute(judge, source, stdin, limits)
        except JudgeFailed:
            self.counts.programs.labels(endpoint, "judge_error").inc()
            raise
        except StropError:
            await self._give_up(judge)
            raise
        self.counts.programs.labels(endpoint, "timeout" if done.exit_code is None else "run").inc()
        return done


class Counts:
    """What `/metrics` shows."""

    def __init__(self, desk: Desk) -> None:
        self.registry = registry = CollectorRegistry()
        self.programs = Counter(
            "strop_programs", "Programs judged or run.", ["endpoint", "status"], registry=registry
        )  # fmt: skip
        self.cpu = Counter("strop_program_cpu_seconds", "CPU time of judged programs.", registry=registry)
        self.requests = Counter("strop_requests", "Requests answered.", ["endpoint", "code"], registry=registry)
        self.seconds = Histogram(
            "strop_request_seconds", "From a request's head to the end of its answer.", ["endpoint"],
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300), registry=registry,
        )  # fmt: skip
        self.restarts = Counter("strop_judge_restarts", "Judges that broke and were replaced.", registry=registry)
        waiting = Gauge("strop_queue_programs", "Programs that wait or run.", registry=registry)
        waiting.set_function(lambda: desk.waiting)
        limit = Gauge("strop_queue_limit", "Programs that may wait or run.", registry=registry)
        limit.set(desk.settings.queue)
