"""Prompts' keys and values while rows go on from them, side by side by length, each read once for all its rows.

Prompts of about one length share a buffer, so that one batched matrix product serves many of them; prompts whose
numbers of rows differ much are multiplied apart, because a batch computes as many rows for each as its largest has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from strop.models.starts import Encoding

STEP = 64
"""Lengths are rounded up to multiples of this, so that a row's sums are added up in the same order in every batch."""


def rounded(length: int) -> int:
    return -(-length // STEP) * STEP


@dataclass(slots=True)
class Prefix:
    """One prompt on a shelf."""

    tokens: tuple[int, ...]
    logits: Any
    """After its last token: [vocabulary]."""
    place: int
    slots: list[int] = field(default_factory=list)
    """Slots of the rows that go on from it."""


@dataclass(slots=True)
class Batch:
    """Prompts beside each other that are multiplied together."""

    first: int
    last: int
    """Places first to last - 1."""
    rows: Any
    """int64 [places * rows a place]: the slot of each row, any slot where a place has fewer rows."""
    taken: Any
    """int64: which of `rows` are real."""
    slots: Any
    """int64: the slots of those."""


class Shelf:
    """Prompts of one rounded length. Keys [places, key heads, head size, length] of each layer, values transposed."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.keys: list[Any] = []
        self.values: list[Any] = []
        self.prefixes: list[Prefix] = []

    def put(self, prefix: Prefix, parts: Sequence[Encoding]) -> None:
        """Store a prompt, given in its parts."""
        prefix.place = min(set(range(len(self.prefixes) + 1)) - {other.place for other in self.prefixes})
        self.prefixes.append(prefix)
        if not self.keys or prefix.place >= len(self.keys[0]):
            self._grow(parts[0].keys)
        for part in parts:
            tokens = slice(part.start, part.start + len(part.tokens))
            for layer, (key, value) in enumerate(zip(part.keys, part.values)):
                # What lies behind the last token is hidden from all rows; it need only be finite.
                self.keys[layer][prefix.place, :, :, tokens] = key.transpose(1, 2)
                self.values[layer][prefix.place, :, tokens] = value

    def _grow(self, like: Sequence[Any]) -> None:
        old = len(self.keys[0]) if self.keys else 0
        for layer, example in enumerate(like):
            heads, _, size = example.shape
            keys = example.new_zeros(old + max(4, old), heads, size, self.length)
            values = example.new_zeros(old + max(4, old), heads, self.length, size)
            if old:
                keys[:old], values[:old] = self.keys[layer], self.values[layer]
                self.keys[layer], self.values[layer] = keys, values
            else:
                self.keys.append(keys)
                self.values.append(values)

    def keep(self, wanted: Sequence[Prefix]) -> None:
        """Forget all prompts but these, and close the gaps when there are many."""
        self.prefixes = list(wanted)
        if 2 * len(wanted) <= max((prefix.place for prefix in wanted), default=-1) + 1:
            order = [prefix.place for prefix in wanted]
            for buffers in (self.keys, self.values):
                for buffer in buffers:
                    buffer[: len(order)] = buffer[order]
            for place, prefix in enumerate(wanted):
                prefix.place = place

    def batches(self, least: int) -> Iterator[Batch]:
        """The prompts in batches of at least `least` rows a place, at most half of them made up."""
        import torch

        slots: list[list[int]] = [[] for _ in range(max((prefix.place for prefix in self.prefixes), default=-1) + 1)]
        for prefix in self.prefixes:
            slots[prefix.place] = prefix.slots
        first = 0
        while first < len(slots):
            last, most, real = first, 0, 0
            while last < len(slots):
                count = max(least, len(slots[last]))
                if max(most, count) * (last + 1 - first) > 2 * (real + count):
                    break
                last, most, real = last + 1, max(most, count), real + count
            some = slots[first:last]
            rows = torch.zeros(last - first, most, dtype=torch.long)
            for place, of_place in enumerate(some):
                rows[place, : len(of_place)] = torch.tensor(of_place, dtype=torch.long)
            taken = [place * most + row for place, of_place in enumerate(some) for row in range(len(of_place))]
            if taken:
                rows, real_rows = rows.view(-1), torch.tensor(taken)
                yield Batch(first, last, rows, real_rows, rows[real_rows])
            first = last
