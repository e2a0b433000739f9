"""Paper 29 trains on a policy's own samples, labelled by tests. Do they teach more than another model's samples?

The policy is TinyCoder (`strop.papers.tinycoder`), a small model of real Python: a testbed, not a language model. The
other author is the same model pretrained from another seed, so that it is as good and writes alike: a hard case for the
claim. Both give the same number of pairs, or of labelled answers for KTO, on the same tasks. `again` measures the
untrained policy a second time with other draws: the noise floor.

Departures from the paper: tests are the tasks' own, not a model's; one offline round; LoRA.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from strop import models
from strop.data.pairs import build
from strop.data.plum import plum, unpaired
from strop.data.pools import Pool
from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.tinycoder.practice import PROTOCOL, bed, pass_rates, sampled, split
from strop.train.dpo import train_dpo
from strop.train.kto import train_kto
from strop.train.lora import LearnerSettings
from strop.types import Spent

OTHER = 1000
"""Added to a seed for the other author."""


def lessons(kind: str, own: Sequence[Pool], other: Sequence[Pool], per_task: int, seed: int) -> dict[str, list[Any]]:
    """Pairs or labelled answers of both authors, as many of each."""
    found: dict[str, list[Any]] = {}
    for name, pools in (("own", own), ("other", other)):
        if kind == "DPO":
            found[name] = list(build(pools, plum(), PROTOCOL, method="plum", per_task=per_task, seed=seed).pairs)
        else:
            found[name] = unpaired(pools, PROTOCOL, per_task=per_task, seed=seed)
    fewest = min(map(len, found.values()))
    return {name: rows[:fewest] for name, rows in found.items()}


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    settings, seed = lab.settings, item.seed
    homes = {"own": bed(lab, seed), "other": bed(lab, seed + OTHER)}
    practised = split("train", settings["practised"])
    held_out = [task for task in split("test") if task.id in item.units]
    pools = {name: sampled(lab, home.model, practised, settings["samples"], seed)[1] for name, home in homes.items()}
    policy, each = homes["own"].model, settings["held_out_samples"]

    def rates(model: str, draw_seed: int) -> dict[str, float]:
        return pass_rates(sampled(lab, model, held_out, each, draw_seed)[1], held_out, each)

    solved = {"start": rates(policy, seed + 1), "again": rates(policy, seed + 2)}
    for kind, learn in (("DPO", train_dpo), ("KTO", train_kto)):
        for author, rows in lessons(kind, pools["own"], pools["other"], settings["per_task"], seed).items():
            adapter = lab.folder / f"{kind}-{author}-{seed}"
            if not adapter.exists():
                learn(
                    policy, rows, folder=lab.folder / f"work-{adapter.name}", adapter=adapter,
                    settings=LearnerSettings(
                        epochs=settings["epochs"], batch_size=16, learning_rate=settings["learning_rate"],
                        max_length=256, seed=seed,
                    ),
                    on_metrics=lambda *_: None, on_progress=lambda *_: None,
                )  # fmt: skip
            solved[f"{kind}, {author} samples"] = rates(f"{policy}+{adapter}", seed + 1)
    likely = _likelihoods(lab, policy, homes, held_out, each, seed)
    for task in held_out:
        for arm in item.arms:
            figures = {"solved": solved[arm][task.id]}
            author = "own" if "own" in arm else "other" if "other" in arm else None
            if author is not None and task.id in likely[author]:
                figures["log-probability of the samples"] = likely[author][task.id]
            yield Outcome(arm, task.id, seed, figures)


def _likelihoods(
    lab: Lab, policy: str, homes: Any, held_out: Sequence[Any], each: int, seed: int
) -> dict[str, dict[str, float]]:
    """Mean log-probability a token that the policy gives each author's samples, by task."""
    found: dict[str, dict[str, float]] = {}
    for author, home in homes.items():
        samples, _ = sampled(lab, home.model, held_out, each, seed + 3)
        by_id = {task.id: task for task in held_out}
        with closing(models.load(policy)) as model:
            scores = model.score([(PROTOCOL.render(by_id[one.task_id].public()), one.text or "\n") for one in samples])
        rows: dict[str, list[float]] = {}
        for one, value in zip(samples, scores):
            rows.setdefault(one.task_id, []).append(value.total / max(1, len(value.logprobs)))
        found[author] = {task_id: float(np.mean(values)) for task_id, values in rows.items()}
    return found


def conclude(table: Table) -> list[Condition]:
    return [
        Condition.of(
            "DPO on own samples solves more than DPO on the other model's",
            table.compare("solved", "DPO, own samples", "DPO, other samples"),
        ),
        Condition.of(
            "DPO on own samples solves more than the start", table.compare("solved", "DPO, own samples", "start")
        ),
        Condition.of(
            "the policy finds its own samples likelier than the other model's",
            table.compare("log-probability of the samples", "DPO, own samples", "DPO, other samples"),
        ),
        Condition.of(
            "KTO on own samples solves more than KTO on the other model's",
            table.compare("solved", "KTO, own samples", "KTO, other samples"),
            required=False,
        ),
        Condition.of(
            "KTO on own samples solves more than the start", table.compare("solved", "KTO, own samples", "start"),
            required=False,
        ),
        Condition.of(
            "the noise floor: the start measured again differs",
            table.compare("solved", "again", "start"),
            required=False,
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    paper=29,
    name="plum",
    question="On a testbed, does preference training gain more from a policy's own samples than from another's?",
    arms=(
        "DPO, own samples", "DPO, other samples", "KTO, own samples", "KTO, other samples", "start", "again",
    ),
    units=lambda: [task.id for task in split("test")],
    metrics={"solved": (0.0, 1.0), "log-probability of the samples": None},
    measure=measure,
    conclude=conclude,
    components=(
        "strop.data.plum", "strop.data.pairs", "strop.train.dpo", "strop.train.kto", "strop.train.lora",
        "strop.papers.tinycoder",
    ),
    planned=Size(units=120, seeds=3),
    quick=Size(units=16, seeds=1),
    cost=Spent(seconds=120, sampled_tokens=150_000, programs=5000),
    cut=(),
    settings={
        "practised": 100, "samples": 6, "held_out_samples": 4, "per_task": 2, "epochs": 1.0, "learning_rate": 5e-4,
        "pretraining_steps": 260,
    },
    quick_settings={"practised": 24, "samples": 6, "held_out_samples": 2},
)  # fmt: skip
