"""Sample, judge, keep: the loop under `strop eval` and under every measurement of `strop improve`.

The plan is fixed before the first sample: task by task, `samples_per_task` each. It is handed to the model in long
pieces, because a piece's end runs with a batch that is half empty; what comes back is committed and judged a model
batch at a time. So a killed run loses what was in flight and one batch at most, and a resumed run draws exactly what is
missing. A sample depends on its prompt and seed, not on its company.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from strop.types import Request, Sample, SamplingParams, Spent, Task, content_hash, request_seed

if TYPE_CHECKING:
    from strop.budget import Meter
    from strop.judge import Judge
    from strop.models import Model
    from strop.run import Run
    from strop.tasks.protocols import Protocol

OnProgress: TypeAlias = Callable[[str, int, int], None]
"""`(what is being done, items done, items in all)`."""

CHUNK = 1024
"""Samples asked of a model at once, unless its own batch is larger."""


def silent(label: str, done: int, total: int) -> None:
    """The progress callback that shows nothing."""


def measure(
    run: Run,
    stage: str,
    model: Model,
    tasks: Sequence[Task],
    judge: Judge,
    protocol: Protocol,
    *,
    samples_per_task: int,
    params: SamplingParams,
    seed: int,
    meter: Meter | None = None,
    on_progress: OnProgress = silent,
) -> None:
    """Draw `samples_per_task` samples for each task, judge them with all checks, and keep both in `run` under `stage`.

    Draws only what `meter` can pay at the worst (`max_tokens` each; a call that is tried again may cost calls beyond
    that), and ends with what it has when that is nothing. Repeating the call draws only what is missing. Completions
    that came before an error or an interruption are kept.
    """
    by_id = {task.id: task for task in tasks}
    wanted = [(task, index) for task in tasks for index in range(samples_per_task)]
    kept = run.sample_keys(stage)
    _judge(run, stage, by_id, [sample for sample in run.unjudged(stage) if sample.task_id in by_id], judge)
    missing = [(task, index) for task, index in wanted if (task.id, index) not in kept]
    done = len(wanted) - len(missing)
    on_progress(stage, done, len(wanted))

    def commit(samples: list[Sample]) -> None:
        spent = _keep(run, stage, samples)
        if meter is not None:
            meter.charge(spent)

    while missing:
        count = _affordable(meter, params, min(len(missing), max(CHUNK, model.batch_size)))
        if not count:
            run.event("budget", {"stage": stage, "drawn": done, "planned": len(wanted)})
            return
        now, missing = missing[:count], missing[count:]
        fresh: list[Sample] = []
        try:
            for sample in draw_each(model, now, protocol, params, seed):
                fresh.append(sample)
                done += 1
                on_progress(stage, done, len(wanted))
                if len(fresh) >= model.batch_size:
                    part, fresh = fresh, []
                    commit(part)
                    _judge(run, stage, by_id, part, judge)
        finally:
            commit(fresh)
        _judge(run, stage, by_id, fresh, judge)
    on_progress(stage, done, len(wanted))


def _affordable(meter: Meter | None, params: SamplingParams, at_most: int) -> int:
    """How many samples can be paid even if each is as long as it may be. Limits on prompt tokens, seconds and money
    are known only afterwards: they stop what has not begun."""
    each = Spent(sampled_tokens=params.max_tokens, model_calls=1, programs=1)
    return at_most if meter is None else meter.affords(each, at_most)


def _keep(run: Run, stage: str, samples: list[Sample]) -> Spent:
    """Save and pay for samples, put into the order of tasks and indices; returns what they cost."""
    samples.sort(key=lambda sample: (sample.task_id, sample.index))
    spent = sum((sample.spent for sample in samples), Spent(programs=len(samples)))
    if samples:
        with run.atomic():
            run.save_samples(stage, samples)
            run.charge(stage, content_hash([(sample.task_id, sample.index) for sample in samples]), spent)
    return spent


def draw(
    model: Model, items: Sequence[tuple[Task, int]], protocol: Protocol, params: SamplingParams, seed: int
) -> list[Sample]:
    """Draw one sample for each (task, sample index), in the order of `items`; see `draw_each`."""
    samples = {(sample.task_id, sample.index): sample for sample in draw_each(model, items, protocol, params, seed)}
    return [samples[task.id, index] for task, index in items]


def draw_each(
    model: Model, items: Sequence[tuple[Task, int]], protocol: Protocol, params: SamplingParams, seed: int
) -> Iterator[Sample]:
    """Draw one sample for each (task, sample index), as they end; a sample's seed depends on `seed`, prompt and index
    only."""
    public = {task.id: task.public() for task, _ in items}
    prompts = {task_id: protocol.render(task) for task_id, task in public.items()}
    keys = {task_id: content_hash(prompt) for task_id, prompt in prompts.items()}
    by_stops: dict[tuple[str, ...], list[tuple[Task, int, Request]]] = {}
    for task, index in items:
        request = Request(prompt=prompts[task.id], seed=request_seed(seed, keys[task.id], index))
        by_stops.setdefault(protocol.stop_for(public[task.id]), []).append((public[task.id], index, request))
    for stops, group in by_stops.items():
        at = replace(params, stop=tuple(dict.fromkeys((*params.stop, *stops))))
        for position, completion in model.sample([request for _, _, request in group], at):
            task, index, request = group[position]
            yield Sample(
                task_id=task.id,
                index=index,
                text=completion.text,
                code=protocol.extract(task, completion.text),
                finish_reason=completion.finish_reason,
                seed=request.seed,
                protocol=protocol.name,
                spent=completion.spent,
                token_ids=completion.token_ids,
                logprobs=completion.logprobs,
            )


def _judge(run: Run, stage: str, by_id: dict[str, Task], samples: Sequence[Sample], judge: Judge) -> None:
    jobs = (((sample.task_id, sample.index), by_id[sample.task_id], sample.code) for sample in samples)
    run.save_verdicts(stage, [(*key, verdict) for key, verdict in judge.stream(jobs)])  # type: ignore[misc]


def task_records(tasks: Sequence[Task]) -> dict[str, dict]:
    """What reports need to know of the tasks; stored with the run so that it can be read without them."""
    return {
        task.id: {"prompt": task.prompt, "split": task.split, "tags": list(task.tags), "stub": task.stub}
        for task in tasks
    }
