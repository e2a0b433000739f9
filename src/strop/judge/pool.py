"""`Judge`: hands programs to judge workers and gathers their verdicts.

A dispatcher thread owns the workers. It never forks: workers are started as fresh interpreters (through vfork), so the
size of the calling process does not matter. It keeps each worker one job ahead, restarts workers that die, asks again
for programs whose worker died under them, and kills workers that are late.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Literal

from strop.judge import languages
from strop.judge.dispatch import Dispatcher
from strop.judge.staff import Call, Job
from strop.types import Limits, StropError, Task, Verdict

Which = Literal["all", "visible", "hidden"]


class Judge:
    """Judges programs on `workers` processes. Use it as a context manager, or call `close()`.

    Args:
        workers: programs judged at once; the number of usable cores by default. With `ray`: on each node, and by
            default as many as its CPUs.
        require: lowest isolation level to accept, one of `userns`, `root`, `plain`. StropError if it does not hold.
        unsafe: accept resource limits without isolation when nothing better holds. Verdicts say so.
        level: use exactly this level (for tests and benchmarks).
        limits: defaults for tasks that set none of their own. What stays None is calibrated: 3 CPU seconds on the
            reference machine and as much more as this one is slower, 2 s on top for sleeping, 512 MB, 1 MiB of output.
        preload: third-party packages that programs may import, warm in a second zygote for programs that name them.
            Programs see no other installed package.
        stop_at_first_failure: do not run further checks of a program after one failed.
        repeat: run every program this often, each time with another hash seed; differing outcomes are flagged `flaky`.
        cache: remember this many verdicts by program, task and selection. 0: none.
        ray: address of a Ray cluster, or `auto`: programs are judged on its nodes, and `cluster.py` says how.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        require: str | None = None,
        unsafe: bool = False,
        level: str | None = None,
        limits: Limits | None = None,
        preload: tuple[str, ...] = ("numpy",),
        stop_at_first_failure: bool = True,
        repeat: int = 1,
        cache: int = 0,
        ray: str | None = None,
    ) -> None:
        if (workers is not None and workers < 1) or repeat < 1:
            raise StropError("The judge needs at least one worker and at least one run per program.")
        self._pid = os.getpid()
        levels, limits = _ladder(require, unsafe, level), limits or Limits()
        if ray is not None:
            from strop.judge.cluster import Cluster

            options = {
                "require": require, "unsafe": unsafe, "level": level, "limits": limits, "preload": preload,
                "stop_at_first_failure": stop_at_first_failure, "repeat": repeat, "cache": cache,
            }  # fmt: skip
            self._dispatcher = Cluster(ray, workers, options)
        else:
            self._dispatcher = Dispatcher(
                workers=workers or len(os.sched_getaffinity(0)),
                levels=levels,
                limits=limits,
                preload=preload,
                stop_early=stop_at_first_failure,
                repeat=repeat,
                cache=cache,
            )
        self._dispatcher.begin()

    @property
    def workers(self) -> int:
        """Programs judged at once; on a cluster, by the nodes that are there now."""
        return self._dispatcher.count

    @property
    def isolation(self) -> str:
        """The level of the ladder in use."""
        return self._dispatcher.level

    # ---- judging

    def run(self, task: Task, programs: Sequence[str], *, checks: Which = "all") -> list[Verdict]:
        """Verdicts of `programs`, in their order."""
        verdicts: list[Any] = [None] * len(programs)
        for index, verdict in self.stream(((i, task, p) for i, p in enumerate(programs)), checks=checks):
            verdicts[index] = verdict
        return verdicts

    def stream(
        self, jobs: Iterable[tuple[Hashable, Task, str]], *, checks: Which = "all"
    ) -> Iterator[tuple[Any, Verdict]]:
        """Verdicts as they finish, each with the key of its job. Takes from `jobs` only as fast as it judges."""
        results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        flow = _Flow(self, results.put, jobs, checks)
        try:
            while flow.refill():
                item = results.get()
                while True:  # hand over all that is there, then refill
                    yield flow.taken(item)
                    if flow.is_low:
                        break
                    try:
                        item = results.get_nowait()
                    except queue.Empty:
                        break
        finally:
            flow.end()

    async def arun(self, task: Task, programs: Sequence[str], *, checks: Which = "all") -> list[Verdict]:
        """`run` for asyncio; cancelling it drops what has not started."""
        verdicts: list[Any] = [None] * len(programs)
        async for index, verdict in self.astream(((i, task, p) for i, p in enumerate(programs)), checks=checks):
            verdicts[index] = verdict
        return verdicts

    async def astream(
        self, jobs: Iterable[tuple[Hashable, Task, str]], *, checks: Which = "all"
    ) -> AsyncIterator[tuple[Any, Verdict]]:
        """`stream` for asyncio."""
        loop = asyncio.get_running_loop()
        results: asyncio.Queue[Any] = asyncio.Queue()

        def deliver(item: Any) -> None:
            loop.call_soon_threadsafe(results.put_nowait, item)

        flow = _Flow(self, deliver, jobs, checks)
        try:
            while flow.refill():
                yield flow.taken(await results.get())
        finally:
            flow.end()

    def _submit(self, jobs: list[Job]) -> None:
        self._dispatcher.submit(jobs)

    def _call(self, deliver: Callable[[Any], None], checks: Which) -> Call:
        if checks not in ("all", "visible", "hidden"):
            raise StropError(f"checks={checks!r} is not one of all, visible, hidden.")
        if os.getpid() != self._pid:
            raise StropError("This judge belongs to another process: it was made before a fork. Make a new one here.")
        return Call(deliver, checks)

    def _job(self, call: Call, key: Hashable, task: Task, program: str) -> Job:
        if task.language != "python":
            languages.demand(task, self.isolation)
        if not isinstance(program, str):
            raise StropError(f"Task {task.id!r}: a program is text, not {type(program).__name__}.")
        return Job(call, key, task, program)

    # ---- life

    def close(self) -> None:
        """End every worker and every program. Safe to call twice."""
        if os.getpid() == self._pid:
            self._dispatcher.close()

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Flow:
    """The jobs of one stream on their way through a judge: as many at once as keep it busy, and no more."""

    def __init__(self, judge: Judge, deliver: Callable[[Any], None], jobs: Iterable[Any], checks: Which) -> None:
        self.judge = judge
        self.call = judge._call(deliver, checks)
        self.source = iter(jobs)
        self.waiting = 0

    @property
    def window(self) -> int:
        return self.judge._dispatcher.window

    def refill(self) -> bool:
        """Take from the source. False when that is empty and every verdict was handed over."""
        fresh = list(itertools.islice(self.source, max(0, self.window - self.waiting)))
        if fresh:
            self.waiting += len(fresh)
            self.judge._submit([self.judge._job(self.call, *item) for item in fresh])
        return self.waiting > 0

    @property
    def is_low(self) -> bool:
        return self.waiting <= self.window // 2

    def taken(self, item: Any) -> tuple[Any, Verdict]:
        """A verdict that was delivered. Raises the error that was delivered in its place."""
        self.waiting -= 1
        if isinstance(item, BaseException):
            raise item
        return item

    def end(self) -> None:
        self.call.cancelled = True


def _ladder(require: str | None, unsafe: bool, level: str | None) -> list[str]:
    """The levels to try, best first."""
    known = ["userns", "root", "plain"]
    for name, value in (("require", require), ("level", level)):
        if value is not None and value not in [*known, "unsafe"]:
            raise StropError(f"{name}={value!r} is not an isolation level; the levels are {', '.join(known)}, unsafe.")
    if level is not None:
        if level == "unsafe" and not unsafe:
            raise StropError("Level unsafe means no isolation; it needs unsafe=True as well.")
        return [level]
    if require in known:
        return known[: known.index(require) + 1]
    return known + (["unsafe"] if unsafe else [])


# ---- the shared judge --------------------------------------------------------------------------

_shared: dict[tuple, Judge] = {}
_lock = threading.Lock()


def run(task: Task, programs: Sequence[str], *, checks: Which = "all", **options: Any) -> list[Verdict]:
    """Verdicts of `programs` from a judge that is shared by all callers with the same options (those of `Judge`)."""
    with _lock:
        key = (os.getpid(), *sorted(options.items()))
        judge = _shared.get(key)
        if judge is None:
            judge = _shared[key] = Judge(**options)
    return judge.run(task, programs, checks=checks)


def close() -> None:
    """Close the shared judges. Happens by itself at exit."""
    with _lock:
        for judge in _shared.values():
            judge.close()
        _shared.clear()
