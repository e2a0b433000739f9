"""Figures as files that stand alone: SVG for pages and papers, PNG for what cannot show SVG.

Marks and scales are those of `strop.report.charts`, colours those of the reports' style sheet. Here every figure has a
fixed size, a title over its axis, a legend and a description, because no page is around it. Colours are written out,
since few programs but browsers know CSS variables; in a browser the figure follows the reader's light or dark theme.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from markupsafe import escape

from strop.report import charts, html
from strop.report.text import number, visible
from strop.types import StropError

Theme: TypeAlias = Literal["light", "dark"]
WIDTH = 640
TEXT = 'text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; } '
SHAPES = (
    ".title { font-weight: 600; font-size: 14px; } .tick { font-size: 12px; } "
    ".interval { stroke-width: 2.5; stroke-linecap: round; opacity: 0.55; } .dot, .swatch { stroke-width: 1.5; } "
    ".line { fill: none; stroke-width: 2; stroke-linejoin: round; } .zero { stroke-dasharray: 3 3; } "
    ".line.other { stroke-dasharray: 6 4; }"
)


@cache
def palette(theme: Theme) -> dict[str, str]:
    """Colours by the name of their variable in `report.css`, such as `ink`, `rule`, `a`: `#rrggbb`."""
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", html.asset("report.css"))
    return {name: light if theme == "light" else dark for name, light, dark in pairs}


def _colours(theme: Theme) -> str:
    of = palette(theme)
    rules = [
        f"text {{ fill: {of['ink']}; }} .tick {{ fill: {of['soft']}; }}",
        f".grid {{ stroke: {of['rule']}; }} .zero {{ stroke: {of['faint']}; }} .ground {{ fill: {of['card']}; }}",
        f".dot, .swatch {{ stroke: {of['card']}; }}",
    ]
    for kind in charts.KINDS:
        rules.append(f".interval.{kind}, .line.{kind} {{ stroke: {of[kind]}; }}")
        rules.append(f".dot.{kind}, .swatch.{kind} {{ fill: {of[kind]}; }}")
        rules.append(f".dot.{kind}.other, .swatch.{kind}.other {{ fill: {of['card']}; stroke: {of[kind]}; }}")
    return " ".join(rules)


def dots(
    rows: Sequence[tuple[str, Any]], *, title: str, x_label: str = "", mark: float | None = None, percent: bool = False
) -> str:
    """A row for each `(label, figure)`; a figure has `value`, `low` and `high`, the latter two None without interval.

    `mark`: where a dashed line stands. `percent`: figures are shares.
    """
    scale = 100 if percent else 1
    ends = [end for _, row in rows for end in (row.value, row.low, row.high) if end is not None]
    ends += [] if mark is None else [mark]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    margin = 0.06 * (high - low) or 0.1 * (abs(high) or 1)
    low, high = low - margin, high + margin
    left, right, top, pitch = min(320, 40 + 7 * max((len(label) for label, _ in rows), default=0)), 80, 40, 30
    bottom = top + pitch * len(rows)

    def at(value: float) -> float:
        return left + (min(max(value, low), high) - low) / (high - low) * (WIDTH - left - right)

    body = [f'<text class="title" x="12" y="22">{escape(visible(title))}</text>']
    for tick in charts.ticks(low, high):
        body.append(f'<line class="grid" x1="{at(tick):.1f}" x2="{at(tick):.1f}" y1="{top}" y2="{bottom}"/>')
        shown = number(round(scale * tick, 10))
        body.append(f'<text class="tick" x="{at(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{shown}</text>')
    if mark is not None:
        body.append(f'<line class="zero" x1="{at(mark):.1f}" x2="{at(mark):.1f}" y1="{top}" y2="{bottom}"/>')
    for place, (label, row) in enumerate(rows):
        y = top + pitch * (place + 0.5)
        body.append(f'<text x="{left - 14}" y="{y + 4}" text-anchor="end">{escape(visible(label))}</text>')
        if row.low is not None and row.high is not None:
            ends_at = f'x1="{at(row.low):.1f}" x2="{at(row.high):.1f}"'
            body.append(f'<line class="interval a" {ends_at} y1="{y}" y2="{y}"/>')
        body.append(f'<circle class="dot a" cx="{at(row.value):.1f}" cy="{y}" r="5"/>')
        shown = f"{scale * row.value:.1f}" if percent else number(round(row.value, 4))
        body.append(f'<text x="{WIDTH - right + 14}" y="{y + 4}">{shown.replace("-", "−")}</text>')
    if x_label:
        at_middle = f'x="{(left + WIDTH - right) / 2:.0f}" y="{bottom + 37}" text-anchor="middle"'
        body.append(f'<text class="tick" {at_middle}>{escape(visible(x_label))}</text>')
    said = "; ".join(f"{label}: {_said(row)}" for label, row in rows)
    return _standalone("".join(body), bottom + (48 if x_label else 30), title, said)


def _said(row: Any) -> str:
    return f"{row.value:.4g}" + ("" if row.low is None else f" ({row.low:.4g} to {row.high:.4g})")


def curves(
    series: Sequence[Mapping[str, Any]], *, title: str, x_label: str = "", low: float | None = None,
    percent: bool = False,
) -> str:  # fmt: skip
    """Lines over a numeric axis with intervals. `series`: `{label, points: [[x, y], ...], intervals?: [[low, high]]}`.

    `title` stands over the y axis and says what it is. `low`: lowest end of the y axis; None fits it to the data.
    `percent`: figures are shares. Raises ValueError for more series than can be told apart.
    """
    if len(series) > 2 * len(charts.KINDS):
        raise ValueError(f"{len(series)} series are more than the {2 * len(charts.KINDS)} that can be told apart")
    coloured = [{**line, "kind": charts.kind(place)} for place, line in enumerate(series)]
    xs = [x for line in coloured for x, _ in line["points"]]
    # Intervals of several lines at one x would hide each other: draw them side by side.
    step = 0.008 * (max(xs) - min(xs))
    beside = [
        {**line, "points": [[x + step * (place - (len(coloured) - 1) / 2), y] for x, y in line["points"]]}
        for place, line in enumerate(coloured)
    ]
    size = (470, 290)
    chart = charts.line_marks(beside, x_label, "percent" if percent else "", low, size)
    body = [f'<text class="title" x="12" y="22">{escape(visible(title))}</text>']
    body.append(f'<g transform="translate(0 34)">{chart}</g>')
    for place, line in enumerate(coloured):
        y = 62 + 24 * place
        body.append(f'<circle class="swatch {line["kind"]}" cx="486" cy="{y - 4}" r="6"/>')
        body.append(f'<text x="500" y="{y}">{escape(visible(line["label"]))}</text>')
    said = "; ".join(
        f"{line['label']}: " + ", ".join(f"{y:.4g} at {x:.4g}" for x, y in line["points"]) for line in coloured
    )
    return _standalone("".join(body), 34 + size[1] + 6, title, said)


def _standalone(body: str, height: float, title: str, description: str) -> str:
    style = f"{TEXT}{SHAPES} {_colours('light')} @media (prefers-color-scheme: dark) {{ {_colours('dark')} }}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
        f'height="{height:g}" role="img"><title>{escape(visible(title))}</title>'
        f"<desc>{escape(visible(description))}</desc><style>{style}</style>{body}</svg>\n"
    )


def themed(svg: str, theme: Theme) -> str:
    """A figure of this module in one theme, on a ground of its own: for slides, and for what does not know themes."""
    style = f"<style>{TEXT}{SHAPES} {_colours(theme)}</style>"
    return re.sub(r"<style>.*?</style>", style + '<rect class="ground" width="100%" height="100%"/>', svg, count=1)


def png(svg: str, theme: Theme = "light", scale: float = 2.0) -> bytes:
    """A figure of this module as a PNG image of `scale` times its size. Raises StropError without resvg."""
    try:
        import resvg_py
    except ImportError as error:
        raise StropError("PNG figures need resvg: pip install 'strop[figures]'. SVG figures need nothing.") from error
    return bytes(resvg_py.svg_to_bytes(svg_string=themed(svg, theme), zoom=scale))


def save(svg: str, path: Path, theme: Theme | None = None) -> None:
    """Write a figure as `.svg` or `.png`, by the name. Raises StropError for another name, or when it cannot."""
    if path.suffix not in (".svg", ".png"):
        raise StropError(f"{path}: a figure's name ends in .svg or .png.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            path.write_bytes(png(svg, theme or "light"))
        else:
            path.write_text(themed(svg, theme) if theme else svg, encoding="utf-8")
    except OSError as error:
        raise StropError(f"Cannot write {path}: {error.strerror or error}.") from error
