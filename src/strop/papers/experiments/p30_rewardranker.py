"""Paper 30 trains a reranker, and again on failures that it overrates. Does it choose better, and better again?

The author is TinyCoder (`strop.papers.tinycoder`), a small model of real Python: a testbed, not a language model. Its
samples for practised tasks train a reward model on its own weights; `round 1` and `round 2` are that model before and
after hard negatives. `random negatives` gets as many new pairs with failures chosen at random instead: what more data
alone would give. Measured on tasks that no reranker saw: is the top choice among the author's samples right?

Departures from the paper: one small author, kept as it is; best-of-N mining of fresh samples stands in for PPO against
the reranker; MultiPL-E is replaced by the testbed's tasks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from strop.data.plum import plum
from strop.evals.label_quality import auc
from strop.models.scorers import Length
from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.tinycoder.practice import PROTOCOL, bed, sampled, split
from strop.train.lora import LearnerSettings
from strop.train.rerank import self_train
from strop.types import Spent


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    settings = lab.settings
    home = bed(lab, item.seed)
    _, practised = sampled(lab, home.model, split("train", settings["practised"]), settings["samples"], item.seed)
    held_out = [task for task in split("test") if task.id in item.units]
    drawn, pools = sampled(lab, home.model, held_out, settings["samples"], item.seed + 1)
    learner = LearnerSettings(
        epochs=settings["epochs"],
        batch_size=16,
        learning_rate=settings["learning_rate"],
        max_length=256,
        seed=item.seed,
    )
    folder = lab.folder / f"rerank-{item.seed}"
    shared = {"settings": learner, "per_task": settings["per_task"]}
    (first, _), (second, _) = self_train(home.model, practised, PROTOCOL, folder / "hard", **shared)
    control = self_train(
        home.model, practised, PROTOCOL, folder / "random", mine=lambda scorer: plum("all", unparsed=True), **shared
    )[-1][0]
    likely = {(one.task_id, one.index): float(np.mean(one.logprobs or (0.0,))) for one in drawn}
    scorers = {"round 1": first, "round 2": second, "random negatives": control, "shorter": Length()}
    for pool in pools:
        prompt, programs = PROTOCOL.render(pool.task.public()), [row.program for row in pool.candidates]
        scores = {arm: np.array(scorer.scores(prompt, programs)) for arm, scorer in scorers.items()}
        scores["likelihood"] = np.array([likely[pool.task.id, row.index] for row in pool.candidates])
        scores["blind"] = np.zeros(len(programs))
        for arm in item.arms:
            best = scores[arm] >= scores[arm].max() - 1e-12
            figures = {"top choice right": float(pool.truth[best].mean())}
            area = auc(scores[arm], pool.truth)
            yield Outcome(arm, pool.task.id, item.seed, figures | ({} if area is None else {"AUC": area}))


def conclude(table: Table) -> list[Condition]:
    return [
        Condition.of(
            "the first reranker chooses better than blind choice",
            table.compare("top choice right", "round 1", "blind"),
        ),
        Condition.of(
            "after hard negatives fewer failures are ranked first",
            table.compare("top choice right", "round 2", "round 1"),
        ),
        Condition.of(
            "hard negatives choose better than as many random ones",
            table.compare("top choice right", "round 2", "random negatives"),
            required=False,
        ),
        Condition.of(
            "the first reranker chooses better than the author's own likelihood",
            table.compare("top choice right", "round 1", "likelihood"),
            required=False,
        ),
    ]


EXPERIMENT = Experiment(
    paper=30,
    name="rewardranker",
    question="On a testbed, does a learned reranker choose better than chance, and better again after hard negatives?",
    arms=("round 1", "round 2", "random negatives", "likelihood", "shorter", "blind"),
    units=lambda: [task.id for task in split("test")],
    metrics={"top choice right": (0.0, 1.0), "AUC": (0.0, 1.0)},
    measure=measure,
    conclude=conclude,
    components=(
        "strop.train.rerank", "strop.train.reward", "strop.data.hard", "strop.data.plum", "strop.models.scorers",
        "strop.papers.tinycoder",
    ),
    planned=Size(units=120, seeds=5),
    quick=Size(units=16, seeds=1),
    cost=Spent(seconds=300, sampled_tokens=150_000, programs=3800),
    cut=(),
    settings={
        "practised": 120, "samples": 16, "per_task": 4, "epochs": 3.0, "learning_rate": 2e-3, "pretraining_steps": 260,
    },
    quick_settings={"practised": 24, "samples": 8},
)  # fmt: skip
