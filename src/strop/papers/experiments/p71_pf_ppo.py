"""Paper 71 trains PPO on some ranks of a reward model's order only. Which ranks, and is their reward more reliable?

Reliability: programs are real ones for HumanEval (as in experiment 43), right when they pass all plain assertions. A
reward model over their words is fitted on half of the tasks and scores the other half, five programs a prompt. R2 is
the paper's measure, of groups of similar reward; residual variance is reported beside it, because R2 favours filters
that keep extremes by arithmetic alone.

Training: the policy is TinyCoder (`strop.papers.tinycoder`), a small model of real Python: a testbed, not a language
model. The reward is a critic on its own hidden states, taught on a few judged tasks, so that it is often wrong. All
arms draw five answers a prompt; they differ in what each rank counts.

Departures from the paper: the reward models are small; one update a step and no KL term; ranks are weighted by the
expected number of draws, not drawn.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from strop.evals.label_quality import auc
from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.experiments.p43_codedpo import RIGHT, bench, programs
from strop.papers.tinycoder.practice import bed, held_out, held_out_ids, solved, split
from strop.papers.tinycoder.rl import critic_of, groups_of, judged, learned_reward, log_odds, policy_of, practised
from strop.train.rl.critic import OutcomeCritic
from strop.train.rl.policy import Policy
from strop.train.rl.weights import Filter, reliability
from strop.types import Spent

FILTERS: dict[str, Filter] = {"all": "none", "best": "best", "best-random": "best-random", "best-worst": "best-worst"}
REAL = "real programs"
FEATURES = 4096
ANSWERS = 5
"""A prompt's answers, as in the paper's code."""


# ---- reliability on real programs --------------------------------------------------------------


def words(program: str) -> np.ndarray:
    """Counts of words and pairs of words, hashed, as log(1 + n)."""
    found = re.findall(r"\w+|[^\w\s]", program)
    counts = np.zeros(FEATURES)
    for text in (*found, *(" ".join(pair) for pair in pairwise(found))):
        counts[zlib.crc32(text.encode()) % FEATURES] += 1
    return np.log1p(counts)


def bradley_terry(good: np.ndarray, steps: int = 200, rate: float = 0.5, decay: float = 1e-3) -> np.ndarray:
    """Weights of a Bradley-Terry reward on differences of features, [pairs, features], right minus wrong."""
    weights = np.zeros(good.shape[1])
    for _ in range(steps):
        push = 1 / (1 + np.exp(np.clip(good @ weights, -30, 30)))
        weights += rate * (good.T @ push / len(good) - decay * weights)
    return weights


def real_reliability(lab: Lab, seed: int) -> dict[str, dict[str, float]]:
    """R2, residual variance and AUC of each filter on the half of the tasks that the reward model has not seen."""
    texts = programs()
    answers = lab.once(bench, lab, tuple(texts))
    rng = np.random.default_rng(seed)
    order = rng.permutation(sorted(texts))
    taught, asked = order[: len(order) // 2], order[len(order) // 2 :]
    features = {task: np.stack([words(text) for text in texts[task]]) for task in order}
    right = {task: np.array([all(one == RIGHT for one in row) for row in answers[task]]) for task in order}
    pairs = [
        features[task][good] - features[task][bad]
        for task in taught
        for good in np.flatnonzero(right[task])
        for bad in np.flatnonzero(~right[task])
    ]
    reward_weights = bradley_terry(np.stack(pairs))
    rewards, truth = [], []
    for task in asked:
        for _ in range(lab.settings["groups"]):
            rows = rng.choice(len(texts[task]), ANSWERS)
            rewards.append((features[task][rows] @ reward_weights).tolist())
            truth.append(right[task][rows].astype(float).tolist())
    found = {}
    for arm, how in FILTERS.items():
        one = reliability(rewards, truth, how)
        values = {"R2": one.r_squared, "residual variance": one.residual_variance, "AUC": one.auc}
        found[arm] = {name: value for name, value in values.items() if math.isfinite(value)}
    return found


# ---- training ----------------------------------------------------------------------------------


def taught_critic(lab: Lab, policy: Policy, seed: int) -> OutcomeCritic:
    """A critic from a few judged tasks of the policy as it starts."""
    settings = lab.settings
    rows = judged(lab, policy, split("train", settings["taught"]), settings["taught_samples"], seed)
    return critic_of(policy, groups_of(policy, rows), passes=settings["passes"], seed=seed)


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    settings, seed = lab.settings, item.seed
    home, tasks = bed(lab, seed), held_out(item.units)
    real = lab.once(real_reliability, lab, seed) if REAL in item.units else {}
    start = policy_of(home.model, seed)
    critic = taught_critic(lab, start, seed)
    areas = {}
    for group in groups_of(start, judged(lab, start, tasks, settings["held_out_samples"], seed + 2)):
        truth = np.array([float(one.verdict.passed) for one in group.rollouts])
        areas[group.rollouts[0].task.id] = auc(log_odds(start, critic, group).numpy(), truth)
    chosen = {name: settings[name] for name in ("steps", "prompts", "group", "learning_rate")}
    for arm in item.arms:
        model = home.model
        if arm != "start":
            model, _ = practised(
                lab, arm, home, seed, lambda policy: learned_reward(policy, critic),
                recipe="pf-ppo", filter=FILTERS[arm], epochs=1, minibatches=1, kl_coefficient=0.0, **chosen,
            )  # fmt: skip
        rates = solved(lab, model, tasks, settings["held_out_samples"], seed + 1)
        if REAL in item.units:
            yield Outcome(arm, REAL, seed, real.get(arm, {}))
        for task in tasks:
            area = areas.get(task.id) if arm == "start" else None
            extra = {} if area is None else {"AUC of the learned reward": area}
            yield Outcome(arm, task.id, seed, {"solved": rates[task.id], **extra})


def conclude(table: Table) -> list[Condition]:
    best = [
        Condition.of(
            f"training on the best of five solves less than on {text}", table.compare("solved", "best", arm), below=0.0
        )
        for arm, text in (("all", "all five"), ("best-random", "best and random"), ("best-worst", "best and worst"))
    ]
    kept = [
        Condition.of(
            f"{text} solve no more than 2 points less than all five", table.compare("solved", arm, "all"), above=-0.02
        )
        for arm, text in (("best-random", "best and random"), ("best-worst", "best and worst"))
    ]
    real = table.only([REAL])
    reported = [
        Condition.of(
            "on real programs, R2 of best and random is higher than of the best alone",
            real.compare("R2", "best-random", "best"),
            required=False,
        ),
        Condition.of(
            "on real programs, R2 of best and random is higher than of all five",
            real.compare("R2", "best-random", "all"),
            required=False,
        ),
        Condition.of(
            "on real programs, answers lie closer to the line with best and random than with all five",
            real.compare("residual variance", "best-random", "all"),
            below=0.0,
            required=False,
        ),
        Condition.of(
            "the testbed's learned reward orders programs better than chance",
            table.mean("AUC of the learned reward", "start"),
            above=0.5,
            required=False,
        ),
        Condition.of(
            "training on all five solves more than the start", table.compare("solved", "all", "start"), required=False
        ),
    ]
    return [*best, *kept, *reported]


EXPERIMENT = Experiment(
    paper=71,
    name="pf-ppo",
    question="On a testbed with an imperfect learned reward, is the best of five a worse choice than other ranks?",
    arms=(*FILTERS, "start"),
    units=lambda: [REAL, *held_out_ids()],
    metrics={
        "solved": (0.0, 1.0), "R2": None, "residual variance": None, "AUC": (0.0, 1.0),
        "AUC of the learned reward": (0.0, 1.0),
    },
    measure=measure,
    conclude=conclude,
    components=(
        "strop.train.rl.weights", "strop.train.rl.critic", "strop.papers.tinycoder",
        "strop.papers.experiments.p43_codedpo",
    ),
    planned=Size(units=121, seeds=5),
    quick=Size(units=12, seeds=1),
    cost=Spent(seconds=100, sampled_tokens=300_000, programs=10_000),
    cut=(),
    settings={
        "steps": 20, "prompts": 16, "group": ANSWERS, "learning_rate": 3e-4, "held_out_samples": 4,
        "taught": 30, "taught_samples": 8, "passes": 3, "groups": 8,
    },
    quick_settings={"steps": 3},
)  # fmt: skip
