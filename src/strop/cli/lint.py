"""Find defects in task sets before they cost you anything."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def lint() -> None:
    """Find defects in task sets before they cost you anything."""


@app.command()
def tasks(
    source: Annotated[str, typer.Argument(metavar="FILE|NAME", help="Task file or name of a task set.")],
    repeat: Annotated[int, typer.Option(min=1, help="Runs of each reference, in peace and again under load.")] = 3,
    load: Annotated[bool, typer.Option(help="Run the references while every core is busy, too.")] = True,
    workers: Annotated[int | None, typer.Option(min=1, help="Programs at once. Default: one a core.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at this many tasks only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the defects as a JSON list.")] = False,
) -> None:
    """List every defect of a task set, with task and line.

    References must pass repeatedly and under load; empty, constant, always-equal, early-exit, echo and raising programs
    must fail; checks must not depend on names that the program can redefine. Exit code 0: no defect. 1: some. 2: the
    file cannot be read.
    """
    from strop.cli.progress import progress
    from strop.judge import Judge
    from strop.judge.lint import lint as find
    from strop.tasks import load as load_tasks
    from strop.tasks.loading import resolve

    path, split = resolve(source)
    problems = load_tasks(source, split=split or "all", limit=limit)
    lines = _lines(path, [task.id for task in problems]) if limit is None and split is None else None
    with progress() as advance, Judge(workers=workers) as judge:
        findings = find(
            problems,
            judge,
            lines=lines,
            repeat=repeat,
            load=load,
            progress=lambda done, total: advance("programs", done, total),
        )
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            print(finding)
        bad = len({finding.task_id for finding in findings})
        print(f"{len(problems)} tasks: " + (f"{len(findings)} defects in {bad} of them" if findings else "no defect"))
    if findings:
        raise typer.Exit(1)


def _lines(path: str, ids: list[str]) -> list[int] | None:
    """Line of each task in a JSON Lines file that has one task a line; None for other sources."""
    from pathlib import Path

    from strop.tasks.reading import Row, read_rows

    file = Path(path.partition(":")[2] if ":" in path and not Path(path).exists() else path)
    if not file.is_file() or not file.name.removesuffix(".gz").endswith(".jsonl"):
        return None
    lines = [row.line for row in read_rows(file) if isinstance(row, Row)]
    return lines if len(lines) == len(ids) else None
