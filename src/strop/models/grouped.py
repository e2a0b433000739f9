"""Decoding many samples of few prompts: each prompt's keys and values are stored and read once for all its rows.

Attention of a row runs over two parts, its prompt's and its own tokens, under one softmax. The prompt's part is a
matrix product over all rows of that prompt (as in Hydragen, Juravsky et al. 2024); the own part is a batched product
over a buffer that grows in place, where transformers' cache is copied at every token. Rows may have any length, so new
ones enter whenever there is room: one pass of the model takes the next token of every row and all tokens of the new
prompts, one after the other, and only attention tells them apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from strop.models.packed import PackedLinears
from strop.models.shelves import Batch, Prefix, Shelf, rounded
from strop.models.starts import Encoding, Starts, encoding, part_ends
from strop.types import StropError

ATTENTION = "strop_grouped"
FEWEST_ROWS, FEWEST_PRODUCTS = 8, 400
"""Products of fewer than 4 rows, or of fewer than 400 multiplications, take other paths, whose last bits differ."""


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


@contextlib.contextmanager
def attending(model: Any, name: str) -> Iterator[None]:
    """Inside, the model's layers call the attention function registered with transformers under `name`."""
    config = model.config
    before = config._attn_implementation
    config._attn_implementation_internal = name
    try:
        yield
    finally:
        config._attn_implementation_internal = before


@dataclass(slots=True)
class _Step:
    """What every layer's attention needs to know about one step."""

    rows: int
    slots: Any
    """int64 [rows]"""
    places: Any
    """Where each row's new token goes among its own: int64 [rows]."""
    count: int
    """Slots computed, empty ones included."""
    own: int
    """Own places computed."""
    scores: Any
    """[slots, key heads, heads per key head, own + longest prompt]"""
    hidden: Any
    """Where a row has no token: bool [slots, 1, 1, own + longest prompt]."""
    dense: bool
    """Row i sits in slot i and there are no empty slots."""
    batches: list[tuple[Shelf, Batch]]
    encodings: list[Encoding]


class GroupedEngine:
    """A set of rows being decoded together. Rows are numbered in the order of admission, gaps closed by `keep`."""

    kind = "grouped"

    def __init__(self, model: Any, packed: PackedLinears | None, starts: Starts) -> None:
        import torch
        from transformers import AttentionInterface

        AttentionInterface.register(ATTENTION, _attention)
        self._torch, self._model, self._packed, self._starts = torch, model, packed, starts
        self._slots: list[int] = []  # of each row
        self._lengths: list[int] = []  # own tokens of each row
        self._prompts: list[int] = []  # prompt tokens of each row
        self._own_keys: list[Any] = []  # per layer [slots, key heads, room, head size]
        self._own_values: list[Any] = []
        self._shelves: dict[int, Shelf] = {}
        self._last: Prefix | None = None  # the prompt admitted last, kept because the next rows may be its too
        self._step: _Step | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Everything that calls the model happens inside."""
        with self._packed.installed() if self._packed else contextlib.nullcontext():
            yield

    def advance(self, tokens: Sequence[int], prompts: Sequence[tuple[Sequence[int], int]]) -> Any:
        """Append one token to each row, and add `count` rows for each (prompt, count).

        Returns the logits [rows, vocabulary] after each row's last token, the new rows behind the old ones.
        """
        torch = self._torch
        known = {prefix.tokens: prefix for prefix in self._prefixes()}
        wanted = [(tuple(prompt), count) for prompt, count in prompts]
        new = [prompt for prompt in dict.fromkeys(prompt for prompt, _ in wanted) if prompt not in known]
        fresh = self._last_parts(new)
        logits: Any = self._forward(tokens, fresh) if tokens or fresh else None
        self._lengths = [length + 1 for length in self._lengths]
        for number, (prompt, part) in enumerate(zip(new, fresh), len(tokens)):
            known[prompt] = Prefix(prompt, logits[number].clone(), 0)
            shelf = self._shelves.setdefault(rounded(len(prompt)), Shelf(rounded(len(prompt))))
            shelf.put(known[prompt], part.parts())
        after = [] if logits is None else [logits[: len(tokens)]]
        for prompt, count in wanted:
            self._last = known[prompt]
            after.append(self._last.logits.expand(count, -1))
            self._add_rows(self._last, count)
        return torch.cat(after)

    def _prefixes(self) -> list[Prefix]:
        return [prefix for shelf in self._shelves.values() for prefix in shelf.prefixes]

    def _add_rows(self, prefix: Prefix, count: int) -> None:
        taken = set(self._slots)
        free = [slot for slot in range(len(taken) + count) if slot not in taken][:count]
        prefix.slots += free
        self._slots += free
        self._lengths += [0] * count
        self._prompts += [len(prefix.tokens)] * count

    def _last_parts(self, prompts: Sequence[tuple[int, ...]]) -> list[Encoding]:
        """The last part of each prompt, still to be encoded; the parts before it are remembered, or encoded here."""
        before: dict[tuple[int, ...], Encoding | None] = dict.fromkeys(prompts)
        for end in part_ends(max(map(len, prompts), default=0)):
            missing: dict[tuple[int, ...], Encoding] = {}
            for prompt in prompts:
                if len(prompt) > end:
                    start, last = prompt[:end], before[prompt]
                    part = missing.get(start) or self._starts.get(start)
                    if part is None:
                        part = missing[start] = encoding(start[_end(last) :], last)
                    before[prompt] = part
            if missing:
                self._forward([], list(missing.values()))
                for start, part in missing.items():
                    self._starts.put(start, part)
        return [encoding(prompt[_end(before[prompt]) :], before[prompt]) for prompt in prompts]

    def _forward(self, tokens: Sequence[int], encodings: list[Encoding]) -> Any:
        """One pass of the model over the rows' next tokens and these prompts' tokens.

        Returns the logits [rows + encodings, vocabulary] after each row's token and each prompt's last one.
        """
        torch = self._torch
        self._step = self._plan(encodings) if tokens else _no_rows(encodings)
        positions = [start + length for start, length in zip(self._prompts, self._lengths)] if tokens else []
        inputs, ends = list(tokens), list(range(len(tokens)))
        for part in encodings:
            positions += range(part.start, part.start + len(part.tokens))
            inputs += part.tokens
            ends.append(len(inputs) - 1)
        try:
            with attending(self._model, ATTENTION):
                output = self._model(
                    torch.tensor([inputs]),
                    position_ids=torch.tensor([positions]),
                    use_cache=False,
                    logits_to_keep=torch.tensor(ends),
                    strop_engine=self,
                )
        finally:
            self._step = None
        return output.logits[0]

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these."""
        self._slots = [self._slots[row] for row in rows]
        self._lengths = [self._lengths[row] for row in rows]
        self._prompts = [self._prompts[row] for row in rows]
        alive = set(self._slots)
        for shelf in self._shelves.values():
            for prefix in shelf.prefixes:
                prefix.slots = [slot for slot in prefix.slots if slot in alive]
            shelf.keep([prefix for prefix in shelf.prefixes if prefix.slots or prefix is self._last])
        self._shelves = {length: shelf for length, shelf in self._shelves.items() if shelf.prefixes}
        if 2 * len(self._slots) <= max(self._slots, default=-1) + 1:
            self._close_gaps()

    def _close_gaps(self) -> None:
        """Move rows to the first slots, so that fewer empty ones are computed."""
        torch = self._torch
        if self._slots:
            self._make_room()  # rows that have just been added have no place in the buffers yet
        order = torch.tensor(self._slots, dtype=torch.long)
        room = max(self._lengths, default=0)
        for buffers in (self._own_keys, self._own_values):
            for layer, buffer in enumerate(buffers):
                buffers[layer] = buffer[order, :, : rounded(room + 1)]
        new = {slot: row for row, slot in enumerate(self._slots)}
        for prefix in self._prefixes():
            prefix.slots = [new[slot] for slot in prefix.slots]
        self._slots = list(range(len(self._slots)))

    def _make_room(self) -> None:
        """Grow the own buffers to hold one more token of every row."""
        slots, own = max(self._slots) + 1, rounded(max(self._lengths) + 1)
        old = self._own_keys[0].shape if self._own_keys else (0, 0, 0)
        if old[0] >= slots and old[2] >= own:
            return
        shape = max(old[0], slots), max(old[2], own)
        prompts = next(iter(self._shelves.values())).values
        for buffers in (self._own_keys, self._own_values):
            for layer, values in enumerate(prompts):
                # Zeros, because places without a token are multiplied by a weight of zero.
                grown = values.new_zeros(shape[0], values.shape[1], shape[1], values.shape[3])
                if layer < len(buffers):
                    grown[: old[0], :, : old[2]] = buffers[layer]
                    buffers[layer] = grown
                else:
                    buffers.append(grown)

    def _plan(self, encodings: list[Encoding]) -> _Step:
        """What is the same in every layer of one step."""
        torch = self._torch
        self._make_room()
        slots, places = torch.tensor(self._slots), torch.tensor(self._lengths)
        count, own = max(self._slots) + 1, rounded(max(self._lengths) + 1)
        longest = max(length for length, shelf in self._shelves.items() if any(p.slots for p in shelf.prefixes))
        # An empty slot sees its place 0, which keeps it from becoming NaN.
        lengths = torch.zeros(count, 2, dtype=torch.long)
        lengths[slots] = torch.stack([places, torch.tensor(self._prompts)], 1)
        hidden = torch.cat(
            [torch.arange(own) > lengths[:, :1], torch.arange(longest) >= lengths[:, 1:]], 1
        )[:, None, None]  # fmt: skip
        _, key_heads, _, size = self._own_values[0].shape
        rep = self._model.config.num_attention_heads // key_heads
        scores = self._own_values[0].new_zeros(count, key_heads, rep, own + longest)
        least = -(-max(FEWEST_ROWS, -(-FEWEST_PRODUCTS // size)) // rep)
        batches = [(shelf, batch) for shelf in self._shelves.values() for batch in shelf.batches(least)]
        dense = self._slots == list(range(count))
        return _Step(len(slots), slots, places, count, own, scores, hidden, dense, batches, encodings)

    def attend(self, layer: int, query: Any, key: Any, value: Any, scaling: float) -> Any:
        """Attention of this step's tokens: the rows' first, then the prompts'.

        query [1, heads, tokens, head size], key and value [1, key heads, tokens, head size]; returns
        [1, tokens, heads, head size].
        """
        step = self._step
        assert step is not None
        query, key, value = query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1)
        results, first = [], step.rows
        if step.rows:
            results.append(self._attend_rows(step, layer, query[:first], key[:first], value[:first], scaling))
        for part in step.encodings:
            tokens = slice(first, first + len(part.tokens))
            results.append(self._attend_prompt(part, layer, query[tokens], key[tokens], value[tokens], scaling))
            first = tokens.stop
        return self._torch.cat(results)[None]

    def _attend_prompt(self, part: Encoding, layer: int, query: Any, key: Any, value: Any, scaling: float) -> Any:
        """Attention within one part of a prompt.

        query [tokens, heads, head size], key and value [tokens, key heads, head size]; copied into memory of its own
        first, because the last bits of a product depend on where its factors lie.
        """
        torch = self._torch
        key, value = key.transpose(0, 1).contiguous(), value.transpose(0, 1).contiguous()
        part.keys.append(key)
        part.values.append(value)
        if part.before:
            key = torch.cat([one.keys[layer] for one in part.parts()], 1)
            value = torch.cat([one.values[layer] for one in part.parts()], 1)
        repeats = query.shape[1] // key.shape[0]
        result = torch.nn.functional.scaled_dot_product_attention(
            query.transpose(0, 1).contiguous()[None],
            key.repeat_interleave(repeats, 0)[None],
            value.repeat_interleave(repeats, 0)[None],
            attn_mask=part.seen,
            is_causal=part.seen is None,
            scale=scaling,
        )
        return result[0].transpose(0, 1)

    def _attend_rows(self, step: _Step, layer: int, query: Any, key: Any, value: Any, scaling: float) -> Any:
        """Attention of one token of each row: query [rows, heads, head size], key and value [rows, key heads, size]."""
        torch = self._torch
        rows, heads, size = query.shape
        key_heads = key.shape[1]
        rep = heads // key_heads
        keys, values = self._own_keys[layer], self._own_values[layer]
        keys[step.slots, :, step.places] = key
        values[step.slots, :, step.places] = value
        query = (query * scaling).reshape(rows, key_heads, rep, size)
        if not step.dense:
            query = query.new_zeros(step.count, *query.shape[1:]).index_copy_(0, step.slots, query)

        scores = step.scores
        scores[..., : step.own] = query @ keys[: step.count, :, : step.own].transpose(2, 3)
        for shelf, batch in step.batches:
            end = step.own + shelf.length
            part = _by_place(query[batch.rows], batch) @ shelf.keys[layer][batch.first : batch.last]
            scores[batch.slots, :, :, step.own : end] = _by_row(part, batch, rep)
        scores.masked_fill_(step.hidden, -torch.inf)

        weights = torch.softmax(scores, -1, dtype=torch.float32).to(values.dtype)
        result = weights[..., : step.own] @ values[: step.count, :, : step.own]
        for shelf, batch in step.batches:
            part = _by_place(weights[batch.rows, :, :, step.own : step.own + shelf.length], batch)
            part = part @ shelf.values[layer][batch.first : batch.last]
            result.index_add_(0, batch.slots, _by_row(part, batch, rep))
        return (result if step.dense else result[step.slots]).reshape(rows, heads, size)


def _end(part: Encoding | None) -> int:
    """Tokens up to the end of a part."""
    return part.start + len(part.tokens) if part else 0


def _no_rows(encodings: list[Encoding]) -> _Step:
    return _Step(0, None, None, 0, 0, None, None, True, [], encodings)


def _by_place(rows: Any, batch: Batch) -> Any:
    """[places * rows, key heads, rep, x] -> [places, key heads, rows * rep, x]"""
    places, (_, key_heads, rep, width) = batch.last - batch.first, rows.shape
    return rows.view(places, -1, key_heads, rep, width).transpose(1, 2).reshape(places, key_heads, -1, width)


def _by_row(part: Any, batch: Batch, rep: int) -> Any:
    """[places, key heads, rows * rep, x] -> [real rows, key heads, rep, x]"""
    places, key_heads, _, width = part.shape
    part = part.view(places, key_heads, -1, rep, width).transpose(1, 2).reshape(-1, key_heads, rep, width)
    return part[batch.taken]


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
