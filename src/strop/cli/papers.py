"""The catalogue of papers: find one, run its experiment, see what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strop.cli.options import DryRunOption, JsonOption, QuietOption

app = typer.Typer(no_args_is_help=True)

PaperArgument = Annotated[str, typer.Argument(metavar="PAPER", help="Number or name, such as 43 or codedpo.")]


@app.callback()
def papers() -> None:
    """The catalogue of papers: find one, run its experiment, see what was measured."""


@app.command()
def run(
    paper: PaperArgument,
    quick: Annotated[bool, typer.Option(help="A small run in under three minutes; not kept in results/.")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds 0 to N-1, instead of the planned ones.")] = None,
    units: Annotated[int | None, typer.Option(min=1, help="The first N units, instead of the planned ones.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another value of a setting, as JSON.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Results file to write or add to.")] = None,
    dry_run: DryRunOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a paper's experiment and write its results file.

    The cost is stated first. Finished items are kept: the same command goes on after Ctrl-C, and more seeds or units
    add to what is there.
    """
    from strop.cli.options import command_line
    from strop.cli.progress import progress
    from strop.papers import harness
    from strop.papers.experiment import Size
    from strop.types import StropError

    experiment = harness.load(int(paper)) if paper.isdigit() else None
    if experiment is None:
        raise StropError(f"Paper {paper} has no experiment yet.")
    usual = experiment.quick if quick else experiment.planned
    plan = harness.plan(
        experiment,
        quick=quick,
        size=Size(units=units or usual.units, seeds=seeds or usual.seeds),
        settings=_settings(change or []),
        file=out,
    )
    typer.echo(str(plan), err=as_json)
    if dry_run:
        return
    with progress(not quiet) as advance:
        results = harness.execute(plan, command=command_line(), on_progress=advance)
    if as_json:
        typer.echo(results.model_dump_json(indent=1))
        return
    for line in harness.words(results):
        typer.echo(line)


def _settings(changes: list[str]) -> dict[str, object]:
    import json

    from strop.types import StropError

    settings: dict[str, object] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise StropError(f"--set takes NAME=VALUE, not '{change}'.")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings
