"""How strong are the checks of `basics`, or of other tasks with references? Mutants of the references must fail.

    python benchmarks/basics_quality.py [TASKS] [--limit N] [--mutants 15] [--inputs 300]

For each task: the reference is judged, then up to `--mutants` mutants of it. A mutant that passes is compared with the
reference on `--inputs` further inputs like those of the checks (`more_inputs.py`); if it agrees on all of them it
counts as equivalent, otherwise it is a hole in the checks and is listed. The mutation score is the share of
non-equivalent mutants that fail. Writes results/TASKS-quality.json and exits with 1 if a reference fails or the score
is below the target.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from more_inputs import more_checks
from rich.progress import track

from strop import judge
from strop.tasks import load
from strop.tasks.mutate import mutants
from strop.types import Limits, Task, Verdict

RESULTS = Path(__file__).resolve().parent.parent / "results"
TARGET = 0.95


@dataclass
class Quality:
    """One task: its mutants by fate. `holes` are programs that pass although they differ from the reference."""

    task: Task
    reference: Verdict
    statuses: dict[str, int]
    equivalent: int
    holes: list[dict[str, str]]
    inputs: int

    @property
    def killed(self) -> int:
        return sum(number for status, number in self.statuses.items() if status != "passed")


def measure(task: Task, bench: judge.Judge, *, mutant_limit: int, inputs: int) -> Quality:
    assert task.reference is not None
    programs = mutants(task.reference, limit=mutant_limit)
    reference, *verdicts = bench.run(task, [task.reference, *programs])
    statuses: dict[str, int] = defaultdict(int)
    for verdict in verdicts:
        if verdict.status == "judge_error":
            raise SystemExit(f"{task.id}: the judge failed: {verdict.detail}")
        statuses[verdict.status] += 1
    survivors = [program for program, verdict in zip(programs, verdicts) if verdict.passed]
    holes: list[dict[str, str]] = []
    checks = more_checks(task, count=inputs) if survivors else []
    if survivors and checks:
        wider = replace(task, checks=tuple(checks), limits=Limits(cpu_seconds=10.0, wall_seconds=60.0))
        again, *judged = bench.run(wider, [task.reference, *survivors])
        if not again.passed:
            raise SystemExit(f"{task.id}: the reference fails a check made from itself: {again.detail}")
        holes = [
            {"program": program, "shown_by": verdict.detail}
            for program, verdict in zip(survivors, judged)
            if not verdict.passed
        ]
    elif survivors:
        holes = [{"program": program, "shown_by": "no further inputs"} for program in survivors]
    return Quality(task, reference, dict(statuses), len(survivors) - len(holes), holes, len(checks))


def summary(measured: Sequence[Quality]) -> dict[str, Any]:
    killed = sum(quality.killed for quality in measured)
    holes = sum(len(quality.holes) for quality in measured)
    return {
        "tasks": len(measured),
        "references_failing": [quality.task.id for quality in measured if not quality.reference.passed],
        "mutants": sum(sum(quality.statuses.values()) for quality in measured),
        "fewest_mutants_of_a_task": min(sum(quality.statuses.values()) for quality in measured),
        "killed": killed,
        "equivalent": sum(quality.equivalent for quality in measured),
        "survived": holes,
        "mutation_score": round(killed / (killed + holes), 4) if killed + holes else None,
    }


def report(measured: Sequence[Quality], seconds: float) -> dict[str, Any]:
    by_concept: dict[str, list[Quality]] = defaultdict(list)
    for quality in measured:
        by_concept[quality.task.tags[0]].append(quality)
    return {
        "overall": summary(measured),
        "seconds": round(seconds, 1),
        "concepts": {concept: summary(rows) for concept, rows in sorted(by_concept.items())},
        "tasks": [
            {
                "id": quality.task.id,
                "split": quality.task.split,
                "statuses": quality.statuses,
                "equivalent": quality.equivalent,
                "further_inputs": quality.inputs,
                "holes": quality.holes,
            }
            for quality in measured
        ],
    }


def show(result: dict[str, Any]) -> None:
    for concept, row in [*result["concepts"].items(), ("ALL", result["overall"])]:
        print(
            f"{concept:24} tasks {row['tasks']:4}  mutants {row['mutants']:5}  killed {row['killed']:5}  "
            f"equivalent {row['equivalent']:4}  survived {row['survived']:4}  score {row['mutation_score']:.4f}"
        )
    for task in result["tasks"]:
        for hole in task["holes"]:
            print(f"\n{task['id']}: passes, but {hole['shown_by']}\n{hole['program']}", end="")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="?", default="basics", help="a task set, file or folder")
    parser.add_argument("--limit", type=int, help="only so many tasks")
    parser.add_argument("--mutants", type=int, default=15, help="mutants of each reference")
    parser.add_argument("--inputs", type=int, default=300, help="further inputs for mutants that pass")
    arguments = parser.parse_args()
    started = time.perf_counter()
    measured = []
    with judge.Judge(limits=Limits(cpu_seconds=1.0, wall_seconds=10.0)) as bench:
        for task in track(load(arguments.tasks, limit=arguments.limit), "Judging mutants", transient=True):
            measured.append(measure(task, bench, mutant_limit=arguments.mutants, inputs=arguments.inputs))
    result = report(measured, time.perf_counter() - started)
    show(result)
    if arguments.limit is None:
        RESULTS.mkdir(exist_ok=True)
        name = Path(arguments.tasks).stem.replace("_", "-")
        (RESULTS / f"{name}-quality.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    overall = result["overall"]
    return 1 if overall["references_failing"] or (overall["mutation_score"] or 0) < TARGET else 0


if __name__ == "__main__":
    sys.exit(main())
