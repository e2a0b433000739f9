"""List, show, validate and convert task sets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from strop.types import Check, Task

app = typer.Typer(no_args_is_help=True)

SpecArgument = Annotated[str, typer.Argument(metavar="TASKS", help="A set, a file, a folder; NAME:SPLIT, FORMAT:FILE.")]
SplitOption = Annotated[str | None, typer.Option(help="Only this split, or all.")]
TagOption = Annotated[list[str] | None, typer.Option(help="Only tasks with this tag; may be repeated.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="At most this many tasks, spread over the set.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


@app.callback()
def tasks() -> None:
    """List, show, validate and convert task sets."""


@app.command("list")
def list_sets(as_json: JsonOption = False) -> None:
    """The task sets known by name, with their sizes where the data is here."""
    from strop.tasks.catalogue import catalogue

    entries = catalogue()
    if as_json:
        typer.echo(json.dumps(entries, indent=2))
        return
    rows = [(e["name"], str(e["tasks"] or "-"), _counts(e["splits"]) or e["missing"], e["about"]) for e in entries]
    _table(("set", "tasks", "splits", "what"), rows)


@app.command()
def show(
    spec: SpecArgument,
    task_id: Annotated[str | None, typer.Argument(metavar="ID", help="Show this task in full.")] = None,
    split: SplitOption = None,
    tag: TagOption = None,
    limit: LimitOption = None,
    protocol: Annotated[str | None, typer.Option("--as", help="Show the prompt under this protocol.")] = None,
    as_json: JsonOption = False,
) -> None:
    """A set's tasks with counts by split and tag, or one task in full."""
    from strop.tasks import load, task_set_hash
    from strop.tasks.loading import format_of
    from strop.tasks.schema import write_row
    from strop.types import StropError

    if task_id is None:
        if protocol is not None:
            raise StropError("--as shows one task's prompt: give its ID too.")
        chosen = load(spec, split=split or "all", tags=tag or (), limit=limit)
        if as_json:
            typer.echo(json.dumps([write_row(task) for task in chosen], indent=2))
        else:
            _show_set(chosen, format_of(spec), task_set_hash(chosen))
        return
    (task,) = load(spec, split=split or "all", ids=[task_id])
    if as_json:
        typer.echo(json.dumps(write_row(task), indent=2))
    elif protocol is not None:
        _show_prompt(task, protocol)
    else:
        _show_task(task)


@app.command()
def schema() -> None:
    """JSON Schema of one line of a task file in Strop's own format."""
    from strop.tasks.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def validate(
    spec: Annotated[str, typer.Argument(metavar="FILE", help="Task file or folder; FORMAT:FILE to fix the format.")],
    as_json: JsonOption = False,
) -> None:
    """Every defect of a task file, with line and field. Exit code 2 when there is one.

    This reads; it runs nothing. `strop lint` runs the references and checks.
    """
    from dataclasses import asdict

    from strop.tasks.loading import format_of, read_everything

    good, defects = read_everything(spec)
    if as_json:
        typer.echo(json.dumps({"tasks": len(good), "defects": [asdict(item) for item in defects]}, indent=2))
    else:
        for item in defects:
            typer.echo(plain(str(item)))
        found = f"{len(good)} good tasks, {len(defects)} defects" if defects else f"{len(good)} tasks, no defects"
        typer.echo(plain(f"{found} ({format_of(spec)})"))
    if defects:
        raise typer.Exit(2)


@app.command()
def convert(
    spec: SpecArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; compressed when it ends in .gz.")],
    split: SplitOption = None,
    tag: TagOption = None,
    limit: LimitOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT when it exists.")] = False,
) -> None:
    """Write tasks of any format as Strop's own JSON Lines."""
    from strop.tasks import dump, load
    from strop.types import StropError

    if out.exists() and not force:
        raise StropError(f"{out} exists; --force replaces it.")
    count = dump(load(spec, split=split, tags=tag or (), limit=limit), out)
    typer.echo(f"{out}: {count} tasks")


@app.command("self-invoking")
def self_invoking_tasks(
    spec: SpecArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; compressed when it ends in .gz.")],
    inputs: Annotated[int, typer.Option("--inputs", min=1, help="Calls of the first function in each check.")] = 3,
    split: SplitOption = None,
    tag: TagOption = None,
    limit: LimitOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT when it exists.")] = False,
) -> None:
    """A harder set from any other: each problem once more, with a second function that calls the first.

    As HumanEval Pro does, made from the tasks' own call checks, so nothing is run or written by a model.
    """
    from strop.evals.pro import self_invoking
    from strop.tasks import dump, load
    from strop.types import StropError

    if out.exists() and not force:
        raise StropError(f"{out} exists; --force replaces it.")
    chosen = load(spec, split=split, tags=tag or (), limit=limit)
    made = [task for one in chosen if (task := self_invoking(one, inputs=inputs)) is not None]
    if not made:
        raise StropError(f"No task of {spec} has more than {inputs} call checks of one entry point.")
    count = dump(made, out)
    typer.echo(f"{out}: {count} tasks; {len(chosen) - count} of {len(chosen)} have too few call checks")


@app.command("protocols")
def list_protocols() -> None:
    """The prompt protocols for `--as`."""
    from strop.tasks.protocols import PROTOCOLS

    rows = [
        (item.name, "chat" if item.chat else "raw text", (type(item).__doc__ or "").partition("\n")[0])
        for item in PROTOCOLS.values()
    ]
    _table(("protocol", "prompt", "rules"), rows)


def plain(text: str) -> str:
    """Text from a task file, safe for a terminal: control characters are shown, not sent."""
    kept = (letter if letter in "\n\t" or letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return "".join(kept)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*[Text(plain(cell)) for cell in row])
    Console().print(table)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _show_set(tasks: Sequence[Task], form: str, digest: str) -> None:
    splits = Counter(task.split for task in tasks)
    tags = Counter(tag for task in tasks for tag in task.tags)
    rows = [
        (
            task.id,
            task.split,
            ", ".join(task.tags),
            f"{len(task.visible_checks)}+{len(task.hidden_checks)}",
            _head(task),
        )
        for task in tasks[:50]
    ]
    _table(("id", "split", "tags", "checks", "prompt"), rows)
    if len(tasks) > len(rows):
        typer.echo(f"... and {len(tasks) - len(rows)} more (--json shows all)")
    typer.echo(f"\n{len(tasks)} tasks ({form}). Checks are visible+hidden. Set hash {digest[:16]}.")
    typer.echo(plain(f"By split: {_counts(dict(splits))}"))
    if tags:
        typer.echo(plain(f"By tag: {_counts(dict(sorted(tags.items())))}"))


def _head(task: Task) -> str:
    lines = [line.strip(" \"'") for line in task.prompt.split("\n")]
    starts = ("import ", "from ", "def ", "class ")
    line = next((line for line in lines if line and not line.startswith(starts)), "")
    return line if len(line) <= 60 else line[:57] + "..."


def _show_task(task: Task) -> None:
    about = [f"split {task.split}", *[f"tag {tag}" for tag in task.tags]]
    about += [f"{name} {value}" for name in ("entry_point", "source", "licence") if (value := getattr(task, name))]
    _part(task.id, ", ".join(about))
    _part("Prompt", task.prompt)
    if task.stub and task.stub != task.prompt:
        _part("Stub", task.stub)
    if task.setup:
        _part("Set-up of the checks", task.setup)
    for name, checks in (("Visible checks", task.visible_checks), ("Hidden checks", task.hidden_checks)):
        if checks:
            _part(f"{name} ({len(checks)})", "\n".join(map(_line, checks)))
    _part("Reference", task.reference if task.reference is not None else "none")


def _line(check: Check) -> str:
    from strop.tasks.literals import write_literal
    from strop.tasks.schema import write_check

    row = write_check(check, check.name)
    for key in ("visible", "name"):
        row.pop(key, None)
    if "call" in row:
        tolerance = f" ~ {row['tolerance']}" if "tolerance" in row else ""
        return f"{row['call']} == {row['expected']}{tolerance}"
    if "script" in row:
        return row["script"].strip("\n")
    return ", ".join(
        f"{key}: {write_literal(value) if isinstance(value, str) else value}" for key, value in row.items()
    )


def _show_prompt(task: Task, name: str) -> None:
    from strop.tasks.protocols import get_protocol

    protocol = get_protocol(name)
    prompt = protocol.render(task)
    if isinstance(prompt, str):
        _part("text", prompt)
    else:
        for message in prompt:
            _part(message.role, message.content)
    _part("stop", ", ".join(map(repr, protocol.stop_for(task))) or "none")


def _part(title: str, text: str) -> None:
    typer.secho(plain(title), bold=True)
    typer.echo(plain(text).rstrip("\n") + "\n")
