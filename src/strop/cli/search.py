"""Spend inference compute: solve tasks with a search method, or compare methods at an equal budget.

One budget for each method, task and seed, such as programs=8 or sampled_tokens=20k; critics' and planners' words count.
Methods see visible checks only; what they choose is judged with all checks at the end. Running the same command again
resumes; Ctrl-C keeps what is done. Your own method: --method ./mine.py:search.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from strop.cli.options import (
    DryRunOption,
    FreshOption,
    IsolationOption,
    JsonOption,
    OutOption,
    QuietOption,
    TasksOption,
    WorkersOption,
    command_line,
    run_folder,
)

WIDE = 150
"""Columns from which rates and costs stand in one table."""


def search(
    method: Annotated[
        str,
        typer.Option("--method", metavar="METHOD", help="NAME[:OPTION=VALUE...] or FILE.py:FUNCTION; `list` lists."),
    ] = "best-of-n",
    compare: Annotated[
        str | None, typer.Option("--compare", metavar="A,B,C", help="Compare methods; the first is the baseline.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="MODEL", help="As of `strop eval` (default smollm2); repeat to compare."),
    ] = None,
    tasks: TasksOption = "basics",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Only tasks with this tag; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most this many tasks.")] = None,
    budget: Annotated[
        str, typer.Option("--budget", help="For each task: programs=8, sampled_tokens=20k, model_calls=30, ...")
    ] = "programs=8",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Repeat with this many seeds.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first seed.")] = 0,
    protocol: Annotated[str, typer.Option("--as", help="Prompt protocol of the first prompt.")] = "auto",
    temperature: Annotated[float, typer.Option("--temperature", "-T", min=0.0, help="Of programs.")] = 0.8,
    top_p: Annotated[float, typer.Option("--top-p", min=0.0, max=1.0)] = 0.95,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Most tokens a reply.")] = 512,
    workers: WorkersOption = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.0, help="Stop after so long, and go on when the command is run again."),
    ] = None,
    draws: Annotated[
        Path | None,
        typer.Option("--draws", help="File of drawn replies. Default: for local models the one that all runs share."),
    ] = None,
    require_isolation: IsolationOption = None,
    out: OutOption = None,
    fresh: FreshOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    from strop import models
    from strop import tasks as task_sets
    from strop.budget import Budget
    from strop.cli.progress import progress
    from strop.judge import Judge
    from strop.models.cache import DrawCache, shared_file
    from strop.models.spec import is_local
    from strop.report.search import write_page
    from strop.run import Run
    from strop.search.compare import SearchSettings, read_effort, run_searches, traces
    from strop.search.methods import get_method, with_model
    from strop.search.prompting import form_for
    from strop.search.summary import summarise
    from strop.tasks import protocols

    names = tuple(dict.fromkeys(part.strip() for part in (compare or method).split(",") if part.strip()))
    if names == ("list",):
        _list_methods()
        return
    wanted = tuple(dict.fromkeys(model or ["smollm2"]))
    specs = {
        one: [with_model(spec, one) if len(wanted) > 1 else spec for spec in map(get_method, names)] for one in wanted
    }
    chosen = [spec for some in specs.values() for spec in some]
    Budget.parse(budget)
    until = None if minutes is None else time.monotonic() + 60 * minutes
    settings = SearchSettings(
        methods=tuple(spec.name for spec in chosen), model=", ".join(wanted), tasks=tasks, tags=tuple(tag or ()),
        limit=limit, budget=budget, seeds=tuple(range(seed, seed + seeds)), protocol=protocol,
        temperature=temperature, top_p=top_p, max_tokens=max_tokens,
    )  # fmt: skip
    found = task_sets.load(tasks, tags=settings.tags, limit=limit)
    if dry_run:
        _show_plan(settings, found)
        return
    config = asdict(settings)
    folder = run_folder("search", out, config)
    with ExitStack() as stack:
        judge = stack.enter_context(Judge(workers=workers, require=require_isolation, stop_at_first_failure=False))
        loaded = {one: stack.enter_context(closing(models.load(one))) for one in wanted}
        under = {one: protocols.choose(protocol, chat=loaded[one].chat, local=is_local(one)) for one in wanted}
        config["protocol"] = ", ".join(one.name for one in under.values())
        inputs = {
            "model_fingerprint": ", ".join(one.fingerprint for one in loaded.values()),
            "task_set_hash": task_sets.task_set_hash(found),
            "methods": {one.name: one.source for one in chosen if one.source},
        }
        run = Run.open(folder, command=command_line(), config=config, inputs=inputs, fresh=fresh)
        with run, progress(show=not quiet and not as_json) as on_progress:
            for place, one in enumerate(wanted):
                drawn = draws or (shared_file() if is_local(one) else None) or folder / "draws.sqlite"
                form = form_for(under[one], chat=loaded[one].chat, local=is_local(one))
                with closing(DrawCache(drawn)) as cache:
                    run_searches(
                        run, replace(settings, model=one), loaded[one], found, specs[one], judge, form,
                        draws=cache, until=_share(until, len(wanted) - place), on_progress=on_progress,
                    )  # fmt: skip
            data = summarise(run, settings, found, chosen, read_effort(run))
            page = write_page(folder, data, traces(run, found, chosen, settings.seeds), command_line())
    if as_json:
        typer.echo(json.dumps(data, indent=1))
        return
    _print(data)
    typer.echo(f"Report: {page}")


def _share(until: float | None, models: int) -> float | None:
    """When the next of so many models must end, so that each gets as much time."""
    return None if until is None else time.monotonic() + (until - time.monotonic()) / models


def _list_methods() -> None:
    import inspect

    from strop.search.methods import METHODS, get_method

    for name, line in METHODS.items():
        typer.echo(f"{name}: {line}")
        for option in inspect.signature(get_method(name).call).parameters.values():
            if option.kind is inspect.Parameter.KEYWORD_ONLY:
                typer.echo(f"    {option.name}={option.default}  ({option.annotation})")


def _show_plan(settings: Any, tasks: list) -> None:
    searches = len(tasks) * len(settings.methods) * len(settings.seeds)
    without = sum(not task.visible_checks for task in tasks)
    typer.echo(
        f"{len(tasks)} tasks x {len(settings.methods)} methods x {len(settings.seeds)} seeds = {searches} searches "
        f"with {settings.model}\n"
        f"budget of each: {settings.budget}; each reply at most {settings.max_tokens:,} tokens"
    )
    from strop.budget import Budget

    for name, value in Budget.parse(settings.budget).limits().items():
        typer.echo(f"at most {value * searches:,.0f} {name} in all, less what methods share")
    if without:
        typer.echo(f"{without} tasks have no visible checks: methods choose without tests there")


def _print(data: dict[str, Any]) -> None:
    from rich.console import Console

    from strop.report.search import search_table
    from strop.report.text import visible

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    if console.width >= WIDE:
        console.print(search_table(data))
    else:
        console.print(search_table(data, ["rates"]), search_table(data, ["costs"]))
    for line in data["conclusions"]:
        typer.echo(visible(line))
    for row in data["methods"]:
        for note, count in row.get("notes", {}).items():
            typer.echo(visible(f"{row['method']}: {note} ({count} of {row['searches']} searches)."))
    effort = data["effort"]
    typer.echo(
        f"Took {effort['wall_seconds']:.1f} s: model {effort['model_seconds']:.1f} s, judge "
        f"{effort['judge_seconds']:.1f} s beside it ({effort['judge_alone_seconds']:.1f} s alone), the search itself "
        f"{100 * effort['overhead']:.1f} %. {effort['drawn']:,} replies drawn, {effort['reused']:,} reused; the "
        f"model's batch was {100 * effort['utilisation']:.0f} % full."
    )
