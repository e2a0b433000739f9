"""Figures as inline SVG, drawn from plain numbers.

Two kinds. *Fluid* figures (dot plots, bars, the task plot) place marks at percentages of the width and text at fixed
pixels, so they fill any column and their labels never shrink. *Fixed* figures (line charts) have a 360 x 220 view box
and sit in a grid of small multiples. No figure uses a `style` attribute or a handler: the page's security policy
forbids both, and colours come from classes, so they follow the light or dark theme.

Rates are fractions, 0 to 1; they are shown in percent. Every label is escaped here; callers pass plain text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from strop.report.text import number, percent, points, visible

SIZE = (360, 220)
"""Width and height of a fixed figure's view box."""
MARGINS = (46, 14, 12, 36)
"""Left, right, top and bottom of its plot, in the same pixels."""
KINDS = "abcde"
"""Colour classes of series, which people who see some colours alike tell apart too (tests/report/test_plot.py)."""


def kind(place: int) -> str:
    """The classes of the series in this place: a colour, and from the sixth on dashed lines and hollow dots."""
    round_, colour = divmod(place, len(KINDS))
    return KINDS[colour] + (" other" if round_ % 2 else "")


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers from `low` to `high`: multiples of 1, 2, 2.5 or 5 times a power of ten."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = span / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def rate_domain(values: Sequence[float]) -> tuple[float, float]:
    """Axis limits for rates: whole steps of ten points around `values`, at least 40 points wide, within 0 to 1.

    Where every rate is under 8 points the axis ends at 10, so that small rates can be told apart.
    """
    if not values:
        return 0.0, 1.0
    if max(values) <= 0.08:
        return 0.0, 0.1
    low = max(0.0, math.floor(min(values) * 10 - 0.2) / 10)
    high = min(1.0, math.ceil(max(values) * 10 + 0.2) / 10)
    while high - low < 0.399:
        low, high = max(0.0, low - 0.1), (high if low > 0.0 and high - low >= 0.3 else min(1.0, high + 0.1))
    return round(low, 3), round(high, 3)


def _at(value: float, domain: tuple[float, float]) -> str:
    """Position of `value` as a percentage of the plot's width, clipped to the plot."""
    low, high = domain
    share = (value - low) / (high - low) if high > low else 0.0
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


def _figure(body: str, height: int, title: str, description: str, key: str, css: str) -> Markup:
    # aria-labelledby needs ids that are unique in the page: `key` is made by the caller from fixed words and counters.
    return Markup(
        f'<svg class="{css}" height="{height}" role="img" aria-labelledby="{key}-t {key}-d">'
        f'<title id="{key}-t">{escape(visible(title))}</title><desc id="{key}-d">{escape(visible(description))}</desc>'
        f"{body}</svg>"
    )


def _axis(domain: tuple[float, float], top: int, bottom: int, label: Any, count: int = 5) -> str:
    parts = []
    for tick in ticks(*domain, count):
        x = _at(tick, domain)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{bottom + 16}" text-anchor="middle">{label(tick)}</text>')
    return "".join(parts)


def _interval(estimate: Mapping[str, Any], domain: tuple[float, float], y: float, css: str, radius: float = 5) -> str:
    x = _at(estimate["value"], domain)
    bar = ""
    if estimate.get("low") is not None and estimate.get("high") is not None:
        low, high = _at(estimate["low"], domain), _at(estimate["high"], domain)
        bar = f'<line class="interval {css}" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'
    return f'{bar}<circle class="dot {css}" cx="{x}" cy="{y}" r="{radius}"/>'


def estimates(rows: Sequence[Mapping[str, Any]], domain: tuple[float, float], title: str, key: str) -> Markup:
    """Dot plot of rates with their intervals, a row each: `{label, kind, estimate}`; kind is a colour class."""
    pitch, top = 30, 6
    bottom = top + pitch * len(rows)
    body = [_axis(domain, top, bottom, lambda tick: f"{100 * tick:g}")]
    for place, row in enumerate(rows):
        y = top + pitch * (place + 0.5)
        body.append(f'<text class="label" x="-12" y="{y + 4}" text-anchor="end">{escape(visible(row["label"]))}</text>')
        body.append(_interval(row["estimate"], domain, y, row["kind"]))
        body.append(f'<text class="value" x="100%" dx="14" y="{y + 4}">{percent(row["estimate"]["value"])}</text>')
    said = "; ".join(f"{row['label']} {describe(row['estimate'])}" for row in rows)
    return _figure("".join(body), bottom + 22, title, said, key, "fluid rows")


def difference(estimate: Mapping[str, Any], reach: float, title: str, key: str) -> Markup:
    """One paired difference with its interval about a zero line; the band is what the data could not have detected.

    `reach`: half the width of the axis, in the units of the difference.
    """
    domain, top, bottom = (-reach, reach), 4, 42
    body = []
    band = estimate.get("detectable")
    if band:
        low, high = _at(-band, domain), _at(band, domain)
        width = float(high[:-1]) - float(low[:-1])
        body.append(f'<rect class="band" x="{low}" width="{width:.2f}%" y="{top}" height="{bottom - top}"/>')
    body.append(_axis(domain, top, bottom, lambda tick: points(tick, 0)))
    zero = _at(0.0, domain)
    body.append(f'<line class="zero" x1="{zero}" x2="{zero}" y1="{top}" y2="{bottom}"/>')
    body.append(_interval(estimate, domain, (top + bottom) / 2, direction(estimate), 6))
    return _figure("".join(body), bottom + 22, title, describe(estimate, change=True), key, "fluid alone")


def direction(estimate: Mapping[str, Any]) -> str:
    """Colour class of a difference: `gain` or `loss` only where the statistics conclude one, else `unsure`."""
    return {"higher": "gain", "lower": "loss"}.get(estimate["verdict"], "unsure")


def describe(estimate: Mapping[str, Any], change: bool = False) -> str:
    """An estimate in words, with its interval."""
    show = points if change else percent
    text = show(estimate["value"]) + (" points" if change else "")
    if estimate.get("low") is None or estimate.get("high") is None:
        return text
    return f"{text} (95 % interval {show(estimate['low'])} to {show(estimate['high'])})"


def track(
    domain: tuple[float, float], before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, kind: str = "after"
) -> Markup:
    """A table cell's plot: before (ring) and after (dot) on one line, each with its interval if it has one."""
    body = ['<line class="rail" x1="0%" x2="100%" y1="11" y2="11"/>']
    if before and after:
        x1, x2 = _at(before["value"], domain), _at(after["value"], domain)
        change = after["value"] - before["value"]
        css = "gain" if change > 1e-12 else "loss" if change < -1e-12 else "unsure"
        body.append(f'<line class="link {css}" x1="{x1}" x2="{x2}" y1="11" y2="11"/>')
    if before:
        body.append(_interval(before, domain, 7 if after else 11, "before", 4))
    if after:
        body.append(_interval(after, domain, 15 if before else 11, kind, 4))
    return Markup(f'<svg class="track" height="22" aria-hidden="true">{"".join(body)}</svg>')


def bar(share: float, css: str = "after") -> Markup:
    """A table cell's bar, `share` of the width."""
    return Markup(
        f'<svg class="track" height="14" aria-hidden="true"><rect class="rail-fill" width="100%" height="14" rx="2"/>'
        f'<rect class="fill {css}" width="{100 * min(max(share, 0.0), 1.0):.2f}%" height="14" rx="2"/></svg>'
    )


def stacked(counts: Mapping[str, int], order: Sequence[str], title: str, key: str) -> Markup:
    """One horizontal bar split by status, in `order`; segments are classes `s-STATUS`."""
    total = sum(counts.values())
    body, x = [], 0.0
    for name in order:
        width = 100 * counts.get(name, 0) / total if total else 0.0
        if width:
            body.append(
                f'<rect class="s-{name}" x="{x:.3f}%" width="{width:.3f}%" height="26">'
                f"<title>{escape(name)}: {counts[name]:,} of {total:,}</title></rect>"
            )
        x += width
    said = "; ".join(f"{name} {counts[name]}" for name in order if counts.get(name))
    return _figure("".join(body), 26, title, said, key, "fluid stacked")


def task_changes(tasks: Sequence[Mapping[str, Any]], title: str, key: str) -> Markup:
    """One column a task, largest gain first: a ring for the rate before, a dot for the rate after, a line between.

    `tasks`: `{id, before: {rate}, after: {rate}, change}`, in the order to draw.
    """
    top, height = 10, 210
    bottom = top + height
    body = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = bottom - height * tick
        body.append(f'<line class="grid" x1="0%" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(f'<text class="tick" x="-10" y="{y + 4:.1f}" text-anchor="end">{100 * tick:g}</text>')
    radius = 4.5 if len(tasks) <= 70 else 3.5 if len(tasks) <= 130 else 2.5
    for place, task in enumerate(tasks):
        x = f"{100 * (place + 0.5) / len(tasks):.3f}%"
        old, new = task["before"]["rate"], task["after"]["rate"]
        y1, y2 = bottom - height * old, bottom - height * new
        css = "gain" if y2 < y1 else "loss" if y2 > y1 else "unsure"
        said = f"{task['id']}: {percent(old, 0)} before, {percent(new, 0)} after"
        body.append(f'<g class="{css}"><title>{escape(visible(said))}</title>')
        # An unseen column as wide as its share makes the whole column answer to the pointer.
        body.append(
            f'<rect class="hit" x="{100 * place / len(tasks):.3f}%" width="{100 / len(tasks):.3f}%" '
            f'y="{top - 6}" height="{height + 12}"/>'
        )
        if y1 != y2:
            body.append(f'<line class="link" x1="{x}" x2="{x}" y1="{y1:.1f}" y2="{y2:.1f}"/>')
        body.append(f'<circle class="ring" cx="{x}" cy="{y1:.1f}" r="{radius}"/>')
        body.append(f'<circle class="dot" cx="{x}" cy="{y2:.1f}" r="{radius}"/></g>')
    up, down = (sum(sign * task["change"] > 0 for task in tasks) for sign in (1, -1))
    said = f"{up} tasks rose, {down} fell, {len(tasks) - up - down} stayed the same."
    return _figure("".join(body), bottom + 12, title, said, key, "fluid columns")


def lines(
    series: Sequence[Mapping[str, Any]],
    title: str,
    key: str,
    x_label: str = "",
    y_format: str = "",
    low: float | None = None,
) -> Markup:
    """A small line chart. `series`: `{label, kind, points: [[x, y], ...], intervals?: [[low, high] | None, ...]}`.

    `y_format`: `percent` for rates, else numbers. `low`: lowest end of the y axis; None fits it to the data.
    """
    said = "; ".join(
        f"{line['label']}: from {number(line['points'][0][1])} to {number(line['points'][-1][1])}" for line in series
    )
    return _fixed(line_marks(series, x_label, y_format, low), title, said, key)


def line_marks(
    series: Sequence[Mapping[str, Any]], x_label: str, y_format: str, low: float | None, size: tuple[int, int] = SIZE
) -> str:
    """The marks of a line chart without their `svg` element; `size` in pixels."""
    xs = [x for line in series for x, _ in line["points"]]
    ys = [y for line in series for _, y in line["points"]]
    ys += [end for line in series for pair in line.get("intervals", ()) if pair for end in pair]
    x0, x1 = min(xs), max(xs)
    y0, y1 = (min(ys) if low is None else low), max(ys)
    if x1 == x0:
        x0, x1 = x0 - 0.5, x1 + 0.5
    if y1 <= y0:
        y0, y1 = y0 - (abs(y0) or 1) * 0.1, y1 + (abs(y1) or 1) * 0.1
    else:
        y1 += 0.06 * (y1 - y0)
        y0 -= 0.06 * (y1 - y0) if low is None else 0.0
    place = _placing((x0, x1), (y0, y1), size)
    body = [_axes(place, (x0, x1), (y0, y1), size, x_label, y_format)]
    for line in series:
        spots = [place(x, y) for x, y in line["points"]]
        for (x, _), pair in zip(spots, line.get("intervals", ()), strict=False):
            if pair:
                y1_, y2_ = (place(x0, end)[1] for end in pair)
                ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{y1_:.1f}" y2="{y2_:.1f}"'
                body.append(f'<line class="interval {line["kind"]}" {ends}/>')
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        body.append(f'<polyline class="line {line["kind"]}" points="{path}"/>')
        if len(spots) <= 12:
            body += [f'<circle class="dot {line["kind"]}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in spots]
    return "".join(body)


def _placing(
    xs: tuple[float, float], ys: tuple[float, float], size: tuple[int, int]
) -> Callable[[float, float], tuple[float, float]]:
    """From values to pixels inside the margins."""
    (width, height), (left, right, top, bottom) = size, MARGINS

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - xs[0]) / (xs[1] - xs[0]) * (width - left - right),
            height - bottom - (y - ys[0]) / (ys[1] - ys[0]) * (height - top - bottom),
        )

    return place


def _axes(
    place: Callable[[float, float], tuple[float, float]], xs: tuple[float, float], ys: tuple[float, float],
    size: tuple[int, int], x_label: str, y_format: str,
) -> str:  # fmt: skip
    """Grid lines with their numbers, and the name of the x axis."""
    (width, height), (left, right, _, bottom) = size, MARGINS
    body = []
    for tick in ticks(*ys, 5):
        _, y = place(xs[0], tick)
        text = f"{100 * tick:g}" if y_format == "percent" else number(tick)
        body.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(f'<text class="tick" x="{left - 7}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for tick in ticks(*xs, 5):
        x, _ = place(tick, ys[0])
        body.append(
            f'<text class="tick" x="{x:.1f}" y="{height - bottom + 17}" text-anchor="middle">{number(tick)}</text>'
        )
    if x_label:
        body.append(
            f'<text class="tick" x="{(left + width - right) / 2}" y="{height - 3}" text-anchor="middle">'
            f"{escape(visible(x_label))}</text>"
        )
    return "".join(body)


def _fixed(body: str, title: str, description: str, key: str) -> Markup:
    return Markup(
        f'<svg class="fixed" viewBox="0 0 {SIZE[0]} {SIZE[1]}" role="img" aria-labelledby="{key}-t {key}-d">'
        f'<title id="{key}-t">{escape(visible(title))}</title><desc id="{key}-d">{escape(visible(description))}</desc>'
        f"{body}</svg>"
    )


def scatter(
    spots: Sequence[Mapping[str, Any]], front: Sequence[Sequence[float]], title: str, key: str, x_label: str
) -> Markup:
    """Cost against rate. `spots`: `{label, kind, x, estimate}`; `front`: the points that no other beats on both."""
    reach = max(max(spot["x"] for spot in spots), 1e-9) * 1.06
    most = min(1.0, max(max(spot["estimate"]["high"] for spot in spots) * 1.05, 0.05))
    place = _placing((0, reach), (0, most), SIZE)
    body = [_axes(place, (0, reach), (0, most), SIZE, x_label, "percent")]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*spot) for spot in front))
    body.append(f'<polyline class="line front" points="{path}"/>')
    for spot in spots:
        (x, y), low, high = (
            place(spot["x"], spot["estimate"]["value"]),
            spot["estimate"]["low"],
            spot["estimate"]["high"],
        )
        ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{place(0, low)[1]:.1f}" y2="{place(0, min(high, most))[1]:.1f}"'
        said = f"{spot['label']}: {percent(spot['estimate']['value'])} at {number(spot['x'])}"
        body.append(
            f'<g class="{spot["kind"]}"><title>{escape(visible(said))}</title><line class="interval" {ends}/>'
            f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/></g>'
        )
    words = "; ".join(f"{spot['label']} {percent(spot['estimate']['value'])}" for spot in spots)
    return _fixed("".join(body), title, words, key)
