"""Figures of experiments as SVG files that stand alone: they carry their own colours, for light and dark.

Marks and scales are those of `strop.report.charts`; here every figure has a fixed view box, a title and a legend,
because it is shown as an image where no style sheet of ours reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import escape

from strop.papers.table import Table
from strop.report import charts
from strop.report.text import number, visible

LIGHT = "--ink:#1b1d21;--soft:#565b64;--rule:#d9d9d3;--card:#fff"
LIGHT_MARKS = "--a:#1a62b8;--b:#a04506;--c:#8667bd;--d:#2a6a3a;--e:#6b7079"
DARK = "--ink:#e9eaec;--soft:#a7acb5;--rule:#3b3e45;--card:#131417"
DARK_MARKS = "--a:#7db4f5;--b:#eda05f;--c:#a78bdb;--d:#8fcf9d;--e:#a3a8b1"
STYLE = f"""
svg {{ {LIGHT};{LIGHT_MARKS} }}
@media (prefers-color-scheme: dark) {{ svg {{ {DARK};{DARK_MARKS} }} }}
text {{ font: 13px system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: var(--ink); }}
.title {{ font-weight: 600; font-size: 14px; }} .tick {{ fill: var(--soft); font-size: 12px; }}
.grid {{ stroke: var(--rule); }} .zero {{ stroke: var(--soft); stroke-dasharray: 3 3; }}
.a {{ --mark: var(--a); }} .b {{ --mark: var(--b); }} .c {{ --mark: var(--c); }}
.d {{ --mark: var(--d); }} .e {{ --mark: var(--e); }}
.interval {{ stroke: var(--mark); stroke-width: 2.5; stroke-linecap: round; opacity: 0.55; }}
.dot, .swatch {{ fill: var(--mark); stroke: var(--card); stroke-width: 1.5; }}
.line {{ fill: none; stroke: var(--mark); stroke-width: 2; stroke-linejoin: round; }}
"""
KINDS = "abcde"
"""Colour classes, told apart by people who do not see red and green apart too."""
WIDTH = 640


def means(table: Table) -> str:
    """Every arm's mean of the main metric with its 95 % interval."""
    metric = next(iter(table.metrics))
    arms = [arm for arm in table.arms if table.grid(metric, arm)[0].size]
    return dots([(arm, table.mean(metric, arm)) for arm in arms], title=metric)


def dots(rows: Sequence[tuple[str, Any]], *, title: str, mark: float | None = None) -> str:
    """A row for each `(label, figure)` with `value`, `low` and `high`. `mark`: where a dashed line stands."""
    ends = [end for _, row in rows for end in (row.value, row.low, row.high)]
    ends += [] if mark is None else [mark]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    margin = 0.06 * (high - low) or 0.1 * (abs(high) or 1)
    low, high = low - margin, high + margin
    left, right, top, pitch = min(320, 40 + 7 * max(len(label) for label, _ in rows)), 80, 40, 30
    bottom = top + pitch * len(rows)

    def at(value: float) -> float:
        return left + (min(max(value, low), high) - low) / (high - low) * (WIDTH - left - right)

    body = [f'<text class="title" x="12" y="22">{escape(visible(title))}</text>']
    for tick in charts.ticks(low, high):
        body.append(f'<line class="grid" x1="{at(tick):.1f}" x2="{at(tick):.1f}" y1="{top}" y2="{bottom}"/>')
        body.append(
            f'<text class="tick" x="{at(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{number(tick)}</text>'
        )
    if mark is not None:
        body.append(f'<line class="zero" x1="{at(mark):.1f}" x2="{at(mark):.1f}" y1="{top}" y2="{bottom}"/>')
    for place, (label, row) in enumerate(rows):
        y = top + pitch * (place + 0.5)
        body.append(f'<text x="{left - 14}" y="{y + 4}" text-anchor="end">{escape(visible(label))}</text>')
        body.append(f'<line class="interval a" x1="{at(row.low):.1f}" x2="{at(row.high):.1f}" y1="{y}" y2="{y}"/>')
        body.append(f'<circle class="dot a" cx="{at(row.value):.1f}" cy="{y}" r="5"/>')
        body.append(f'<text x="{WIDTH - right + 14}" y="{y + 4}">{number(round(row.value, 4))}</text>')
    said = "; ".join(f"{label}: {row.value:.4g} ({row.low:.4g} to {row.high:.4g})" for label, row in rows)
    return _standalone("".join(body), WIDTH, bottom + 30, title, said)


def curves(series: Sequence[Mapping[str, Any]], *, title: str, x_label: str = "", low: float | None = None) -> str:
    """Lines over a numeric axis with intervals. `series`: `{label, points: [[x, y], ...], intervals?: [[low, high]]}`.

    At most five series, coloured in the order given. `low`: lowest end of the y axis; None fits it to the data.
    """
    coloured = [{"kind": kind, **line} for kind, line in zip(KINDS, series, strict=False)]
    xs = [x for line in coloured for x, _ in line["points"]]
    # Intervals of several lines at one x would hide each other: draw them side by side.
    step = 0.008 * (max(xs) - min(xs))
    beside = [
        {**line, "points": [[x + step * (place - (len(coloured) - 1) / 2), y] for x, y in line["points"]]}
        for place, line in enumerate(coloured)
    ]
    inner = str(charts.lines(beside, title, "plot", x_label, low=low))
    chart = inner[inner.index("</desc>") + 7 : -len("</svg>")]
    body = [f'<text class="title" x="12" y="22">{escape(visible(title))}</text>']
    body.append(f'<g transform="translate(0 34) scale(1.28)">{chart}</g>')
    for place, line in enumerate(coloured):
        y = 62 + 24 * place
        body.append(f'<circle class="swatch {line["kind"]}" cx="482" cy="{y - 4}" r="6"/>')
        body.append(f'<text x="496" y="{y}">{escape(visible(line["label"]))}</text>')
    said = "; ".join(
        f"{line['label']}: " + ", ".join(f"{y:.4g} at {x:.4g}" for x, y in line["points"]) for line in coloured
    )
    return _standalone("".join(body), WIDTH, 330, title, said)


def _standalone(body: str, width: int, height: float, title: str, description: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}" '
        f'role="img"><title>{escape(visible(title))}</title><desc>{escape(visible(description))}</desc>'
        f"<style>{STYLE}</style>{body}</svg>\n"
    )
