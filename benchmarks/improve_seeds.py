"""Does `strop improve` help, beyond the luck of one seed? Runs it once a seed and pools the paired differences.

    python benchmarks/improve_seeds.py --seeds 5 [-- any options of strop improve]

Each seed is a whole run (its own practice samples, LoRA initialisation, data order and held-out draws) in its own run
folder under `runs/improve-seeds/`; repeating the command resumes. Writes `results/improve-RECIPE.json` with the
pooled difference per split (hierarchical bootstrap over seeds and tasks) after every seed that ends, so that a partial
file is an honest one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asked
import numpy as np

from strop.run import Run
from strop.stats import compare_seeds, estimate

ROOT = Path(__file__).resolve().parents[1]


def rates(run: Run, stage: str, split: str) -> dict[str, float]:
    """Pass rate of each task of a split; judge errors left out."""
    tasks = run.result("tasks")
    outcomes: dict[str, list[bool]] = {}
    for (task, _), verdict in run.verdicts(stage).items():
        if tasks[task]["split"] == split and verdict.status != "judge_error":
            outcomes.setdefault(task, []).append(verdict.passed)
    return {task: sum(passed) / len(passed) for task, passed in sorted(outcomes.items())}


def summary(folders: list[Path], rounds: int) -> dict:
    """Pooled differences by split, and each seed's own figures."""
    runs = [Run.read(folder) for folder in folders]
    first = runs[0].result("tasks")
    splits = sorted({row["split"] for row in first.values()} - {"train"})
    report: dict = {"splits": {}, "seeds": []}
    for split in splits:
        before = [rates(run, "before", split) for run in runs]
        after = [rates(run, f"after-{rounds}", split) for run in runs]
        tasks = sorted(set.intersection(*(set(row) for row in (*before, *after))))
        was = np.array([[row[task] for task in tasks] for row in before])
        now = np.array([[row[task] for task in tasks] for row in after])
        pooled = {"tasks": len(tasks), "before": was.mean(), "after": now.mean()}
        if len(runs) > 1:
            difference = compare_seeds(was, now)
            pooled |= {"difference": difference.value, "low": difference.low, "high": difference.high}
            pooled |= {"p": difference.p, "words": difference.words()}
        report["splits"][split] = pooled
        for number in range(len(runs)):
            change = estimate(now[number] - was[number], bounds=(-1.0, 1.0))
            row = {"seed": number, "split": split, "before": was[number].mean(), "after": now[number].mean()}
            report["seeds"].append(row | {"difference": change.value, "low": change.low, "high": change.high})
    report["guards"] = [
        {stage: run.result(stage) for stage in ("guard-before", f"guard-after-{rounds}")} for run in runs
    ]
    report["spent"] = [{"sampled_tokens": run.spent().sampled_tokens, "programs": run.spent().programs} for run in runs]
    report["manifest"] = {key: runs[0].manifest[key] for key in ("config", "versions", "machine", "inputs")}
    return report


def run_seeds(
    folders: list[Path], options: list[str], rounds: int, out: Path, more: Callable[[list[Run]], dict] | None = None
) -> None:
    """Run or resume `strop improve` once a folder, with the folder's number as seed, and pool after every seed.

    `more` adds fields to the results file from the finished runs.
    """
    for seed, folder in enumerate(folders):
        command = [sys.executable, "-m", "strop.cli.main", "improve", "--seed", str(seed), "--out", str(folder)]
        subprocess.run([*command, *options], check=True)
        done = folders[: seed + 1]
        data = {"command": asked.command()}
        data |= summary(done, rounds)
        if more is not None:
            data |= more([Run.read(folder) for folder in done])
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps(data, indent=1, default=float) + "\n")
        print(json.dumps(data["splits"], indent=1, default=float))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--recipe", default="star")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, help="results file (default: results/improve-RECIPE.json)")
    parser.add_argument("options", nargs="*", help="after --: further options of strop improve")
    arguments = parser.parse_args()
    name = f"{arguments.recipe}-{arguments.rounds}"
    run_seeds(
        [ROOT / "runs" / "improve-seeds" / f"{name}-{seed}" for seed in range(arguments.seeds)],
        ["--recipe", arguments.recipe, "--rounds", str(arguments.rounds), *arguments.options],
        arguments.rounds,
        arguments.out or ROOT / "results" / f"improve-{arguments.recipe}.json",
    )


if __name__ == "__main__":
    main()
