"""What experiments on the testbed share: a model of a seed, its judged samples, and how often a model is right."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from strop import models
from strop.data.pools import Pool, pool_up
from strop.evals.solve import draw
from strop.judge import Judge
from strop.papers.code import code_version
from strop.papers.experiment import Lab
from strop.papers.tinycoder.pretrain import Testbed, TinySettings, make
from strop.papers.tinycoder.problems import tasks
from strop.tasks.protocols import get_protocol
from strop.types import Sample, SamplingParams, Spent, Task, content_hash

PROTOCOL = get_protocol("completion")
MAKES = ("fragments", "pretrain", "problems")
"""Modules that a pretrained model depends on."""
PARAMS = SamplingParams(temperature=1.0, top_p=1.0, max_tokens=80)


def bed(lab: Lab, seed: int) -> Testbed:
    """The testbed of a seed; `pretraining_steps` of the lab's settings, if it has them.

    Pretrained once for all experiments: it lies beside their folders, under the hash of settings and code.
    """
    steps = lab.settings.get("pretraining_steps")
    settings = TinySettings() if steps is None else TinySettings(steps=steps)
    key = content_hash(asdict(settings), code_version([f"strop.papers.tinycoder.{name}" for name in MAKES])[0])[:8]
    return make(Path(lab.folder).parent / f"tinycoder-{key}" / f"bed-{seed}", seed=seed, settings=settings)


def sampled(lab: Lab, model: str, chosen: Sequence[Task], count: int, seed: int) -> tuple[list[Sample], list[Pool]]:
    """`count` samples a task at temperature 1, and the same as judged pools; charged to the lab."""
    judge = lab.once(_judge)
    with closing(models.load(model)) as loaded:
        samples = draw(loaded, [(task, index) for task in chosen for index in range(count)], PROTOCOL, PARAMS, seed)
    by_id = {task.id: task for task in chosen}
    jobs = (((sample.task_id, sample.index), by_id[sample.task_id], sample.code) for sample in samples)
    verdicts = dict(judge.stream(jobs))
    lab.charge(sum((sample.spent for sample in samples), Spent(programs=len(samples))))
    return samples, pool_up(chosen, samples, verdicts, policy=model)[0]


def _judge() -> Judge:
    return Judge(cache=20_000)


def split(name: str, count: int | None = None) -> list[Task]:
    """The first tasks of a split."""
    return tasks(name)[:count]


def pass_rates(pools: Sequence[Pool], chosen: Sequence[Task], count: int) -> dict[str, float]:
    """Share of right samples by task; a sample without a program counts as wrong."""
    right = {pool.task.id: float(pool.truth.sum()) for pool in pools}
    return {task.id: right.get(task.id, 0.0) / count for task in chosen}


def solved(lab: Lab, model: str, chosen: Sequence[Task], count: int, seed: int) -> dict[str, float]:
    """Share of right samples by task, of `count` drawn at temperature 1."""
    return pass_rates(sampled(lab, model, chosen, count, seed)[1], chosen, count)


def held_out(units: Sequence[str]) -> list[Task]:
    """The test tasks with these ids."""
    wanted = set(units)
    return [task for task in split("test") if task.id in wanted]


def held_out_ids() -> list[str]:
    """Ids of the tasks to measure on: the units of experiments on the testbed."""
    return [task.id for task in split("test")]
