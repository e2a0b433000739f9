"""Serves what searches ask of the judge: verdicts on visible checks, outputs, matrices, reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from strop.search.nodes import Judge, Matrix, Outputs, Report
from strop.search.parsing import parses
from strop.search.sandbox import outputs_in, probe_task, report_source, report_task, text_in
from strop.search.searches import Effort, Search
from strop.types import Spent, Task, Verdict

if TYPE_CHECKING:
    from strop.judge import Judge as Judging

MOST_THREADS = 4
"""Groups of requests served at once. They only wait for the judge's processes, whose number is the judge's own."""
EMPTY = Verdict(status="syntax_error", fraction=0.0, detail="the reply holds no program")


class Bench:
    """A judge and the verdicts it has given; a program that several methods wrote is judged once, and charged to each.

    The judge must not stop at the first failing check: methods look at shares. Requests are served on threads of their
    own, so that a program that runs until its time is over holds up nothing but the searches it was asked with.
    """

    def __init__(self, judge: Judging, effort: Effort) -> None:
        self.judge, self.effort = judge, effort
        self._threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="strop-search-judge")
        self._under_way: dict[Future[tuple[Sequence[Any], float]], Sequence[Search]] = {}
        self._stopped = False
        self._verdicts: dict[tuple[str, str], Verdict] = {}
        self.kinds: dict[type, Callable[[Sequence[Search]], Sequence[Any]]] = {
            Judge: self._programs,
            Outputs: self._outputs,
            Matrix: self._matrices,
            Report: self._reports,
        }
        """What serves each kind of request: answers for searches that all wait for that kind."""

    @property
    def waiting(self) -> int:
        """Groups of requests under way."""
        return len(self._under_way)

    def ask(self, searches: Iterable[Search]) -> None:
        """Begin what searches wait for; those that wait for the same kind of thing are served together."""
        groups: dict[type, list[Search]] = {}
        for search in searches:
            groups.setdefault(type(search.waiting), []).append(search)
        for kind, group in groups.items():
            self._under_way[self._threads.submit(self._serve, kind, group)] = group

    def _serve(self, kind: type, searches: Sequence[Search]) -> tuple[Sequence[Any], float]:
        began = time.perf_counter()
        answers = self.kinds[kind](searches)
        return answers, time.perf_counter() - began

    def step(self, *, patient: bool) -> list[tuple[Search, Any]]:
        """(search, answer) of what has been served; `patient`: wait until there is something."""
        began = time.perf_counter()
        done = wait(self._under_way, None if patient else 0, FIRST_COMPLETED).done if self._under_way else ()
        if patient:
            self.effort.judge_alone_seconds += time.perf_counter() - began
        served = []
        for future in done:
            searches = self._under_way.pop(future)
            answers, seconds = future.result()
            self.effort.judge_seconds += seconds
            served += zip(searches, answers)
        return served

    def close(self) -> None:
        """Drop what is under way; returns when no thread uses the judge any more."""
        self._stopped = True
        self._threads.shutdown(cancel_futures=True)

    def _run(self, jobs: dict[Any, tuple[Task, str]]) -> dict[Any, Verdict]:
        """Verdicts by key."""
        verdicts: dict[Any, Verdict] = {}
        for key, verdict in self.judge.stream((key, task, code) for key, (task, code) in jobs.items()):
            if self._stopped:
                raise CancelledError
            verdicts[key] = verdict
        return verdicts

    def _programs(self, searches: Sequence[Search]) -> list[list[Verdict]]:
        wanted: dict[tuple[str, str], tuple[Task, str]] = {}
        for search in searches:
            for code in search.request(Judge).programs:
                key = (search.task.id, code)
                if key not in self._verdicts and search.task.checks and code.strip():
                    wanted[key] = (search.task, code)
        self._verdicts |= self._run(wanted)
        answers = []
        for search in searches:
            verdicts = [self._verdict(search.task, code) for code in search.request(Judge).programs]
            search.meter.charge(Spent(seconds=sum(verdict.seconds for verdict in verdicts)))
            answers.append(verdicts)
        return answers

    def _verdict(self, task: Task, code: str) -> Verdict:
        if not code.strip():
            return EMPTY
        if task.checks:
            return self._verdicts[task.id, code]
        # A whole program without examples: there is nothing to run it on.
        fine = parses(code)
        return Verdict(status="passed" if fine else "syntax_error", fraction=float(fine))

    def _outputs(self, searches: Sequence[Search]) -> list[list[tuple[str, ...]]]:
        jobs: dict[Any, tuple[Task, str]] = {}
        for number, search in enumerate(searches):
            asked = search.request(Outputs)
            probe = probe_task(search.task, asked.inputs)
            for code in dict.fromkeys(asked.programs):
                if probe.checks and code.strip():
                    jobs[number, code] = (probe, code)
        verdicts = self._run(jobs)
        answers = []
        for number, search in enumerate(searches):
            asked = search.request(Outputs)
            count = len(asked.inputs)
            answers.append(
                [
                    outputs_in(verdicts[number, code], count) if (number, code) in verdicts else ("!empty",) * count
                    for code in asked.programs
                ]
            )
            search.meter.charge(Spent(seconds=sum(v.seconds for (of, _), v in verdicts.items() if of == number)))
        return answers

    def _matrices(self, searches: Sequence[Search]) -> list[Any]:
        from strop.evals.pass_matrix import pass_matrices

        asked = [search.request(Matrix) for search in searches]
        matrices = pass_matrices([(s.task, one.programs, one.tests) for s, one in zip(searches, asked)], self.judge)
        for search, matrix in zip(searches, matrices):
            seconds = {code: sum(row) for code, row in zip(matrix.programs, matrix.seconds)}
            search.meter.charge(Spent(seconds=sum(seconds.values())))
        return [matrix.values for matrix in matrices]

    def _reports(self, searches: Sequence[Search]) -> list[str | None]:
        jobs: dict[Any, tuple[Task, str]] = {}
        for number, search in enumerate(searches):
            asked = search.request(Report)
            jobs[number] = (report_task(search.task, asked.function, asked.args), report_source(asked.source))
        verdicts = self._run(jobs)
        for number, search in enumerate(searches):
            search.meter.charge(Spent(seconds=verdicts[number].seconds))
        return [text_in(verdicts[number]) for number in range(len(searches))]
