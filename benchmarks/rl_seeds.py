"""Does GRPO with a unit-test reward help SmolLM2 on held-out tasks of `basics`, beyond the luck of one seed?

    python benchmarks/rl_seeds.py --seeds 3                # about half an hour a seed on two cores; --seeds 1 for one
    python benchmarks/rl_seeds.py --smoke                  # two small steps, into runs/ alone

Each seed is a whole run of `strop improve --recipe grpo`: its own LoRA initialisation, order of tasks, samples and
held-out draws, in its own folder under `runs/rl-seeds/`. Repeating the command resumes, within a seed too. After every
seed `results/rl-grpo.json` holds the pooled difference by split (hierarchical bootstrap over seeds and tasks), each
seed's own, and the curves, rewards by part and monitors of every seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from improve_seeds import ROOT, run_seeds

from strop.report.training import monitors
from strop.run import Run

SETTINGS = (
    "steps=32", "prompts=16", "group=8", "max_tokens=80", "minibatches=4", "learning_rate=2e-4", "reward=outcome",
)  # fmt: skip
"""32 steps visit each of the 180 practice tasks almost three times. The reward is CodeRL's four levels: where nothing
passes, programs that run are still told from programs that do not. Four updates a step, on four tasks each, cost no
more than one; clipping keeps the later ones close to what was sampled. The learning rate is twice that of preferences
(`strop.train.improve`). None of this was tuned on held-out tasks."""
SMOKE = ("steps=2", "prompts=2", "group=4", "max_tokens=48", "minibatches=2", "learning_rate=2e-4", "reward=outcome")
CURVES = ("reward", "pass_rate", "entropy", "mean_length", "informative_groups", "visible_pass_hidden_fail")


def curves(runs: list[Run]) -> dict:
    """Of each seed: what is watched at every step, and first steps against last."""
    rows = []
    for run in runs:
        found: dict[str, list[float]] = {name: [] for name in CURVES}
        for _, _, name, value in run.metrics():
            if name in found:
                found[name].append(value)
        seconds = {stage: run.spent(stage).seconds for stage in run.stages()}
        rows.append({"curves": found, "monitors": monitors(run.metrics()), "seconds": seconds})
    return {"training": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--smoke", action="store_true", help="one seed, two steps, four held-out tasks, no results file"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "rl-grpo.json")
    parser.add_argument("options", nargs="*", help="after --: further options or NAME=VALUE settings of strop improve")
    arguments = parser.parse_args()
    name, seeds, settings, out = "grpo", arguments.seeds, list(SETTINGS), arguments.out
    if arguments.smoke:
        name, seeds, out = "grpo-smoke", 1, ROOT / "runs" / "rl-seeds" / "smoke.json"
        settings = [*SMOKE, "--held-out-tasks", "4", "--held-out-samples", "1", "--guard-tasks", "1"]
    folders = [ROOT / "runs" / "rl-seeds" / f"{name}-{seed}" for seed in range(seeds)]
    run_seeds(folders, ["--recipe", "grpo", *settings, *arguments.options], 1, out, curves)


if __name__ == "__main__":
    main()
