"""Rewards for the form of an answer: nothing is run."""

from __future__ import annotations

import re

from strop.rewards.core import Case, Rule, part
from strop.types import StropError


def has_program(name: str = "format") -> Rule:
    """1 when a program could be read out of the answer, else 0."""
    return part(name, lambda case: float(bool(case.sample.code.strip())))


def matches(pattern: str, name: str = "format") -> Rule:
    """1 when the answer's text matches a regular expression anywhere, else 0."""
    compiled = re.compile(pattern, re.DOTALL)
    return part(name, lambda case: float(compiled.search(case.sample.text) is not None))


def length_penalty(limit: int, cushion: int, name: str = "length") -> Rule:
    """0 up to `limit - cushion` tokens, then falling in a straight line to -1 at `limit` and beyond.

    The soft punishment of over-long answers of DAPO (Yu et al. 2025, arXiv 2503.14476, equation 13, from memory).
    Tokens are those drawn, the end token included. `None` where the model does not count its tokens.
    """
    if not 0 < cushion <= limit:
        raise StropError(f"A length penalty needs 0 < cushion <= limit, not cushion {cushion} and limit {limit}.")

    def measure(case: Case) -> float | None:
        tokens = case.sample.token_ids
        count = len(tokens) if tokens is not None else case.sample.spent.sampled_tokens or None
        return None if count is None else min(0.0, max(-1.0, (limit - cushion - count) / cushion))

    return part(name, measure)
