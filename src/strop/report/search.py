"""A comparison of search methods: a table for the terminal, and one page with table, curves and every tree.

The page needs nothing else and trusts nothing: what models wrote is made visible and escaped as in `report.html`, and
the same policy forbids anything but its own style sheet and script.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from strop.report.data import STATUS_ORDER, STATUS_WORDS
from strop.report.terminal import add_row, headed_table, rate_cells
from strop.report.text import excerpt, percent

if TYPE_CHECKING:
    from rich.table import Table

Part = Literal["rates", "costs"]
PAGE_CHARACTERS = 6_000_000
"""Text of nodes that a page holds; further searches are counted, not shown."""
SHOWN_PROMPT = 3_000


def search_table(data: Mapping[str, Any], parts: Sequence[Part] = ("rates", "costs")) -> Table:
    """One row a method: what it solved, against the baseline, and what that cost; or only one of these parts."""
    several = len(data["methods"]) > 1
    names = {
        "rates": ["pass@1", "95 % interval", *(["against first", "p (Holm)"] if several else []), "found", "bad form"],
        "costs": ["programs", "calls", "tokens", "tokens/solved", "s/solved"],
    }
    table = headed_table("method", *(name for part in parts for name in names[part]))
    for row in data["methods"]:
        cells = {part: ["–"] * len(names[part]) for part in parts}
        if row["pass_at_1"] is not None:
            cells = {"rates": _rates(row, several), "costs": _costs(row)}
        add_row(table, row["method"], *(cell for part in parts for cell in cells[part]))
    return table


def _rates(row: Mapping[str, Any], several: bool) -> list[Any]:
    change = []
    if several:
        difference = row.get("difference")
        change = [f"{100 * difference['value']:+.1f}", f"{difference['p_holm']:.3f}"] if difference else ["–", "–"]
    bad = row["format_failure_rate"]
    return [*rate_cells(row["pass_at_1"]), *change, percent(row["found"]), "–" if bad is None else percent(bad)]


def _costs(row: Mapping[str, Any]) -> list[str]:
    each, solved = row["per_search"], row["per_solved"]
    return [
        f"{each['programs']:.1f}",
        f"{each['model_calls']:.1f}",
        f"{each['sampled_tokens']:,.0f}",
        f"{solved['sampled_tokens']:,.0f}" if solved else "–",
        f"{solved['seconds']:.1f}" if solved else "–",
    ]


# ---- the page ----------------------------------------------------------------------------------


def write_page(folder: Path, data: Mapping[str, Any], traces: Iterable[dict[str, Any]], command: str) -> Path:
    """Write `search.json` and `search.html` into the run folder; returns the page's path."""
    from strop.run import write_whole
    from strop.types import StropError

    page = folder / "search.html"
    texts = {
        folder / "search.json": json.dumps(data, indent=1, allow_nan=False) + "\n",
        page: render(data, traces, command),
    }
    try:
        for path, text in texts.items():
            write_whole(path, text)
    except OSError as error:
        raise StropError(f"Cannot write {page}: {error.strerror or error}.") from error
    return page


def rewrite_page(folder: Path) -> Path:
    """Render the page of a run again, from what the run kept. Raises StropError when it holds no comparison."""
    from strop.run import Run
    from strop.search.compare import search_key
    from strop.types import StropError

    try:
        data = json.loads((folder / "search.json").read_text(encoding="utf-8"))
        keys = [
            search_key(name, source, task, seed)
            for seed in data["settings"]["seeds"]
            for task in data["task_ids"]
            for name, source in data["sources"].items()
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StropError(f"{folder / 'search.json'} cannot be read ({error}). Run the search again.") from error
    with Run.read(folder) as run:
        traces = (trace for key in keys if (trace := run.result(key)) is not None)
        return write_page(folder, data, traces, run.manifest["command"])


def render(data: Mapping[str, Any], traces: Iterable[dict[str, Any]], command: str) -> str:
    """The page. `traces`: as `strop.search` keeps them; those that do not fit are counted."""
    from strop import __version__
    from strop.report import charts, html
    from strop.report.tree import tree

    css, script = (
        html.asset("report.css") + html.asset("search.css"),
        html.asset("report.js") + html.asset("search.js"),
    )
    shown, left_out = _fitting(traces)
    rows = [row for row in data["methods"] if row["pass_at_1"]]
    measured = [row | {"kind": charts.kind(number)} for number, row in enumerate(rows)]
    statuses = {node["status"] for trace in shown for node in trace["nodes"]}
    return (
        html.environment()
        .get_template("search.html.j2")
        .render(
            data=data,
            measured=measured,
            traces=shown,
            left_out=left_out,
            command=command,
            css=html.markup(css),
            script=html.markup(script),
            policy=html.markup(html.policy(css, script)),
            charts=charts,
            tree=tree,
            excerpt=excerpt,
            duration=html.duration,
            anytime=_anytime(measured),
            spots=_spots(measured),
            version=__version__,
            shown_prompt=SHOWN_PROMPT,
            status_words=[(name, STATUS_WORDS[name]) for name in STATUS_ORDER if name in statuses],
        )
    )


def _fitting(traces: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """The traces that fit on a page, in order, and how many did not."""
    shown, left_out, room = [], 0, PAGE_CHARACTERS
    for trace in traces:
        size = sum(
            len(node["code"])
            + min(len(node["prompt"]), SHOWN_PROMPT)
            + sum(len(w["reply"]) for w in node["words"])
            + 800
            for node in trace["nodes"]
        )
        if size > room:
            left_out += 1
        else:
            shown.append(trace)
            room -= size
    return shown, left_out


def _anytime(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Series of the anytime plot; empty when no method wrote a second program."""
    series = [{"label": row["method"], "kind": row["kind"], "points": row["anytime"]} for row in rows if row["anytime"]]
    return series if any(len(line["points"]) > 1 for line in series) else []


def _spots(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Points of the Pareto plot: cost and rate of each method; empty for a single one."""
    spots = [
        {
            "label": row["method"],
            "kind": row["kind"],
            "x": row["per_search"]["sampled_tokens"],
            "estimate": row["pass_at_1"],
        }
        for row in rows
    ]
    return spots if len(spots) > 1 else []
