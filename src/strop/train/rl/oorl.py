"""OORL's learner: the policy's loss, and GEPO on groups of equivalent answers beside it (Wu et al. 2025, 2505.12723).

Each update takes the next group of the file: winners are the IR of a C function at several optimisation levels, losers
are IR that does something else (`strop.data.ir_groups`). The loss asks for winners over losers, by the means of their
log-ratios to the starting model, and for winners alike (`ranking.gepo`). One forward pass holds the whole group, whose
texts share their beginnings.

Departures. The paper trains on batches of groups; here each update has one. The log-ratio is the sum over tokens, as
in the paper's formula, so longer texts weigh more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.data import ir_groups
from strop.train.rl import ranking
from strop.train.rl.learner import Learner
from strop.train.rl.policy import Policy
from strop.train.rl.recipes import RLSettings
from strop.types import Message, Prompt, StropError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A group as tensors: winners first."""

    prompt: Tensor
    """int64 [P]"""
    tokens: Tensor
    """int64 [W + L, T], padded with 0."""
    mask: Tensor
    """float32 [W + L, T]"""
    winners: int


class EquivalenceLearner(Learner):
    """`Learner` with a GEPO term from the file that the settings name as `equivalents`."""

    def __init__(self, policy: Policy, settings: RLSettings) -> None:
        """Raises StropError when the file cannot be read or none of its groups fits into the model's context."""
        super().__init__(policy, settings)
        groups = ir_groups.load(Path(str(settings.equivalents)))
        room = int(policy.model.config.get_text_config().max_position_embeddings)
        encoded = [encode(group, policy) for group in groups]
        self.groups = [one for one in encoded if len(one.prompt) + one.tokens.shape[1] <= room]
        if not self.groups:
            raise StropError(f"{settings.equivalents}: none of its {len(groups)} groups fits into {room} tokens.")
        self._reference: dict[int, Tensor] = {}

    def _beside(self) -> Tensor:
        place = self.updates % len(self.groups)
        group = self.groups[place]
        if place not in self._reference:
            with self.policy.at_start() as start:
                self._reference[place] = self._sums(group, start)
        now, then = self._sums(group), self._reference[place]
        return self.settings.gepo_weight * ranking.gepo(
            now[: group.winners], then[: group.winners], now[group.winners :], then[group.winners :],
            beta=self.settings.gepo_beta,
        )  # fmt: skip

    def _sums(self, group: Encoded, model: Any = None) -> Tensor:
        """Log-probability of each answer of the group, [W + L]."""
        return self.policy.score(group.prompt, group.tokens, group.mask, 1.0, model=model).logprobs.sum(1)


def encode(group: ir_groups.Group, policy: Policy) -> Encoded:
    """The group's question as the model is asked, and its answers with the end token."""
    import torch

    tokenizer = policy.sampler.tokenizer
    question: Prompt = group.question + "\n"
    if policy.sampler.chat:
        question = (Message("user", group.question), Message("assistant", "```llvm\n"))
    rows = [
        [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        for text in (*group.winners, *group.losers)
    ]
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros(tokens.shape)
    for number, row in enumerate(rows):
        tokens[number, : len(row)], mask[number, : len(row)] = torch.tensor(row), 1.0
    prompt = torch.tensor(list(policy.sampler.encode(question)))
    return Encoded(prompt=prompt, tokens=tokens, mask=mask, winners=len(group.winners))
