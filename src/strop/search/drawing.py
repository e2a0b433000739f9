"""Serves what searches ask of the model, within their budgets, in one flow that all of them share."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from strop.budget import Meter
from strop.models.cache import DrawCache, draw_key, packed, unpacked
from strop.models.flow import Prefix, open_flow
from strop.search.nodes import Complete, Draw
from strop.search.searches import Effort, Search
from strop.types import Completion, Request, SamplingParams, Spent, content_hash, request_seed

if TYPE_CHECKING:
    from strop.models import Model

KNOWN_AFTERWARDS = ("prompt_tokens", "seconds", "money")
"""Limits that can only stop what has not begun."""
TOO_LONG = "a prompt did not fit the model's context, and got no answer"


@dataclass(frozen=True, slots=True)
class Job:
    """One reply to get."""

    search: Search
    place: int
    """Of the item that it answers."""
    number: int
    """Among the item's replies, so that their order does not depend on which ends first."""
    asked: Request | Prefix
    params: SamplingParams
    key: str


class Drawing:
    """A model, the replies already drawn, and what drawing took."""

    def __init__(self, model: Model, cache: DrawCache, effort: Effort) -> None:
        self.model, self.cache, self.effort = model, cache, effort
        self.flow = open_flow(model)
        self._under_way: dict[str, list[Job]] = {}
        """By draw key: everybody who waits for that reply."""

    @property
    def waiting(self) -> int:
        """Replies that the model still owes."""
        return self.flow.waiting

    def ask(self, search: Search) -> None:
        """Begin the replies that the waiting request of a search may have now. Those that are known come at once."""
        jobs = self._jobs(search)
        search.owed = len(jobs)
        for job in jobs:
            if job.key in self._under_way:
                self._under_way[job.key].append(job)
                self.effort.reused += 1
            elif (known := self.cache.get(job.key)) is not None:
                self.effort.reused += 1
                _deliver(job, _read(job, known))
            elif self.flow.add(job.key, job.asked, job.params):
                self._under_way[job.key] = [job]
            else:
                search.state.note(TOO_LONG)
                _deliver(job, _nothing(job))

    def step(self) -> list[Search]:
        """Let the model work for a moment. Returns the searches that are owed nothing any more."""
        began = time.perf_counter()
        try:
            replies = self.flow.step()
        finally:
            self.effort.model_seconds += time.perf_counter() - began
        complete = []
        for key, reply in replies:
            # Written down at once, so that a stop loses nothing that was paid.
            self.cache.put([(key, packed(reply) if isinstance(reply, Completion) else asdict(reply))])
            self.effort.drawn += 1
            self.effort.sampled_tokens += reply.spent.sampled_tokens
            for job in self._under_way.pop(key):
                _deliver(job, reply)
                if not job.search.owed:
                    complete.append(job.search)
        return complete

    def close(self) -> None:
        """Drop what is under way, and note how full the model's batch was."""
        self.effort.passes += self.flow.passes
        self.effort.rows += self.flow.rows
        self.effort.room += self.flow.passes * self.model.batch_size
        self.flow.close()
        self._under_way.clear()

    def _jobs(self, search: Search) -> Sequence[Job]:
        """The replies that the waiting request of a search may have now, each with its place in `got`."""
        waiting = search.waiting
        assert isinstance(waiting, Draw | Complete)
        count, tokens = allowance(search)
        if isinstance(waiting, Complete):
            search.got = [[None]] if count else [[]]
            params = replace(waiting.params, max_tokens=tokens)
            key = draw_key(self.model.fingerprint, ("tokens", waiting.prompt, waiting.tokens), params, 0)
            prefix = Prefix(waiting.prompt, waiting.tokens)
            return [Job(search, 0, 0, prefix, params, key)] if count else []
        jobs = []
        for place, (item, got) in enumerate(zip(waiting.items, search.got)):
            name = content_hash(item.prompt)
            params = replace(item.params, max_tokens=min(item.params.max_tokens, tokens))
            for _ in range(min(item.n - len(got), count)):
                seed = request_seed(search.seed, name, search.places[name])
                search.places[name] += 1
                key = draw_key(self.model.fingerprint, item.prompt, params, seed)
                jobs.append(Job(search, place, len(got), Request(prompt=item.prompt, seed=seed), params, key))
                got.append(None)
                count -= 1
        return jobs


def _deliver(job: Job, reply: Any) -> None:
    """Charge a reply to its search, and put it in its place."""
    search = job.search
    programs = int(search.waiting.programs)  # type: ignore[union-attr]
    search.meter.charge(replace(reply.spent, model_calls=1, programs=programs))
    search.got[job.place][job.number] = reply
    search.owed -= 1


def _nothing(job: Job) -> Any:
    """The reply to a prompt that leaves no room for one; it counts as a call, so that no method asks for ever."""
    if isinstance(job.asked, Request):
        return Completion(text="", finish_reason="length", spent=Spent())
    from strop.models.flow import TokenCompletion

    return TokenCompletion((), (), "length", "", Spent())


def allowance(search: Search) -> tuple[int, int]:
    """(replies, most tokens of each) that the waiting request may have now: what can be paid at the worst."""
    waiting = search.waiting
    assert isinstance(waiting, Draw | Complete)
    if isinstance(waiting, Complete):
        missing, most, begun = 1, waiting.params.max_tokens, len(waiting.tokens)
    else:
        missing = search.rows
        most, begun = max((item.params.max_tokens for item in waiting.items), default=1), 0
    each = Spent(programs=int(waiting.programs), model_calls=1, sampled_tokens=max(1, most - begun))
    count = fitting(search.meter, each, missing)
    if not count and missing:
        left = int(search.meter.remaining().get("sampled_tokens", 0))
        if 0 < left < each.sampled_tokens and fitting(search.meter, replace(each, sampled_tokens=left), 1):
            return 1, left + begun  # the last reply, cut short
    return count, most


def fitting(meter: Meter, each: Spent, at_most: int) -> int:
    """How many things that cost `each` fit. A limit on programs does not stop words, which are no programs."""
    counts = [at_most]
    for name, left in meter.remaining().items():
        if name in KNOWN_AFTERWARDS:
            counts.append(at_most if left > 0 else 0)
        elif cost := getattr(each, name):
            counts.append(math.floor(left / cost))
    return min(counts)


def _read(job: Job, data: dict[str, Any]) -> Any:
    if isinstance(job.asked, Request):
        return unpacked(data)
    from strop.models.flow import TokenCompletion

    return TokenCompletion.read(data)
