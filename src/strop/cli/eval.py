"""Measure how many tasks a model solves: sample, judge by running, estimate with an interval.

Prints pass@k with its 95 % interval, results by tag and by status, and what was spent. Running the same command again
resumes the run; Ctrl-C keeps what is done.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from strop.cli.options import (
    DryRunOption,
    FreshOption,
    IsolationOption,
    JsonOption,
    ModelOption,
    OutOption,
    QuietOption,
    RayOption,
    SeedOption,
    TasksOption,
    WorkersOption,
    command_line,
    keep_stdout,
    run_folder,
    show_outcome,
)


def eval(
    model: ModelOption = "smollm2",
    tasks: TasksOption = "basics",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Only tasks with this tag; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most this many tasks.")] = None,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Samples a task.")] = 1,
    k: Annotated[str, typer.Option("-k", "--k", help="Report pass@k for these, comma-separated.")] = "1",
    protocol: Annotated[
        str, typer.Option("--as", help="Prompt protocol: auto, a name from `strop tasks protocols`, or all.")
    ] = "auto",
    temperature: Annotated[float, typer.Option("--temperature", "-T", min=0.0, help="0 is greedy.")] = 0.8,
    top_p: Annotated[float, typer.Option("--top-p", min=0.0, max=1.0)] = 0.95,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Most tokens a sample.")] = 512,
    stop_after_block: Annotated[
        bool, typer.Option("--stop-after-block", help="End a reply behind its first closed code block.")
    ] = False,
    seed: SeedOption = 0,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Stop when spent, e.g. sampled_tokens=50k,seconds=10m.")
    ] = None,
    cache: Annotated[
        bool | None,
        typer.Option(
            "--cache/--no-cache",
            help="Reuse completions that earlier runs drew with the same model, prompt, parameters and seed. "
            "Default: local models yes; endpoints no, because their weights can change unseen.",
        ),
    ] = None,
    workers: WorkersOption = None,
    require_isolation: IsolationOption = None,
    ray: RayOption = None,
    out: OutOption = None,
    fresh: FreshOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    from strop import models
    from strop import tasks as task_sets
    from strop.budget import Budget, Meter
    from strop.cli.progress import progress
    from strop.evals.evaluate import EvalSettings, evaluate
    from strop.judge import Judge
    from strop.models.spec import is_local
    from strop.run import Run
    from strop.tasks import protocols
    from strop.types import StropError

    settings = EvalSettings(
        model=model, tasks=tasks, tags=tuple(tag or ()), limit=limit, samples=n, k=_numbers(k), protocol=protocol,
        temperature=temperature, top_p=top_p, max_tokens=max_tokens,
        stop_after_block=stop_after_block, seed=seed, budget=budget,
    )  # fmt: skip
    if max(settings.k) > n:
        raise StropError(f"pass@{max(settings.k)} needs at least {max(settings.k)} samples a task; --n is {n}.")
    limits = Budget.parse(budget) if budget else None
    chosen = task_sets.load(tasks, tags=settings.tags, limit=limit)
    if dry_run:
        _show_plan(settings, len(chosen), sum(len(task.prompt) for task in chosen))
        return
    config = asdict(settings)
    folder = run_folder("eval", out, config)
    with (
        keep_stdout(ray),
        closing(models.load(model, cache=is_local(model) if cache is None else cache)) as loaded,
        Judge(workers=workers, require=require_isolation, ray=ray) as judge,
    ):
        inputs = {
            "model_fingerprint": loaded.fingerprint,
            "task_set_hash": task_sets.task_set_hash(chosen),
        }
        under = protocols.comparable(chat=loaded.chat, local=is_local(model)) if protocol == "all" else [
            protocols.choose(protocol, chat=loaded.chat, local=is_local(model))
        ]  # fmt: skip
        config["protocol"] = [each.name for each in under]
        run = Run.open(folder, command=command_line(), config=config, inputs=inputs, fresh=fresh)
        meter = Meter(limits) if limits else None
        if meter:
            meter.charge(run.spent())
        with run, progress(show=not quiet and not as_json) as on_progress:
            evaluate(run, settings, loaded, chosen, under, judge, meter=meter, on_progress=on_progress)
    show_outcome(folder, as_json)


def _numbers(text: str) -> tuple[int, ...]:
    from strop.types import StropError

    try:
        numbers = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        numbers = (0,)
    if numbers[0] < 1:
        raise StropError(f"--k {text!r}: give whole numbers of 1 or more, separated by commas.")
    return numbers


def _show_plan(settings, task_count: int, prompt_characters: int) -> None:
    samples = task_count * settings.samples
    typer.echo(
        f"{task_count} tasks x {settings.samples} samples = {samples} samples from {settings.model} "
        f"under protocol {settings.protocol!r}\n"
        f"prompts: about {prompt_characters // 4 * settings.samples:,} tokens (4 characters each)\n"
        f"sampled: at most {samples * settings.max_tokens:,} tokens\n"
        f"programs to judge: {samples}"
    )
