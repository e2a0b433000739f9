"""Does a judge stay as small as it began? Streams verdicts through one judge and weighs all its processes on the way.

    python benchmarks/judge_memory.py [--verdicts 100000] [--workers 2]

Every program is different and every tenth task is new, so nothing is answered from a cache. Weighed are the caller, its
workers and their zygotes (resident memory in MB, and open descriptors). The growth a million verdicts would bring is
extrapolated from the second half of the run. Writes results/judge-memory.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from strop.judge import Judge
from strop.types import CallCheck, ScriptCheck, Task

RESULTS = Path(__file__).resolve().parent.parent / "results"
WARM = 2000
"""Verdicts before the first weighing: caches fill up to their bounds."""


def jobs(count: int) -> Iterator[tuple[int, Task, str]]:
    task = None
    for i in range(count):
        if task is None or i % 10 == 0:
            script = ScriptCheck(code=f"assert f({i}) == {i * i}\nassert f(-1) == 1")
            call = CallCheck(function="f", args=(i,), expected=i * i)
            task = Task(id=f"square/{i}", prompt="", checks=(call, script), entry_point="f")
        yield i, task, f"def f(x):\n    'program {i}'\n    return x * x{' + 1' if i % 3 == 0 else ''}\n"


def weigh() -> dict[str, float]:
    """Resident MB and descriptors, by kind of process."""
    found = {"caller_mb": psutil.Process().memory_info().rss / 2**20, "workers_mb": 0.0, "zygotes_mb": 0.0}
    found["descriptors"] = len(os.listdir("/proc/self/fd"))
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline())
            kind = next((k for k in ("worker", "zygote") if f".{k} import" in line), None)
            parent = process.parent()
            if kind and not (kind == "zygote" and parent and ".zygote import" in " ".join(parent.cmdline())):
                found[f"{kind}s_mb"] += process.memory_info().rss / 2**20
                found["descriptors"] += process.num_fds()
        except psutil.NoSuchProcess:
            pass  # a program that just ended
    return {name: round(value, 2) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "judge-memory.json")
    options = parser.parse_args()
    marks = {n for n in (WARM, 10_000, 100_000, 1_000_000) if n < options.verdicts}
    marks |= {options.verdicts // 2, options.verdicts}
    weights, wrong, began = [], 0, time.monotonic()
    with Judge(workers=options.workers) as judge:
        for done, (i, verdict) in enumerate(judge.stream(jobs(options.verdicts)), 1):
            wrong += verdict.passed != (i % 3 != 0)
            if done in marks:
                gc.collect()
                weights.append({"verdicts": done, "seconds": round(time.monotonic() - began, 1), **weigh()})
                print(json.dumps(weights[-1]), flush=True)
    half, end = weights[-2], weights[-1]
    rest = 1_000_000 - end["verdicts"]
    slope = {
        name: (end[name] - half[name]) / (end["verdicts"] - half["verdicts"])
        for name in ("caller_mb", "workers_mb", "zygotes_mb")
    }
    million = {name: round(end[name] + max(0.0, value) * rest, 1) for name, value in slope.items()}
    report = {
        "workers": options.workers,
        "isolation": judge.isolation,
        "python": sys.version.split()[0],
        "wrong_verdicts": wrong,
        "weights": weights,
        "extrapolated_to_a_million_mb": million,
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"at a million: {million}; wrong verdicts: {wrong}; written: {options.out}")
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
