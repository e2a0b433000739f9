"""Render a run folder's report again, from what the run kept; also while the run is going on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from strop.cli.options import JsonOption


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)],
    figures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write its main figures there too, a file each.")
    ] = None,
    figure_format: Annotated[
        Literal["svg", "png"], typer.Option("--format", help="Of the figures; png needs the extra 'figures'.")
    ] = "svg",
    as_json: JsonOption = False,
) -> None:
    from strop import report as reports

    page = reports.write(run)
    typer.echo(page.with_suffix(".json").read_text(encoding="utf-8").rstrip() if as_json else page)
    if figures is not None:
        from strop.report.figures import write

        for path in write(run, figures, f".{figure_format}"):
            typer.echo(path, err=as_json)
