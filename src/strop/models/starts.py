"""Starts of prompts, encoded once and remembered across calls.

A chat template begins all prompts of a task set alike, and every turn of a conversation begins with all turns before
it. Prompts are therefore encoded in parts that end at fixed places, and each part is remembered under all tokens up to
its end. Fixed places, because the last bits of keys and values depend on how many tokens were encoded together: cut
there, a prompt has the same ones whether its start was remembered or not. For the same reason keys and values of
sampled tokens are not taken over into the next turn; the reply is encoded again, as a part of that turn's prompt.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

FIRST, STRIDE = 32, 128
"""Parts end after 32 tokens (most of a chat template's beginning) and after every multiple of 128."""
BYTES_KEPT = 1 << 29
"""512 MiB: about 11,000 tokens of SmolLM2-135M, 21,000 of Qwen2.5-Coder-0.5B."""


@dataclass(slots=True)
class Encoding:
    """A part of a prompt on its way through the model, and its keys and values [key heads, tokens, head size]."""

    tokens: tuple[int, ...]
    before: Encoding | None
    """The part before it, encoded earlier."""
    seen: Any
    """What each token sees, bool [tokens, tokens before and these]; None when nothing was encoded before."""
    keys: list[Any] = field(default_factory=list)
    """Of each layer, for these tokens alone."""
    values: list[Any] = field(default_factory=list)

    def parts(self) -> list[Encoding]:
        """From the prompt's first part to this one."""
        return [*(self.before.parts() if self.before else []), self]

    @property
    def start(self) -> int:
        """Tokens before these."""
        return sum(len(part.tokens) for part in self.before.parts()) if self.before else 0


def encoding(tokens: Sequence[int], before: Encoding | None) -> Encoding:
    """A part that is still to be encoded."""
    import torch

    seen = None
    if before:
        start = before.start + len(before.tokens)
        seen = torch.ones(len(tokens), start + len(tokens), dtype=torch.bool).tril(start)
    return Encoding(tuple(tokens), before, seen)


def part_ends(length: int) -> Iterator[int]:
    """Where the parts of a prompt of `length` tokens end, its own end not included."""
    if length > FIRST:
        yield FIRST
    yield from range(STRIDE, length, STRIDE)


class Starts:
    """The starts used last, up to `BYTES_KEPT`."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, ...], Encoding] = OrderedDict()
        self._bytes = 0
        self._weights: Any = None
        self.reused = 0
        """Tokens that were not encoded again."""

    def begin(self, weights: Any) -> Starts:
        """Forget everything unless `weights`, a value that tells the model's weights, is as it was."""
        if weights != self._weights:
            self._kept.clear()
            self._bytes, self._weights = 0, weights
        return self

    def get(self, tokens: tuple[int, ...]) -> Encoding | None:
        """The last part of the start made of these tokens."""
        part = self._kept.get(tokens)
        if part:
            self._kept.move_to_end(tokens)
            self.reused += len(part.tokens)
        return part

    def put(self, tokens: tuple[int, ...], part: Encoding) -> None:
        """Remember a part that has been encoded; the ones used least recently go."""
        self._kept[tokens] = part
        self._bytes += _size(part)
        while self._bytes > BYTES_KEPT and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(part: Encoding) -> int:
    return sum(tensor.nbytes for tensors in (part.keys, part.values) for tensor in tensors)
