"""Runs many searches at once: collects what they ask for, serves it in batches, and keeps their accounts.

Every search is a generator that waits at one request. A round serves all requests to the judge, then all draws in as
few calls of the model as their sampling parameters allow; new searches start while the batch has room. So independent
branches of a tree, other tasks, other methods and other seeds fill the same batch, and identical draws happen once.

Budgets are kept before the fact: a draw gets only as many replies as `programs`, `model_calls` and `sampled_tokens`
can pay at their worst (every reply as long as allowed), the next ones when the true cost is known. So these three are
never exceeded. `prompt_tokens`, `seconds` and `money` are known only afterwards: nothing is begun once they are
reached. A reply from the cache costs what it cost when it was drawn; one reply is one model call, however often a
network had to try.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from strop.budget import Budget, BudgetExhausted, Meter
from strop.models.cache import DrawCache
from strop.search.bench import Bench
from strop.search.drawing import Drawing, allowance
from strop.search.nodes import Complete, Draw, Node, Request
from strop.search.searches import Effort, Search, rows, visible_task
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
        self.batch_size = model.batch_size
        self._drawing = Drawing(model, cache or DrawCache(), self.effort)
        self._bench = Bench(judge)

    def start(self, method: MethodSpec, task: Task, seed: int) -> Search:
        """A search that has not begun. Of `task` only the public part and what visible checks need goes in."""
        meter = Meter(self.budget)
        state = State(task.public(), form=self.form, params=self.params, meter=meter, seed=seed)
        return Search(method, seed, visible_task(task), state, meter, method.begin(state))

    def run(self, searches: Iterable[Search]) -> Iterator[Search]:
        """Yields searches as they finish. Takes new ones only while the model's batch has room."""
        source, active, more = iter(searches), [], True
        began = time.perf_counter()
        try:
            while more or active:
                while more and rows(active) < self.batch_size:
                    search = next(source, None)
                    more = search is not None
                    if search is not None:
                        active.append(search)
                        self._advance(search, None)
                        self._judge_all(active)
                self._draw_all(active)
                self._judge_all(active)
                finished, active = [one for one in active if one.done], [one for one in active if not one.done]
                began = self._clock(began)
                yield from finished
                began = time.perf_counter()  # what the caller does with them is not ours
        finally:
            self._clock(began)
            for search in active:
                search.steps.close()

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

    # ---- rounds

    def _judge_all(self, active: Iterable[Search]) -> None:
        """Serve every request to the judge, until all searches wait for the model or are done."""
        while True:
            groups = {kind: [s for s in active if isinstance(s.waiting, kind)] for kind in self._bench.kinds}
            if not any(groups.values()):
                return
            for kind, searches in groups.items():
                if not searches:
                    continue
                began = time.perf_counter()
                answers = self._bench.kinds[kind](searches)
                self.effort.judge_seconds += time.perf_counter() - began
                for search, answer in zip(searches, answers):
                    self._advance(search, answer)

    def _draw_all(self, active: Iterable[Search]) -> None:
        """Serve every draw as far as budgets go, and hand over those that are complete or cannot go on."""
        waiting = [search for search in active if isinstance(search.waiting, Draw | Complete)]
        self._drawing.serve(waiting)
        for search in waiting:
            if isinstance(search.waiting, Complete):
                if search.got and search.got[0]:
                    self._advance(search, search.got[0][0])
                else:
                    self._refuse(search)
            elif not search.rows or (any(search.got) and not allowance(search)[0]):
                self._advance(search, search.got)
            elif not allowance(search)[0]:
                self._refuse(search)
