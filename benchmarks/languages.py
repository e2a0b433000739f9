"""How fast are programs in other languages judged, next to what the language itself takes to compile and start?

    python benchmarks/languages.py [--programs N] [--only NAME,NAME]

For every language whose toolchain is here: N whole programs from the tests' tasks, each compiled (if the language is)
and run once on one input. The floor is the same commands on the same files, started one after the other without any
isolation; Strop judges the same programs with one worker, and must find that they print what they printed there. Floor
and Strop take turns program by program, so that a busy machine is busy for both. The ratio of the floor's time to
Strop's has a 95 % interval from a bootstrap over programs.

Writes results/language-benchmark.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import asked

from strop.judge import Judge, languages
from strop.types import StdioCheck, StropError, Task

HERE = Path(__file__).resolve().parent
RESULT = HERE.parent / "results" / "language-benchmark.json"
sys.path.insert(0, str(HERE.parent / "tests" / "languages"))
RESAMPLES = 2000


def programs(language: str, count: int) -> Iterator[tuple[Task, str, str]]:
    """Tasks, right programs and an input of each; they repeat when there are fewer than `count`."""
    from language_tasks import SQL, cases

    known = []
    for case in cases(language):
        check = case.task.checks[0]
        if isinstance(check, StdioCheck):
            known.append((case.task, case.right, check.stdin))
        elif language in SQL and len(check.args) == 1:  # type: ignore[union-attr]
            known.append((case.task, case.right, check.args[0]))  # type: ignore[union-attr]
    yield from itertools.islice(itertools.cycle(known), count)


def floor(language: str, task: Task, program: str, stdin: str) -> tuple[float, str]:
    """Seconds to compile and run without isolation, and what was printed."""
    tools = languages.toolchain(language)
    with tempfile.TemporaryDirectory() as folder:

        def here(text: str) -> str:
            return text.replace("/box", folder)

        for name, text in {**tools.files, **languages.get(language).files(task, program, "main")}.items():
            Path(folder, name).write_text(here(text))
        environment = {name: here(value) for name, value in tools.environment.items()}
        started = time.perf_counter()
        printed = ""
        for name in ("compile main", "main"):
            if name in tools.commands:
                argv = [here(part).replace("{memory}", "512") for part in tools.commands[name].argv]
                done = subprocess.run(
                    argv, cwd=folder, env=environment, input=stdin, capture_output=True, text=True, check=True
                )
                printed = done.stdout
        return time.perf_counter() - started, printed


def measure(judge: Judge, language: str, count: int) -> dict[str, Any]:
    """Floor and Strop on the same programs, in turns."""
    from dataclasses import replace

    chosen = list(programs(language, count))
    task, program, stdin = chosen[0]
    judge.run(replace(task, checks=(StdioCheck(stdin=stdin, stdout=""),)), [program])  # starts the language's box
    floor(language, task, program, stdin)
    times, wrong = [], []
    for task, program, stdin in chosen:
        bare, printed = floor(language, task, program, stdin)
        judged = replace(task, checks=(StdioCheck(stdin=stdin, stdout=printed),))
        started = time.perf_counter()
        verdict = judge.run(judged, [program])[0]
        times.append((bare, time.perf_counter() - started))
        if not verdict.passed:
            wrong.append(f"{task.id}: {verdict.status} {verdict.detail}")
    ratio, low, high = interval(times)
    return {
        "programs": count,
        "floor_programs_per_second": round(count / sum(bare for bare, _ in times), 3),
        "strop_programs_per_second": round(count / sum(own for _, own in times), 3),
        "floor_over_strop": {"estimate": round(ratio, 3), "low": round(low, 3), "high": round(high, 3)},
        "wrong": wrong,
        "seconds": [[round(bare, 5), round(own, 5)] for bare, own in times],
    }


def interval(times: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Ratio of the sums, and its 95 % interval: percentiles of a bootstrap over programs."""

    def ratio(sample: Sequence[tuple[float, float]]) -> float:
        return sum(bare for bare, _ in sample) / sum(own for _, own in sample)

    draw = random.Random(0)
    resampled = sorted(ratio(draw.choices(times, k=len(times))) for _ in range(RESAMPLES))
    return ratio(times), resampled[int(0.025 * RESAMPLES)], resampled[int(0.975 * RESAMPLES)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=20)
    parser.add_argument("--only", default=",".join(languages.NAMES))
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    report: dict[str, Any] = {
        "command": asked.command(),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
                    "python": platform.python_version(), "load": os.getloadavg()},
        "languages": {},
        "missing": {},
    }  # fmt: skip
    with Judge(workers=1, require="root", preload=()) as judge:
        report["isolation"] = judge.isolation
        for language in options.only.split(","):
            try:
                languages.toolchain(language)
            except StropError as error:
                report["missing"][language] = str(error)
                continue
            report["languages"][language] = found = measure(judge, language, options.programs)
            ratio = found["floor_over_strop"]
            print(
                f"{language:12} floor {found['floor_programs_per_second']:8.2f}/s   "
                f"strop {found['strop_programs_per_second']:8.2f}/s   ratio {ratio['estimate']:.2f} "
                f"({ratio['low']:.2f} to {ratio['high']:.2f})   wrong {len(found['wrong'])}",
                flush=True,
            )
    options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
