"""Q-learning on a language model's own logits (B-Coder, Yu et al. 2023, arXiv 2310.03173).

A state is a prompt with the tokens so far, an action the next token. Q = A + V with A(s, a) = alpha * (logit_a - max
logit) <= 0, so the policy softmax(Q / alpha) is exactly the language model that training starts from. Stage phi learns
V alone; stage theta learns logits and a residual of V that begins at 0. Both back up through the greedy token of the
*frozen* model, not of the learned Q: that is the conservative operator.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

GAMMA = 0.999
LARGEST_RETURN = 1.0


def advantages(logits: Tensor, alpha: float = 1.0) -> Tensor:
    """A(s, a) of every token, [..., V]; never above 0, and 0 for the most likely token."""
    return alpha * (logits - logits.amax(-1, keepdim=True))


def capped(value: Tensor, largest: float = LARGEST_RETURN) -> Tensor:
    """`largest` minus a smooth absolute value, so that no state is worth more than the best return; any shape.

    softabs(x) = softplus(x) + softplus(-x) - 2 ln 2, which is 0 at 0. The paper's printed form has its minimum at
    2 ln 2 and would cap values at -0.39.
    """
    import torch

    softplus = torch.nn.functional.softplus
    return largest - (softplus(value) + softplus(-value) - 2 * math.log(2))


def q_of(logits: Tensor, values: Tensor, tokens: Tensor, alpha: float = 1.0) -> Tensor:
    """Q(s_t, a_t) = A + V of given tokens; logits [B, T, V], values [B, T], tokens int [B, T]; returns [B, T]."""
    return advantages(logits, alpha).gather(-1, tokens[..., None])[..., 0] + values


def td_errors(
    logits: Tensor,
    values: Tensor,
    tokens: Tensor,
    frozen_greedy: Tensor,
    rewards: Tensor,
    mask: Tensor,
    *,
    gamma: float = GAMMA,
    alpha: float = 1.0,
) -> Tensor:
    """Squared temporal-difference error of each token, [B, T]; 0 where `mask` is 0.

    logits [B, T, V] and values [B, T]: of the states before each token. tokens, frozen_greedy: int [B, T], the tokens
    taken and the frozen model's most likely ones. rewards [B, T]. mask [B, T]: 1 for tokens drawn, at the front.
    Target: r_t + gamma * sg(Q(s_{t+1}, frozen_greedy_{t+1})), and r_t alone after the last token.
    """
    import torch

    mask = mask.to(values.dtype)
    taken = q_of(logits, values, tokens, alpha)
    with torch.no_grad():
        backup = q_of(logits, values, frozen_greedy, alpha) * mask
        target = rewards + gamma * _after(backup)
    return (target - taken) ** 2 * mask


def td_loss(
    logits: Tensor, values: Tensor, tokens: Tensor, frozen_greedy: Tensor, rewards: Tensor, mask: Tensor, **options: Any
) -> Tensor:
    """Mean over tokens of `td_errors`, which has the arguments; a scalar."""
    errors = td_errors(logits, values, tokens, frozen_greedy, rewards, mask, **options)
    return errors.sum() / mask.sum().clamp(min=1)


def advantage_penalty(logits: Tensor, tokens: Tensor, mask: Tensor, alpha: float = 1.0) -> Tensor:
    """Mean over human programs of the sum over tokens of |A(s, a)|: their tokens should be greedy ones. A scalar."""
    cost = -advantages(logits, alpha).gather(-1, tokens[..., None])[..., 0]
    return (cost * mask).sum(1).mean()


def program_score(
    logits: Tensor, values: Tensor, tokens: Tensor, mask: Tensor, *, gamma: float = GAMMA, alpha: float = 1.0
) -> Tensor:
    """Sum over tokens of Q(s, a) - gamma * V(s'): the reward that the learned Q implies; [B]. Ranks programs for free.

    A sum over tokens may follow length: compare with a ranking by length before believing it.
    """
    mask = mask.to(values.dtype)
    later = gamma * _after(values * mask)
    return ((q_of(logits, values, tokens, alpha) - later) * mask).sum(1)


def _after(values: Tensor) -> Tensor:
    """Each place's successor, [B, T]; 0 after the last."""
    import torch

    return torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)


def value_head(width: int) -> Any:
    """A linear value of hidden states, zero at the start; maps [..., D] to [...]."""
    import torch

    class ValueHead(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(width, 1)
            torch.nn.init.zeros_(self.linear.weight)
            torch.nn.init.zeros_(self.linear.bias)

        def forward(self, hidden: Tensor) -> Tensor:
            return self.linear(hidden.float())[..., 0]

    return ValueHead()


def residual_value_head(first: Any, width: int) -> Any:
    """V_theta = V_phi (frozen) + h1 - h2, where h2 is a frozen copy of h1: exactly V_phi until h1 has learned."""
    import copy

    import torch

    class ResidualValueHead(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = first.requires_grad_(False)
            self.learned = torch.nn.Linear(width, 1)
            self.frozen = copy.deepcopy(self.learned).requires_grad_(False)

        def forward(self, hidden: Tensor) -> Tensor:
            hidden = hidden.float()
            return self.first(hidden) + (self.learned(hidden) - self.frozen(hidden))[..., 0]

    return ResidualValueHead()
