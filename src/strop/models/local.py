"""Sampling and scoring with a transformers model in this process.

Requests are grouped by prompt, so that a prompt is encoded once for all its samples; a row leaves the batch when its
completion ends, and the next request takes its place.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from strop.models import Score, grouped
from strop.models.draw import UniformStream, check_params, draw
from strop.models.grouped import GroupedEngine
from strop.models.likelihood import score_tokens
from strop.models.packed import PackedLinears, versions
from strop.models.padded import PaddedEngine
from strop.models.prompts import prompt_token_ids
from strop.models.spec import parse_spec
from strop.models.starts import Starts
from strop.models.stops import Stops, cut
from strop.models.weights import load_weights
from strop.types import Completion, FinishReason, Prompt, Request, SamplingParams, Spent, StropError, content_hash

DEFAULT_BATCH_SIZE = 64
"""Rows at once."""
PROMPT_TOKENS = 2048
"""Tokens of new prompts encoded in one step, at most, save where one prompt is longer."""


def load_local(spec: str, *, batch_size: int | None, dtype: str, threads: int | None) -> LocalModel:
    """Load weights and make them a Model. `threads` sets torch's thread count for the whole process."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    weights = load_weights(parse_spec(spec), dtype=dtype)
    fingerprint = weights.fingerprint if dtype == "float32" else content_hash(weights.fingerprint, dtype)
    return LocalModel(weights.model, weights.tokenizer, name=spec, fingerprint=fingerprint, batch_size=batch_size)


@dataclass(slots=True)
class _Row:
    """A completion being written."""

    position: int
    prompt_tokens: int
    limit: int
    stream: UniformStream
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    seconds: float = 0.0
    top: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    """The most likely tokens at each place with their log-probabilities, where asked for."""
    begun: int = 0
    """Tokens that were there before."""


_Group: TypeAlias = tuple[tuple[int, ...], deque[_Row]]
"""A prompt's token ids, and its rows that are still to be started."""
_Waiting: TypeAlias = deque[_Group]


@dataclass(frozen=True, slots=True)
class TokenCompletion:
    """A greedy completion of a prefix of tokens; see `LocalModel.complete_tokens`."""

    tokens: tuple[int, ...]
    """New tokens, an end token or the token that completed a stop string included."""
    top: tuple[tuple[tuple[int, float], ...], ...]
    """At each new token's place the most likely tokens and their natural-log probabilities, most likely first."""
    finish_reason: FinishReason
    text: str
    """Of the whole completion, prefix included, up to its stop string."""
    spent: Spent

    @classmethod
    def read(cls, data: dict[str, Any]) -> TokenCompletion:
        """From the plain data that `dataclasses.asdict` gives, also by way of JSON."""
        top = tuple(tuple((int(token), float(logprob)) for token, logprob in place) for place in data["top"])
        return cls(tuple(data["tokens"]), top, data["finish_reason"], data["text"], Spent(**data["spent"]))


class LocalModel:
    """A transformers causal language model and its tokenizer as a `strop.models.Model`.

    `fingerprint` may be any string that identifies the weights; give a model that is being trained a new one after
    each update.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str, fingerprint: str, batch_size: int | None = None
    ) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.batch_size = batch_size or DEFAULT_BATCH_SIZE
        self.chat = bool(getattr(tokenizer, "chat_template", None))
        self.model: Any = model
        self.tokenizer: Any = tokenizer
        self.ends = _end_tokens(model, tokenizer)
        self._context = int(getattr(model.config, "max_position_embeddings", 0) or 1 << 30)
        self.engine = "grouped" if grouped.supports(model) else "padded"
        self._packed = PackedLinears(model) if self.engine == "grouped" and PackedLinears.available(model) else None
        self._starts = Starts()

    @property
    def reused_prompt_tokens(self) -> int:
        """Prompt tokens that were not encoded again, because another prompt of this model began alike.

        `Completion.spent` counts them all the same: what a prompt costs does not depend on what ran before it."""
        return self._starts.reused

    # ---- prompts -------------------------------------------------------------------------------

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids of a prompt; see `prompt_token_ids`."""
        return tuple(prompt_token_ids(self.tokenizer, prompt))

    def room(self, prompt: Prompt) -> int:
        """Tokens that a completion of this prompt may have before the context is full; below 1 it cannot be drawn."""
        return self._context - len(self.encode(prompt))

    def decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    # ---- sampling ------------------------------------------------------------------------------

    def sample(self, requests: Sequence[Request], params: SamplingParams) -> Iterator[tuple[int, Completion]]:
        """Yield (position, completion) as completions finish.

        A completion's `token_ids` are all tokens drawn, an end token or the token that completed a stop string
        included; `text` has neither. `spent.prompt_tokens` counts the prompt for every request, shared or not.
        """
        check_params(params)
        waiting = self._grouped(requests, params)
        for row, reason in self._decode(waiting, params):
            yield row.position, self._completion(row, reason, params)

    def complete_tokens(
        self, prefixes: Sequence[tuple[Prompt, Sequence[int]]], params: SamplingParams
    ) -> Iterator[tuple[int, TokenCompletion]]:
        """Go on greedily from prompts and tokens already chosen; yields (position, completion) as they finish.

        For methods that search over tokens. `params.max_tokens` and stop strings count the chosen tokens as part of the
        completion; `params.logprobs` (at least 1) alternatives are told for every place. A prefix that is already at
        its end gives no tokens. Raises StropError for temperatures above 0, whose draws would depend on the split.
        """
        check_params(params)
        if params.temperature or not params.logprobs:
            raise StropError("Completing tokens needs temperature 0 and logprobs of at least 1.")
        stops = Stops(params, self.decode)
        encoded: dict[Prompt, tuple[int, ...]] = {}
        groups: _Waiting = deque()
        for position, (prompt, tokens) in enumerate(prefixes):
            if prompt not in encoded:
                encoded[prompt] = self.encode(prompt)
            ids = self._fitting((*encoded[prompt], *tokens))
            limit = min(params.max_tokens, self._context - len(encoded[prompt]))
            row = _Row(position, len(ids), limit, UniformStream(0), list(tokens), begun=len(tokens))
            if tokens and (reason := self._finished(row, stops)):
                yield (
                    position,
                    TokenCompletion((), (), reason, self._completion(row, reason, params).text, Spent()),
                )
            else:
                groups.append((ids, deque([row])))
        for row, reason in self._decode(groups, params):
            whole = self._completion(row, reason, params)
            yield (
                row.position,
                TokenCompletion(tuple(row.tokens[row.begun :]), tuple(row.top), reason, whole.text, whole.spent),
            )

    def _decode(self, waiting: _Waiting, params: SamplingParams) -> Iterator[tuple[_Row, FinishReason]]:
        """Write rows to their ends; yields each with the reason as it ends."""
        import torch

        stops = Stops(params, self.decode)
        engine = self._new_engine()
        rows: list[_Row] = []
        while waiting or rows:
            started = time.perf_counter()
            with torch.inference_mode(), engine.running():
                admitted = list(_admitted(waiting, self.batch_size - len(rows)))
                prompts = [(prompt, len(new)) for prompt, new in admitted]
                logits = engine.advance([row.tokens[-1] for row in rows], prompts)
                rows += [row for _, new in admitted for row in new]
                drawn = draw(logits, params, [row.stream for row in rows])
            seconds = (time.perf_counter() - started) / len(rows)
            finished = {}
            for number, row in enumerate(rows):
                row.tokens.append(drawn.tokens[number])
                row.logprobs.append(drawn.logprobs[number])
                if drawn.top is not None:
                    row.top.append(drawn.top[number])
                row.seconds += seconds
                if reason := self._finished(row, stops):
                    finished[number] = reason
            if finished:
                for number, reason in finished.items():
                    yield rows[number], reason
                alive = [number for number in range(len(rows)) if number not in finished]
                rows = [rows[number] for number in alive]
                with torch.inference_mode():
                    engine.keep(alive)

    def _new_engine(self) -> GroupedEngine | PaddedEngine:
        if self.engine == "padded":
            return PaddedEngine(self.model)
        return GroupedEngine(self.model, self._packed, self._starts.begin((self.fingerprint, versions(self.model))))

    def _grouped(self, requests: Sequence[Request], params: SamplingParams) -> _Waiting:
        """Requests by distinct prompt, in the order in which the prompts first occur."""
        encoded: dict[Prompt, tuple[int, ...]] = {}
        groups: dict[tuple[int, ...], deque[_Row]] = {}
        for position, request in enumerate(requests):
            if request.prompt not in encoded:
                encoded[request.prompt] = self._fitting(self.encode(request.prompt))
            ids = encoded[request.prompt]
            limit = min(params.max_tokens, self._context - len(ids))
            groups.setdefault(ids, deque()).append(_Row(position, len(ids), limit, UniformStream(request.seed)))
        return deque(groups.items())

    def _fitting(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        if len(ids) >= self._context:
            raise StropError(
                f"{self.name}: a prompt of {len(ids)} tokens leaves no room in its context of {self._context} tokens."
            )
        return ids

    def _finished(self, row: _Row, stops: Stops) -> FinishReason | None:
        if row.tokens[-1] in self.ends:
            return "stop"
        if stops.reached(row.tokens):
            return "stop_string"
        return "length" if len(row.tokens) >= row.limit else None

    def _completion(self, row: _Row, reason: FinishReason, params: SamplingParams) -> Completion:
        text = self.decode(row.tokens[:-1] if reason == "stop" else row.tokens)
        spent = Spent(
            prompt_tokens=row.prompt_tokens,
            sampled_tokens=len(row.tokens) - row.begun,
            model_calls=1,
            seconds=row.seconds,
        )
        return Completion(
            text=cut(text, params) if reason == "stop_string" else text,
            finish_reason=reason,
            spent=spent,
            token_ids=tuple(row.tokens),
            logprobs=tuple(row.logprobs),
            top_logprobs=tuple(row.top) if row.top else None,
        )

    # ---- scoring -------------------------------------------------------------------------------

    def score(self, pairs: Sequence[tuple[Prompt, str]], *, hidden: bool = False) -> list[Score]:
        """Log-probabilities (natural, temperature 1) of each continuation's tokens, end token not included.

        The continuation is tokenised by itself, as if the model had written it after the prompt.
        """
        encoded = []
        for prompt, text in pairs:
            ids, rest = self.encode(prompt), tuple(self.tokenizer(text, add_special_tokens=False).input_ids)
            if len(ids) + len(rest) > self._context:
                raise StropError(
                    f"{self.name}: prompt and continuation of {len(ids)} + {len(rest)} tokens do not fit its context "
                    f"of {self._context} tokens."
                )
            encoded.append((ids, rest))
        return score_tokens(self.model, encoded, hidden=hidden)

    def close(self) -> None:
        """Drop the weights; the object cannot be used afterwards."""
        self.model = None


def _admitted(waiting: _Waiting, room: int) -> Iterator[tuple[tuple[int, ...], list[_Row]]]:
    """Take prompts with their rows from the front of `waiting`, for `room` rows at most."""
    tokens = 0
    while waiting and room:
        prompt, group = waiting[0]
        tokens += len(prompt)
        if tokens > max(PROMPT_TOKENS, len(prompt)):
            return
        rows = [group.popleft() for _ in range(min(len(group), room))]
        room -= len(rows)
        if not group:
            waiting.popleft()
        yield prompt, rows


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a completion: those of the model's generation settings, and the tokenizer's end token."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ends = [*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id]
    return frozenset(end for end in ends if end is not None)
