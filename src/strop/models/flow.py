"""Requests in flight: each with its own sampling parameters, more of them joining while others are being written.

`Model.sample` answers a fixed list under one set of parameters, and while its last replies are written the batch runs
empty. A flow keeps it full: whoever has several things to ask at different times (`strop.search`) adds each when it is
known and takes replies as they end. Local models write a token of every reply a step; other models are called with what
is waiting, one set of parameters at a time. Replies are the same either way, for a draw depends on nothing but its own
request.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from strop.types import Completion, FinishReason, Prompt, Request, SamplingParams, Spent, StropError

if TYPE_CHECKING:
    from strop.models import Model


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prompt and tokens already chosen, to be gone on with greedily; see `LocalModel.complete_tokens`."""

    prompt: Prompt
    tokens: tuple[int, ...]


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


Asked: TypeAlias = Request | Prefix
Reply: TypeAlias = Completion | TokenCompletion


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
    """A flow over a model: its own where it has one, as local models do."""
    own = getattr(type(model), "flow", None)  # the class's: what wraps a model must not be passed by
    return CallFlow(model) if own is None else own(model)


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
        if prefix and getattr(self.model, "complete_tokens", None) is None:
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
