"""Losses of policies and values, token by token, and how tokens add up.

A loss function gives a loss for each token, [B, T]; `token_coefficients` says what each counts in the sum. They are
kept apart because the coefficients are worked out once for a whole batch: micro-batches of any size then add up to
exactly the loss of the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Aggregation: TypeAlias = Literal["sequence", "token", "constant"]
Level: TypeAlias = Literal["token", "sequence", "sequence-mean"]
Estimator: TypeAlias = Literal["k1", "k2", "k3"]


def token_coefficients(mask: Tensor, how: Aggregation, *, length: int | None = None) -> Tensor:
    """What each token's loss counts in the batch's; [B, T].

    mask: [B, T], 1 for tokens that are learned from. With b sequences and lengths n_i:
    `sequence` 1 / (b n_i): every answer counts the same (GRPO, Shao et al. 2024);
    `token` 1 / sum(n): every token counts the same (DAPO, Yu et al. 2025, arXiv 2503.14476);
    `constant` 1 / (b `length`), `length` being the longest answer allowed (Dr. GRPO, Liu et al. 2025).
    """
    mask = mask.float()
    if how == "sequence":
        return mask / mask.sum(1, keepdim=True).clamp(min=1) / mask.shape[0]
    if how == "token":
        return mask / mask.sum().clamp(min=1)
    if length is None:
        raise ValueError("constant aggregation needs the length to divide by")
    return mask / (mask.shape[0] * length)


# ---- policies ----------------------------------------------------------------------------------


def importance_ratio(logprobs: Tensor, old: Tensor, mask: Tensor, level: Level = "token") -> Tensor:
    """pi / pi_old, [B, T]. logprobs, old, mask: [B, T].

    `token`: of each token (PPO, GRPO). `sequence`: of the whole answer, the same at each of its tokens (RLOO as in
    TRL). `sequence-mean`: its geometric mean over tokens (GSPO, Zheng et al. 2025, arXiv 2507.18071).
    """
    difference = (logprobs - old) * mask
    if level == "token":
        return difference.exp()
    total = difference.sum(1, keepdim=True)
    if level == "sequence-mean":
        total = total / mask.sum(1, keepdim=True).clamp(min=1)
    return total.exp().expand_as(logprobs)


def clipped(
    logprobs: Tensor,
    old: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    low: float = 0.2,
    high: float = 0.2,
    level: Level = "token",
) -> Tensor:
    """PPO's clipped surrogate (Schulman et al. 2017, arXiv 1707.06347): -min(r A, clip(r, 1 - low, 1 + high) A).

    logprobs, old: [B, T]; advantages: [B] or [B, T]; returns [B, T]. `high` above `low` is DAPO's clip-higher (0.28).
    """
    import torch

    ratio = importance_ratio(logprobs, old, mask, level)
    spread = _spread(advantages, logprobs)
    return -torch.minimum(ratio * spread, ratio.clamp(1 - low, 1 + high) * spread)


def cispo(logprobs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, *, high: float = 4.0) -> Tensor:
    """-sg(min(r, high)) A log pi: every token keeps a gradient (MiniMax 2025, arXiv 2506.13585, as in TRL). [B, T]."""
    ratio = importance_ratio(logprobs, old, mask).clamp(max=high).detach()
    return -ratio * _spread(advantages, logprobs) * logprobs


def reinforce(logprobs: Tensor, advantages: Tensor) -> Tensor:
    """-A log pi (Williams 1992). logprobs [B, T], advantages [B] or [B, T]; returns [B, T]."""
    return -_spread(advantages, logprobs) * logprobs


def clip_share(logprobs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, low: float, high: float) -> float:
    """Share of tokens whose gradient the clip cuts off: r below 1 - low with A < 0, or above 1 + high with A > 0."""
    ratio, spread = importance_ratio(logprobs, old, mask), _spread(advantages, logprobs)
    cut = ((ratio < 1 - low) & (spread < 0)) | ((ratio > 1 + high) & (spread > 0))
    return float((cut * mask).sum() / mask.sum().clamp(min=1))


def _spread(advantages: Tensor, like: Tensor) -> Tensor:
    return advantages[:, None].expand_as(like) if advantages.dim() == 1 else advantages


# ---- distance from a reference -----------------------------------------------------------------


def kl_estimate(logprobs: Tensor, reference: Tensor, estimator: Estimator = "k3") -> Tensor:
    """Estimate of KL(pi, reference) from tokens drawn from pi; any shape (Schulman 2020, "Approximating KL").

    With d = log pi - log reference: k1 = d (unbiased, may be negative, and as a loss its gradient averages to nothing:
    use it inside rewards); k2 = d^2 / 2 (as a loss its gradient is that of the KL); k3 = exp(-d) - 1 + d (unbiased as
    a value and never negative; GRPO's loss term).
    """
    difference = logprobs - reference
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference**2 / 2
    return (-difference).exp() - 1 + difference


# ---- values ------------------------------------------------------------------------------------


def clipped_value(values: Tensor, old: Tensor, returns: Tensor, *, clip: float = 0.2) -> Tensor:
    """0.5 * max of the squared error of the value and of the value kept within `clip` of the old one; [B, T].

    PPO's value loss as in its reference implementations (Huang et al. 2022, "The 37 implementation details of PPO").
    """
    import torch

    kept = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (kept - returns) ** 2)


# ---- from logits -------------------------------------------------------------------------------


def entropies(logits: Tensor) -> Tensor:
    """Entropy in nats of each distribution; logits [..., V], returns [...]."""
    import torch

    logs = torch.log_softmax(logits.float(), -1)
    return -(logs.exp() * logs).sum(-1)
