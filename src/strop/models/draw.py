"""Choosing the next token: temperature, top-k, top-p, and one random number per token.

Order of operations, as in transformers and vLLM: divide logits by the temperature; keep the `top_k` most likely tokens;
of these, renormalised, keep the smallest set whose probability reaches `top_p`; draw from that set, renormalised.
Temperature 0 takes the most likely token (the lowest id on a tie, like `torch.argmax`).

The draw inverts the cumulative distribution over the kept tokens in order of falling probability. Its random number
comes from a Philox counter generator keyed by the request's seed, and token t takes the t-th number of that stream, so
a draw depends on nothing but the logits, the seed and t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from strop.types import SamplingParams, StropError

if TYPE_CHECKING:
    import torch


def check_params(params: SamplingParams) -> None:
    """Raise StropError for sampling parameters outside their range."""
    for name, fine, meaning in (
        ("temperature", 0 <= params.temperature < float("inf"), "0 (greedy) or more"),
        ("top_p", 0 < params.top_p <= 1, "above 0 and at most 1"),
        ("top_k", params.top_k >= 0, "0 (no limit) or more"),
        ("max_tokens", params.max_tokens >= 1, "at least 1"),
        ("logprobs", params.logprobs >= 0, "0 or more"),
        ("stop", all(params.stop), "strings that are not empty"),
    ):
        if not fine:
            raise StropError(f"Sampling parameter {name}={getattr(params, name)!r} must be {meaning}.")


class UniformStream:
    """The random numbers of one request: uniform on [0, 1), the t-th for its t-th token."""

    __slots__ = ("_next",)

    def __init__(self, seed: int) -> None:
        self._next = np.random.Generator(np.random.Philox(key=seed & (2**64 - 1))).random

    def next(self) -> float:
        return self._next()


@dataclass(frozen=True, slots=True)
class Drawn:
    """One token for each of B rows."""

    tokens: list[int]
    logprobs: list[float]
    """Natural-log probability of each token under the unmodified logits (temperature 1, no truncation)."""
    top: list[tuple[tuple[int, float], ...]] | None
    """The `params.logprobs` most likely tokens of each row with their log-probabilities; None when not asked for."""


def draw(logits: torch.Tensor, params: SamplingParams, streams: list[UniformStream]) -> Drawn:
    """Draw one token for each row of `logits` (float32, [B, vocabulary]); `streams` gives each row's random numbers."""
    import torch

    logits = logits.float()
    log_total = torch.logsumexp(logits, -1)
    if params.temperature == 0:
        tokens = logits.argmax(-1)
    else:
        uniforms = np.array([stream.next() for stream in streams])
        tokens = torch.from_numpy(_draw_scaled(logits, log_total, params, uniforms))
    chosen = logits.gather(1, tokens[:, None])[:, 0] - log_total
    top = None
    if params.logprobs:
        values, ids = torch.topk(logits, min(params.logprobs, logits.shape[1]))
        top = [
            tuple(zip(row_ids, row_values))
            for row_ids, row_values in zip(ids.tolist(), (values - log_total[:, None]).tolist())
        ]
    return Drawn(tokens.tolist(), chosen.tolist(), top)


def _draw_scaled(logits: Any, log_total: Any, params: SamplingParams, uniforms: np.ndarray) -> np.ndarray:
    """Token ids [B] drawn at a temperature above 0.

    A full sort of a 50,000-word vocabulary is slow, so rows are tried with their 64 most likely tokens first;
    only rows whose kept set may reach further are done again with more. The result does not depend on that.
    """
    import torch

    count, vocabulary = logits.shape
    temperature = params.temperature
    log_totals = log_total if temperature == 1 else torch.logsumexp(logits / temperature, -1)
    result = np.empty(count, dtype=np.int64)
    pending = np.arange(count)
    limit = params.top_k or vocabulary
    for width in (64, 1024, vocabulary):
        width = min(width, limit, vocabulary)
        part = logits if len(pending) == count else logits[torch.from_numpy(pending)]
        values, ids = torch.topk(part, width)
        order = _ties_by_id(values, ids)
        values, ids = values.gather(1, order), ids.gather(1, order)
        log_probabilities = values.double() / temperature - log_totals[torch.from_numpy(pending)].double()[:, None]
        cumulative = np.cumsum(np.exp(log_probabilities.numpy()), axis=1)
        # With top-k the kept tokens are renormalised before top-p looks at them.
        whole = width in (limit, vocabulary)
        total = cumulative[:, -1] if whole else np.ones(len(pending))
        rows = np.arange(len(pending))
        if params.top_p < 1:
            reached = cumulative >= params.top_p * total[:, None]
            last = np.where(reached.any(axis=1), reached.argmax(axis=1), width - 1)
            target = uniforms[pending] * cumulative[rows, last]
        else:
            last = np.full(len(pending), width - 1)
            target = uniforms[pending] * total
        position = np.minimum((cumulative <= target[:, None]).sum(axis=1), last)
        # Decided when neither the end of the kept set nor the draw lies at this part's edge, where a tie may go on.
        edge = last if params.top_p < 1 else position
        done = np.full(len(pending), True) if whole else (values[rows, edge] > values[:, -1]).numpy()
        result[pending[done]] = ids.numpy()[done, position[done]]
        pending = pending[~done]
        if not len(pending):
            break
    return result


def _ties_by_id(values: Any, ids: Any) -> Any:
    """Order [B, width] that sorts by falling value and then by rising id; `topk` leaves ties in any order."""
    import torch

    by_id = torch.argsort(ids, dim=1)
    return by_id.gather(1, torch.argsort(values.gather(1, by_id), dim=1, descending=True, stable=True))
