"""What it costs to judge on several machines, and where that ends.

    python benchmarks/scale.py [--programs 600] [--rounds 3] [--out results/scale-benchmark.json]

Measured, in turn within each round so that what else the machine does falls on all: one worker and two workers of a
judge in this process, and a Ray cluster on this machine whose two nodes have a core each, with batches of fixed sizes
and of the size that Strop chooses. The caller, Ray's own processes and the nodes share the two cores, so what Ray costs
is not hidden on a third. Programs are the references of `basics`; every verdict must be `passed`.

Predicted: a queueing simulation of one caller and many nodes. A caller serves one thing at a time (send a batch, take
an answer); a node's workers serve programs first come, first served; four batches are at a node or on their way. All
its times are measured: service times as they followed one another at one worker, the caller's and the actors' CPU
seconds by batch and by program (least squares over the batch sizes), and a call's seconds beyond the work inside. Its
prediction for the two nodes that were measured stands beside the measurement.

Writes the results and, beside them, a figure. Needs the extra `ray`.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil

from strop.judge import Judge, node
from strop.judge.cluster import IN_FLIGHT
from strop.tasks import load
from strop.types import Task

RESULTS = Path(__file__).resolve().parent.parent / "results"
SIZES = (1, 4, 16, 64, 256)
NODES = (10, 100, 1000)
CHOSEN = node.Node.size
"""The rule by which Strop sizes batches."""


# ---- measuring ---------------------------------------------------------------------------------


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started meanwhile stays on this core."""
    all_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(all_cores)[core]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_cores)


class Cluster:
    """Two nodes with a core each; the head judges nothing."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        common = {"object_store_memory": 80 << 20, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **common})
        for core in (0, 1):
            with on_core(core):
                self.cluster.add_node(num_cpus=1, **common)
        self.judge = Judge(ray=self.cluster.address)
        while self.judge.workers < 2 or any(not one.level for one in self.nodes):
            time.sleep(0.1)
        below = psutil.Process().children(recursive=True)
        self.actors = [one for one in below if "ray::NodeJudge" in " ".join(one.cmdline())]
        assert len(self.actors) == 2, "an actor is missing"

    @property
    def nodes(self) -> list[node.Node]:
        return list(self.judge._dispatcher.nodes.values())  # type: ignore[union-attr]

    def actor_seconds(self) -> float:
        """CPU time that the actors' own processes have used; their judges' workers are others."""
        return sum(sum(one.cpu_times()[:2]) for one in self.actors)

    def at_rest(self, seconds: float = 3.0) -> tuple[float, float]:
        """CPU seconds a second that the caller and the actors use with nothing to judge: Ray's own threads."""
        actors, caller = self.actor_seconds(), time.process_time()
        time.sleep(seconds)
        return (time.process_time() - caller) / seconds, (self.actor_seconds() - actors) / seconds

    def close(self) -> None:
        self.judge.close()
        self.cluster.shutdown()


def judged(judge: Judge, work: list[tuple[Task, str]]) -> tuple[float, list[float]]:
    """Seconds for all, and the seconds between one verdict and the next."""
    started = time.perf_counter()
    ends = []
    for place, verdict in judge.stream((place, *job) for place, job in enumerate(work)):
        ends.append(time.perf_counter())
        assert verdict.passed, (work[place][0].id, verdict)
    assert len(ends) == len(work)
    return ends[-1] - started, np.diff(ends).tolist()


def measure(programs: int, rounds: int) -> dict[str, Any]:
    tasks = [task for task in load("basics") if task.reference]
    work = [(tasks[i % len(tasks)], f"{tasks[i % len(tasks)].reference}\n# {i}\n") for i in range(programs)]
    with on_core(0):
        one = Judge(workers=1)
    two = Judge(workers=2)
    cluster = Cluster()
    table: dict[str, list[float]] = {}
    gaps: list[float] = []
    costs = []
    overheads: dict[str, float] = {}
    try:
        for judge in (one, two, cluster.judge):
            judged(judge, work)  # warm
        rest = cluster.at_rest()
        for number in range(rounds):
            plain: list[tuple[str, Judge]] = [("1 worker", one), ("2 workers", two)]
            for name, judge in plain if number % 2 else reversed(plain):
                seconds, between = judged(judge, work)
                table.setdefault(name, []).append(programs / seconds)
                gaps += between if judge is one else []
            for size in (None, *SIZES) if number % 2 else (*SIZES, None):
                name = f"2 nodes, batches of {size}" if size else "2 nodes, batches as chosen"
                node.Node.size = property(lambda self, size=size: size) if size else CHOSEN  # type: ignore[assignment]
                actors, caller = cluster.actor_seconds(), time.process_time()
                seconds, _ = judged(cluster.judge, work)
                caller = time.process_time() - caller - rest[0] * seconds
                actors = cluster.actor_seconds() - actors - rest[1] * seconds
                table.setdefault(name, []).append(programs / seconds)
                overheads[name] = statistics.mean(node.overhead for node in cluster.nodes)
                chosen = statistics.mean(node.size for node in cluster.nodes)
                costs.append((1 / chosen, caller / programs, actors / programs))
                print(f"round {number + 1}: {name:<28}{programs / seconds:7.1f} programs/s", flush=True)
            chosen_size = statistics.mean(CHOSEN.fget(one) for one in cluster.nodes)  # type: ignore[misc]
    finally:
        node.Node.size = CHOSEN  # type: ignore[method-assign]
        cluster.close()
        one.close()
        two.close()
    return {
        "table": table, "gaps": gaps, "costs": costs, "overheads": overheads, "chosen": chosen_size, "rest": rest[0],
    }  # fmt: skip


# ---- simulating --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """All seconds. What the simulation is calibrated by."""

    service: np.ndarray
    """Of programs at a worker, one after the other."""
    caller_batch: float
    caller_program: float
    """CPU of the caller for one batch, there and back, and on top for each program in it."""
    node_batch: float
    """CPU of the actor for one batch."""
    way: float
    """There and back, outside caller and actor."""
    rest: float
    """Share of the caller's time that goes to Ray's own threads."""


def fit(measured: dict[str, Any]) -> Times:
    share, caller, actors = (np.array(column) for column in zip(*measured["costs"]))
    shape = np.stack([share, np.ones_like(share)], axis=1)
    (caller_batch, caller_program), *_ = np.linalg.lstsq(shape, caller)
    (node_batch, _), *_ = np.linalg.lstsq(shape, actors)
    overhead = measured["overheads"]["2 nodes, batches as chosen"]
    return Times(
        service=np.array(measured["gaps"]),
        caller_batch=max(0.0, float(caller_batch)),
        caller_program=max(0.0, float(caller_program)),
        node_batch=max(0.0, float(node_batch)),
        way=max(0.0, overhead - float(caller_batch) - float(node_batch)),
        rest=measured["rest"],
    )


def simulate(
    times: Times, nodes: int, cores: int, size: int, seconds: float, *, shared: bool = False
) -> dict[str, float]:
    """`nodes` with `cores` workers each, judging batches of `size`, for `seconds`; counted from a quarter of them on.

    shared: the caller's work is done by the nodes' cores, as where this was measured.
    """
    dice = np.random.default_rng(7)
    each = (times.caller_batch + times.caller_program * size) / (1 - times.rest)
    lent = each / size if shared else 0.0
    free = [[0.0] * cores for _ in range(nodes)]
    caller_free = caller_busy = 0.0
    judged = 0
    events = [(0.0, turn, at, "send") for turn in range(IN_FLIGHT) for at in range(nodes)]
    heapq.heapify(events)
    while events:
        now, turn, at, what = heapq.heappop(events)
        if what == "arrive":  # the node's workers take the programs, first come, first served
            workers, end = free[at], now
            workers[0] = max(workers[0], now) + times.node_batch
            heapq.heapify(workers)
            for service in dice.choice(times.service, size):
                done = max(workers[0], now) + service + lent
                heapq.heapreplace(workers, done)
                end = max(end, done)
            heapq.heappush(events, (end + times.way / 2, turn, at, "answer"))
            continue
        begun = max(caller_free, now)
        if begun > seconds:
            break
        caller_free = begun + (0.0 if shared else each / 2)
        caller_busy += (each / 2) * (begun > seconds / 4)
        if what == "answer":
            judged += size * (begun > seconds / 4)
            heapq.heappush(events, (caller_free, turn, at, "send"))
        else:
            heapq.heappush(events, (caller_free + times.way / 2, turn, at, "arrive"))
    rate = judged / (0.75 * seconds)
    return {
        "programs_per_second": rate,
        "share_of_ideal": rate * float(times.service.mean()) / (nodes * cores),
        "caller_busy": min(1.0, caller_busy / (0.75 * seconds)),
    }


def size_for(times: Times, cores: int) -> int:
    """The batch that Strop would choose for a node with so many cores."""
    call = times.way + times.caller_batch + times.node_batch
    rate = cores / float(times.service.mean())
    return min(node.MOST_IN_A_BATCH, max(cores, ceil(call * rate / node.OVERHEAD)))


def predict(times: Times, chosen: int) -> dict[str, Any]:
    checked = {
        f"2 nodes, batches of {size}": simulate(times, 2, 1, size, 40.0, shared=True)["programs_per_second"]
        for size in SIZES
    }
    checked["2 nodes, batches as chosen"] = simulate(times, 2, 1, chosen, 40.0, shared=True)["programs_per_second"]
    larger = []
    for cores in (1, 16):
        for nodes in NODES:
            size = size_for(times, cores)
            # Long enough for every node, and a busy caller, to be done many times with all that is in flight.
            each = times.caller_batch + times.caller_program * size
            seconds = IN_FLIGHT * max(12 * size * float(times.service.mean()) / cores, 6 * nodes * each)
            found = simulate(times, nodes, cores, size, seconds)
            first = "the caller" if found["caller_busy"] > 0.95 else "the nodes' cores"
            larger.append({"nodes": nodes, "cores": cores, "batch": size, **found, "saturated_first": first})
    ceiling = {
        cores: (1 - times.rest) / (times.caller_program + times.caller_batch / size_for(times, cores))
        for cores in (1, 16)
    }
    return {"two_nodes": checked, "larger": larger, "one_caller_at_most": ceiling}


# ---- results -----------------------------------------------------------------------------------


def report(measured: dict[str, Any], times: Times, predicted: dict[str, Any]) -> dict[str, Any]:
    rounds = measured["table"]
    rows: dict[str, dict[str, Any]] = {}
    for name, rates in rounds.items():
        ends = [round(min(rates), 1), round(max(rates), 1)]
        rows[name] = {"programs_per_second": round(statistics.median(rates), 1), "range": ends}
    for name, rates in rounds.items():
        if name in predicted["two_nodes"]:
            shares = [rate / local for rate, local in zip(rates, rounds["2 workers"])]
            rows[name]["share_of_2_workers"] = round(statistics.median(shares), 4)
            rows[name]["share_range"] = [round(min(shares), 4), round(max(shares), 4)]
            rows[name]["call_seconds"] = round(measured["overheads"][name], 5)
            rows[name]["simulated_programs_per_second"] = round(predicted["two_nodes"][name], 1)
    return {
        "measured": rows,
        "batch_chosen": measured["chosen"],
        "calibration": {
            "service_seconds": {
                "mean": float(times.service.mean()),
                "quartiles": np.quantile(times.service, [0.25, 0.5, 0.75]).tolist(),
                "99 %": float(np.quantile(times.service, 0.99)),
            },
            "caller_seconds_a_batch": times.caller_batch,
            "caller_seconds_a_program": times.caller_program,
            "actor_seconds_a_batch": times.node_batch,
            "way_seconds": times.way,
            "caller_at_rest": times.rest,
        },
        "predicted": predicted["larger"],
        "one_caller_at_most": predicted["one_caller_at_most"],
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
                    "python": platform.python_version(), "load": os.getloadavg()},
    }  # fmt: skip


def figure(result: dict[str, Any]) -> str:
    from strop.report import plot

    rows = []
    for name, row in result["measured"].items():
        if "share_of_2_workers" in row:
            low, high = row["share_range"]
            rows.append((f"measured: {name}", SimpleNamespace(value=row["share_of_2_workers"], low=low, high=high)))
    for row in result["predicted"]:
        label = f"predicted: {row['nodes']:,} nodes of {row['cores']} core{'s' * (row['cores'] > 1)}"
        rows.append((label, SimpleNamespace(value=row["share_of_ideal"], low=None, high=None)))
    about = "% of the same cores without Ray; median and range of the rounds"
    return plot.dots(rows, title="Throughput on several machines", x_label=about, mark=1.0, percent=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "scale-benchmark.json")
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("Two nodes with a core each need two cores.")
    measured = measure(options.programs, options.rounds)
    times = fit(measured)
    result = report(measured, times, predict(times, round(measured["chosen"])))
    result |= {"programs": options.programs, "rounds": options.rounds}
    print(json.dumps(result, indent=1))
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    options.out.with_suffix(".svg").write_text(figure(result), encoding="utf-8")


if __name__ == "__main__":
    main()
