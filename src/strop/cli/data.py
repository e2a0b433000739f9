"""Make training data from programs and their verdicts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from strop.cli.options import (
    DryRunOption,
    IsolationOption,
    JsonOption,
    ModelOption,
    SeedOption,
    TasksOption,
    WorkersOption,
)

app = typer.Typer(no_args_is_help=True)

ForceOption = Annotated[bool, typer.Option("--force", help="Replace the output file when it exists.")]


@app.callback()
def data() -> None:
    """Make training data from programs and their verdicts."""


@app.command()
def pairs(
    run: Annotated[Path, typer.Option("--run", metavar="FOLDER", help="A run with samples: of eval or improve.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write: .jsonl or .parquet.")
    ] = None,
    method: Annotated[str, typer.Option("--method", help="Construction; `strop data methods` lists them.")] = "plum",
    tests: Annotated[
        str | None,
        typer.Option("--tests", metavar="WHICH", help="all, visible, or a file of written tests."),
    ] = None,
    layout: Annotated[
        str, typer.Option("--layout", help="TRL's preference, unpaired or prompt-completion.")
    ] = "preference",
    per_task: Annotated[int, typer.Option("--per-task", min=1, help="Most pairs of one task.")] = 2,
    by_behaviour: Annotated[
        bool, typer.Option("--by-behaviour", help="One rejected program of each pattern of tests passed.")
    ] = False,
    against: Annotated[
        str | None, typer.Option("--against", metavar="TASKS", help="Look for these evaluation tasks in the pairs.")
    ] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="Stage of the run, such as practice-1.")] = None,
    seed: SeedOption = 0,
    workers: WorkersOption = None,
    require_isolation: IsolationOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Preference pairs from the samples of a run, with the evidence for each, in TRL's layouts.

    Says how many pairs were made, what was dropped and why, whether length gives the labels away, and, where the
    tests are not the whole truth, how good the labels are.
    """
    from strop import tasks as task_sets
    from strop.data import LAYOUTS, write_pairs
    from strop.data.from_run import check_method, make_pairs, plan_of, pools_of_run, suite_for
    from strop.judge import Judge
    from strop.run import Run
    from strop.types import StropError

    check_method(method)
    if layout not in LAYOUTS:
        raise StropError(f"No layout {layout!r}; choose one of {', '.join(LAYOUTS)}.")
    if out is None and not dry_run:
        raise StropError("Give --out FILE.jsonl (or .parquet), or --dry-run to see what would be done.")
    if out is not None and out.exists() and not force:
        raise StropError(f"{out} exists; --force replaces it.")
    evaluation = task_sets.load(against) if against else []
    with Run.read(run) as opened:
        found = pools_of_run(opened, stage)
    tests_of = suite_for(method, tests, found.tasks)
    if dry_run or out is None:
        _show(plan_of(found, method, tests_of), as_json)
        return
    whole_truth = tests == "all" or (tests is None and method != "dstc")  # then labels agree with it by definition
    # Programs that are timed must not disturb each other.
    count = 1 if method == "codedpo-efficiency" else workers
    with Judge(workers=count, require=require_isolation) as judge:
        pairs, summary = make_pairs(
            found, method, tests_of, judge,
            per_task=per_task, by_behaviour=by_behaviour, seed=seed, whole_truth=whole_truth, evaluation=evaluation,
        )  # fmt: skip
    if not pairs:
        reasons = ", ".join(f"{reason}: {number}" for reason, number in summary["dropped tasks"].items())
        raise StropError(f"No pair could be made of {len(found.pools)} tasks ({reasons}), so {out} was not written.")
    _show({"run": str(run)} | summary | {"rows": write_pairs(pairs, out, layout), "out": str(out)}, as_json)


@app.command()
def methods(as_json: JsonOption = False) -> None:
    """The constructions for `strop data pairs --method`."""
    from strop.data.from_run import METHODS

    if as_json:
        typer.echo(json.dumps(dict(METHODS), indent=2))
        return
    for name, what in METHODS.items():
        typer.echo(f"{name:20} {what}")


@app.command("tests")
def write_tests(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write: JSON Lines.")],
    model: ModelOption = "smollm2",
    tasks: TasksOption = "basics",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most this many tasks.")] = None,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Replies a task.")] = 1,
    count: Annotated[int, typer.Option("--count", min=1, help="Tests asked for in a reply.")] = 8,
    temperature: Annotated[float, typer.Option("--temperature", "-T", min=0.0, help="0 is greedy.")] = 0.8,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1)] = 400,
    seed: SeedOption = 0,
    workers: WorkersOption = None,
    require_isolation: IsolationOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a model write tests, and measure them where the tasks have reference solutions.

    Kept are calls of the entry point with literal arguments and value; duplicates and contradictions go.
    """
    from contextlib import closing

    from strop import models
    from strop import tasks as task_sets
    from strop.data.written_tests import dump_tests, suite_quality
    from strop.data.written_tests import write_tests as sample_tests
    from strop.judge import Judge
    from strop.types import SamplingParams, StropError

    if out.exists() and not force:
        raise StropError(f"{out} exists; --force replaces it.")
    every = task_sets.load(tasks, limit=limit)
    chosen = [task for task in every if task.entry_point]
    summary: dict[str, Any] = {"tasks": len(chosen), "tasks without an entry point": len(every) - len(chosen)}
    if not chosen:
        raise StropError(f"No task of {tasks} has an entry point to write tests for.")
    if dry_run:
        _show(summary | {"replies": len(chosen) * n, "tokens at most": len(chosen) * n * max_tokens}, as_json)
        return
    params = SamplingParams(temperature=temperature, max_tokens=max_tokens)
    with closing(models.load(model)) as loaded:
        written, spent = sample_tests(loaded, chosen, samples=n, count=count, params=params, seed=seed)
    dropped: dict[str, int] = {}
    for item in written:
        for reason, number in item.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + number
    by_id = {task.id: task for task in chosen}
    suites = [(by_id[item.task_id], item.tests) for item in written if item.tests and by_id[item.task_id].reference]
    summary |= {"tests": dump_tests(written, out), "dropped": dropped, "spent": asdict(spent), "out": str(out)}
    if suites:
        with Judge(workers=workers, require=require_isolation) as judge:
            summary |= _suite_figures(suite_quality(suites, judge, seed=seed), seed)
    _show(summary, as_json)


@app.command("ir-groups")
def ir_groups(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write: .jsonl.")],
    count: Annotated[int, typer.Option("--count", min=1, help="How many groups.")] = 40,
    losers: Annotated[int, typer.Option("--losers", min=2, help="Changed texts a group.")] = 3,
    longest: Annotated[int, typer.Option("--longest", min=100, help="Characters of the longest text.")] = 1500,
    seed: SeedOption = 0,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Groups of equivalent and other LLVM IR for `strop train rl recipe=oorl equivalents=FILE`. Needs ziglang."""
    from strop.data import ir_groups as groups
    from strop.types import StropError

    if out.exists() and not force:
        raise StropError(f"{out} exists; choose another name or replace it with --force.")
    found = list(groups.build(count, seed=seed, losers=losers, longest=longest))
    groups.dump(found, out)
    sizes = {"winners": sum(len(one.winners) for one in found), "losers": sum(len(one.losers) for one in found)}
    _show({"groups": len(found), **sizes, "out": str(out)}, as_json)


def _suite_figures(found: Any, seed: int) -> dict[str, Any]:
    from strop.stats import estimate

    figures = {
        "validity": [quality.valid / quality.tests for quality in found],
        "coverage": [quality.coverage for quality in found if quality.coverage is not None],
        "mutation score": [quality.mutation_score for quality in found if quality.mutation_score is not None],
    }
    return {name: asdict(estimate(values, seed=seed)) for name, values in figures.items() if values}


def _show(summary: dict[str, Any], as_json: bool) -> None:
    """The summary as JSON, or as lines: figures first, tables of counts indented."""
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return
    for name, value in summary.items():
        if name == "label quality":
            _show_quality(value)
        elif name == "length":
            _show_length(value)
        elif isinstance(value, dict) and {"value", "low", "high", "n"} == set(value):
            typer.echo(f"{name}: {_estimate(value)}")
        elif isinstance(value, dict):
            typer.echo(f"{name}: {'none' if not value else ''}")
            for key, number in value.items():
                typer.echo(f"  {key}: {number if not isinstance(number, list) else ', '.join(number[:5])}")
        else:
            typer.echo(f"{name}: {value}")


def _show_length(value: dict[str, Any]) -> None:
    typer.echo(f"shorter answer chosen: {_estimate(value['shorter_chosen'])}")
    if value["confounded"]:
        typer.echo("  warning: length alone tells chosen from rejected more often than not")


def _show_quality(value: dict[str, Any]) -> None:
    typer.echo(f"right programs: {_estimate(value['share_right'])}")
    typer.echo("label quality against all checks of the tasks:")
    for row in value["overall"]:
        typer.echo(f"  {row['scorer']:10} AUC {_estimate(row['auc'])}; true pairs {_estimate(row['precision'])}")
    for warning in value["warnings"]:
        typer.echo(f"  warning: {warning}")


def _estimate(value: dict[str, Any] | None) -> str:
    from strop.stats import Estimate

    return "not measured" if value is None else Estimate(**value).words()
