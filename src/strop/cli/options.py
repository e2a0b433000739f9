"""Options that several verbs share, and what they have in common."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

ModelOption = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="smollm2, hf/NAME-or-PATH, gguf/FILE (+ADAPTER-FOLDER), openai/NAME@URL"
    ),
]
TasksOption = Annotated[
    str, typer.Option("--tasks", "-t", metavar="TASKS", help="basics, humaneval, mbpp, apps, or a file; NAME:SPLIT")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Seeds sampling and training.")]
OutOption = Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Run folder; repeat to resume.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Set an earlier run in the folder aside and start anew.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost, then stop.")]
WorkersOption = Annotated[int | None, typer.Option("--workers", min=1, help="Judge workers; default: cores.")]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray", metavar="ADDRESS", help="Judge on the nodes of this Ray cluster; auto: the one on this machine."
    ),
]
NearDuplicatesOption = Annotated[
    bool, typer.Option("--allow-near-duplicates", help="Go on although held-out prompts resemble practice ones.")
]
IsolationOption = Annotated[
    str | None,
    typer.Option("--require-isolation", metavar="LEVEL", help="Refuse to run programs below this isolation level."),
]


def keep_stdout(ray: str | None) -> AbstractContextManager[Any]:
    """Ray prints what it tries again on standard output, which belongs to results: meanwhile that goes to the other."""
    return redirect_stdout(sys.stderr) if ray else nullcontext()


def run_folder(verb: str, out: Path | None, config: Mapping[str, Any]) -> Path:
    """The folder of this run: `--out`, or one named after verb, model, tasks and configuration, so repeats resume."""
    if out is None:
        digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:8]
        words = [re.sub(r"[^\w.-]+", "-", Path(str(config[name])).name)[:40] for name in ("model", "tasks")]
        out = Path("runs") / "-".join([verb, *words, digest])
    return out


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["strop", *sys.argv[1:]])


def show_outcome(folder: Path, as_json: bool, *lines: str) -> None:
    """Write the run's report and print its headline, then `lines`; or print its data alone, as JSON."""
    from strop import report
    from strop.report import terminal

    written = report.write(folder)
    data = json.loads(written.with_name("report.json").read_text())
    if as_json:
        typer.echo(json.dumps(data, indent=2))
        return
    (terminal.print_improve if data["kind"] == "improve" else terminal.print_eval)(data)
    for line in (*lines, f"Report: {written}"):
        typer.echo(line)
