"""Run search methods on tasks, then judge what they chose with all checks: the only place that sees hidden checks.

One finished search (method, task, seed) is one work item of the run; a stopped run goes on with the next, and replies
that an unfinished search had drawn come from the run's file of draws.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from strop.budget import Budget
from strop.models.cache import DrawCache
from strop.models.spec import is_local
from strop.search.methods import MethodSpec
from strop.search.schedule import Scheduler
from strop.search.searches import Effort
from strop.types import SamplingParams, StropError, Task, content_hash

if TYPE_CHECKING:
    from strop.judge import Judge
    from strop.models import Model
    from strop.run import Run
    from strop.search.prompting import Form

OnProgress = Callable[[str, int, int], None]
STAGE = "search"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """Everything that decides the outcome of a search. Written to the manifest."""

    methods: tuple[str, ...] = ("best-of-n",)
    """The first is the baseline of a comparison."""
    model: str = "smollm2"
    tasks: str = "basics"
    tags: tuple[str, ...] = ()
    limit: int | None = None
    budget: str = "programs=8"
    """Of one method on one task with one seed."""
    seeds: tuple[int, ...] = (0,)
    protocol: str = "auto"
    temperature: float = 0.8
    top_p: float = 0.95
    max_tokens: int = 512

    @property
    def params(self) -> SamplingParams:
        return SamplingParams(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


def search_key(method: str, source: str, task_id: str, seed: int) -> str:
    """Key of the trace of one search in its run. `method`, `source`: name and source of a `MethodSpec`."""
    return content_hash("search", method, source, task_id, seed)


def _key(method: MethodSpec, task: Task, seed: int) -> str:
    return search_key(method.name, method.source, task.id, seed)


def grade_key(task_id: str, code: str) -> str:
    """Key of a program's final status in its run."""
    return content_hash("grade", task_id, code)


def in_order(tasks: Sequence[Task]) -> list[Task]:
    """The tasks in the order in which they are begun: by a hash of their ids, that of `--limit`.

    The first k are then a sample of all, so that a comparison that was stopped is a smaller honest one.
    """
    return sorted(tasks, key=lambda task: hashlib.sha256(f"0\x1f{task.id}".encode("utf-8", "surrogatepass")).digest())


def plan(tasks: Sequence[Task], methods: Sequence[MethodSpec], seeds: Sequence[int]) -> list[tuple[Any, ...]]:
    """Every (method, task, seed), in the order in which they start: methods that share draws are together."""
    return [(method, task, seed) for seed in seeds for task in in_order(tasks) for method in methods]


def finished(
    done: Container[tuple[str, str, int]], tasks: Sequence[Task], methods: Sequence[MethodSpec], seeds: Sequence[int]
) -> tuple[list[Task], tuple[int, ...]]:
    """Tasks and seeds for which every method has ended: the first tasks in order, and the seeds that cover them.

    A task that ended out of turn does not count: what ends early is what is easy. `done` holds (method, task id, seed).
    """
    ordered = in_order(tasks)
    covered = {}
    for seed in seeds:
        ended = (all((method.name, task.id, seed) in done for method in methods) for task in ordered)
        covered[seed] = next((place for place, one in enumerate(ended) if not one), len(ordered))
    most = max(covered.values(), default=0)
    return ordered[:most], tuple(seed for seed in seeds if covered[seed] == most) if most else ()


def run_searches(
    run: Run,
    settings: SearchSettings,
    model: Model,
    tasks: Sequence[Task],
    methods: Sequence[MethodSpec],
    judge: Judge,
    form: Form,
    *,
    draws: DrawCache,
    until: float | None = None,
    on_progress: OnProgress = lambda label, done, total: None,
) -> None:
    """Do every search that the run does not hold yet, then judge every program with all checks.

    `until`: begin nothing more at that time of `time.monotonic`; searches under way are dropped, their draws kept.
    `judge` must not stop at the first failing check. Results are read from the run afterwards.
    """
    limits = Budget.parse(settings.budget)
    if not set(limits.limits()) - {"money"} and (limits.money is None or is_local(settings.model)):
        raise StropError(
            f"The budget {settings.budget!r} does not end a search with {settings.model}: limit programs, model_calls, "
            "sampled_tokens, prompt_tokens or seconds, for instance programs=8."
        )
    for method in methods:
        if method.needs_tokens and not hasattr(model, "complete_tokens"):
            raise StropError(
                f"The search method {method.name} chooses single tokens, which needs a local model; {model.name} gives "
                "no access to them."
            )
    wanted = plan(tasks, methods, settings.seeds)
    missing = [item for item in wanted if run.result(_key(*item)) is None]
    scheduler = Scheduler(model, judge, form=form, params=settings.params, budget=limits, cache=draws)
    done = len(wanted) - len(missing)
    on_progress("search", done, len(wanted))
    before = read_effort(run)
    try:
        late = (lambda: False) if until is None else (lambda: time.monotonic() >= until)
        for search in scheduler.run((scheduler.start(*item) for item in missing), late):
            key = _key(search.method, search.task, search.seed)
            with run.atomic():
                run.save_result(key, search.record())
                run.charge(STAGE, key, search.meter.spent)
            done += 1
            on_progress("search", done, len(wanted))
    finally:
        _save_effort(run, before + scheduler.effort)
    grade(run, tasks, methods, settings.seeds, judge, on_progress)


def grade(
    run: Run,
    tasks: Sequence[Task],
    methods: Sequence[MethodSpec],
    seeds: Sequence[int],
    judge: Judge,
    on_progress: OnProgress,
) -> None:
    """Judge every program that the searches wrote with all checks of its task; keeps the statuses in the run."""
    by_id = {task.id: task for task in tasks}
    jobs = {}
    for trace in traces(run, tasks, methods, seeds):
        for node in trace["nodes"]:
            key = grade_key(trace["task"], node["code"])
            if node["code"].strip() and key not in jobs and run.result(key) is None:
                jobs[key] = (by_id[trace["task"]], node["code"])
    done = 0
    pending = list(jobs)
    for start in range(0, len(pending), 64):
        part = pending[start : start + 64]
        verdicts = list(judge.stream((key, *jobs[key]) for key in part))
        with run.atomic():
            for key, verdict in verdicts:
                if verdict.status != "judge_error":  # asked again when the run is repeated
                    run.save_result(key, {"status": verdict.status, "fraction": verdict.fraction})
        done += len(part)
        on_progress("judging with all checks", done, len(pending))


def traces(
    run: Run, tasks: Sequence[Task], methods: Sequence[MethodSpec], seeds: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """The traces of all finished searches."""
    for method, task, seed in plan(tasks, methods, seeds):
        trace = run.result(_key(method, task, seed))
        if trace is not None:
            yield trace


def read_effort(run: Run) -> Effort:
    """What the run's searches really took, over all the times it was started."""
    kept = {metric.name: metric.value for metric in run.metrics("effort")}
    return Effort(**{name: type(value)(kept.get(name, value)) for name, value in asdict(Effort()).items()})


def _save_effort(run: Run, effort: Effort) -> None:
    run.save_metrics("effort", 0, asdict(effort))
