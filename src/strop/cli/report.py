"""Render a run folder's report again, from what the run kept; also while the run is going on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strop.cli.options import JsonOption


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    from strop import report as reports

    page = reports.write(run)
    typer.echo(page.with_suffix(".json").read_text(encoding="utf-8").rstrip() if as_json else page)
