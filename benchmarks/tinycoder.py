"""How good the testbed's base model is: pass rate, kinds of mistakes and cost, over several seeds.

    python benchmarks/tinycoder.py                  # writes results/tinycoder.json

The experiments on TinyCoder need a base model that is right on 30 to 50 % of its samples, wrong in every way, and that
writes cheap and dear programs. Says at the end whether that holds on every seed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np

from strop import models
from strop.evals.solve import draw
from strop.judge import Judge
from strop.papers import tinycoder
from strop.papers.code import code_version
from strop.papers.tinycoder.practice import PARAMS, PROTOCOL, split
from strop.papers.tinycoder.pretrain import TinySettings
from strop.papers.tinycoder.speed import dear, log_cost
from strop.rewards import Case, outcome_class
from strop.run import write_whole
from strop.stats import estimate

RATE = (0.3, 0.5)
LEAST = 0.02
"""Share of samples that every kind of mistake must have at least."""


def measure(seed: int, samples: int, settings: TinySettings, folder: Path, judge: Judge) -> dict:
    bed = tinycoder.make(folder / f"bed-{seed}", seed=seed, settings=settings)
    tasks = split("test")
    by_id = {task.id: task for task in tasks}
    model = models.load(bed.model)
    drawn = draw(model, [(task, number) for task in tasks for number in range(samples)], PROTOCOL, PARAMS, seed)
    model.close()
    jobs = ((place, by_id[one.task_id], one.code) for place, one in enumerate(drawn))
    verdicts = dict(judge.stream(jobs))
    kinds: Counter[str] = Counter()
    rates: dict[str, list[float]] = {task.id: [] for task in tasks}
    costs = []
    for place, one in enumerate(drawn):
        task, verdict = by_id[one.task_id], verdicts[place]
        kinds[outcome_class(Case(task=task, sample=one, verdict=verdict)) or "judge_error"] += 1
        rates[task.id].append(float(verdict.passed))
        if verdict.passed and (value := log_cost(task, one.code)) is not None:
            costs.append(value)
    each = np.array([np.mean(row) for row in rates.values()])
    passed = estimate(each)
    return {
        "seed": seed,
        "pass_rate": [round(passed.value, 4), round(passed.low, 4), round(passed.high, 4)],
        "outcomes": {kind: round(count / len(drawn), 4) for kind, count in sorted(kinds.items())},
        "tasks_never_solved": int((each == 0).sum()),
        "tasks_between_0.2_and_0.8": int(((each >= 0.2) & (each <= 0.8)).sum()),
        "cost_of_right_programs_over_cheapest": round(float(2 ** np.mean(costs)), 3),
        "dear_programs_over_cheapest": round(
            float(2 ** np.mean([log_cost(task, dear(task)) or 0.0 for task in tasks])), 3
        ),
        "tokens_a_sample": round(float(np.mean([len(one.token_ids or ()) for one in drawn])), 1),
        "loss": round(bed.loss, 4),
        "parameters": bed.parameters,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=8, help="samples a task, of 120 tasks")
    parser.add_argument("--folder", type=Path, help="keep the models here (default: nowhere)")
    parser.add_argument("--out", type=Path, default=Path("results/tinycoder.json"))
    for name in ("steps", "demonstrations", "width", "layers"):
        parser.add_argument(f"--{name}", type=int, default=getattr(TinySettings(), name))
    parser.add_argument("--bug-rate", type=float, default=TinySettings().bug_rate)
    given = parser.parse_args()
    settings = TinySettings(
        steps=given.steps, demonstrations=given.demonstrations, width=given.width, layers=given.layers,
        bug_rate=given.bug_rate,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch, Judge(cache=20_000) as judge:
        folder = given.folder or Path(scratch)
        rows = []
        for seed in range(given.seeds):
            rows.append(measure(seed, given.samples, settings, folder, judge))
            print(json.dumps(rows[-1]))
    holds = all(
        RATE[0] <= row["pass_rate"][0] <= RATE[1]
        and min(row["outcomes"].get(kind, 0.0) for kind in ("syntax", "runtime", "failed")) >= LEAST
        for row in rows
    )
    over = estimate(np.array([row["pass_rate"][0] for row in rows])) if len(rows) > 1 else None
    found = {
        "what": "TinyCoder's base model on the 120 test tasks, temperature 1",
        "command": f"python benchmarks/tinycoder.py --seeds {given.seeds} --samples {given.samples}",
        "settings": asdict(settings),
        "mean_pass_rate": over and [round(over.value, 4), round(over.low, 4), round(over.high, 4)],
        "wanted": {"pass_rate": RATE, "each_kind_of_mistake_at_least": LEAST},
        "holds": holds,
        "code": code_version(["strop.papers.tinycoder"])[0],
        "seeds": rows,
    }
    write_whole(given.out, json.dumps(found, indent=1) + "\n")
    print(f"Every seed between {RATE[0]:.0%} and {RATE[1]:.0%}, every kind of mistake present: {holds}.")


if __name__ == "__main__":
    main()
