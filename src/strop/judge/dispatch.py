"""The dispatcher thread of a judge: who judges what, and what to do when a worker dies or is late."""

from __future__ import annotations

import atexit
import hashlib
import json
import pickle
import selectors
import socket
import threading
import time
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from strop.judge import staff
from strop.judge.languages import toolchain
from strop.judge.sandbox.layout import package_paths
from strop.judge.staff import MAX_PROGRAM, Job, Worker, cpu_of
from strop.types import Limits, StropError, Verdict, content_hash

DEPTH = 3
"""Jobs handed to a worker: the one it runs, the next, for which a process is made ready, and one on its way."""
KNOWN_TASKS = 256
"""Tasks that a worker keeps prepared."""
ATTEMPTS = 3
"""How often a program is tried when its worker dies under it."""
START_FAILURES = 5
"""Workers that die before they are ready, one after the other, until the judge gives up."""
START_SECONDS = 60.0
MOST_GRACE = 15.0
"""By how much the limits of a time-out that is asked again may grow, however slow the machine has become."""
MAX_MESSAGE = 64 << 20
"""Bytes of a worker's message. A verdict with ten thousand checks is 10 MB."""


class Dispatcher(threading.Thread):
    """See the module. All methods but `_…` may be called from any thread."""

    def __init__(self, *, workers: int, levels: list[str], limits: Limits, preload: tuple[str, ...], stop_early: bool,
                 repeat: int, cache: int) -> None:  # fmt: skip
        super().__init__(name="strop-judge", daemon=True)
        self.level = ""
        self.count = workers
        self.window = 16 * workers
        """Programs to take from a source ahead."""
        self.limits = limits
        self.repeat = repeat
        self.config = {
            "levels": levels,
            "packages": package_paths(preload),
            "limits": {name: value for name, value in asdict(limits).items() if value is not None},
            "stop_early": stop_early,
            "repeat": repeat,
            "heavy": False,
            "languages": {},
        }
        self.started = threading.Event()
        self.failure: BaseException | None = None
        self.workers: list[Worker] = []
        self.pending: deque[Job] = deque()
        self.alone: deque[Job] = deque()
        self.numbers = iter(range(1 << 62))
        self.lock = threading.Lock()
        self.arrived: list[Job] = []
        self.closing = False
        self.start_failures = 0
        self.cache: OrderedDict[str, Verdict] = OrderedDict()
        self.cache_size = cache
        self.selector = selectors.DefaultSelector()
        self.wake_in, self.wake_out = socket.socketpair()
        self.wake_in.setblocking(False)
        self.wake_out.setblocking(False)
        self.selector.register(self.wake_out, selectors.EVENT_READ, None)

    # ---- for the judge

    def begin(self) -> None:
        """Start, and wait until the first worker is ready. Raises StropError when no level holds."""
        self.start()
        _living.add(self)
        self.started.wait()
        if self.failure is not None:
            self.close()
            raise self.failure

    def submit(self, jobs: list[Job]) -> None:
        if self.closing:
            raise StropError("The judge is closed.")
        with self.lock:
            if self.failure is not None:
                raise self.failure
            first = not self.arrived
            self.arrived += jobs
        if first:
            self._wake()

    def close(self) -> None:
        self.closing = True
        self._wake()
        if self.is_alive() and threading.current_thread() is not self:
            self.join()
        _living.discard(self)

    def _wake(self) -> None:
        try:
            self.wake_in.send(b"!")
        except OSError:
            pass

    # ---- the loop

    def run(self) -> None:
        try:
            for _ in range(self.count):
                self._spawn()
            while not self.closing:
                self._step()
        except BaseException as error:
            self._fail(error if isinstance(error, StropError) else StropError(f"The judge stopped: {error!r}"))
            if not isinstance(error, StropError):
                raise
        finally:
            for worker in self.workers:
                self._bury(worker)
            self._fail(StropError("The judge was closed while programs were waiting."))
            self.selector.close()
            self.wake_in.close()
            self.wake_out.close()
            self.started.set()

    def _fail(self, error: StropError) -> None:
        """Tell every waiting caller, once."""
        with self.lock:
            self.failure = self.failure or error
            waiting = [
                *self.arrived,
                *self.pending,
                *self.alone,
                *(job for worker in self.workers for job in worker.jobs.values()),
            ]
            self.arrived = []
            self.pending.clear()
            self.alone.clear()
        for call in {id(job.call): job.call for job in waiting if not job.done}.values():
            if not call.cancelled:
                call.cancelled = True
                call.deliver(self.failure)

    def _step(self) -> None:
        busy = any(worker.jobs or not worker.ready for worker in self.workers)
        for key, events in self.selector.select(0.25 if busy else None):
            worker = key.data
            if worker is None:
                self.wake_out.recv(4096)
            elif worker in self.workers:
                if events & selectors.EVENT_WRITE:
                    self._flush(worker)
                if events & selectors.EVENT_READ:
                    self._hear(worker)
        with self.lock:
            self.pending.extend(self.arrived)
            self.arrived = []
        self._hand_out()
        self._check_late()

    # ---- workers

    def _spawn(self) -> None:
        worker = staff.start_worker(self.config, staff.core_for(self.count, self.workers))
        self.workers.append(worker)
        self.selector.register(worker.channel, selectors.EVENT_READ, worker)

    def _bury(self, worker: Worker) -> None:
        try:
            self.selector.unregister(worker.channel)
        except (KeyError, ValueError):
            pass
        worker.channel.close()
        worker.process.kill()
        worker.process.wait()

    def _replace(self, worker: Worker, verdict: Callable[[Job], Verdict] | None = None, blame: bool = True) -> None:
        """Bury a worker and start another. `verdict` settles the job it ran; without it, that job is tried again, and
        counts as tried unless nobody is to `blame`."""
        self.workers.remove(worker)
        self._bury(worker)
        if not worker.ready:
            self.start_failures += 1
            if self.start_failures >= START_FAILURES:
                raise StropError("The judge's workers die before they are ready; STROP_JUDGE_DEBUG=1 shows why.")
        jobs = [job for job in worker.jobs.values() if not job.done]
        if jobs:
            head = jobs[0]
            head.attempts += blame
            if verdict is not None:
                self._settle(head, verdict(head))
            elif head.attempts >= ATTEMPTS:
                lost = Verdict(status="judge_error", fraction=0.0, detail="the judge's worker died while judging it")
                self._settle(head, lost)
            self.pending.extendleft(reversed([job for job in jobs if not job.done]))
        self._spawn()

    def _hear(self, worker: Worker) -> None:
        try:
            data = worker.channel.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._replace(worker)
            return
        inbox = worker.inbox
        inbox += data
        while len(inbox) >= 4 and worker in self.workers:
            end = 4 + int.from_bytes(inbox[:4], "little")
            if len(inbox) < end <= MAX_MESSAGE:
                return
            try:  # checks run in workers, so what a worker says may be anything
                message = json.loads(inbox[4:end]) if end <= MAX_MESSAGE else {}
                del inbox[:end]
                self._obey(worker, message)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError, MemoryError):
                self._replace(worker)

    def _obey(self, worker: Worker, message: dict[str, Any]) -> None:
        if "job" in message:
            self._answer(worker, message)
        elif "delay of" in message:
            self._post(worker, [("delay", staff.delay_of(int(message["delay of"])))])
        elif "needs" in message:
            self._equip(worker, message["needs"])
        elif worker.ready:
            raise ValueError("nothing else is due from a worker")
        elif "ready" in message:
            self._admit(worker, message)
        else:
            raise StropError(staff.refusal(message["refused"], self.config["levels"]))

    def _equip(self, worker: Worker, need: str) -> None:
        """Replace a worker by one that has what its next program needs. Raises ValueError when it has that already."""
        running = next((job.task.language for job in worker.jobs.values()), "python")
        if need == "packages" and not worker.heavy:
            self.config["heavy"] = True
        elif need == running != "python" and need not in worker.languages:
            self.config["languages"] |= {need: toolchain(need).as_dict()}
        else:
            raise ValueError("a worker asks for what it has, or does not need")
        self._replace(worker, blame=False)

    def _admit(self, worker: Worker, message: dict[str, Any]) -> None:
        worker.ready = True
        worker.level = message["ready"]
        worker.slowness = message["slowness"]
        self.start_failures = 0
        if not self.started.is_set():
            self.level = worker.level
            if message["why"]:
                reasons = "; ".join(f"{level}: {why}" for level, why in message["why"].items())
                warnings.warn(f"Programs are isolated at level {self.level!r} only ({reasons}).", stacklevel=2)
            self.started.set()

    # ---- jobs

    def _hand_out(self) -> None:
        while self.alone and (self.alone[0].done or self.alone[0].call.cancelled):
            self.alone.popleft()
        if self.alone:
            # A time-out on a busy machine is asked again with nothing of ours beside it, and with more time.
            ready = [worker for worker in self.workers if worker.ready]
            if ready and not any(worker.jobs for worker in self.workers):
                self._send(ready[0], self.alone[0])
            return
        while self.pending:
            worker = min((w for w in self.workers if w.ready), key=lambda w: len(w.jobs), default=None)
            if worker is None or len(worker.jobs) >= DEPTH:
                break
            job = self.pending.popleft()
            if job.call.cancelled or job.done:
                continue
            if self.cache_size and self._from_cache(job):
                continue
            self._send(worker, job)
        if not self.pending:
            self._share_the_rest()

    def _share_the_rest(self) -> None:
        """At the end of the queue an idle worker also takes a job that waits behind a slow one."""
        idle = [worker for worker in self.workers if worker.ready and not worker.jobs]
        for worker in self.workers if idle else ():
            waiting = list(worker.jobs.values())[1:]
            if waiting and idle and time.monotonic() - worker.since > 0.05:
                job = waiting[0]
                if not job.done and not job.call.cancelled:
                    self._send(idle.pop(), job)

    def _send(self, worker: Worker, job: Job) -> None:
        batch: list[tuple] = []
        key = id(job.task)
        if key in worker.tasks:
            worker.tasks.move_to_end(key)
        else:
            worker.tasks[key] = job.task
            batch.append(("task", key, job.task))
            if len(worker.tasks) > KNOWN_TASKS:
                old = next(k for k in worker.tasks if k not in {id(j.task) for j in worker.jobs.values()} and k != key)
                del worker.tasks[old]
                batch.append(("drop", old))
        number = next(self.numbers)
        batch.append(("job", number, key, job.program[: MAX_PROGRAM + 1], job.call.checks, job.grace))
        try:
            data = pickle.dumps(batch, 5)
        except Exception as error:
            worker.tasks.pop(key, None)
            problem = f"task {job.task.id!r} cannot be sent to a worker: {error}"
            self._settle(job, Verdict(status="judge_error", fraction=0.0, detail=problem))
            return
        if not worker.jobs:
            worker.stamp()
        worker.jobs[number] = job
        self._post(worker, data)

    def _post(self, worker: Worker, message: bytes | list) -> None:
        data = message if isinstance(message, bytes) else pickle.dumps(message, 5)
        worker.outbox += len(data).to_bytes(4, "little") + data
        self._flush(worker)

    def _flush(self, worker: Worker) -> None:
        try:
            sent = worker.channel.send(worker.outbox) if worker.outbox else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # reading finds out that it died
        del worker.outbox[:sent]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.outbox else 0)
        if self.selector.get_key(worker.channel).events != wanted:
            self.selector.modify(worker.channel, wanted, worker)

    def _answer(self, worker: Worker, message: dict[str, Any]) -> None:
        job, verdict = worker.jobs[message["job"]], staff.verdict_of(message, worker.level)
        contended = float(message.get("contended", 0.0))
        del worker.jobs[message["job"]]
        worker.stamp()
        if job.done:
            return
        if contended > 1.0 and job.grace == 1.0:
            job.grace = min(MOST_GRACE, 1.5 * contended)
            self.alone.append(job)
            return
        self._settle(job, verdict)

    def _settle(self, job: Job, verdict: Verdict) -> None:
        job.done = True
        if job.cache_key and verdict.status != "judge_error":
            self.cache[job.cache_key] = verdict
            if len(self.cache) > self.cache_size:
                self.cache.popitem(last=False)
        if not job.call.cancelled:
            job.call.deliver((job.key, verdict))

    def _from_cache(self, job: Job) -> bool:
        program = hashlib.sha256(job.program.encode("utf-8", "surrogatepass")).hexdigest()
        job.cache_key = content_hash(job.task, job.call.checks, program)
        known = self.cache.get(job.cache_key)
        if known is None:
            return False
        self.cache.move_to_end(job.cache_key)
        self._settle(job, known)
        return True

    # ---- late workers

    def _check_late(self) -> None:
        now = time.monotonic()
        for worker in list(self.workers):
            if not worker.ready:
                if now - worker.since > START_SECONDS:
                    self._replace(worker)
            elif worker.jobs:
                job = next(iter(worker.jobs.values()))
                cpu, wall = staff.allowance(worker, job, self.limits, self.repeat)
                if (
                    now - worker.since > cpu and cpu_of(worker.process.pid) - worker.cpu_then > cpu
                ) or now - worker.since > wall:
                    self._replace(worker, staff.stalled)


_living: set[Dispatcher] = set()


@atexit.register
def _close_all() -> None:
    for dispatcher in list(_living):
        if dispatcher.is_alive():
            dispatcher.close()
