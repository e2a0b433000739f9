"""Asynchronous collection: actions that run for very different times, on several workers, in windows of time.

Training a large model takes minutes, a linear one a second; a learner that waits for the slowest action wastes its
workers. So actions run in processes of their own, and after each window the learner updates on what has finished. What
becomes of actions in flight when a window ends is a choice that decides what the learner sees:

    discard  they are ended and lost. Slow actions are then seen too rarely, and the policy drifts to fast ones; weights
             by duration (`weights.by_duration`) are the cure of Yang, He-Yueya and Liang 2025 (arXiv 2509.01684).
    carry    they go on and count in the window in which they end. Each kind is then seen as often as it was chosen, and
             a weight by duration overcounts slow ones. What they were chosen by is old by then: `max_staleness`.

Actions are Python programs from a menu that the experiment wrote. Programs that a model wrote belong into the judge:
nothing isolates them here but a process and its limits.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Literal, TypeAlias

InFlight: TypeAlias = Literal["discard", "carry"]
MOST_OUTPUT = 100_000
"""Characters of a program's output that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """An action that ran to its end."""

    action: int
    """Its place in the menu."""
    output: str
    """What it printed on standard output."""
    ok: bool
    """It exited with 0, before the limit."""
    seconds: float
    """Wall-clock, from its start to its end."""
    version: int
    """Of the policy that chose it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one window brought, and what it lost."""

    finished: tuple[Finished, ...]
    discarded: tuple[tuple[int, float], ...]
    """(action, seconds it had run) of actions in flight that were ended."""
    stale: tuple[Finished, ...]
    """Finished, but chosen too many versions ago."""
    running: int
    """Actions that go on into the next window."""
    seconds: float


@dataclass(slots=True)
class _Running:
    action: int
    version: int
    began: float
    process: subprocess.Popen[bytes]
    handle: int
    output: IO[bytes]


class Collector:
    """Runs actions of a menu on `workers` processes. A context manager: leaving it ends whatever runs."""

    def __init__(
        self, menu: list[str], *, workers: int, inflight: InFlight, max_staleness: int | None = None,
        limit: float = 600.0, threads: int = 1,
    ) -> None:  # fmt: skip
        """menu: Python programs. max_staleness: versions that an action's policy may be behind; None for any. limit:
        seconds after which an action has failed. threads: of each process, for libraries that count cores."""
        self.menu, self.workers, self.inflight = menu, workers, inflight
        self.max_staleness, self.limit = max_staleness, limit
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self._environment = os.environ | {name: str(threads) for name in names}
        self._running: list[_Running] = []

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: Any) -> None:
        while self._running:
            self._end(self._running[0])

    def window(self, choose: Callable[[], int], version: int, seconds: float) -> Window:
        """Keep all workers busy for `seconds` with what `choose` gives, places in the menu; `version` is the policy's.

        Lasts as long as was asked for, plus what ending processes takes.
        """
        began = time.monotonic()
        done: list[Finished] = []
        while (left := began + seconds - time.monotonic()) > 0:
            while len(self._running) < self.workers:
                self._start(choose(), version)
            done += self._wait(left)
        discarded: list[tuple[int, float]] = []
        if self.inflight == "discard":
            while self._running:
                one = self._running[0]
                discarded.append((one.action, time.monotonic() - one.began))
                self._end(one)
        stale = [one for one in done if self.max_staleness is not None and version - one.version > self.max_staleness]
        return Window(
            finished=tuple(one for one in done if one not in stale),
            discarded=tuple(discarded),
            stale=tuple(stale),
            running=len(self._running),
            seconds=time.monotonic() - began,
        )

    def _start(self, action: int, version: int) -> None:
        output = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(
            [sys.executable, "-c", self.menu[action]],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL, env=self._environment,
            start_new_session=True,
        )  # fmt: skip
        handle = os.pidfd_open(process.pid)
        self._running.append(_Running(action, version, time.monotonic(), process, handle, output))

    def _wait(self, seconds: float) -> list[Finished]:
        """Actions that end within `seconds`, as soon as there is one; those past the limit are ended and failed."""
        now = time.monotonic()
        until = min([now + seconds, *(one.began + self.limit for one in self._running)])
        waiter = select.poll()
        for one in self._running:
            waiter.register(one.handle, select.POLLIN)
        ready = {handle for handle, _ in waiter.poll(max(0.0, until - now) * 1000)}
        now = time.monotonic()
        ended = [one for one in self._running if one.handle in ready or now - one.began > self.limit]
        return [self._finish(one, now) for one in ended]

    def _finish(self, one: _Running, now: float) -> Finished:
        in_time = one.process.poll() is not None
        one.output.seek(0)
        text = one.output.read(MOST_OUTPUT).decode(errors="replace")
        self._end(one)
        return Finished(
            action=one.action, output=text, ok=in_time and one.process.returncode == 0, seconds=now - one.began,
            version=one.version,
        )  # fmt: skip

    def _end(self, one: _Running) -> None:
        """End the process with everything it started, and forget it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.process.pid, signal.SIGKILL)
        one.process.wait()
        os.close(one.handle)
        one.output.close()
        self._running.remove(one)
