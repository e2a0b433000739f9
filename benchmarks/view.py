"""How long the pages of `strop view` take on a run with 50,000 samples.

    python benchmarks/view.py [--samples 50000] [--rounds 5] [--repeats 40] [--keep FOLDER] [--only PAGE] [--out FILE]

Writes a run as `strop improve` does: two measured stages of 500 tasks, verdicts of every kind, training metrics, and as
many search traces as a comparison leaves. Then `strop view` serves it, and each kind of page is asked for over HTTP:
*first* is the first request of that kind to a server that has shown nothing of the run (one server a page and round),
*again* are the requests after it. Wall times are what a browser would see, in milliseconds; beside them the processor
time of the server, which says the same on a busy machine. Exit code 1 when a page takes longer than 200 ms at its 95th
percentile: of wall time, or, where more work than cores was waiting, of processor time. Writes
results/view-benchmark.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from strop.run import Run
from strop.types import CheckResult, Sample, Spent, Verdict
from strop.web.site import url

RESULT = Path(__file__).parent.parent / "results" / "view-benchmark.json"
TASKS, MOST_MS = 500, 200.0
STAGES = ("before", "after-1")
STATUSES = ("passed", "failed", "runtime_error", "syntax_error", "timeout")
SHARES = {"before": (0.25, 0.45, 0.2, 0.08, 0.02), "after-1": (0.4, 0.42, 0.14, 0.03, 0.01)}
LINES = (
    "total = 0", "for value in values:", "    total += value", "if total > limit:", "    return total - limit",
    "seen = {}", "for key, value in pairs.items():", "    seen.setdefault(key, []).append(value)",
    "result = sorted(seen, key=lambda k: (len(seen[k]), k))", "while low < high:",
    "    middle = (low + high) // 2", "    low, high = (middle + 1, high) if test(middle) else (low, middle)",
)  # fmt: skip


def program(rng: random.Random) -> str:
    """A program of the usual size, different from most others."""
    body = [f"    {rng.choice(LINES)}" for _ in range(rng.randint(3, 40))]
    return "\n".join([f"def solve_{rng.randrange(10**6)}(values, limit=0):", *body, "    return total"]) + "\n"


def verdict(rng: random.Random, status: str) -> Verdict:
    passed = status == "passed"
    checks = [CheckResult(name=f"check {n}", passed=True, visible=n < 2, status="passed") for n in range(8)]
    if not passed:
        message = f"values differ at position {rng.randrange(100)}"
        checks[rng.randrange(8)] = CheckResult(
            name="check x", passed=False, visible=False, status=status, message=message, expected="[1, 2, 3]" * 5,
            actual="[1, 2]" * 5,
        )  # fmt: skip
    printed = "printed " * rng.randint(0, 60)
    return Verdict(
        status=status, fraction=sum(check.passed for check in checks) / 8, checks=tuple(checks), output=printed,
        detail="" if passed else "check x: values differ", isolation="userns", seconds=rng.random(), memory_mb=30.0,
    )  # fmt: skip


def write_run(folder: Path, samples: int) -> None:
    """The run, through the same calls that a real one makes."""
    rng, each = random.Random(0), samples // (TASKS * len(STAGES))
    records = {
        f"set/{n:04d}": {"prompt": "Write a function. " * rng.randint(10, 60), "split": "held-out-near", "stub": "",
                         "tags": [f"concept-{n % 30}"]}
        for n in range(TASKS)
    }  # fmt: skip
    config = {"model": "smollm2", "tasks": "set", "seed": 0}
    with Run.open(folder, command="strop improve", config=config, inputs={"task_set_hash": "0"}) as run:
        run.save_result("tasks", records)
        for stage in STAGES:
            for task_id in records:
                drawn, judged = [], []
                for index in range(each):
                    code = program(rng)
                    spent = Spent(prompt_tokens=150, sampled_tokens=len(code) // 4, model_calls=1, seconds=0.01)
                    drawn.append(
                        Sample(task_id=task_id, index=index, text=f"```python\n{code}```", code=code, seed=index,
                               finish_reason="stop", protocol="chat", spent=spent)
                    )  # fmt: skip
                    status = rng.choices(STATUSES, SHARES[stage])[0]
                    judged.append((task_id, index, verdict(rng, status)))
                with run.atomic():
                    run.save_samples(stage, drawn)
                    run.save_verdicts(stage, judged)
                    run.charge(stage, task_id, sum((one.spent for one in drawn), Spent(programs=each)))
        for step in range(1, 2001):
            run.save_metrics("train-1", step, {"loss": rng.random() / step, "learning_rate": 1e-3 * (2001 - step)})
        for number in range(2000):
            node = {"number": 0, "status": "passed", "code": program(rng), "prompt": "", "words": [], "parent": None}
            trace = {"task": f"set/{number % TASKS:04d}", "method": "direct", "seed": number // TASKS, "answer": 0,
                     "nodes": [node], "spent": {"sampled_tokens": 90}}  # fmt: skip
            with run.atomic():
                run.save_result(f"search-{number}", trace)
                run.charge("search", f"search-{number}", Spent(sampled_tokens=90))


def pages(samples: int) -> dict[str, str]:
    """Kinds of pages by name, with the addresses that ask most of them."""
    where = {"run": "large", "stage": "after-1"}
    last = samples // len(STAGES) - 50
    return {
        "runs": "/",
        "run": url("/run", run="large"),
        "run, worst tasks first, last page": url("/run", run="large", order="worst", start=TASKS - 50),
        "run, by words": url("/run", run="large", words="concept-7"),
        "samples": url("/samples", run="large"),
        "samples, last page": url("/samples", **where, start=last),
        "samples that failed, from the middle": url("/samples", **where, status="failed", start=last // 5),
        "samples of a task": url("/samples", **where, task="set/0123"),
        "sample": url("/sample", **where, task="set/0123", n=7),
        "sample, next that failed": url("/sample", **where, task="set/0123", n=7, status="failed"),
        "program": url("/program.txt", **where, task="set/0123", n=7),
        "task": url("/task", run="large", id="set/0123"),
        "compare": url("/compare", a="large"),
        "curves": url("/curves", run="large"),
        "state": url("/state", run="large"),
        "searches, last page": url("/trees", run="large", start=1950),
        "arena, a pair drawn": url("/arena", run="large"),
        "ranking": url("/arena/ranking", run="large"),
        "papers": "/papers",
        "papers, searched": url("/papers", words="reward model preference"),
        "paper": url("/paper", paper="43-codedpo"),
        "tasks": url("/tasks", set="basics"),
    }


@contextmanager
def served(folder: Path) -> Iterator[tuple[httpx2.Client, int]]:
    """`strop view` on a free port: a client that has loaded its style sheet, and the server's process."""
    command = [sys.executable, "-m", "strop.cli.main", "view", str(folder), "--port", "0", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"http://[\d.:]+", server.stdout.readline())
        assert found is not None, "strop view did not start"
        with httpx2.Client(base_url=found[0], timeout=120, follow_redirects=True) as client:
            client.get("/strop.css")
            _wait_until_idle(server.pid)
            yield client, server.pid
    finally:
        server.terminate()
        server.wait(30)


def _wait_until_idle(process: int) -> None:
    """The server reads the catalogue of papers once it has started."""
    before, now = -1.0, processor(process)
    while now - before > 1:
        time.sleep(0.3)
        before, now = now, processor(process)


def timed(client: httpx2.Client, server: int, address: str) -> tuple[float, float]:
    """Milliseconds until the answer is there, and of the server's processor time."""
    used, start = processor(server), time.perf_counter()
    answer = client.get(address)
    taken = 1000 * (time.perf_counter() - start)
    assert answer.status_code == 200, (address, answer.status_code)
    return taken, processor(server) - used


def processor(process: int) -> float:
    """Milliseconds that the threads of a process have run."""
    threads = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e6


def figures(times: list[tuple[float, float]]) -> dict[str, float]:
    found = {}
    for name, values in zip(("", "_processor"), zip(*times, strict=True), strict=True):
        at = sorted(values)
        found[f"median{name}"] = round(statistics.median(at), 1)
        found[f"p95{name}"] = round(at[min(int(0.95 * len(at)), len(at) - 1)], 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5, help="fresh servers a page")
    parser.add_argument("--repeats", type=int, default=40, help="requests a page after the first")
    parser.add_argument("--keep", type=Path, help="write the run here, or use the one that is here")
    parser.add_argument("--only", action="append", help="this page alone; the file keeps what it has of the others")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    table: dict[str, Any] = {}
    if options.only and options.out.exists():
        table = json.loads(options.out.read_text(encoding="utf-8"))["pages"]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        if not (folder / "large").exists():
            write_run(folder / "large", options.samples)
        megabytes = sum(file.stat().st_size for file in (folder / "large").iterdir()) / 1e6
        print(f"{options.samples:,} samples, {megabytes:.0f} MB")
        for name, address in pages(options.samples).items():
            if options.only and name not in options.only:
                continue
            first, again = [], []
            for _ in range(options.rounds):
                with served(folder) as (client, server):
                    first.append(timed(client, server, address))
                    again += [timed(client, server, address) for _ in range(options.repeats // options.rounds)]
            table[name] = {"first": figures(first), "again": figures(again), "load": round(load, 1)}
            print(f"{name:<40} first {table[name]['first']}  again {table[name]['again']}", flush=True)
    report = {
        "unit": "milliseconds", "samples": options.samples, "tasks": TASKS, "megabytes": round(megabytes),
        "rounds": options.rounds, "repeats": options.repeats, "pages": table,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
    }  # fmt: skip
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    slow = []
    for name, row in table.items():
        of = "p95" if row["load"] < (os.cpu_count() or 1) else "p95_processor"
        slow += [name] if max(row["first"][of], row["again"][of]) > MOST_MS else []
    if slow:
        sys.exit(f"over {MOST_MS:.0f} ms: {', '.join(slow)}")


if __name__ == "__main__":
    main()
