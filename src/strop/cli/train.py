"""Train a model with one learner and full control of its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from strop.cli.learn import register
from strop.cli.options import (
    DryRunOption,
    FreshOption,
    IsolationOption,
    JsonOption,
    NearDuplicatesOption,
    OutOption,
    QuietOption,
    WorkersOption,
)

app = typer.Typer(no_args_is_help=True)
register(app)


@app.callback()
def train() -> None:
    """Train a model with one learner and full control of its settings."""


@app.command()
def rl(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Settings; they win over the file.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings as TOML.")] = None,
    settings: Annotated[bool, typer.Option("--settings", help="List recipes and settings with their values.")] = False,
    track: Annotated[
        str | None, typer.Option("--track", metavar="NAME", help="Also send to trackio, wandb or tensorboard.")
    ] = None,
    workers: WorkersOption = None,
    allow_near_duplicates: NearDuplicatesOption = False,
    require_isolation: IsolationOption = None,
    out: OutOption = None,
    fresh: FreshOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Reinforcement learning on verdicts: sample, judge, reward, learn; measured on held-out tasks before and after.

    `strop train rl recipe=rloo steps=60 group=8 --out runs/first`. The same command again resumes.
    """
    from strop.cli.reinforce import reinforce
    from strop.train.rl.recipes import read

    chosen = read(config, words or [])
    if settings:
        _list_settings(chosen)
        return
    reinforce(
        "train-rl", chosen, track=track, workers=workers, allow_near_duplicates=allow_near_duplicates,
        require_isolation=require_isolation, out=out, fresh=fresh, dry_run=dry_run, as_json=as_json, quiet=quiet,
    )  # fmt: skip


def _list_settings(chosen: Any) -> None:
    from dataclasses import asdict

    from strop.train.rl.recipes import RECIPES

    typer.echo(f"recipes: {', '.join(RECIPES)}")
    for name, value in asdict(chosen).items():
        typer.echo(f"{name} = {'none' if value is None else repr(value)}")
