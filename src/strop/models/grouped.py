"""Decoding many samples of few prompts: each prompt's keys and values are stored and read once for all its rows.

Attention of a row runs over two parts, its prompt's and its own tokens, under one softmax. The prompt's part is a
matrix product over all rows of that prompt (as in Hydragen, Juravsky et al. 2024); the own part is a batched product
over a buffer that grows in place, where transformers' cache is copied at every token. Rows may have any length, so new
ones enter whenever there is room.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from strop.models.packed import PackedLinears
from strop.types import StropError

ATTENTION = "strop_grouped"
GROWTH = 64
"""Own tokens for which room is made at once."""
HEAD = 32
"""Tokens at the start of a prompt that are encoded by themselves and remembered: a chat template begins all prompts of
a task set alike. A fixed length, so that a prompt's keys and values never depend on which prompts came before."""
HEADS_KEPT = 8


def supports(model: Any) -> bool:
    """Whether every layer is plain full attention behind transformers' attention interface."""
    config = model.config
    layers = getattr(config, "layer_types", None)
    sliding = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return (
        bool(getattr(model, "_supports_attention_backend", False))
        and set(layers or ["full_attention"]) == {"full_attention"}
        and not (sliding and not layers)
        and not any(
            getattr(config, name, None) for name in ("attn_logit_softcapping", "text_config", "is_encoder_decoder")
        )
    )


@dataclass(slots=True)
class _Prefix:
    """One prompt: per layer keys [key heads, head size, length] and values [key heads, length, head size]."""

    length: int
    keys: list[Any]
    values: list[Any]
    slots: Any
    """Slots of the rows that go on from it, int64 [rows]."""


@dataclass(slots=True)
class _Step:
    """What every layer's attention needs to know about one step."""

    slots: Any
    """int64 [rows]"""
    places: Any
    """Where each row's new token goes among its own: int64 [rows]."""
    count: int
    """Slots computed, empty ones included."""
    own: int
    """Own places computed."""
    scores: Any
    """[slots, key heads, heads per key head, own + longest prompt]; minus infinity where a row has no token."""
    hidden: Any
    """Own places that hold no token: bool [slots, 1, 1, own]."""
    dense: bool
    """Row i sits in slot i and there are no empty slots."""


class GroupedEngine:
    """A set of rows being decoded together. Rows are numbered in the order of admission, gaps closed by `keep`."""

    kind = "grouped"

    def __init__(self, model: Any, packed: PackedLinears | None) -> None:
        import torch
        from transformers import AttentionInterface

        AttentionInterface.register(ATTENTION, _attention)
        self._torch, self._model, self._packed = torch, model, packed
        self._prefixes: list[_Prefix] = []
        self._slots: list[int] = []  # of each row
        self._lengths: list[int] = []  # own tokens of each row
        self._starts: list[int] = []  # prompt tokens of each row
        self._own_keys: list[Any] = []  # per layer [slots, key heads, room, head size]
        self._own_values: list[Any] = []
        self._last: tuple[tuple[int, ...], Any, _Prefix] | None = None
        self._heads: dict[tuple[int, ...], list[tuple[Any, Any]]] = {}
        self._step: _Step | None = None

    @property
    def rows(self) -> int:
        return len(self._slots)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Everything that calls the model happens inside."""
        with self._packed.installed() if self._packed else contextlib.nullcontext():
            yield

    def admit(self, prompt: Sequence[int], count: int) -> Any:
        """Encode a prompt once, add `count` rows that go on from it, return the logits [vocabulary] after it."""
        torch = self._torch
        taken = set(self._slots)
        free = [slot for slot in range(len(taken) + count) if slot not in taken][:count]
        prompt = tuple(prompt)
        if self._last is None or self._last[0] != prompt:
            output = self._encode(prompt)
            layers = output.past_key_values.layers
            # Padded to 16 tokens, because the products' last bits depend on the number of rows at some odd lengths.
            missing = -len(prompt) % 16
            keys = [torch.nn.functional.pad(layer.keys[0].transpose(1, 2), (0, missing)) for layer in layers]
            values = [torch.nn.functional.pad(layer.values[0], (0, 0, 0, missing)) for layer in layers]
            self._last = (prompt, output.logits[0, -1].clone(), _Prefix(len(prompt), keys, values, None))
        _, logits, prefix = self._last
        self._prefixes.append(_Prefix(prefix.length, prefix.keys, prefix.values, torch.tensor(free)))
        self._slots += free
        self._lengths += [0] * count
        self._starts += [len(prompt)] * count
        return logits

    def _encode(self, prompt: tuple[int, ...]) -> Any:
        """The model's output for a prompt: logits after its last token, keys and values of all."""
        from transformers import DynamicCache

        torch, cache = self._torch, DynamicCache()
        head = prompt[:HEAD] if len(prompt) > HEAD else ()
        if head:
            if head not in self._heads:
                layers = self._model(torch.tensor([head]), past_key_values=DynamicCache(), logits_to_keep=1)
                layers = layers.past_key_values.layers
                while len(self._heads) >= HEADS_KEPT:
                    del self._heads[next(iter(self._heads))]
                self._heads[head] = [(layer.keys, layer.values) for layer in layers]
            for number, (keys, values) in enumerate(self._heads[head]):
                cache.update(keys, values, number)
        rest = torch.tensor([prompt[len(head) :]])
        return self._model(rest, past_key_values=cache, use_cache=True, logits_to_keep=1)

    def step(self, tokens: Sequence[int]) -> Any:
        """Append one token to each row; return the logits [rows, vocabulary] after it."""
        torch = self._torch
        self._make_room()
        self._step = self._plan()
        positions = torch.tensor([start + length for start, length in zip(self._starts, self._lengths)])
        config = self._model.config
        before = config._attn_implementation
        config._attn_implementation_internal = ATTENTION
        try:
            output = self._model(
                torch.tensor(tokens)[:, None], position_ids=positions[:, None], use_cache=False, strop_engine=self
            )
        finally:
            config._attn_implementation_internal = before
        self._lengths = [length + 1 for length in self._lengths]
        return output.logits[:, -1]

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these."""
        self._slots = [self._slots[row] for row in rows]
        self._lengths = [self._lengths[row] for row in rows]
        self._starts = [self._starts[row] for row in rows]
        if 2 * len(self._slots) <= max(self._slots, default=-1) + 1:
            self._close_gaps()
        alive = self._torch.tensor(self._slots, dtype=self._torch.long)
        for prefix in self._prefixes:
            prefix.slots = prefix.slots[self._torch.isin(prefix.slots, alive)]
        self._prefixes = [prefix for prefix in self._prefixes if len(prefix.slots)]

    def _close_gaps(self) -> None:
        """Move rows to the first slots, so that fewer empty ones are computed."""
        torch = self._torch
        order = torch.tensor(self._slots, dtype=torch.long)
        room = max(self._lengths, default=0)
        for buffers in (self._own_keys, self._own_values):
            for layer, buffer in enumerate(buffers):
                buffers[layer] = buffer[order, :, : _rounded(room + 1)]
        new = {slot: row for row, slot in enumerate(self._slots)}
        for prefix in self._prefixes:
            prefix.slots = torch.tensor([new[slot] for slot in prefix.slots.tolist() if slot in new], dtype=torch.long)
        self._slots = list(range(len(self._slots)))

    def _make_room(self) -> None:
        """Grow the own buffers to hold one more token of every row."""
        torch = self._torch
        slots, own = max(self._slots) + 1, _rounded(max(self._lengths) + 1)
        old = self._own_keys[0].shape if self._own_keys else (0, 0, 0)
        if old[0] >= slots and old[2] >= own:
            return
        shape = max(old[0], slots), max(old[2], own)
        for buffers in (self._own_keys, self._own_values):
            for layer, values in enumerate(self._prefixes[0].values):
                # Zeros, because places without a token are multiplied by a weight of zero.
                grown = torch.zeros(shape[0], values.shape[0], shape[1], values.shape[2], dtype=values.dtype)
                if layer < len(buffers):
                    grown[: old[0], :, : old[2]] = buffers[layer]
                    buffers[layer] = grown
                else:
                    buffers.append(grown)

    def _plan(self) -> _Step:
        """What is the same in every layer of one step."""
        torch = self._torch
        slots, places = torch.tensor(self._slots), torch.tensor(self._lengths)
        count, own = max(self._slots) + 1, _rounded(max(self._lengths) + 1)
        longest = _rounded(max(prefix.length for prefix in self._prefixes))
        values = self._prefixes[0].values[0]
        last = torch.zeros(count, dtype=torch.long)  # an empty slot sees its place 0, which keeps it from becoming NaN
        last[slots] = places
        hidden = (torch.arange(own) > last[:, None]).view(count, 1, 1, own)
        heads = self._model.config.num_attention_heads
        scores = torch.full(
            (count, values.shape[0], heads // values.shape[0], own + longest), -torch.inf, dtype=values.dtype
        )
        return _Step(slots, places, count, own, scores, hidden, self._slots == list(range(count)))

    def attend(self, layer: int, query: Any, key: Any, value: Any, scaling: float) -> Any:
        """Attention of one token of each row.

        query [rows, heads, 1, head size], key and value [rows, key heads, 1, head size]; returns
        [rows, 1, heads, head size].
        """
        torch, step = self._torch, self._step
        assert step is not None
        rows, heads, _, size = query.shape
        key_heads = key.shape[1]
        keys, values = self._own_keys[layer], self._own_values[layer]
        keys[step.slots, :, step.places] = key[:, :, 0]
        values[step.slots, :, step.places] = value[:, :, 0]
        rep = heads // key_heads
        query = (query * scaling).view(rows, key_heads, rep, size)
        if not step.dense:
            query = query.new_zeros(step.count, *query.shape[1:]).index_copy_(0, step.slots, query)

        own = torch.matmul(query, keys[: step.count, :, : step.own].transpose(2, 3))
        step.scores[..., : step.own] = own.masked_fill_(step.hidden, -torch.inf)
        for prefix in self._prefixes:
            index = _padded(prefix.slots, rep, size)
            part = query[index].transpose(0, 1).reshape(key_heads, -1, size) @ prefix.keys[layer]
            part = part.view(key_heads, len(index), rep, -1)[:, : len(prefix.slots), :, : prefix.length].transpose(0, 1)
            step.scores[prefix.slots, :, :, step.own : step.own + prefix.length] = part

        weights = torch.softmax(step.scores, -1, dtype=torch.float32).to(values.dtype)
        result = weights[..., : step.own] @ values[: step.count, :, : step.own]
        for prefix in self._prefixes:
            padded = prefix.values[layer].shape[1]  # weights beyond the prompt's length are zero
            part = weights[_padded(prefix.slots, rep, size), :, :, step.own : step.own + padded]
            part = part.transpose(0, 1).reshape(key_heads, -1, padded) @ prefix.values[layer]
            part = part.view(key_heads, -1, rep, size)[:, : len(prefix.slots)].transpose(0, 1)
            result.index_add_(0, prefix.slots, part)
        return (result if step.dense else result[step.slots]).reshape(rows, 1, heads, size)


def _padded(slots: Any, per_slot: int, size: int) -> Any:
    """Slots with the first one repeated until the matrix product over them has enough rows.

    Products of fewer than 4 rows, or of fewer than 400 multiplications, take other paths, whose last bits differ.
    """
    missing = -(-max(8, -(-400 // size)) // per_slot) - len(slots)
    return slots if missing <= 0 else slots.new_tensor(slots.tolist() + [int(slots[0])] * missing)


def _rounded(length: int) -> int:
    """Lengths are padded to full steps, so that a row's sums are added up in the same order in every batch."""
    return -(-length // GROWTH) * GROWTH


def _attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> tuple[Any, None]:
    """transformers' attention interface."""
    unknown = [
        name for name in ("softcap", "s_aux", "position_bias", "sliding_window") if options.get(name) is not None
    ]
    if unknown:
        raise StropError(f"Strop's fast sampler does not know the attention options {', '.join(unknown)}.")
    scaling = options.get("scaling")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return options["strop_engine"].attend(module.layer_idx, query, key, value, scaling), None
