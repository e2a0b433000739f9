"""One step's rollouts: samples with verdicts and rewards, and as tensors by prompt."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strop.types import Reward, Sample, Task, Verdict

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One judged sample; `reward` is None where nothing is known."""

    task: Task
    sample: Sample
    verdict: Verdict
    reward: Reward | None

    @property
    def learnable(self) -> bool:
        """It has a reward and tokens to learn from."""
        return self.reward is not None and bool(self.sample.token_ids)


@dataclass(slots=True, kw_only=True)
class Group:
    """The learnable answers to one prompt, as tensors. B answers of at most T tokens, padded at the end with 0."""

    rollouts: list[Rollout]
    prompt: Tensor
    """int64 [P]"""
    tokens: Tensor
    """int64 [B, T]"""
    mask: Tensor
    """float32 [B, T], 1 for tokens drawn."""
    sampled: Tensor
    """What the sampler noted as log-probabilities at temperature 1; float32 [B, T], 0 in the padding."""
    rewards: Tensor
    """float64 [B]"""
    tensors: dict[str, Any] = field(default_factory=dict)
    """What a step adds: advantages, coefficients, reference and old log-probabilities, values, weights."""

    def __len__(self) -> int:
        return len(self.rollouts)


def group_by_prompt(rollouts: Sequence[Rollout], prompts: Mapping[str, Sequence[int]]) -> list[Group]:
    """Learnable rollouts by task, in the order of `prompts` (token ids by task id); tasks without any are left out.

    Within a group the longest answers come first, so that pieces of a group need little padding.
    """
    import torch

    groups = []
    for task_id, ids in prompts.items():
        rows = [one for one in rollouts if one.task.id == task_id and one.learnable]
        rows.sort(key=lambda one: (-len(one.sample.token_ids or ()), one.sample.index))
        if not rows:
            continue
        length = max(len(one.sample.token_ids or ()) for one in rows)
        tokens = torch.zeros(len(rows), length, dtype=torch.long)
        mask, sampled = torch.zeros(len(rows), length), torch.zeros(len(rows), length)
        for number, one in enumerate(rows):
            drawn = one.sample.token_ids or ()
            tokens[number, : len(drawn)] = torch.tensor(drawn)
            mask[number, : len(drawn)] = 1.0
            sampled[number, : len(drawn)] = torch.tensor(one.sample.logprobs or [0.0] * len(drawn))
        rewards = torch.tensor([one.reward.total for one in rows if one.reward], dtype=torch.float64)
        groups.append(
            Group(
                rollouts=rows,
                prompt=torch.tensor(list(ids)),
                tokens=tokens,
                mask=mask,
                sampled=sampled,
                rewards=rewards,
            )
        )
    return groups


def pieces(group: Group, most: int) -> list[slice]:
    """The group's rows in runs of at most `most`, as even as they can be."""
    count = -(-len(group) // most)
    edges = [round(number * len(group) / count) for number in range(count + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(edges)]
