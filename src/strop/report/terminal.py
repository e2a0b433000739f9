"""The headline of a report as tables for a terminal.

Strings come from task files and models: they go through `visible` (no terminal escapes) and into `rich.text.Text`
(no console markup). Colour says nothing that the words do not say too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from strop.report.data import STATUS_ORDER, STATUS_WORDS
from strop.report.text import number as short
from strop.report.text import percent, points, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def print_eval(data: Mapping[str, Any], console: Console | None = None) -> None:
    """pass@k with intervals, by tag, how samples ended, and what was spent."""
    console = console or _console()
    table = headed_table("", "", "rate", "95 % interval", "tasks", "samples")
    for split in data["splits"]:
        for number, row in enumerate(split["rows"]):
            name, *size = (split["label"], str(split["tasks"]), split["samples_per_task"]) if number == 0 else [""] * 3
            add_row(table, name, row["label"], *rate_cells(row["estimate"]), *size)
    console.print(_text(data["title"], "bold"))
    console.print(table)
    if data["protocols"]:
        protocols = headed_table("by protocol", "pass@1", "95 % interval", f"against {data['detailed_protocol']}")
        for row in data["protocols"]:
            change = f"{points(row['difference']['value'])} points" if row["difference"] else "–"
            add_row(protocols, row["protocol"], *rate_cells(row["estimate"]), change)
        console.print(protocols)
    if data["tags"]:
        tags = headed_table("by tag", "pass@1", "95 % interval", "tasks")
        for row in data["tags"]:
            add_row(tags, row["tag"], *rate_cells(row["after"]), str(row["tasks"]))
        console.print(tags)
    _print_statuses(data, console)
    _print_tail(data, console)


def print_improve(data: Mapping[str, Any], console: Console | None = None) -> None:
    """Before, after and the paired difference for each held-out split; then statuses, guards and what was spent."""
    from strop.report.charts import direction
    from strop.report.html import p_value

    console = console or _console()
    console.print(_text(data["title"], "bold"))
    table = headed_table("pass@1", "before", "after", "change", "95 % interval", "p", "tasks")
    for split in data["splits"]:
        change = split["difference"]
        shown: list[Any] = ["–", "–", "–"]
        if change:
            colour = {"gain": "green", "loss": "red", "unsure": ""}[direction(change)]
            shown[0] = _text(points(change["value"]), colour)
            if change["low"] is not None:
                shown[1] = f"{points(change['low'])} to {points(change['high'])}"
                shown[2] = p_value(change["p"]).removeprefix("p").strip(" =")
        rates = (rate_cells(split[name])[0] for name in ("before", "after"))
        add_row(table, split["label"], *rates, *shown, f"{split['tasks']} × {split['samples_per_task']}")
    console.print(table)
    for split in data["splits"]:
        console.print(_text(split["words"]))
    _print_statuses(data, console)
    if data["monitors"]:
        steps = data["monitors"]["steps"]
        ends = [f"{name} step" if steps == 1 else f"{name} {steps} steps" for name in ("first", "last")]
        watched = headed_table("rewards and monitors", *ends)
        for row in data["monitors"]["rows"]:
            add_row(watched, row["label"], short(row["first"]), short(row["last"]))
        console.print(watched)
    if data["guards"]:
        guards = headed_table("guards", "before", "after", "change")
        for row in data["guards"]:
            change = row["change"] or "–"
            if row["difference"]:
                change = f"{points(row['difference']['value'])} points"
            add_row(guards, row["label"], row["before"], row["after"] or "–", change)
        console.print(guards)
    _print_tail(data, console)


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def headed_table(*headings: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(_text(heading), justify="left" if number == 0 else "right", no_wrap=number > 0)
    return table


def add_row(table: Table, *cells: str | Text) -> None:
    table.add_row(*(_text(cell) if isinstance(cell, str) else cell for cell in cells))


def _text(value: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(visible(value), style=style)


def rate_cells(estimate: Mapping[str, Any] | None) -> tuple[str, str]:
    if estimate is None:
        return "–", "–"
    if estimate["low"] is None:
        return percent(estimate["value"]), "–"
    return percent(estimate["value"]), f"{percent(estimate['low'])} to {percent(estimate['high'])}"


def _print_statuses(data: Mapping[str, Any], console: Console) -> None:
    used = [name for name in STATUS_ORDER if any(row["counts"].get(name) for row in data["statuses"])]
    if not used:
        return
    table = headed_table("how samples ended", *(row["label"] for row in data["statuses"]))
    for name in used:
        add_row(table, STATUS_WORDS[name], *(f"{row['counts'].get(name, 0):,}" for row in data["statuses"]))
    console.print(table)


def _print_tail(data: Mapping[str, Any], console: Console) -> None:
    total = data["spent_total"]
    rate = f" ({total['sampled_tokens'] / total['seconds']:,.0f} a second over all)" if total["seconds"] else ""
    money = f", {total['money']:.4f} US $" if total["money"] else ""
    console.print(
        f"Spent: {total['seconds']:,.1f} s, {total['model_calls']:,} model calls, "
        f"{total['sampled_tokens']:,} tokens sampled{rate}, {total['programs']:,} programs run{money}."
    )
    for note in data["notes"]:
        console.print(_text(note))
