"""Reinforcement learning on the testbed: Strop's own trainer (`strop.train.rl`), small enough for many seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

from strop.evals.solve import draw
from strop.judge import Judge
from strop.papers.experiment import Lab
from strop.papers.tinycoder.practice import PARAMS, PROTOCOL, split
from strop.papers.tinycoder.pretrain import Testbed
from strop.rewards import Case, Rule
from strop.run import Run
from strop.train.rl.buffer import Group, Rollout, group_by_prompt
from strop.train.rl.critic import OutcomeCritic, after_tokens
from strop.train.rl.loop import TRAIN, Work, train
from strop.train.rl.policy import Policy
from strop.train.rl.prepare import outcomes
from strop.train.rl.recipes import settings as settings_of
from strop.types import Reward, Sample, Spent, Task, Verdict

if TYPE_CHECKING:
    from torch import Tensor

DEFAULTS: dict[str, Any] = {
    "protocol": PROTOCOL.name, "max_tokens": PARAMS.max_tokens, "lora_rank": 0, "learning_rate": 1e-3,
    "held_out_samples": 0, "micro_batch": 64, "threads": 1, "step_kl": None,
}  # fmt: skip
"""What fits a model of this size: all weights learn, whole groups go through at once."""
Judged: TypeAlias = tuple[Task, Sample, Verdict]
MOST_ROWS = 256
"""Rows that the sampler draws at once."""


def policy_of(model: str, seed: int) -> Policy:
    """A model whose weights all learn, with a sampler on the same weights. One torch thread: more gain nothing."""
    import torch

    torch.set_num_threads(1)
    return Policy(model, lora_rank=0, lora_alpha=1, seed=seed, batch_size=MOST_ROWS)


def practised(
    lab: Lab,
    name: str,
    home: Testbed,
    seed: int,
    rule: Callable[[Policy], Rule],
    *,
    tasks: Sequence[Task] | None = None,
    **chosen: Any,
) -> tuple[str, list[dict[str, float]]]:
    """Train the testbed's model under a recipe; the trained model's argument, and the numbers of every step.

    `chosen`: settings of `strop train rl`, over `DEFAULTS`. `tasks`: what is practised, by default the training split.
    A run that was cut goes on, one that is done is read back.
    """
    given = {**DEFAULTS, **chosen}
    found = settings_of(
        {"model": home.model, "tasks": str(home.tasks), "seed": seed, "save_every": given["steps"], **given}
    )
    practice = list(split("train") if tasks is None else tasks)
    work = Work(practice=practice, held_out=[], division="the testbed's training split", protocol=PROTOCOL)
    policy = policy_of(home.model, seed)
    folder = lab.folder / f"{name}-{seed}".replace(" ", "-").replace(",", "")
    with Run.open(folder, command="strop train rl", config=asdict(found)) as run:
        model = train(run, found, work, policy, lab.once(bench), rule(policy))
        charged = run.spent()
        lab.charge(Spent(**{name: getattr(charged, name) for name in ("sampled_tokens", "programs", "model_calls")}))
        steps: dict[int, dict[str, float]] = {}
        for metric in run.metrics(TRAIN):
            steps.setdefault(metric.step, {})[metric.name] = metric.value
    return f"hf/{model}", [steps[step] for step in sorted(steps)]


def bench() -> Judge:
    """The judge of a lab; most programs of so small a language come more than once."""
    return Judge(cache=20_000)


# ---- judged samples as tensors -----------------------------------------------------------------


def judged(lab: Lab, policy: Policy, tasks: Sequence[Task], count: int, seed: int) -> list[Judged]:
    """`count` samples a task of the policy as it is now, with their verdicts; charged to the lab."""
    samples = draw(policy.sampler, [(task, index) for task in tasks for index in range(count)], PROTOCOL, PARAMS, seed)
    by_id = {task.id: task for task in tasks}
    jobs = ((place, by_id[one.task_id], one.code) for place, one in enumerate(samples))
    verdicts = dict(lab.once(bench).stream(jobs))
    lab.charge(sum((one.spent for one in samples), Spent(programs=len(samples))))
    return [(by_id[one.task_id], one, verdicts[place]) for place, one in enumerate(samples)]


def groups_of(policy: Policy, rows: Sequence[Judged]) -> list[Group]:
    """Samples by prompt, padded into tensors; rewards are left at 0."""
    rollouts = [
        Rollout(task=task, sample=sample, verdict=verdict, reward=Reward(total=0.0)) for task, sample, verdict in rows
    ]
    tasks = {task.id: task for task, _, _ in rows}
    prompts = {one: policy.sampler.encode(PROTOCOL.render(task.public())) for one, task in tasks.items()}
    return group_by_prompt(rollouts, prompts)


def states(policy: Policy, group: Group) -> Tensor:
    """Hidden states after each token under the weights that training starts from; [B, T, D]."""
    with policy.at_start() as start:
        scored = policy.score(group.prompt, group.tokens, group.mask, 1.0, model=start, hidden=True)
    assert scored.hidden is not None
    return after_tokens(scored.hidden.detach())


def critic_of(policy: Policy, groups: Sequence[Group], *, passes: int, seed: int) -> OutcomeCritic:
    """CodeRL's outcome critic, taught on judged samples."""
    critic = OutcomeCritic(policy.width, seed=seed)
    known = [(states(policy, group), group.mask, outcomes(group)) for group in groups]
    for _ in range(passes):
        for row in known:
            critic.learn(*row)
    return critic


def log_odds(policy: Policy, critic: OutcomeCritic, group: Group) -> Tensor:
    """Of passing, as the critic sees it, of each sample of a group; [B], within -5 and 5."""
    import torch

    with torch.no_grad():
        logs = critic.predict(states(policy, group), group.mask)
    return (logs[:, -1] - torch.logsumexp(logs[:, :-1], 1)).clamp(-5, 5)


def learned_reward(policy: Policy, critic: OutcomeCritic) -> Rule:
    """The critic's log-odds as a reward: a reward model, with a reward model's mistakes."""

    def rule(cases: Sequence[Case]) -> list[Reward | None]:
        rows = [(case.task, case.sample, case.verdict) for case in cases if case.verdict is not None]
        found: dict[tuple[str, int], float] = {}
        for group in groups_of(policy, rows):
            for one, value in zip(group.rollouts, log_odds(policy, critic, group).tolist()):
                found[one.task.id, one.sample.index] = value
        rewards: list[Reward | None] = []
        for case in cases:
            value = found.get((case.task.id, case.sample.index))
            rewards.append(None if value is None else Reward(total=value, parts={"learned": value}))
        return rewards

    return rule
