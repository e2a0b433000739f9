"""The decoding loop of local models: a set of replies being written, one token of each a step.

A row leaves the batch when its reply ends, and the next request takes its place; requests with the same prompt enter
together, so that it is encoded once for all of them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strop.models.draw import UniformStream, check_params, draw
from strop.models.flow import Asked, Prefix, Reply, TokenCompletion
from strop.models.stops import Stops, cut
from strop.types import Completion, FinishReason, Prompt, SamplingParams, Spent, StropError

if TYPE_CHECKING:
    from strop.models.local import LocalModel

PROMPT_TOKENS = 2048
"""Tokens of new prompts encoded in one step, at most, save where one prompt is longer."""


@dataclass(slots=True)
class _Row:
    """A reply being written."""

    key: Any
    params: SamplingParams
    stops: Stops
    prefix: bool
    """Whether a `Prefix` was asked for."""
    prompt_tokens: int
    limit: int
    stream: UniformStream
    tokens: list[int]
    begun: int
    """Tokens that were there before."""
    logprobs: list[float] = field(default_factory=list)
    top: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    """The most likely tokens at each place with their log-probabilities, where asked for."""
    seconds: float = 0.0

    @property
    def drawing(self) -> tuple[float, float, int, int]:
        """Rows that agree in this are drawn together."""
        return self.params.temperature, self.params.top_p, self.params.top_k, self.params.logprobs


class LocalFlow:
    """A `Flow` over a local model. A step is one pass: a token for each row, and the prompts of rows that enter."""

    def __init__(self, model: LocalModel) -> None:
        self.model = model
        self.passes = self.rows = 0
        self._engine = model.new_engine()
        self._rows: list[_Row] = []
        self._queue: dict[tuple[int, ...], deque[_Row]] = {}  # by token ids, those asked for first at the front
        self._ended: list[tuple[Any, Reply]] = []
        self._encoded: dict[Prompt, tuple[int, ...]] = {}

    @property
    def waiting(self) -> int:
        return len(self._ended) + len(self._rows) + sum(len(rows) for rows in self._queue.values())

    def add(self, key: Hashable, asked: Asked, params: SamplingParams) -> bool:
        """As `Flow.add`. Raises StropError for parameters that local models do not take."""
        check_params(params)
        prefix = isinstance(asked, Prefix)
        if prefix and (params.temperature or not params.logprobs):
            # Draws at other temperatures would depend on where the reply was split.
            raise StropError("Completing tokens needs temperature 0 and logprobs of at least 1.")
        prompt, tokens = self._encode(asked.prompt), list(asked.tokens) if prefix else []
        ids, room = (*prompt, *tokens), self.model.context - len(prompt)
        if room - len(tokens) < 1:
            return False
        row = _Row(
            key=key,
            params=params,
            stops=Stops(params, self.model.decode),
            prefix=prefix,
            prompt_tokens=len(ids),
            limit=min(params.max_tokens, room),
            stream=UniformStream(0 if prefix else asked.seed),
            tokens=tokens,
            begun=len(tokens),
        )
        if tokens and (reason := self._finished(row)):
            self._ended.append((key, TokenCompletion((), (), reason, self._completion(row, reason).text, Spent())))
        else:
            self._queue.setdefault(ids, deque()).append(row)
        return True

    def _encode(self, prompt: Prompt) -> tuple[int, ...]:
        if prompt not in self._encoded:
            while len(self._encoded) >= 256:
                del self._encoded[next(iter(self._encoded))]
            self._encoded[prompt] = self.model.encode(prompt)
        return self._encoded[prompt]

    def step(self) -> Sequence[tuple[Any, Reply]]:
        ended, self._ended = self._ended, []
        if ended or not (self._rows or self._queue):
            return ended
        import torch

        started = time.perf_counter()
        with torch.inference_mode(), self._engine.running():
            admitted = list(self._admitted())
            prompts = [(ids, len(rows)) for ids, rows in admitted]
            logits = self._engine.advance([row.tokens[-1] for row in self._rows], prompts)
            self._rows += [row for _, rows in admitted for row in rows]
            self._draw(logits)
        self.passes += 1
        self.rows += len(self._rows)
        seconds = (time.perf_counter() - started) / len(self._rows)
        alive = []
        for number, row in enumerate(self._rows):
            row.seconds += seconds
            if reason := self._finished(row):
                ended.append((row.key, self._reply(row, reason)))
            else:
                alive.append(number)
        if ended:
            self._rows = [self._rows[number] for number in alive]
            with torch.inference_mode():
                self._engine.keep(alive)
        return ended

    def _admitted(self) -> Iterator[tuple[tuple[int, ...], list[_Row]]]:
        """Take prompts with their rows from the front of the queue, as far as there is room."""
        room, tokens = self.model.batch_size - len(self._rows), 0
        while self._queue and room:
            ids, waiting = next(iter(self._queue.items()))
            tokens += len(ids)
            if tokens > max(PROMPT_TOKENS, len(ids)):
                return
            rows = [waiting.popleft() for _ in range(min(len(waiting), room))]
            room -= len(rows)
            if not waiting:
                del self._queue[ids]
            yield ids, rows

    def _draw(self, logits: Any) -> None:
        """A token for every row."""
        import torch

        groups: dict[Any, list[int]] = {}
        for number, row in enumerate(self._rows):
            groups.setdefault(row.drawing, []).append(number)
        for numbers in groups.values():
            rows = [self._rows[number] for number in numbers]
            part = logits if len(groups) == 1 else logits[torch.tensor(numbers)]
            drawn = draw(part, rows[0].params, [row.stream for row in rows])
            for place, row in enumerate(rows):
                row.tokens.append(drawn.tokens[place])
                row.logprobs.append(drawn.logprobs[place])
                if drawn.top is not None:
                    row.top.append(drawn.top[place])

    def _finished(self, row: _Row) -> FinishReason | None:
        if row.tokens[-1] in self.model.ends:
            return "stop"
        if row.stops.reached(row.tokens):
            return "stop_string"
        return "length" if len(row.tokens) >= row.limit else None

    def _reply(self, row: _Row, reason: FinishReason) -> Reply:
        whole = self._completion(row, reason)
        if not row.prefix:
            return whole
        return TokenCompletion(tuple(row.tokens[row.begun :]), tuple(row.top), reason, whole.text, whole.spent)

    def _completion(self, row: _Row, reason: FinishReason) -> Completion:
        text = self.model.decode(row.tokens[:-1] if reason == "stop" else row.tokens)
        return Completion(
            text=cut(text, row.params) if reason == "stop_string" else text,
            finish_reason=reason,
            spent=Spent(
                prompt_tokens=row.prompt_tokens,
                sampled_tokens=len(row.tokens) - row.begun,
                model_calls=1,
                seconds=row.seconds,
            ),
            token_ids=tuple(row.tokens),
            logprobs=tuple(row.logprobs),
            top_logprobs=tuple(row.top) if row.top else None,
        )

    def close(self) -> None:
        self._rows, self._ended = [], []
        self._queue.clear()
