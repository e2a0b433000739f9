"""Requests in flight: each with its own sampling parameters, more of them joining while others are being written.

`Model.sample` answers a fixed list under one set of parameters, and while its last replies are written the batch runs
empty. A flow keeps it full: whoever has several things to ask at different times (`strop.search`) adds each when it is
known and takes replies as they end. Local models write a token of every reply a step; other models are called with what
is waiting, one set of parameters at a time. Replies are the same either way, for a draw depends on nothing but its own
request.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from strop.models.draw import UniformStream, check_params, draw
from strop.models.stops import Stops
from strop.types import Completion, FinishReason, Prompt, Request, SamplingParams, Spent, StropError

if TYPE_CHECKING:
    from strop.models import Model
    from strop.models.local import LocalModel, TokenCompletion


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prompt and tokens already chosen, to be gone on with greedily; see `LocalModel.complete_tokens`."""

    prompt: Prompt
    tokens: tuple[int, ...]


Asked: TypeAlias = Request | Prefix
Reply: TypeAlias = "Completion | TokenCompletion"


class Flow(Protocol):
    """Requests under way."""

    passes: int
    """Passes of a local model, calls of others."""
    rows: int
    """Rows in all passes, requests in all calls; at best `passes` times the model's batch size."""

    @property
    def waiting(self) -> int:
        """Requests that have no reply yet."""
        ...

    def add(self, key: Hashable, asked: Asked, params: SamplingParams) -> bool:
        """Take a request; False when the prompt leaves no room for a reply in the model's context."""
        ...

    def step(self) -> Sequence[tuple[Any, Reply]]:
        """Work for a moment; (key, reply) of those that ended. Empty when nothing is waiting, and often otherwise."""
        ...

    def close(self) -> None:
        """Drop what is under way."""
        ...


def open_flow(model: Model) -> Flow:
    """A flow over a model; one at a time."""
    local = sys.modules.get("strop.models.local")  # where it was not imported, there is no local model
    if local is not None and isinstance(model, local.LocalModel):
        return LocalFlow(cast("LocalModel", model))
    return CallFlow(model)


# ---- local models ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Line:
    """A reply being written."""

    key: Any
    row: Any
    """`strop.models.local._Row`"""
    params: SamplingParams
    stops: Stops
    prefix: bool

    @property
    def drawing(self) -> tuple[float, float, int, int]:
        """Rows that agree in this are drawn together."""
        return self.params.temperature, self.params.top_p, self.params.top_k, self.params.logprobs


class LocalFlow:
    """Every step is one pass of the model: a token for each row, and the prompts of rows that take a free place."""

    def __init__(self, model: LocalModel) -> None:
        self.model = model
        self.passes = self.rows = 0
        self._engine = model._new_engine()
        self._lines: list[_Line] = []
        self._queue: deque[tuple[tuple[int, ...], deque[_Line]]] = deque()
        self._ended: list[tuple[Any, Reply]] = []
        self._encoded: dict[Prompt, tuple[int, ...]] = {}

    @property
    def waiting(self) -> int:
        return len(self._ended) + len(self._lines) + sum(len(lines) for _, lines in self._queue)

    def add(self, key: Hashable, asked: Asked, params: SamplingParams) -> bool:
        """As `Flow.add`. Raises StropError for parameters that `LocalModel` does not take."""
        from strop.models.local import TokenCompletion, _Row

        check_params(params)
        prefix = isinstance(asked, Prefix)
        if prefix and (params.temperature or not params.logprobs):
            raise StropError("Completing tokens needs temperature 0 and logprobs of at least 1.")
        prompt, tokens = self._encode(asked.prompt), list(asked.tokens) if prefix else []
        ids, room = (*prompt, *tokens), self.model._context - len(prompt)
        if room - len(tokens) < 1:
            return False
        stream = UniformStream(0 if prefix else asked.seed)
        row = _Row(0, len(ids), min(params.max_tokens, room), stream, tokens, begun=len(tokens))
        line = _Line(key, row, params, Stops(params, self.model.decode), prefix)
        if tokens and (reason := self.model._finished(row, line.stops)):
            text = self.model._completion(row, reason, params).text
            self._ended.append((key, TokenCompletion((), (), reason, text, Spent())))
        elif self._queue and self._queue[-1][0] == ids:
            self._queue[-1][1].append(line)
        else:
            self._queue.append((ids, deque([line])))
        return True

    def _encode(self, prompt: Prompt) -> tuple[int, ...]:
        if prompt not in self._encoded:
            while len(self._encoded) >= 256:
                del self._encoded[next(iter(self._encoded))]
            self._encoded[prompt] = self.model.encode(prompt)
        return self._encoded[prompt]

    def step(self) -> Sequence[tuple[Any, Reply]]:
        ended, self._ended = self._ended, []
        if ended or not (self._lines or self._queue):
            return ended
        import torch

        started = time.perf_counter()
        with torch.inference_mode(), self._engine.running():
            admitted = list(self._admitted())
            new = [(ids, len(lines)) for ids, lines in admitted]
            logits = self._engine.advance([line.row.tokens[-1] for line in self._lines], new)
            self._lines += [line for _, lines in admitted for line in lines]
            self._draw(logits)
        self.passes += 1
        self.rows += len(self._lines)
        seconds = (time.perf_counter() - started) / len(self._lines)
        alive = []
        for number, line in enumerate(self._lines):
            line.row.seconds += seconds
            if reason := self.model._finished(line.row, line.stops):
                ended.append((line.key, self._reply(line, reason)))
            else:
                alive.append(number)
        if ended:
            self._lines = [self._lines[number] for number in alive]
            with torch.inference_mode():
                self._engine.keep(alive)
        return ended

    def _admitted(self) -> Iterator[tuple[tuple[int, ...], list[_Line]]]:
        from strop.models.local import _admitted

        return _admitted(self._queue, self.model.batch_size - len(self._lines))  # type: ignore[arg-type,return-value]

    def _draw(self, logits: Any) -> None:
        """A token for every line."""
        import torch

        groups: dict[Any, list[int]] = {}
        for number, line in enumerate(self._lines):
            groups.setdefault(line.drawing, []).append(number)
        for numbers in groups.values():
            lines = [self._lines[number] for number in numbers]
            part = logits if len(groups) == 1 else logits[torch.tensor(numbers)]
            drawn = draw(part, lines[0].params, [line.row.stream for line in lines])
            for place, line in enumerate(lines):
                line.row.tokens.append(drawn.tokens[place])
                line.row.logprobs.append(drawn.logprobs[place])
                if drawn.top is not None:
                    line.row.top.append(drawn.top[place])

    def _reply(self, line: _Line, reason: FinishReason) -> Reply:
        from strop.models.local import TokenCompletion

        row = line.row
        whole = self.model._completion(row, reason, line.params)
        if not line.prefix:
            return whole
        return TokenCompletion(tuple(row.tokens[row.begun :]), tuple(row.top), reason, whole.text, whole.spent)

    def close(self) -> None:
        self._lines, self._ended = [], []
        self._queue.clear()


# ---- all others --------------------------------------------------------------------------------


class CallFlow:
    """Calls `sample` (or `complete_tokens`) with all that is waiting under one set of parameters, the most first."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.waiting = self.passes = self.rows = 0
        self._groups: dict[tuple[bool, SamplingParams], list[tuple[Any, Asked]]] = {}
        self._call: Iterator[tuple[int, Reply]] | None = None
        self._keys: list[Any] = []

    def add(self, key: Hashable, asked: Asked, params: SamplingParams) -> bool:
        """As `Flow.add`. Raises StropError for a prefix of tokens that the model cannot go on from."""
        prefix = isinstance(asked, Prefix)
        if prefix and not hasattr(self.model, "complete_tokens"):
            raise StropError(f"This needs a local model: {self.model.name} shows no tokens.")
        room = getattr(self.model, "room", None)
        if room is not None and room(asked.prompt) < 1:
            return False
        self._groups.setdefault((prefix, params), []).append((key, asked))
        self.waiting += 1
        return True

    def step(self) -> Sequence[tuple[Any, Reply]]:
        if self._call is None:
            if not self._groups:
                return []
            prefix, params = max(self._groups, key=lambda one: len(self._groups[one]))
            group = self._groups.pop((prefix, params))
            self._keys = [key for key, _ in group]
            self.passes += 1
            self.rows += len(group)
            if prefix:
                pairs = [(asked.prompt, asked.tokens) for _, asked in group if isinstance(asked, Prefix)]
                self._call = self.model.complete_tokens(pairs, params)
            else:
                self._call = self.model.sample([asked for _, asked in group], params)
        assert self._call is not None
        answer = next(self._call, None)
        if answer is None:
            self._call = None
            return self.step()
        self.waiting -= 1
        return [(self._keys[answer[0]], answer[1])]

    def close(self) -> None:
        closing = getattr(self._call, "close", None)
        if closing is not None:
            closing()
        self._call = None
        self._groups.clear()
        self.waiting = 0
