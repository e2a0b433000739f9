"""Serves what searches ask of the model, within their budgets and in as few calls as the sampling parameters allow."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from strop.budget import Meter
from strop.models.cache import DrawCache, draw_key, packed, unpacked
from strop.search.nodes import Complete, Draw
from strop.search.searches import Effort, Search
from strop.types import Completion, Request, SamplingParams, Spent, StropError, content_hash, request_seed

if TYPE_CHECKING:
    from strop.models import Model

KNOWN_AFTERWARDS = ("prompt_tokens", "seconds", "money")
"""Limits that can only stop what has not begun."""


TOO_LONG = Completion(text="", finish_reason="length", spent=Spent())
"""The reply to a prompt that leaves no room for one; it counts as a call, so that no method asks for ever."""


@dataclass(frozen=True, slots=True)
class Job:
    """One reply to get."""

    search: Search
    place: int
    request: Request | Complete
    params: SamplingParams
    key: str


class Drawing:
    """A model, the replies already drawn, and what drawing took."""

    def __init__(self, model: Model, cache: DrawCache, effort: Effort) -> None:
        self.model, self.cache, self.effort = model, cache, effort

    def serve(self, searches: Iterable[Search]) -> None:
        """Get the replies that the searches wait for, as far as budgets go, into their `got`."""
        jobs = [job for search in searches for job in self._jobs(search)]
        self._fill([job for job in jobs if isinstance(job.request, Request)], self._sample)
        self._fill([job for job in jobs if isinstance(job.request, Complete)], self._complete)

    def _jobs(self, search: Search) -> list[Job]:
        """The replies that the waiting request of a search gets in this round."""
        waiting = search.waiting
        if not isinstance(waiting, Draw | Complete):
            return []
        count, tokens = allowance(search)
        if isinstance(waiting, Complete):
            params = replace(waiting.params, max_tokens=tokens)
            key = draw_key(self.model.fingerprint, ("tokens", waiting.prompt, waiting.tokens), params, 0)
            search.got = [[]]
            return [Job(search, 0, waiting, params, key)] if count else []
        jobs = []
        for place, (item, got) in enumerate(zip(waiting.items, search.got)):
            name = content_hash(item.prompt)
            params = replace(item.params, max_tokens=min(item.params.max_tokens, tokens))
            for _ in range(min(item.n - len(got), count)):
                seed = request_seed(search.seed, name, search.places[name])
                search.places[name] += 1
                key = draw_key(self.model.fingerprint, item.prompt, params, seed)
                jobs.append(Job(search, place, Request(prompt=item.prompt, seed=seed), params, key))
                count -= 1
        return jobs

    def _fill(self, jobs: Sequence[Job], draw: Callable[..., None]) -> None:
        """Replies from the cache, from an equal job, or from the model; each is charged to its search."""
        data: dict[str, Any] = {}
        fresh: dict[str, Job] = {}
        for job in jobs:
            if job.key not in data and job.key not in fresh:
                known = self.cache.get(job.key)
                if known is None:
                    fresh[job.key] = job
                else:
                    data[job.key] = known
        groups: dict[SamplingParams, list[Job]] = {}
        for job in fresh.values():
            if self._fits(job):
                groups.setdefault(job.params, []).append(job)
            else:
                data[job.key] = packed(TOO_LONG)
        for params, group in groups.items():
            began = time.perf_counter()
            self.effort.batches += 1
            try:
                draw(group, params, data)
            finally:
                self.effort.model_seconds += time.perf_counter() - began
        drawn = sum(len(group) for group in groups.values())
        self.effort.drawn += drawn
        self.effort.reused += len(jobs) - drawn
        for job in jobs:
            reply = _read(job, data[job.key])
            programs = int(job.search.waiting.programs)  # type: ignore[union-attr]
            job.search.meter.charge(replace(reply.spent, model_calls=1, programs=programs))
            job.search.got[job.place].append(reply)

    def _fits(self, job: Job) -> bool:
        """Whether the prompt leaves room in the model's context, where the model can tell; a note where it does not."""
        room = getattr(self.model, "room", None)
        if room is None or not isinstance(job.request, Request) or room(job.request.prompt) > 0:
            return True
        job.search.state.note("a prompt did not fit the model's context, and got no answer")
        return False

    def _sample(self, group: Sequence[Job], params: SamplingParams, data: dict[str, Any]) -> None:
        for place, completion in self.model.sample([job.request for job in group], params):  # type: ignore[misc]
            self._keep(group[place].key, packed(completion), completion.spent, data)

    def _complete(self, group: Sequence[Job], params: SamplingParams, data: dict[str, Any]) -> None:
        complete = getattr(self.model, "complete_tokens", None)
        if complete is None:
            raise StropError(f"{group[0].search.method.name} needs a local model: {self.model.name} shows no tokens.")
        prefixes = [(job.request.prompt, job.request.tokens) for job in group]  # type: ignore[union-attr]
        for place, completion in complete(prefixes, params):
            self._keep(group[place].key, asdict(completion), completion.spent, data)

    def _keep(self, key: str, value: dict[str, Any], spent: Spent, data: dict[str, Any]) -> None:
        """Written down at once, so that a stop in the middle of a batch loses nothing that was paid."""
        data[key] = value
        self.cache.put([(key, value)])
        self.effort.sampled_tokens += spent.sampled_tokens


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
    if isinstance(job.request, Request):
        return unpacked(data)
    from strop.models.local import TokenCompletion

    return TokenCompletion.read(data)
