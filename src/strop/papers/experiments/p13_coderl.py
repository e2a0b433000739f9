"""Paper 13 spreads a program's reward over its tokens by a critic. Does that teach more than the same reward plain?

The policy is TinyCoder (`strop.papers.tinycoder`), a small model of real Python: a testbed, not a language model. All
arms make equal updates with the same imitation of reference solutions. `supervised` imitates only; `plain` adds the
outcome's level against a greedy answer's; `critic` weighs each token of it by the critic's probability of the observed
outcome.

At inference, with as many programs each: `plain sampling` draws all of them anew; `critic sampling` draws half, then
regrows programs that pass the visible checks (or all, where none does) from a place that the critic's token scores
choose. A task's figure is the share of right ones among the programs that pass the visible checks; 0 where none does.

Departures from the paper: one small model; the critic is a head on the policy's own first states and learns on-line;
the repair model was never released and is left out; a place is drawn with the critic's probability of passing there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.tinycoder.practice import PARAMS, PROTOCOL, bed, held_out, held_out_ids, solved, split
from strop.papers.tinycoder.rl import Judged, bench, critic_of, groups_of, judged, policy_of, practised, states
from strop.rewards import Rule, outcome, part
from strop.rewards.outcome import OUTCOMES
from strop.train.rl.buffer import Group
from strop.train.rl.critic import OutcomeCritic
from strop.train.rl.policy import Policy
from strop.types import Request, Sample, Spent, Task, request_seed

TRAINED = ("supervised", "plain", "critic")
SAMPLED = ("plain sampling", "critic sampling")


def rule(arm: str) -> Rule:
    """The same reward for all leaves advantages of 0: then only the imitation teaches."""
    return part("nothing", lambda case: 0.0) if arm == "supervised" else outcome()


# ---- inference ---------------------------------------------------------------------------------


def looks_right(row: Judged) -> bool:
    """It passes every visible check."""
    visible = [check for check in row[2].checks if check.visible]
    return bool(visible) and all(check.passed for check in visible)


def begun(policy: Policy, critic: OutcomeCritic, group: Group, count: int, rng: random.Random) -> list[str]:
    """`count` beginnings of the group's programs, each cut after a token drawn by the critic's scores."""
    import torch

    rows = [place for place, one in enumerate(group.rollouts) if looks_right((one.task, one.sample, one.verdict))]
    rows = rows or list(range(len(group)))
    passed = torch.full((len(group),), OUTCOMES.index("passed"))
    scores = critic.token_scores(states(policy, group), passed) * group.mask
    found = []
    for _ in range(count):
        row = rng.choice(rows)
        length = int(group.mask[row].sum())
        places = range(max(1, length - 1))  # a whole program leaves nothing to regrow
        (place,) = rng.choices(places, [float(scores[row, at]) + 1e-9 for at in places])
        found.append(policy.sampler.decode(group.tokens[row, : place + 1].tolist()))
    return found


def regrown(
    lab: Lab, policy: Policy, critic: OutcomeCritic, rows: Sequence[Judged], count: int, seed: int
) -> list[Judged]:
    """`count` programs a task that begin like those in `rows` and go on anew; judged, charged to the lab."""
    asked: list[tuple[Task, str, Sample]] = []
    for group in groups_of(policy, rows):
        one = group.rollouts[0]
        rng = random.Random(f"{seed}/{one.task.id}")
        asked += [(one.task, text, one.sample) for text in begun(policy, critic, group, count, rng)]
    requests = []
    for number, (task, text, _) in enumerate(asked):
        rendered = PROTOCOL.render(task.public())
        assert isinstance(rendered, str)
        requests.append(Request(prompt=rendered + text, seed=request_seed(seed, task.id, number)))
    jobs = []
    params = replace(PARAMS, stop=PROTOCOL.stop_for(asked[0][0].public())) if asked else PARAMS
    for number, completion in policy.sampler.sample(requests, params):
        task, text, like = asked[number]
        whole = text + completion.text
        code = PROTOCOL.extract(task.public(), whole)
        jobs.append((number, task, replace(like, text=whole, code=code, spent=completion.spent, token_ids=None)))
    verdicts = dict(lab.once(bench).stream((number, task, sample.code) for number, task, sample in jobs))
    lab.charge(sum((sample.spent for *_, sample in jobs), Spent(programs=len(jobs))))
    return [(task, sample, verdicts[number]) for number, task, sample in jobs]


def chosen_right(rows: Sequence[Judged], tasks: Sequence[Task]) -> dict[str, float]:
    """Share of right programs among a task's that look right; 0 where none does."""
    kept: dict[str, list[float]] = {task.id: [] for task in tasks}
    for row in rows:
        if looks_right(row):
            kept[row[0].id].append(float(row[2].passed))
    return {task_id: float(np.mean(found)) if found else 0.0 for task_id, found in kept.items()}


def at_inference(lab: Lab, model: str, tasks: Sequence[Task], seed: int) -> dict[str, dict[str, float]]:
    policy, half = policy_of(model, seed), lab.settings["programs"] // 2
    taught = judged(lab, policy, split("train"), lab.settings["critic_samples"], seed + 2)
    critic = critic_of(policy, groups_of(policy, taught), passes=lab.settings["critic_passes"], seed=seed)
    first, second = (judged(lab, policy, tasks, half, seed + place) for place in (3, 4))
    more = regrown(lab, policy, critic, first, half, seed + 5)
    return {
        "plain sampling": chosen_right([*first, *second], tasks),
        "critic sampling": chosen_right([*first, *more], tasks),
    }


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    settings, seed = lab.settings, item.seed
    home, tasks = bed(lab, seed), held_out(item.units)
    chosen = {name: settings[name] for name in ("steps", "prompts", "group", "learning_rate")}
    models = {"start": home.model}
    for arm in TRAINED:
        weights = "critic" if arm == "critic" else "none"
        models[arm], _ = practised(
            lab, arm, home, seed, lambda _, arm=arm: rule(arm), recipe="coderl", token_weights=weights, **chosen
        )
    for arm, model in models.items():
        rates = solved(lab, model, tasks, settings["held_out_samples"], seed + 1)
        for task in tasks:
            yield Outcome(arm, task.id, seed, {"solved": rates[task.id]})
    for arm, rates in at_inference(lab, models["critic"], tasks, seed).items():
        for task in tasks:
            yield Outcome(arm, task.id, seed, {"chosen right": rates[task.id]})


def conclude(table: Table) -> list[Condition]:
    return [
        Condition.of("the reward solves more than imitation alone", table.compare("solved", "plain", "supervised")),
        Condition.of(
            "the critic's weights solve more than the plain reward", table.compare("solved", "critic", "plain")
        ),
        Condition.of(
            "critic sampling chooses right more often than as many new samples",
            table.compare("chosen right", "critic sampling", "plain sampling"),
        ),
        Condition.of(
            "the critic's weights solve no more than 2 points less than the plain reward",
            table.compare("solved", "critic", "plain"),
            above=-0.02,
            required=False,
        ),
        Condition.of(
            "imitation alone solves more than the start", table.compare("solved", "supervised", "start"), required=False
        ),
    ]


EXPERIMENT = Experiment(
    paper=13,
    name="coderl",
    question="On a testbed, do a critic's token weights and critic sampling do better than the plain reward?",
    arms=("start", *TRAINED, *SAMPLED),
    units=held_out_ids,
    metrics={"solved": (0.0, 1.0), "chosen right": (0.0, 1.0)},
    measure=measure,
    conclude=conclude,
    components=("strop.train.rl.critic", "strop.rewards.outcome", "strop.papers.tinycoder"),
    planned=Size(units=120, seeds=5),
    quick=Size(units=12, seeds=1),
    cost=Spent(seconds=80, sampled_tokens=250_000, programs=8000),
    cut=(),
    settings={
        "steps": 20, "prompts": 12, "group": 6, "learning_rate": 3e-4, "held_out_samples": 4,
        "programs": 8, "critic_samples": 3, "critic_passes": 2,
    },
    quick_settings={"steps": 3},
)  # fmt: skip
