"""Losses on groups of answers to one prompt that are better or worse than each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def rrhf(
    logprobs: Tensor, mask: Tensor, scores: Tensor, *, rank_weight: float = 1.0, length_power: float = 1.0
) -> Tensor:
    """Rank responses by their scores, and imitate the best (RRHF, Yuan et al. 2023, arXiv 2304.05302). A scalar.

    logprobs, mask: [B, T], the answers to one prompt. scores: [B]. With p_i = sum_t log pi / n_i^`length_power`:
    `rank_weight` * sum over pairs with s_i < s_j of max(0, p_i - p_j), plus the mean cross-entropy per token of the
    best-scored answer (the first on a tie). Equal scores give no pair. The authors' training script has rank_weight 1,
    their code's default is 100; their cross-entropy averages over padded places too, this one does not.
    """
    import torch

    mask = mask.to(logprobs.dtype)
    lengths = mask.sum(1).clamp(min=1)
    totals = (logprobs * mask).sum(1)
    mean = totals / lengths**length_power
    worse = scores[:, None] < scores[None, :]  # [i, j]: i is worse than j
    rank = torch.relu(mean[:, None] - mean[None, :])[worse].sum()
    best = int(scores.argmax())
    return rank_weight * rank - totals[best] / lengths[best]


def gepo(
    winners: Tensor,
    winners_reference: Tensor,
    losers: Tensor,
    losers_reference: Tensor,
    *,
    beta: float = 0.1,
    variance_weight: float = 1.0,
) -> Tensor:
    """Prefer a group of equivalent answers to a group of others, and equally so (Wu et al. 2025, arXiv 2505.12723).

    All arguments are sums of log-probabilities, one an answer: winners [W], losers [L], each with the reference
    model's. With r = log pi - log reference: -log sigmoid(beta * (mean r_w - mean r_l)) + variance_weight *
    Var(beta * r_w), a scalar. That beta scales the variance too is Strop's reading; the variance divides by W.
    """
    import torch

    good, bad = beta * (winners - winners_reference), beta * (losers - losers_reference)
    preferred = -torch.nn.functional.logsigmoid(good.mean() - bad.mean())
    return preferred + variance_weight * good.var(correction=0)
