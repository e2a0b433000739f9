"""The picture of one search: programs (or token prefixes) as a tree, each node a link to its details.

Plain SVG from plain numbers; the caller escapes nothing, everything is escaped here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from strop.report.text import visible

STEP_X, STEP_Y = 74, 24
"""Pixels between levels and between leaves."""
RADIUS = 8
MARGIN = 20


def places(parents: Sequence[int | None]) -> list[tuple[int, float]]:
    """(level, row) of each node of a forest: leaves on rows of their own from the top, parents amid their children.

    `parents[i]` is below `i`, or None for a root. Works for any depth, without recursion.
    """
    children: list[list[int]] = [[] for _ in parents]
    roots = []
    for node, parent in enumerate(parents):
        if parent is None or not 0 <= parent < node:
            roots.append(node)
        else:
            children[parent].append(node)
    levels, rows = [0] * len(parents), [0.0] * len(parents)
    for node, parent in enumerate(parents):  # parents come before children
        if parent is not None and 0 <= parent < node:
            levels[node] = levels[parent] + 1
    order, stack, row = [], list(reversed(roots)), 0
    while stack:
        node = stack.pop()
        order.append(node)
        if not children[node]:
            rows[node] = row
            row += 1
        stack += reversed(children[node])
    for node in reversed(order):
        if children[node]:
            rows[node] = (rows[children[node][0]] + rows[children[node][-1]]) / 2
    return list(zip(levels, rows))


def tree(nodes: Sequence[Mapping[str, Any]], answer: int | None, key: str, title: str) -> Markup:
    """The tree of a trace's nodes. `key` begins the anchors: node 3 links to `#KEY-3`."""
    at = [(MARGIN + level * STEP_X, MARGIN + row * STEP_Y) for level, row in places([n["parent"] for n in nodes])]
    width = max((x for x, _ in at), default=0) + 2 * MARGIN + 90
    height = max((y for _, y in at), default=0) + 2 * MARGIN
    body = []
    for place, node in enumerate(nodes):
        parent = node["parent"]
        if parent is not None and 0 <= parent < place:
            (x0, y0), (x1, y1) = at[parent], at[place]
            middle = (x0 + x1) / 2
            curve = f"M{x0:g},{y0:g} C{middle:g},{y0:g} {middle:g},{y1:g} {x1:g},{y1:g}"
            body.append(f'<path class="branch" data-from="{parent}" data-to="{place}" d="{curve}"/>')
    for place, node in enumerate(nodes):
        x, y = at[place]
        said = escape(visible(_said(node, place == answer)))
        css = f"s-{node['status']}" if node["status"] else "s-none"
        ring = f'<circle class="chosen" cx="{x:g}" cy="{y:g}" r="{RADIUS + 4}"/>' if place == answer else ""
        cross = ""
        if node["fate"] == "aborted":
            cross = f'<path class="cross" d="M{x - 4:g},{y - 4:g} l8,8 m0,-8 l-8,8"/>'
        value = node["value"] if node["value"] is not None else node["fraction"]
        number = (
            ""
            if value is None
            else f'<text class="tick" x="{x + RADIUS + 2:g}" y="{y - RADIUS + 1:g}">{value:.2g}</text>'
        )
        body.append(
            f'<a href="#{key}-{place}" aria-label="{said}"><title>{said}</title>{ring}'
            f'<circle class="{css}" cx="{x:g}" cy="{y:g}" r="{RADIUS}"/>{cross}{number}</a>'
        )
    return Markup(
        f'<svg class="tree" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="group" '
        f'aria-label="{escape(visible(title))}">{"".join(body)}</svg>'
    )


def _said(node: Mapping[str, Any], chosen: bool) -> str:
    parts = [f"{node['number']}: {node['role']}, {node['status'] or 'not judged'}, {node['fate']}"]
    if node["fraction"] is not None:
        parts.append(f"{100 * node['fraction']:.0f} % of visible checks")
    return ", ".join([*parts, *(["the answer"] if chosen else [])])
