"""A Ray cluster on one machine: every node is a raylet of its own with its own workers."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import psutil


class Nodes:
    """The head, with one core, and further nodes; closed with everything in it."""

    def __init__(self, *, head_cpus: int = 1, others: tuple[int, ...] = (1,)) -> None:
        from ray.cluster_utils import Cluster

        self.surroundings = dict(os.environ)
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)  # the nodes import what we do
        self.started: set[psutil.Process] = set()
        self.cluster = Cluster()
        try:
            self.cluster.add_node(**_node(head_cpus))
        except Exception:  # it waits 30 s for a raylet, which a machine that does other things may exceed
            self.cluster.add_node(**_node(head_cpus))
        self.others = [self.add(cpus) for cpus in others]

    @property
    def address(self) -> str:
        return self.cluster.address

    def add(self, cpus: int) -> Any:
        return self.cluster.add_node(**_node(cpus), wait=False)

    def kill(self, node: Any) -> None:
        """As when a machine is switched off: nothing says good-bye."""
        self._note()
        self.cluster.remove_node(node, allow_graceful=False)

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        ray.shutdown()
        self._note()
        self.cluster.shutdown()
        for process in self.started:  # agents outlive their raylet for as long as they take to miss it
            if process.is_running():
                process.kill()
        os.environ.clear()
        os.environ.update(self.surroundings)

    def _note(self) -> None:
        self.started.update(below("ray"))


def _node(cpus: int) -> dict[str, Any]:
    return {"num_cpus": cpus, "object_store_memory": 80 << 20, "include_dashboard": False}


def below(word: str) -> list[psutil.Process]:
    """Processes below this one with that word in their command."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            found += [process] * (word in " ".join(process.cmdline()))
        except psutil.NoSuchProcess:
            pass
    return found


def actors() -> list[psutil.Process]:
    """Processes in which a node's judge runs."""
    return below("ray::NodeJudge")


def kill_one_actor() -> int:
    (first, *_) = actors()
    first.send_signal(signal.SIGKILL)
    return first.pid
