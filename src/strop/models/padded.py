"""Decoding with transformers' own attention and cache: slow and general.

Rows of different length share one cache, padded on the left. It serves every attention-only architecture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from strop.types import StropError


class PaddedEngine:
    """A set of rows being decoded together. Rows are numbered in the order of admission, gaps closed by `keep`."""

    kind = "padded"

    def __init__(self, model: Any) -> None:
        import torch
        from transformers import DynamicCache

        self._torch, self._cache_class = torch, DynamicCache
        self._model = model
        self._cache: Any = None
        self._mask: Any = None  # [rows, length], 1 where the cache holds a token of that row

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Everything that calls the model happens inside."""
        yield

    @property
    def rows(self) -> int:
        return 0 if self._mask is None else self._mask.shape[0]

    def advance(self, tokens: Sequence[int], prompts: Sequence[tuple[Sequence[int], int]]) -> Any:
        """Append one token to each row, and add `count` rows for each (prompt, count).

        Returns the logits [rows, vocabulary] after each row's last token, the new rows behind the old ones.
        """
        logits = [self._extend(tokens)] if tokens else []
        logits += [self._admit(prompt, count).expand(count, -1) for prompt, count in prompts]
        return self._torch.cat(logits)

    def _admit(self, prompt: Sequence[int], count: int) -> Any:
        """Encode a prompt once, add `count` rows that go on from it, return the logits [vocabulary] after it."""
        torch = self._torch
        cache = self._cache_class()
        output = self._model(
            input_ids=torch.tensor([list(prompt)]), past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        cache = getattr(output, "past_key_values", None)
        if cache is None or not all(type(layer).__name__ == "DynamicLayer" for layer in cache.layers):
            raise StropError(
                f"Architecture {self._model.config.model_type!r} keeps a state that Strop's sampler cannot batch; "
                "serve the model and use openai/NAME@URL."
            )
        cache.batch_repeat_interleave(count)
        mask = torch.ones(count, len(prompt), dtype=torch.long)
        if self._mask is None:
            self._cache, self._mask = cache, mask
        else:
            length = max(self._mask.shape[1], mask.shape[1])
            for layer, new in zip(self._cache.layers, cache.layers):
                layer.keys = torch.cat([_pad_left(layer.keys, length, 2), _pad_left(new.keys, length, 2)])
                layer.values = torch.cat([_pad_left(layer.values, length, 2), _pad_left(new.values, length, 2)])
            self._mask = torch.cat([_pad_left(self._mask, length, 1), _pad_left(mask, length, 1)])
        return output.logits[0, -1]

    def _extend(self, tokens: Sequence[int]) -> Any:
        """Append one token to each row; return the logits [rows, vocabulary] after it."""
        torch = self._torch
        self._mask = torch.cat([self._mask, torch.ones(self.rows, 1, dtype=torch.long)], 1)
        output = self._model(
            input_ids=torch.tensor(tokens)[:, None],
            attention_mask=self._mask,
            position_ids=self._mask.sum(1, keepdim=True) - 1,
            past_key_values=self._cache,
            use_cache=True,
        )
        return output.logits[:, -1]

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these."""
        if not rows:
            self._cache = self._mask = None
            return
        index = self._torch.tensor(rows)
        mask = self._mask[index]
        first = int(mask.any(0).int().argmax())  # columns before it are padding for every row left
        self._mask = mask[:, first:]
        for layer in self._cache.layers:
            layer.keys = layer.keys[index, :, first:]
            layer.values = layer.values[index, :, first:]


def _pad_left(tensor: Any, length: int, dimension: int) -> Any:
    missing = length - tensor.shape[dimension]
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[dimension] = missing
    import torch

    return torch.cat([tensor.new_zeros(shape), tensor], dimension)
