"""Paper 38 makes Q-learning work on a language model. Is it the initialisation, and the frozen greedy token?

The policy is TinyCoder (`strop.papers.tinycoder`), a small model of real Python: a testbed, not a language model. Three
learners start from the same weights and use the same replay of its own judged samples and reference programs, half of
each batch each, in as many updates. `vanilla` is Q-learning on the logits: no pretrained V, and targets that back up
through the learner's own greedy token. `initialised` pretrains V on the frozen model. `conservative` also backs up
through the frozen model's greedy token. `with imitation` adds the paper's penalty and cross-entropy on references,
which are news to this model: so its gain is not Q-learning's alone.

`ranked` is the share of right programs among the untrained model's samples that stand first by the implied reward, the
same samples for every ranker; `blind` is what a random pick gives, `likelihood` and `shorter` are rankers for free.

Departures from the paper: 12 samples a task for 256; one linear value head; no cap of V.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.tinycoder.practice import PROTOCOL, bed, held_out, held_out_ids, split
from strop.papers.tinycoder.rl import groups_of, judged, policy_of
from strop.rewards import CODERL_LEVELS
from strop.rewards.outcome import OUTCOMES
from strop.train.rl import qlearning
from strop.train.rl.buffer import Group
from strop.train.rl.policy import Policy
from strop.train.rl.prepare import outcomes
from strop.types import Spent, Task

if TYPE_CHECKING:
    from torch import Tensor

LEARNERS = ("vanilla", "initialised", "conservative", "with imitation")
RANKERS = ("blind", "likelihood", "shorter")


@dataclass(frozen=True, slots=True)
class Row:
    """One program of the replay: its prompt, its tokens with the end, and the reward at the last one."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    reward: float
    human: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows as tensors; the answers stand at the places `at`, [B, T], where the states before their tokens are."""

    ids: Tensor
    attention: Tensor
    at: Tensor
    tokens: Tensor
    mask: Tensor
    rewards: Tensor
    human: Tensor


def batch_of(rows: Sequence[Row]) -> Batch:
    import torch

    longest = max(len(row.prompt) + len(row.tokens) for row in rows)
    most = max(len(row.tokens) for row in rows)
    shape = (len(rows), most)
    ids, attention = (torch.zeros(len(rows), longest, dtype=torch.long) for _ in range(2))
    at, tokens = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    mask, rewards = torch.zeros(shape), torch.zeros(shape)
    for number, row in enumerate(rows):
        whole, length = (*row.prompt, *row.tokens), len(row.tokens)
        ids[number, : len(whole)] = torch.tensor(whole)
        attention[number, : len(whole)] = 1
        at[number, :length] = torch.arange(len(row.prompt) - 1, len(whole) - 1)
        tokens[number, :length] = torch.tensor(row.tokens)
        mask[number, :length] = 1.0
        rewards[number, length - 1] = row.reward
    return Batch(ids, attention, at, tokens, mask, rewards, torch.tensor([row.human for row in rows]))


def read(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits [B, T, V] and hidden states [B, T, D] before each token of the answers."""
    out = model(input_ids=batch.ids, attention_mask=batch.attention, output_hidden_states=True, use_cache=False)
    hidden = out.hidden_states[-1]
    places = batch.at[..., None]
    return (
        out.logits.gather(1, places.expand(-1, -1, out.logits.shape[-1])).float(),
        hidden.gather(1, places.expand(-1, -1, hidden.shape[-1])),
    )


def replay(lab: Lab, policy: Policy, tasks: Sequence[Task], seed: int) -> list[Row]:
    """The policy's own judged samples and the tasks' references."""
    rows = []
    for group in groups_of(policy, judged(lab, policy, tasks, lab.settings["samples"], seed)):
        prompt = tuple(group.prompt.tolist())
        for one, kind in zip(group.rollouts, outcomes(group).tolist()):
            rows.append(Row(prompt, tuple(one.sample.token_ids or ()), CODERL_LEVELS[OUTCOMES[kind]], False))
    tokenizer = policy.sampler.tokenizer
    for task in tasks:
        answer = PROTOCOL.answer(task.public(), task.reference or "")
        ids = (*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id)
        rows.append(Row(policy.sampler.encode(PROTOCOL.render(task.public())), tuple(ids), 1.0, True))
    return rows


def batches(rows: Sequence[Row], size: int, seed: int) -> Iterator[Batch]:
    """Without end: half references, half samples."""
    rng = random.Random(seed)
    human, drawn = [row for row in rows if row.human], [row for row in rows if not row.human]
    while True:
        yield batch_of([*rng.choices(human, k=size // 2), *rng.choices(drawn, k=size - size // 2)])


def learn(lab: Lab, arm: str, policy: Policy, rows: Sequence[Row], seed: int) -> Any:
    """Both stages; the policy's weights change in place. Returns the value head."""
    import torch

    settings, model = lab.settings, policy.model
    value: Any = qlearning.value_head(policy.width)
    source = batches(rows, settings["batch"], seed)
    with policy.at_start() as frozen, torch.enable_grad():
        if arm != "vanilla":
            optimizer = torch.optim.AdamW(value.parameters(), lr=settings["value_rate"], weight_decay=0.05)
            for _ in range(settings["value_steps"]):
                batch = next(source)
                with torch.no_grad():
                    logits, hidden = read(frozen, batch)
                loss = qlearning.td_loss(
                    logits, value(hidden), batch.tokens, logits.argmax(-1), batch.rewards, batch.mask
                )
                _step(optimizer, loss)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                value = qlearning.residual_value_head(value, policy.width)
        own = [parameter for parameter in value.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            [
                {"params": list(model.parameters()), "lr": settings["learning_rate"]},
                {"params": own, "lr": settings["value_rate"]},
            ]
        )
        for step in range(settings["steps"]):
            for group, rate in zip(optimizer.param_groups, (settings["learning_rate"], settings["value_rate"])):
                group["lr"] = rate * (1 - step / settings["steps"])
            batch = next(source)
            logits, hidden = read(model, batch)
            greedy = logits.argmax(-1)
            if arm in ("conservative", "with imitation"):
                with torch.no_grad():
                    greedy = read(frozen, batch)[0].argmax(-1)
            loss = qlearning.td_loss(logits, value(hidden), batch.tokens, greedy, batch.rewards, batch.mask)
            if arm == "with imitation":
                loss = loss + _imitation(logits, batch, settings)
            _step(optimizer, loss)
    policy.sync()
    return value


def _imitation(logits: Tensor, batch: Batch, settings: Mapping[str, Any]) -> Tensor:
    """The advantage penalty and cross-entropy of the references in a batch, weighted."""
    import torch

    logits, tokens, mask = logits[batch.human], batch.tokens[batch.human], batch.mask[batch.human]
    chosen = torch.log_softmax(logits, -1).gather(-1, tokens[..., None])[..., 0]
    cross_entropy = -(chosen * mask).sum() / mask.sum()
    penalty = qlearning.advantage_penalty(logits, tokens, mask)
    return settings["advantage_weight"] * penalty + settings["imitation"] * cross_entropy


def _step(optimizer: Any, loss: Tensor) -> None:
    import torch

    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
    optimizer.step()


def scores(model: Any, value: Any, group: Group) -> np.ndarray:
    """The implied reward of each program of a group."""
    import torch

    rows = [Row(tuple(group.prompt.tolist()), tuple(one.sample.token_ids or ()), 0.0, False) for one in group.rollouts]
    batch = batch_of(rows)
    with torch.no_grad():
        logits, hidden = read(model, batch)
        return qlearning.program_score(logits, value(hidden), batch.tokens, batch.mask).numpy()


def first_right(ranks: np.ndarray, right: np.ndarray) -> float:
    """Share of right programs among those that stand first."""
    return float(right[ranks >= ranks.max() - 1e-9].mean())


def free_ranks(group: Group) -> dict[str, np.ndarray]:
    lengths = group.mask.sum(1).numpy()
    return {
        "blind": np.zeros(len(group)),
        "likelihood": (group.sampled * group.mask).sum(1).numpy() / lengths,
        "shorter": -lengths,
    }


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    settings, seed = lab.settings, item.seed
    home, tasks = bed(lab, seed), held_out(item.units)
    start = policy_of(home.model, seed)
    rows = replay(lab, start, split("train", settings["practised"]), seed)
    pools = groups_of(start, judged(lab, start, tasks, settings["ranked"], seed + 2))
    ranked: dict[str, dict[str, float]] = {arm: {} for arm in item.arms}
    truth = {}
    for group in pools:
        truth[group.rollouts[0].task.id] = np.array([float(one.verdict.passed) for one in group.rollouts])
        for arm, ranks in free_ranks(group).items():
            task_id = group.rollouts[0].task.id
            ranked[arm][task_id] = first_right(ranks, truth[task_id])
    raw: dict[str, dict[str, float]] = {"start": rates(lab, start, tasks, seed)}
    for arm in LEARNERS:
        policy = policy_of(home.model, seed)
        value = learn(lab, arm, policy, rows, seed)
        raw[arm] = rates(lab, policy, tasks, seed)
        for group in pools:
            task_id = group.rollouts[0].task.id
            ranked[arm][task_id] = first_right(scores(policy.model, value, group), truth[task_id])
    for arm in item.arms:
        for task in tasks:
            figures = {
                name: found[arm][task.id]
                for name, found in (("ranked", ranked), ("solved", raw))
                if task.id in found.get(arm, {})
            }
            yield Outcome(arm, task.id, seed, figures)


def rates(lab: Lab, policy: Policy, tasks: Sequence[Task], seed: int) -> dict[str, float]:
    """Share of right samples by task."""
    found: dict[str, list[float]] = {task.id: [] for task in tasks}
    for task, _, verdict in judged(lab, policy, tasks, lab.settings["held_out_samples"], seed + 1):
        found[task.id].append(float(verdict.passed))
    return {task_id: float(np.mean(row)) for task_id, row in found.items()}


def conclude(table: Table) -> list[Condition]:
    return [
        Condition.of(
            "vanilla Q-learning falls below the start", table.compare("solved", "vanilla", "start"), below=0.0
        ),
        Condition.of(
            "with both, no more than 2 points less is solved than at the start",
            table.compare("solved", "conservative", "start"),
            above=-0.02,
        ),
        Condition.of(
            "the ranking by Q puts right programs first more often than a random pick",
            table.compare("ranked", "conservative", "blind"),
        ),
        Condition.of(
            "with the initialisation alone, more is solved than by vanilla",
            table.compare("solved", "initialised", "vanilla"),
            required=False,
        ),
        Condition.of(
            "the frozen greedy token adds to the initialisation",
            table.compare("solved", "conservative", "initialised"),
            required=False,
        ),
        Condition.of(
            "its ranking beats ranking by likelihood",
            table.compare("ranked", "conservative", "likelihood"),
            required=False,
        ),
        Condition.of(
            "with imitation, more is solved than at the start",
            table.compare("solved", "with imitation", "start"),
            required=False,
        ),
        Condition.of(
            "its ranking beats ranking by length", table.compare("ranked", "conservative", "shorter"), required=False
        ),
    ]


EXPERIMENT = Experiment(
    paper=38,
    name="b-coder",
    question="On a testbed, do initialisation and a frozen greedy token save Q-learning, and does Q rank programs?",
    arms=("start", *LEARNERS, *RANKERS),
    units=held_out_ids,
    metrics={"solved": (0.0, 1.0), "ranked": (0.0, 1.0)},
    measure=measure,
    conclude=conclude,
    components=("strop.train.rl.qlearning", "strop.rewards.outcome", "strop.papers.tinycoder"),
    planned=Size(units=120, seeds=5),
    quick=Size(units=12, seeds=1),
    cost=Spent(seconds=60, sampled_tokens=250_000, programs=7000),
    cut=(),
    settings={
        "practised": 100, "samples": 12, "ranked": 8, "held_out_samples": 4, "batch": 32, "value_steps": 60,
        "steps": 80, "learning_rate": 3e-4, "value_rate": 3e-3, "advantage_weight": 0.1, "imitation": 0.5,
    },
    quick_settings={
        "practised": 12, "samples": 4, "ranked": 4, "held_out_samples": 2, "value_steps": 5, "steps": 5,
    },
)  # fmt: skip
