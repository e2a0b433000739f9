"""A judge on many machines: one `Judge` a node of a Ray cluster, in an actor that stays on its node.

    with Judge(ray="auto") as bench: ...

Ray starts the actors, restarts those that die, calls them again and knows which nodes there are. What is left for this
module is who gets how much, and that every program gets one verdict:

- A batch is answered whole. Ray could stream single verdicts, but replays a generator that broke off by leaving out as
  many items as it had given, and verdicts do not come in the same order twice.
- A verdict is handed over when the answer that holds it is here and its batch is still waited for. The batches of a
  node that is gone are given to others and no longer waited for there, so a late answer changes nothing.
- A batch is as large as it must be for one call's overhead to be 2 % of the work in it. Both are measured, node
  by node: what a call took beyond the time inside the actor, and programs a second while the node was busy.
"""

from __future__ import annotations

import logging
import pickle
import queue
import socket
import threading
import time
import warnings
from collections import OrderedDict, deque
from concurrent.futures import Future
from math import ceil
from typing import Any

from strop import __version__
from strop.judge.node import KNOWN_TASKS, Asked, Node, NodeJudge
from strop.judge.staff import MAX_PROGRAM, Job
from strop.types import StropError, Task, Verdict

IN_FLIGHT = 4
"""Batches a node has at once, so that programs that run into their time limits do not leave its workers idle."""
ATTEMPTS = 3
"""How often a program is tried when the actor that judges it dies on a living node. Ray tries twice each time."""
NODE_FAILURES = 5
"""Actors that die on a node, without an answer in between, until it is left out."""
LOOK_SECONDS = 1.0
"""How often Ray is asked which nodes there are."""
WAIT_SECONDS = 120.0
"""How long programs wait for a first node, or for another one when all are gone."""
_LADDER = ("unsafe", "plain", "root", "userns")


def _knock(address: str) -> None:
    """Raises OSError when nothing listens there. Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "://" not in address:
        socket.create_connection((host, int(port)), 10).close()


class Cluster(threading.Thread):
    """The dispatcher of a judge on many nodes: same methods as `dispatch.Dispatcher`, called from any thread."""

    def __init__(self, address: str, workers: int | None, options: dict[str, Any]) -> None:
        super().__init__(name="strop-cluster", daemon=True)
        self.address = address
        self.workers_per_node = workers
        self.options = options
        self.nodes: dict[str, Node] = {}
        self.left_out: dict[str, str] = {}
        """Nodes that are not used, and why."""
        self.failures: dict[str, int] = {}
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        """Lists of new jobs; answers, as (node, number of the batch or None, when it was sent, future); None: look."""
        self.pending: deque[Job] = deque()
        self.numbers = iter(range(1 << 62))
        self.packed: OrderedDict[int, tuple[int, bytes, Task]] = OrderedDict()
        self.started = threading.Event()
        self.failure: StropError | None = None
        self.lock = threading.Lock()
        self.closing = False
        self.looked = 0.0
        self.without_node_since = time.monotonic()
        self.ours = False
        """Was the connection to Ray made here?"""

    # ---- for the judge

    @property
    def level(self) -> str:
        """The weakest level of all nodes; each verdict has the one that held for it."""
        levels = [node.level for node in list(self.nodes.values()) if node.level]
        return min(levels, key=_LADDER.index, default="")

    @property
    def count(self) -> int:
        """Workers of all nodes."""
        return sum(node.workers for node in list(self.nodes.values()))

    @property
    def window(self) -> int:
        """Programs to take from a source ahead: enough for full batches when half of them are judged."""
        return max(64, sum(4 * IN_FLIGHT * node.size for node in list(self.nodes.values())))

    def begin(self) -> None:
        """Connect, and wait until the first node is ready. Raises StropError."""
        try:
            import ray  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise StropError("Judging on a Ray cluster needs one more package: pip install 'strop[ray]'") from None
        if not ray.is_initialized():
            try:
                _knock(self.address)
                ray.init(address=self.address, log_to_driver=False, logging_level=logging.WARNING)
            except (OSError, RuntimeError, ValueError) as error:
                first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise StropError(f"No Ray cluster answers at {self.address!r}: {first}") from None
            self.ours = True
        self.start()
        self.started.wait()
        if self.failure is not None:
            self.close()
            raise self.failure

    def submit(self, jobs: list[Job]) -> None:
        with self.lock:
            if self.failure is not None or self.closing:
                raise self.failure or StropError("The judge is closed.")
            self.events.put(jobs)

    def close(self) -> None:
        with self.lock:
            self.closing = True
        self.events.put(None)
        if self.is_alive() and threading.current_thread() is not self:
            self.join()
        if self.ours:
            import ray  # pyright: ignore[reportMissingImports]

            self.ours = False
            ray.shutdown()

    # ---- the loop

    def run(self) -> None:
        import ray  # pyright: ignore[reportMissingImports]

        try:
            while not self.closing:
                if time.monotonic() - self.looked > LOOK_SECONDS:
                    self._look()
                self._hand_out()
                self._hear()
        except BaseException as error:
            self._fail(error if isinstance(error, StropError) else StropError(f"The judge stopped: {error!r}"))
            if not isinstance(error, StropError):
                raise
        finally:
            self._fail(StropError("The judge was closed while programs were waiting."))
            for node in self.nodes.values():
                ray.kill(node.actor)
            self.started.set()

    def _fail(self, error: StropError) -> None:
        """Tell every waiting caller, once."""
        with self.lock:
            self.failure = self.failure or error
        waiting = [
            *self.pending,
            *(job for node in self.nodes.values() for jobs in node.flying.values() for job in jobs),
        ]
        while not self.events.empty():
            event = self.events.get()
            waiting += event if isinstance(event, list) else []
        for call in {id(job.call): job.call for job in waiting if not job.done}.values():
            if not call.cancelled:
                call.cancelled = True
                call.deliver(self.failure)

    def _hear(self) -> None:
        """Wait for something to happen, and take all that did."""
        try:
            event = self.events.get(timeout=LOOK_SECONDS)
            while True:
                if isinstance(event, list):
                    self.pending.extend(event)
                elif event is not None:
                    self._take(*event)
                event = self.events.get_nowait()
        except queue.Empty:
            pass

    # ---- nodes

    def _look(self) -> None:
        """See which nodes there are: begin with new ones, give the work of lost ones to others."""
        import ray  # pyright: ignore[reportMissingImports]

        self.looked = time.monotonic()
        alive = {row["NodeID"]: row for row in ray.nodes() if row["Alive"] and row["Resources"].get("CPU", 0) >= 1}
        for node in [node for node in self.nodes.values() if node.id not in alive]:
            self._drop(node)
        for name, row in alive.items():
            if name not in self.nodes and name not in self.left_out:
                self._open(name, row)
        if any(node.level for node in self.nodes.values()):
            self.without_node_since = self.looked
        elif alive and all(name in self.left_out for name in alive):
            raise StropError("No node of the Ray cluster can judge: " + "; ".join(self.left_out.values()))
        elif self.looked - self.without_node_since > WAIT_SECONDS:
            raise StropError(
                f"No node of the Ray cluster was ready within {WAIT_SECONDS:.0f} s: {len(alive)} nodes have CPUs. "
                "A node's judge waits until as many CPUs as it has workers are free there; --workers asks for fewer."
            )

    def _open(self, name: str, row: dict[str, Any]) -> None:
        import ray  # pyright: ignore[reportMissingImports]
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # pyright: ignore

        cpus = int(row["Resources"]["CPU"])
        workers = min(cpus, self.workers_per_node or cpus)
        actor = ray.remote(NodeJudge).options(
            num_cpus=workers,
            max_restarts=-1,
            max_task_retries=2,
            max_concurrency=IN_FLIGHT + 1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False),
        )  # fmt: skip
        node = self.nodes[name] = Node(
            name, row.get("NodeName") or name[:8], workers, actor.remote(self.options | {"workers": workers})
        )
        self._await(node, None, node.actor.level.remote(__version__))

    def _await(self, node: Node, number: int | None, reference: Any) -> None:
        sent = time.monotonic()
        reference.future().add_done_callback(lambda future: self.events.put((node, number, sent, future)))

    def _drop(self, node: Node, blame: bool = False) -> None:
        """Give up on an actor. What it had is tried elsewhere, and counts as tried if it is to `blame`."""
        import ray  # pyright: ignore[reportMissingImports]

        del self.nodes[node.id]
        ray.kill(node.actor)
        for jobs in node.flying.values():
            self._again(jobs, blame, f"the judge on node {node.name} died")
        if blame:
            self.failures[node.id] = self.failures.get(node.id, 0) + 1
            if self.failures[node.id] >= NODE_FAILURES:
                self._leave_out(node, "its judge died again and again")

    def _leave_out(self, node: Node, why: str) -> None:
        self.left_out[node.id] = f"{node.name}: {why}"
        warnings.warn(f"Node {self.left_out[node.id]}. It judges nothing.", stacklevel=2)

    def _again(self, jobs: list[Job], blame: bool, why: str) -> None:
        for job in jobs:
            job.attempts += blame
            if job.attempts >= ATTEMPTS:
                self._deliver(job, Verdict(status="judge_error", fraction=0.0, detail=why))
        self.pending.extendleft(reversed([job for job in jobs if not job.done]))

    # ---- batches

    def _hand_out(self) -> None:
        while self.pending:
            free = [node for node in self.nodes.values() if node.level and len(node.flying) < IN_FLIGHT]
            if not free:
                return
            node = min(free, key=lambda node: node.load)
            jobs = self._next(self._share(node))
            if jobs:
                self._send(node, jobs)

    def _send(self, node: Node, jobs: list[Job]) -> None:
        tasks: dict[int, bytes] = {}
        programs = []
        going = []
        for job in jobs:
            try:
                number, task, _ = self._packed(job.task)
            except Exception as error:  # a task may hold anything, and pickling it raise anything
                problem = f"task {job.task.id!r} cannot be sent to a node: {error}"
                self._deliver(job, Verdict(status="judge_error", fraction=0.0, detail=problem))
                continue
            tasks[number] = task
            programs.append((number, job.program[: MAX_PROGRAM + 1]))
            going.append(job)
        if going:
            asked: Asked = (going[0].call.checks, tasks, programs)
            batch = next(self.numbers)
            node.flying[batch] = going
            self._await(node, batch, node.actor.answer.remote(asked))

    def _share(self, node: Node) -> int:
        """Full batches while there is plenty; towards the end smaller ones, so that all nodes end together."""
        rates = sum(other.rate for other in self.nodes.values() if other.level)
        return min(node.size, max(2 * node.workers, ceil(len(self.pending) * node.rate / rates / 2)))

    def _next(self, count: int) -> list[Job]:
        """Up to `count` jobs from the front that ask for the same checks."""
        jobs: list[Job] = []
        while self.pending and len(jobs) < count:
            job = self.pending[0]
            if jobs and job.call.checks != jobs[0].call.checks:
                break
            self.pending.popleft()
            if not job.done and not job.call.cancelled:
                jobs.append(job)
        return jobs

    def _packed(self, task: Task) -> tuple[int, bytes, Task]:
        """A number by which nodes know this object again, and the task as bytes; kept so that its id stays unique."""
        known = self.packed.get(id(task))
        if known is None:
            known = self.packed[id(task)] = next(self.numbers), pickle.dumps(task, 5), task
            if len(self.packed) > KNOWN_TASKS:
                self.packed.popitem(last=False)
        self.packed.move_to_end(id(task))
        return known

    def _take(self, node: Node, number: int | None, sent: float, future: Future[Any]) -> None:
        """An answer, or the error in its place."""
        from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]

        if self.nodes.get(node.id) is not node:
            return  # what it had was given to others
        jobs = node.flying.pop(number, []) if number is not None else []
        try:
            answer = future.result()
        except RayError as error:
            cause = getattr(error, "cause", None)
            if not isinstance(cause, StropError):
                self._lost(node, jobs)
            elif number is None:
                del self.nodes[node.id]
                self._leave_out(node, str(cause))
            else:
                self._again(jobs, True, f"the judge on node {node.name} failed: {cause}")
            return
        if number is None:
            self._admit(node, answer)
            return
        self.failures.pop(node.id, None)
        answers, inside, rate = answer
        node.learn(time.monotonic() - sent - inside, rate)
        for job, verdict in zip(jobs, answers, strict=True):
            self._deliver(job, verdict)

    def _lost(self, node: Node, jobs: list[Job]) -> None:
        """A call failed, and Ray's own retries with it: the node is gone, or its actor died too often."""
        if jobs:
            node.flying[next(self.numbers)] = jobs
        self._look()
        if self.nodes.get(node.id) is node:
            self._drop(node, blame=True)

    def _admit(self, node: Node, level: str) -> None:
        node.level = level
        self.started.set()
        if level != _LADDER[-1]:
            warnings.warn(f"Programs on node {node.name} are isolated at level {level!r} only.", stacklevel=2)

    def _deliver(self, job: Job, answer: Verdict | StropError) -> None:
        job.done = True
        if job.call.cancelled:
            return
        if isinstance(answer, Verdict):
            job.call.deliver((job.key, answer))
        else:
            job.call.cancelled = True
            job.call.deliver(answer)
