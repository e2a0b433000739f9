"""Paper 48 prefers a group of equivalent programs to a group of others, and equally so. Does its loss do that?

The policy is TinyCoder (`strop.papers.tinycoder`), a small model of real Python: a testbed, not a language model. A
group is a prompt with distinct right programs (equivalent: cheap and dear forms of the same steps) against distinct
wrong ones, from the model's own judged samples. Three losses see the same groups in as many updates: `GEPO`; `DPO` on
all pairs of a right and a wrong program; `no variance`, GEPO without the term that makes winners equal.

On groups of held-out tasks, drawn before training: `accuracy` is whether the mean right program gained more
log-probability than the mean wrong one, `variance` how unequally right programs gained.

Departures from the paper: groups come from execution, not from a compiler's optimisation levels; the group loss stands
alone, without the on-policy loss beside it; its use, translation between languages, is not measured.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.tinycoder.practice import bed, held_out, held_out_ids, split
from strop.papers.tinycoder.rl import groups_of, judged, policy_of
from strop.train.rl.buffer import Group
from strop.train.rl.policy import Policy
from strop.train.rl.ranking import gepo
from strop.types import Spent, Task

if TYPE_CHECKING:
    from torch import Tensor

LOSSES = ("GEPO", "DPO", "no variance")


@dataclass(frozen=True, slots=True)
class Rivals:
    """Right and wrong programs of one prompt: rows of a group, and the log-probabilities before training."""

    group: Group
    right: list[int]
    wrong: list[int]
    before: Tensor
    """[B]"""


def distinct(group: Group, most: int) -> tuple[list[int], list[int]]:
    """Rows of the first `most` distinct right and wrong programs."""
    found: dict[bool, dict[str, int]] = {True: {}, False: {}}
    for place, one in enumerate(group.rollouts):
        known = found[one.verdict.passed]
        if len(known) < most and one.sample.text not in known:
            known[one.sample.text] = place
    return list(found[True].values()), list(found[False].values())


def rivals(lab: Lab, policy: Policy, tasks: Sequence[Task], seed: int) -> list[Rivals]:
    """Groups with at least two right programs and one wrong one."""
    import torch

    found = []
    for group in groups_of(policy, judged(lab, policy, tasks, lab.settings["samples"], seed)):
        right, wrong = distinct(group, lab.settings["most"])
        if len(right) > 1 and wrong:
            with torch.no_grad():
                found.append(Rivals(group, right, wrong, totals(policy, group, [*right, *wrong])))
    return found


def totals(policy: Policy, group: Group, rows: Sequence[int]) -> Tensor:
    """Log-probabilities of some rows of a group, summed over tokens; [rows]."""
    picked = list(rows)
    return policy.score(group.prompt, group.tokens[picked], group.mask[picked], 1.0).logprobs.sum(1)


def loss_of(arm: str, after: Tensor, one: Rivals, beta: float) -> Tensor:
    """The loss of one group; `after` and `one.before`: winners first, then losers."""
    import torch

    count = len(one.right)
    if arm != "DPO":
        weight = 1.0 if arm == "GEPO" else 0.0
        before = one.before
        return gepo(after[:count], before[:count], after[count:], before[count:], beta=beta, variance_weight=weight)
    gained = beta * (after - one.before)
    return -torch.nn.functional.logsigmoid(gained[:count, None] - gained[None, count:]).mean()


def learn(lab: Lab, arm: str, policy: Policy, known: Sequence[Rivals], seed: int) -> None:
    import torch

    settings, rng = lab.settings, random.Random(seed)
    optimizer: Any = torch.optim.AdamW(policy.model.parameters(), lr=settings["learning_rate"])
    for _ in range(settings["steps"]):
        batch = rng.sample(list(known), min(settings["batch"], len(known)))
        optimizer.zero_grad()
        for one in batch:
            loss = loss_of(arm, totals(policy, one.group, [*one.right, *one.wrong]), one, settings["beta"])
            (loss / len(batch)).backward()
        torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
        optimizer.step()
    policy.sync()


def gains(policy: Policy, one: Rivals) -> dict[str, float]:
    import torch

    with torch.no_grad():
        gained = totals(policy, one.group, [*one.right, *one.wrong]) - one.before
    winners, losers = gained[: len(one.right)], gained[len(one.right) :]
    return {
        "accuracy": float(winners.mean() > losers.mean()),
        "variance": float(winners.var(correction=0)),
        "margin": float(winners.mean() - losers.mean()),
    }


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    settings, seed = lab.settings, item.seed
    home, tasks = bed(lab, seed), held_out(item.units)
    start = policy_of(home.model, seed)
    known = rivals(lab, start, split("train", settings["practised"]), seed)
    asked = {one.group.rollouts[0].task.id: one for one in rivals(lab, start, tasks, seed + 1)}
    for arm in item.arms:
        policy = policy_of(home.model, seed)
        if arm != "start":
            learn(lab, arm, policy, known, seed)
        right: dict[str, list[float]] = {}
        for task, _, verdict in judged(lab, policy, tasks, settings["held_out_samples"], seed + 2):
            right.setdefault(task.id, []).append(float(verdict.passed))
        for task in tasks:
            figures = {"solved": sum(right[task.id]) / len(right[task.id])}
            if arm != "start" and task.id in asked:
                figures |= gains(policy, asked[task.id])
            yield Outcome(arm, task.id, seed, figures)


def conclude(table: Table) -> list[Condition]:
    return [
        Condition.of(
            "right programs gain more equally under GEPO than under DPO on all pairs",
            table.compare("variance", "GEPO", "DPO"),
            below=0.0,
        ),
        Condition.of(
            "and GEPO tells right from wrong no more than 2 points less often",
            table.compare("accuracy", "GEPO", "DPO"),
            above=-0.02,
        ),
        Condition.of(
            "right programs gain more equally with the variance term than without",
            table.compare("variance", "GEPO", "no variance"),
            below=0.0,
        ),
        Condition.of("GEPO solves more than the start", table.compare("solved", "GEPO", "start"), required=False),
        Condition.of("GEPO solves more than DPO", table.compare("solved", "GEPO", "DPO"), required=False),
        Condition.of(
            "GEPO's margin between right and wrong is as wide as DPO's",
            table.compare("margin", "GEPO", "DPO"),
            required=False,
        ),
    ]


EXPERIMENT = Experiment(
    paper=48,
    name="gepo",
    question="On a testbed, does the group loss keep equivalent programs equal and still tell right from wrong?",
    arms=("start", *LOSSES),
    units=held_out_ids,
    metrics={"variance": None, "accuracy": (0.0, 1.0), "margin": None, "solved": (0.0, 1.0)},
    measure=measure,
    conclude=conclude,
    components=("strop.train.rl.ranking", "strop.papers.tinycoder"),
    planned=Size(units=120, seeds=5),
    quick=Size(units=12, seeds=1),
    cost=Spent(seconds=45, sampled_tokens=150_000, programs=5000),
    cut=(),
    settings={
        "practised": 80, "samples": 10, "most": 3, "batch": 8, "steps": 20, "beta": 0.1, "learning_rate": 3e-4,
        "held_out_samples": 4,
    },
    quick_settings={"practised": 24, "steps": 3, "held_out_samples": 2},
)  # fmt: skip
