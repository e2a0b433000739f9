"""Runs many searches at once: collects what they ask for, serves it together, and keeps their accounts.

Every search is a generator that waits at one request. All draws of all searches go into one flow of the model
(`strop.models.flow`), whatever their sampling parameters; a search goes on as soon as its own replies are there, and
new searches start while the model's batch has room. So independent branches of a tree, other tasks, other methods and
other seeds fill the same batch, and identical draws happen once. The judge works beside the model.

What a search is told depends on its own requests alone, never on what ran beside it.

Budgets are kept before the fact: a draw gets only as many replies as `programs`, `model_calls` and `sampled_tokens`
can pay at their worst (every reply as long as allowed), the next ones when the true cost is known. So these three are
never exceeded. `prompt_tokens`, `seconds` and `money` are known only afterwards: nothing is begun once they are
reached. A reply from the cache costs what it cost when it was drawn; one reply is one model call, however often a
network had to try.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from strop.budget import Budget, BudgetExhausted, Meter
from strop.models.cache import DrawCache
from strop.search.bench import Bench
from strop.search.drawing import Drawing, allowance
from strop.search.nodes import Complete, Draw, Node, Request
from strop.search.searches import Effort, Search, visible_task
from strop.search.state import State
from strop.types import SamplingParams, StropError, Task

if TYPE_CHECKING:
    from strop.judge import Judge
    from strop.models import Model
    from strop.search.methods import MethodSpec
    from strop.search.prompting import Form

MOST_REQUESTS = 2_000
"""Requests of one search; a method that asks for more goes round in circles and is ended."""
MOST_REFUSALS = 20
"""Draws that a method may ask for after its budget is spent."""
MOST_ACTIVE = 8
"""Searches begun at once for each place in the model's batch, where the judge cannot keep up."""

ASKS_MODEL = (Draw, Complete)


class Scheduler:
    """Serves searches with one model and one judge. The judge must not stop at the first failing check."""

    def __init__(
        self,
        model: Model,
        judge: Judge,
        *,
        form: Form,
        params: SamplingParams,
        budget: Budget,
        cache: DrawCache | None = None,
    ) -> None:
        self.form, self.params, self.budget = form, params, budget
        self.effort = Effort()
        self.model, self.judge, self.cache = model, judge, cache or DrawCache()

    def start(self, method: MethodSpec, task: Task, seed: int) -> Search:
        """A search that has not begun. Of `task` only the public part and what visible checks need goes in."""
        meter = Meter(self.budget)
        state = State(task.public(), form=self.form, params=self.params, meter=meter, seed=seed)
        return Search(method, seed, visible_task(task), state, meter, method.begin(state))

    def run(self, searches: Iterable[Search], stop: Callable[[], bool] = lambda: False) -> Iterator[Search]:
        """Yields searches as they finish. Takes new ones only while the model's batch has room.

        When `stop()` is true it ends without finishing those under way; replies drawn for them are in the cache.
        """
        drawing = Drawing(self.model, self.cache, self.effort)
        bench = Bench(self.judge, self.effort)
        try:
            yield from self._rounds(iter(searches), stop, drawing, bench)
        finally:
            bench.close()
            drawing.close()

    def _rounds(
        self, source: Iterator[Search], stop: Callable[[], bool], drawing: Drawing, bench: Bench
    ) -> Iterator[Search]:
        active: dict[int, Search] = {}
        more, size = True, self.model.batch_size
        began = time.perf_counter()
        try:
            while (more or active) and not stop():
                moved: dict[int, Search] = {}
                while more and drawing.waiting < size and len(moved) < size and len(active) < MOST_ACTIVE * size:
                    search = next(source, None)
                    more = search is not None
                    if search is not None:
                        active[id(search)] = moved[id(search)] = search
                        self._advance(search, None)
                        self._ask_model(search, drawing)
                for search in drawing.step():
                    self._drawn(search)
                    moved[id(search)] = search
                idle = not moved and not drawing.waiting
                for search, answer in bench.step(patient=idle):
                    self._advance(search, answer)
                    moved[id(search)] = search
                for search in moved.values():
                    self._ask_model(search, drawing)
                bench.ask(s for s in moved.values() if not s.done and not isinstance(s.waiting, ASKS_MODEL))
                began = self._clock(began)
                for search in moved.values():
                    if search.done:
                        del active[id(search)]
                        yield search
                began = time.perf_counter()  # what the caller does with them is not ours
        finally:
            self._clock(began)
            for search in active.values():
                search.steps.close()

    def _ask_model(self, search: Search, drawing: Drawing) -> None:
        """Ask for the replies that a search waits for; while they are all known, it goes on."""
        while isinstance(search.waiting, ASKS_MODEL) and not search.owed:
            drawing.ask(search)
            if not search.owed:
                self._drawn(search)

    def _clock(self, began: float) -> float:
        """Add the time since `began`; returns now."""
        now = time.perf_counter()
        self.effort.wall_seconds += now - began
        return now

    # ---- one search

    def _advance(self, search: Search, answer: Any, error: BaseException | None = None) -> None:
        """Hand over an answer (or raise `error` in the method), and take the next request."""
        name = search.method.name
        try:
            search.waiting = search.steps.throw(error) if error is not None else search.steps.send(answer)
        except StopIteration as stop:
            self._finish(search, stop.value)
            return
        except BudgetExhausted:
            self._finish(search, None)
            return
        except StropError:
            raise
        except Exception as failure:
            where = f"{type(failure).__name__}: {failure}"
            raise StropError(f"The search method {name} failed on task {search.task.id}: {where}") from failure
        if not isinstance(search.waiting, Request):
            search.steps.close()
            raise StropError(
                f"The search method {name} yielded a {type(search.waiting).__name__}, which is no request. Call the "
                "functions of its state with `yield from`."
            )
        search.got = [[] for _ in search.waiting.items] if isinstance(search.waiting, Draw) else []
        search.requests += 1
        if search.requests > MOST_REQUESTS:
            search.state.note(f"ended after {MOST_REQUESTS} requests: the method goes round in circles")
            search.steps.close()
            self._finish(search, None)

    def _finish(self, search: Search, answer: Any) -> None:
        state = search.state
        if isinstance(answer, str):
            answer = state.add(answer, role="answer")
        if answer is not None and not isinstance(answer, Node):
            raise StropError(
                f"The search method {search.method.name} returned a {type(answer).__name__}; it must return a node, a "
                "program's text, or None."
            )
        search.answer = state.best() if answer is None else answer
        if search.answer is not None:
            search.answer.fate = "accepted"
        search.waiting, search.done = None, True

    def _refuse(self, search: Search) -> None:
        """Nothing more can be drawn: tell the method, and end it when it does not listen."""
        search.refusals += 1
        if search.refusals > MOST_REFUSALS:
            search.steps.close()
            self._finish(search, None)
            return
        limit = search.meter.ended_by or "sampled_tokens"
        self._advance(search, None, BudgetExhausted(limit, f"The budget is spent: {limit}."))

    def _drawn(self, search: Search) -> None:
        """The replies that could be paid are there: hand them over, unless more can be paid now."""
        if isinstance(search.waiting, Complete):
            if search.got[0]:
                self._advance(search, search.got[0][0])
            else:
                self._refuse(search)
        elif not search.rows or (any(search.got) and not allowance(search)[0]):
            self._advance(search, search.got)
        elif not allowance(search)[0]:
            self._refuse(search)
