"""What is worked out for a step's groups before the first update: advantages, weights, what each token counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from strop.rewards.core import Case
from strop.rewards.outcome import OUTCOMES, outcome_class
from strop.train.rl import advantages as adv
from strop.train.rl import losses, weights
from strop.train.rl.buffer import Group
from strop.train.rl.recipes import RLSettings

if TYPE_CHECKING:
    from torch import Tensor


class Notes:
    """Numbers of one step: sums over an update (their mean over the step's updates), weighted means, last values."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._sums: dict[str, float] = {}
        self._means: dict[str, tuple[float, float]] = {}
        self.updates = 0

    def put(self, name: str, value: float) -> None:
        self._last[name] = float(value)

    def add(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value

    def mean(self, name: str, total: float, count: float) -> None:
        """Add `count` things that sum to `total`."""
        before = self._means.get(name, (0.0, 0.0))
        self._means[name] = (before[0] + total, before[1] + count)

    def values(self) -> dict[str, float]:
        means = {name: total / count for name, (total, count) in self._means.items() if count}
        sums = {name: total / max(1, self.updates) for name, total in self._sums.items()}
        return {**self._last, **sums, **means}


def set_advantages(groups: Sequence[Group], settings: RLSettings, baselines: Mapping[str, float] | None) -> None:
    """`advantages` of each group: [B], or [B, T] from GAE with `returns` beside it.

    GAE needs `values`, and for a KL inside the reward `old` and `reference`, among the group's tensors.
    """
    import torch

    if settings.advantage == "gae":
        for group in groups:
            rewards = at_last_token(group)
            if settings.kl_in == "reward" and settings.kl_coefficient:
                drift = losses.kl_estimate(group.tensors["old"], group.tensors["reference"], "k1")
                rewards = rewards - settings.kl_coefficient * drift * group.mask
            found, returns = adv.gae(
                rewards, group.tensors["values"], group.mask, gamma=settings.gamma, lam=settings.lam
            )
            group.tensors |= {"advantages": found, "returns": returns}
        if settings.normalise:
            _normalise(groups, [group.mask for group in groups])
        return
    rewards = torch.cat([group.rewards for group in groups])
    owners = torch.cat([torch.full((len(group),), number) for number, group in enumerate(groups)])
    if settings.advantage == "leave-one-out":
        flat = adv.leave_one_out(rewards, owners)
    elif settings.advantage == "greedy":
        base = [(baselines or {})[one.task.id] for group in groups for one in group.rollouts]
        flat = adv.against(rewards, torch.tensor(base, dtype=rewards.dtype))
    elif settings.advantage == "none":
        flat = rewards
    else:
        scale: adv.Scale = "none" if settings.advantage == "group-mean" else settings.advantage
        flat = adv.group_relative(rewards, owners, scale=scale)
    for group, part in zip(groups, flat.split([len(group) for group in groups])):
        group.tensors["advantages"] = part.float()
    if settings.normalise:
        _normalise(groups, [torch.ones(len(group)) for group in groups])


def _normalise(groups: Sequence[Group], masks: Sequence[Tensor]) -> None:
    """Zero mean and unit deviation over all advantages of the step."""
    import torch

    flat = torch.cat([group.tensors["advantages"].flatten() for group in groups])
    found = adv.normalised(flat, torch.cat([mask.flatten() for mask in masks]))
    if not (flat != flat[0]).any():
        found = torch.zeros_like(found)  # all equal: no signal, not even in the last bit
    parts = found.split([mask.numel() for mask in masks])
    for group, part in zip(groups, parts):
        group.tensors["advantages"] = part.view_as(group.tensors["advantages"])


def at_last_token(group: Group) -> Tensor:
    """The reward of each answer at its last token, 0 elsewhere; [B, T]."""
    import torch

    rewards = torch.zeros_like(group.mask)
    last = group.mask.sum(1).long() - 1
    rewards[torch.arange(len(group)), last] = group.rewards.float()
    return rewards


def set_weights(groups: Sequence[Group], settings: RLSettings) -> None:
    """`weights` of each group's sequences, [B]: rank filter times duration."""
    import torch

    durations = torch.tensor([one.verdict.seconds for group in groups for one in group.rollouts])
    slow = torch.ones(len(durations))
    if settings.sequence_weights == "duration" and durations.sum() > 0:
        slow = weights.by_duration(durations)
    for group, part in zip(groups, slow.split([len(group) for group in groups])):
        ranked = weights.by_rank(group.rewards.tolist(), settings.filter, power=settings.filter_power)
        group.tensors["weights"] = (part * torch.tensor(ranked)).float()


def coefficients(batch: Sequence[Group], settings: RLSettings) -> list[Tensor]:
    """What each token counts in a minibatch, [B, T] for each of its groups; see `losses.token_coefficients`."""
    import torch

    longest = max(group.mask.shape[1] for group in batch)
    padded = [torch.nn.functional.pad(group.mask, (0, longest - group.mask.shape[1])) for group in batch]
    whole = losses.token_coefficients(torch.cat(padded), settings.aggregation, length=settings.max_tokens)
    parts = whole.split([len(group) for group in batch])
    return [part[:, : group.mask.shape[1]] for part, group in zip(parts, batch)]


def outcomes(group: Group) -> Tensor:
    """CodeRL's class of each answer, int64 [B]."""
    import torch

    found = [
        outcome_class(Case(task=one.task, sample=one.sample, verdict=one.verdict)) or "failed" for one in group.rollouts
    ]
    return torch.tensor([OUTCOMES.index(one) for one in found])


def noted(group: Group) -> bool:
    """Whether the sampler wrote down log-probabilities for every token."""
    return all(len(one.sample.logprobs or ()) == len(one.sample.token_ids or ()) for one in group.rollouts)
