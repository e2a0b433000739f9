"""A node of a judge on many machines: what the caller knows of it, and the actor that judges on it (`cluster.py`)."""

from __future__ import annotations

import pickle
import threading
import time
import warnings
from collections import OrderedDict
from dataclasses import dataclass, field
from math import ceil
from typing import Any, TypeAlias

from strop import __version__
from strop.judge import languages
from strop.judge.staff import Job
from strop.types import StropError, Task, Verdict

KNOWN_TASKS = 256
OVERHEAD = 0.02
"""Share of a batch's time that the call around it may cost. 5 % is promised; the rest is for what
measuring it misses."""
MOST_IN_A_BATCH = 2048

Asked: TypeAlias = tuple[str, dict[int, bytes], list[tuple[int, str]]]
"""Which checks; pickled tasks by number; programs, each with the number of its task."""
Answer: TypeAlias = tuple[list["Verdict | StropError"], float, float]
"""Verdicts in the order of the programs; seconds inside the actor; programs a second while it was busy."""


@dataclass(slots=True, eq=False)
class Node:
    """A node as the caller sees it."""

    id: str
    name: str
    workers: int
    actor: Any
    level: str = ""
    """Empty until its judge is open."""
    flying: dict[int, list[Job]] = field(default_factory=dict)
    overhead: float = 0.005
    """Seconds of a call beyond the work inside; a guess until the first answer."""
    rate: float = 0.0
    """Programs a second; as guessed until the first answer."""

    def __post_init__(self) -> None:
        self.rate = 50.0 * self.workers

    @property
    def size(self) -> int:
        """Programs in a batch: as many as make the overhead small, and one a worker at least."""
        return min(MOST_IN_A_BATCH, max(self.workers, ceil(self.overhead * self.rate / OVERHEAD)))

    @property
    def load(self) -> float:
        """Seconds of work that it has."""
        return sum(map(len, self.flying.values())) / self.rate

    def learn(self, overhead: float, rate: float) -> None:
        self.overhead += 0.2 * (max(overhead, 1e-4) - self.overhead)
        if rate:
            self.rate = rate


class NodeJudge:
    """The actor: a judge in a process of its own. Its methods are called by several threads at once."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._judge: Any = None
        self._tasks: OrderedDict[int, Task] = OrderedDict()
        self._inside = 0
        self._since = self._busy = 0.0
        self._judged = 0

    def level(self, version: str) -> str:
        """The isolation level that holds here. Raises StropError when none does, or this is another Strop."""
        if version != __version__:
            raise StropError(f"it has Strop {__version__}, the caller has {version}")
        return self._open().isolation

    def answer(self, asked: Asked) -> Answer:
        """Judge a batch. Raises StropError when the judge broke; the next call opens another."""
        began = time.monotonic()
        checks, packed, programs = asked
        with self._lock:
            tasks = {number: self._known(number, task) for number, task in packed.items()}
        judge = self._open()
        answers: list[Any] = [_refusal(tasks[number], judge.isolation) for number, _ in programs]
        jobs = [(i, tasks[number], code) for i, (number, code) in enumerate(programs) if answers[i] is None]
        self._clock(1, 0)
        try:
            for i, verdict in judge.stream(jobs, checks=checks):
                answers[i] = verdict
        except StropError:
            with self._lock:
                self._judge = None
            judge.close()
            raise
        finally:
            rate = self._clock(-1, len(jobs))
        return answers, time.monotonic() - began, rate

    def _open(self) -> Any:
        from strop.judge.pool import Judge

        with self._lock:
            if self._judge is None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the caller warns, who sees it
                    self._judge = Judge(**self._options)
            return self._judge

    def _known(self, number: int, packed: bytes) -> Task:
        """The first copy of this task: workers keep what they prepared by the object."""
        if number not in self._tasks:
            self._tasks[number] = pickle.loads(packed)
            if len(self._tasks) > KNOWN_TASKS:
                self._tasks.popitem(last=False)
        self._tasks.move_to_end(number)
        return self._tasks[number]

    def _clock(self, step: int, judged: int) -> float:
        """Enter (1) or leave (-1). Returns programs a second over the busy time so far; older time counts half every
        1,000 programs."""
        with self._lock:
            now = time.monotonic()
            if self._inside:
                self._busy += now - self._since
            self._since = now
            self._inside += step
            self._judged += judged
            if self._judged > 1000:
                self._judged /= 2
                self._busy /= 2
            return self._judged / self._busy if self._busy else 0.0


def _refusal(task: Task, level: str) -> StropError | None:
    try:
        if task.language != "python":
            languages.demand(task, level)
    except StropError as error:
        return error
    return None
