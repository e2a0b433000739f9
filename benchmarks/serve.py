"""What HTTP costs: the same programs through a judge in this process, `/v1/judge`, and `/run_code` one by one.

    python benchmarks/serve.py [--programs 1000] [--workers 2] [--clients 8] [--record]

The three run in turn, `--rounds` times, so that what else the machine does falls on all; figures are medians. Client,
server and judge share the cores. `results/serve-benchmark.json` is written only with `--record`, which is refused when
the machine is busy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2

from strop.judge import Judge
from strop.types import CallCheck, Task

RESULT = Path(__file__).parent.parent / "results" / "serve-benchmark.json"
CHECKS = [(n, n * (n + 1) // 2) for n in (0, 1, 7, 40)]
PROGRAM = "def total(n):\n    return sum(range(n + 1))\n"
WHOLE = "n = int(input())\nprint(sum(range(n + 1)))\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--clients", type=int, default=8, help="requests at once to /run_code")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="write results/serve-benchmark.json")
    options = parser.parse_args()
    if options.record and os.getloadavg()[0] > 0.5:
        sys.exit(f"The machine is busy (load {os.getloadavg()[0]:.1f}); nothing recorded.")
    command = [sys.executable, "-m", "strop.cli.main", "judge", "--serve", "127.0.0.1:0"]
    server = subprocess.Popen([*command, "--workers", str(options.workers)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found is not None
        with httpx2.Client(base_url=found[0], timeout=600) as client, Judge(workers=options.workers) as judge:
            result = measure(options, client, judge)
    finally:
        server.terminate()
        server.wait(60)
    print(json.dumps(result, indent=2))
    if options.record:
        RESULT.write_text(json.dumps(result, indent=2) + "\n")


def measure(options: argparse.Namespace, client: httpx2.Client, judge: Judge) -> dict:
    """Programs a second of each way, and the two batches' ratio within a round."""
    count = options.programs
    programs = [f"{PROGRAM}# {n}\n" for n in range(count)]
    checks = tuple(CallCheck(function="total", args=(n,), expected=value) for n, value in CHECKS)
    task = Task(id="total", prompt="", checks=checks)
    row = {"id": "total", "prompt": "Add.", "checks": [f"total({n}) == {value}" for n, value in CHECKS]}
    body = {"tasks": [row], "programs": [{"task_id": "total", "solution": code} for code in programs]}

    def local() -> None:
        assert all(verdict.passed for verdict in judge.run(task, programs))

    def batch() -> None:
        last = client.post("/v1/judge", json=body).text.splitlines()[-1]
        assert json.loads(last) == {"done": count, "statuses": {"passed": count}}

    def one(n: int) -> None:
        answer = client.post("/run_code", json={"code": WHOLE, "language": "python", "stdin": str(n)}).json()
        assert answer["run_result"]["stdout"] == f"{n * (n + 1) // 2}\n", answer

    def single() -> None:
        with ThreadPoolExecutor(options.clients) as pool:
            list(pool.map(one, range(count)))

    ways = {"local": local, "/v1/judge": batch, "/run_code": single}
    for way in ways.values():
        way()  # everything is started and warm
    rounds = [{name: count / seconds(way) for name, way in ways.items()} for _ in range(options.rounds)]
    return {
        "programs_per_second": {name: round(statistics.median(row[name] for row in rounds), 1) for name in ways},
        "batch_to_local": round(statistics.median(row["/v1/judge"] / row["local"] for row in rounds), 3),
        "rounds": rounds,
        "programs": count,
        "workers": options.workers,
        "clients": options.clients,
        "load": os.getloadavg(),
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
    }


def seconds(way: Callable[[], None]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
