"""From rewards to advantages. Samples without a reward have been dropped before; groups may have any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Scale: TypeAlias = Literal["group", "batch", "none"]


def group_relative(rewards: Tensor, groups: Tensor, *, scale: Scale = "group", epsilon: float = 1e-4) -> Tensor:
    """Reward minus its group's mean, divided by a standard deviation (+ `epsilon`); float [N].

    rewards: [N]. groups: int [N], the prompt of each sample. Deviations are the unbiased ones, `epsilon` is TRL's.
    `group` is GRPO (Shao et al. 2024, arXiv 2402.03300), `batch` divides by the deviation of all rewards of the step,
    `none` is Dr. GRPO (Liu et al. 2025, arXiv 2503.20783). A group of equal rewards, or of one sample, gets exactly 0.
    """
    import torch

    centred = rewards - _group_mean(rewards, groups)
    for group in groups.unique():
        if (rewards[groups == group] == rewards[groups == group][0]).all():
            centred[groups == group] = 0.0  # the mean of equal numbers may differ from them in its last bit
    if scale == "none":
        return centred
    deviation = torch.zeros_like(rewards)
    if scale == "batch":
        deviation += rewards.std() if len(rewards) > 1 else 0.0
    else:
        for group in groups.unique():
            members = rewards[groups == group]
            deviation[groups == group] = members.std() if len(members) > 1 else 0.0
    return centred / (deviation + epsilon)


def leave_one_out(rewards: Tensor, groups: Tensor) -> Tensor:
    """Reward minus the mean of the *other* samples of its group; float [N]. A sample alone in its group gets 0.

    RLOO (Ahmadian et al. 2024, arXiv 2402.14740). Equals G / (G - 1) times the distance from the group's mean.
    """
    sizes = (groups[:, None] == groups[None, :]).sum(1).to(rewards.dtype)
    centred = group_relative(rewards, groups, scale="none")
    return centred * sizes / (sizes - 1).clamp(min=1)


def against(rewards: Tensor, baselines: Tensor) -> Tensor:
    """Reward minus a given baseline; both [N]. With the reward of a greedy answer to the same prompt it is
    self-critical training (Rennie et al. 2017, arXiv 1612.00563) and the relative return of CodeRL."""
    return rewards - baselines


def normalised(advantages: Tensor, mask: Tensor | None = None, epsilon: float = 1e-8) -> Tensor:
    """Zero mean and unit deviation over all entries, or over those where `mask` is 1; PPO's usual whitening.

    advantages: any shape; mask: the same. Fewer than two entries are only centred. Masked entries become 0.
    """
    import torch

    mask = torch.ones_like(advantages) if mask is None else mask.to(advantages.dtype)
    count = mask.sum()
    centred = (advantages - (advantages * mask).sum() / count.clamp(min=1)) * mask
    if count < 2:
        return centred
    return centred / ((centred**2).sum() / (count - 1) + epsilon).sqrt()


def gae(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 0.95) -> tuple:
    """Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438): (advantages, returns), both [B, T].

    rewards, values: [B, T], the value being that of the state *before* each token. mask: [B, T], 1 for tokens drawn,
    all at the front. The state after the last token is worth 0. Masked places are 0 in both results.
    """
    import torch

    mask = mask.to(values.dtype)
    advantages = torch.zeros_like(values)
    running = torch.zeros_like(values[:, 0])
    for place in reversed(range(values.shape[1])):
        later = values[:, place + 1] * mask[:, place + 1] if place + 1 < values.shape[1] else 0.0
        surprise = rewards[:, place] + gamma * later - values[:, place]
        running = (surprise + gamma * lam * running) * mask[:, place]
        advantages[:, place] = running
    return advantages, (advantages + values) * mask


def _group_mean(values: Tensor, groups: Tensor) -> Tensor:
    """Mean of each sample's group; [N]."""
    same = (groups[:, None] == groups[None, :]).to(values.dtype)
    return same @ values / same.sum(1)
