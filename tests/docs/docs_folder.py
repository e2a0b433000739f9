"""A folder with the files that the documentation's commands name."""

from __future__ import annotations

import json
from pathlib import Path

from strop import judge
from strop.data import build, codedpo, pool_up, with_matrices, write_pairs
from strop.evals.solve import task_records
from strop.run import Run
from strop.tasks import load
from strop.tasks.assertions import single_tests
from strop.tasks.protocols import get_protocol
from strop.types import Sample, Spent

TASK = {
    "id": "greet/1", "prompt": "Write hello(name) that returns 'Hello, NAME!'.", "entry_point": "hello",
    "checks": ["hello('Ann') == 'Hello, Ann!'", "hello('') == 'Hello, !'"],
    "reference": "def hello(name):\n    return f'Hello, {name}!'",
}  # fmt: skip


def make(folder: Path) -> Path:
    """Task files, completions, two judged runs and pairs made of them."""
    for name in ("greet", "mine", "tasks"):
        (folder / f"{name}.jsonl").write_text(json.dumps(TASK) + "\n")
    for name in ("samples", "completions", "programs"):
        row = {"task_id": TASK["id"], "solution": TASK["reference"]}
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "token").write_text("0123456789abcdef0123\n")
    for name in ("samples", "NAME"):
        sampled_run(folder / "runs" / name)
    return folder


def sampled_run(path: Path) -> None:
    """An eval run of eight tasks with four programs each, two of them right, and the pairs of it beside the runs."""
    tasks = [task for task in load("basics", split="all") if task.entry_point and task.reference][:8]
    drawn: list[Sample] = []
    with (
        Run.open(path, command="strop eval", config={"model": "smollm2", "tasks": "basics", "seed": 0}) as run,
        judge.Judge(workers=2) as bench,
    ):
        run.save_result("tasks", task_records(tasks))
        for task in tasks:
            name = task.entry_point
            codes = [str(task.reference), f"{task.reference}\n# again\n", f"def {name}(*args):\n    return None\n",
                     f"def {name}(*args):\n    raise ValueError\n"]  # fmt: skip
            for index, (code, verdict) in enumerate(zip(codes, bench.run(task, codes), strict=True)):
                drawn.append(
                    Sample(task_id=task.id, index=index, text=f"```python\n{code}```", code=code, seed=index,
                           finish_reason="stop", protocol="chat", spent=Spent(sampled_tokens=20, model_calls=1))
                )  # fmt: skip
                run.save_samples("eval", drawn[-1:])
                run.save_verdicts("eval", [(task.id, index, verdict)])
        pools, _ = pool_up(tasks, drawn, run.verdicts("eval"))
        pools = with_matrices(pools, single_tests, bench)
    built = build(pools, codedpo.correctness(), get_protocol("chat"), method="codedpo", per_task=1, seed=0)
    write_pairs(built.pairs, path.parents[1] / "pairs.jsonl")
