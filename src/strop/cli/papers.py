"""The catalogue of papers: find one, run its experiment, see what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strop.cli.options import DryRunOption, JsonOption, QuietOption

app = typer.Typer(no_args_is_help=True)

GroupOption = Annotated[
    str | None, typer.Option(help="learning, judges, models, search, agents, audit, behaviour or control.")
]
KindOption = Annotated[str | None, typer.Option(help="method, benchmark, study, recipe, survey, library, ...")]
StateOption = Annotated[str | None, typer.Option(help="planned, study, runs, shown, 'not shown' or contradicted.")]
PaperArgument = Annotated[str, typer.Argument(metavar="PAPER", help="Number or name, such as 43 or codedpo.")]


@app.callback()
def papers() -> None:
    """The catalogue of papers: find one, run its experiment, see what was measured."""


@app.command("list")
def list_(
    group: GroupOption = None,
    kind: KindOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the papers with their states; as JSON, the whole cards with what was measured."""
    from strop.papers.catalogue import catalogue
    from strop.papers.find import filtered
    from strop.papers.terminal import print_list

    entries = filtered(catalogue(), group=group, kind=kind, state=state)
    if as_json:
        _print_json([one.data() for one in entries])
    else:
        print_list(entries)


@app.command()
def show(
    paper: PaperArgument,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the figure of its results too: .svg or .png.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a card: mechanism, the paper's claims, the experiment here and what it measured."""
    from strop.papers.cards import find
    from strop.papers.catalogue import entry
    from strop.papers.terminal import show as lines

    one = entry(find(paper))
    if figure is not None:
        from strop.papers import harness
        from strop.report import plot
        from strop.types import StropError

        if one.results is None:
            raise StropError(f"Nothing was measured for {one.card.name} yet, so it has no figure.")
        plot.save(harness.figure(one.results), figure)
    if as_json:
        _print_json(one.data())
        return
    for line in lines(one):
        typer.echo(line)


@app.command()
def search(
    query: Annotated[list[str], typer.Argument(metavar="WORDS", help="What to look for.")],
    group: GroupOption = None,
    kind: KindOption = None,
    state: StateOption = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Papers to print at most.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Find papers by words of their cards, best first. Exit code 1 when none fits."""
    from strop.papers.catalogue import catalogue
    from strop.papers.find import filtered
    from strop.papers.find import search as rank
    from strop.papers.terminal import print_hits

    hits = rank(filtered(catalogue(), group=group, kind=kind, state=state), " ".join(query), limit)
    if as_json:
        _print_json([{"score": round(score, 4), **one.data()} for one, score in hits])
    elif hits:
        print_hits([one for one, _ in hits])
    else:
        typer.echo("No card has any of these words.", err=True)
    if not hits:
        raise typer.Exit(1)


@app.command()
def merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILES", help="Results files of one experiment.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write here instead of results/.")] = None,
) -> None:
    """Join results files of the same code from several machines; what results/ already holds stays."""
    from strop.papers import harness

    for line in harness.words(harness.merge(files, out)):
        typer.echo(line)


@app.command()
def check(as_json: JsonOption = False) -> None:
    """Prove the catalogue: cards are valid, components import, results follow from their outcomes and present code.

    Prints the counts by state. Exit code 1 when something is broken or stale.
    """
    from dataclasses import asdict

    from strop.papers.catalogue import check as prove
    from strop.papers.terminal import check_lines

    found = prove()
    if as_json:
        _print_json(asdict(found))
    else:
        for line in check_lines(found):
            typer.echo(line)
    if not found.ok:
        raise typer.Exit(1)


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
    from strop.papers.cards import cards, find
    from strop.papers.experiment import Size
    from strop.types import StropError

    card = cards()[find(paper)]
    experiment = harness.load(card.number)
    if experiment is None:
        raise StropError(f"Paper {card.number}, {card.name}, has no experiment yet; its card says what is planned.")
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


def _print_json(value: object) -> None:
    import json

    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))
