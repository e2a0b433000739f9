"""A comparison of search methods for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from strop.report.terminal import _add, _rate, _table
from strop.report.text import percent

if TYPE_CHECKING:
    from rich.table import Table


def search_table(data: Mapping[str, Any]) -> Table:
    """One row a method: what it solved, against the baseline, and what that cost."""
    several = len(data["methods"]) > 1
    names = ["method", "pass@1", "95 % interval", *(["against first", "p (Holm)"] if several else [])]
    table = _table(*names, "found", "programs", "calls", "tokens", "seconds", "tokens/solved")
    for row in data["methods"]:
        if row["pass_at_1"] is None:
            _add(table, row["method"], *["–"] * (len(names) + 5))
            continue
        each, solved = row["per_search"], row["per_solved"]
        change = []
        if several:
            difference = row.get("difference")
            change = [f"{100 * difference['value']:+.1f}", f"{difference['p_holm']:.3f}"] if difference else ["–", "–"]
        _add(
            table,
            row["method"],
            *_rate(row["pass_at_1"]),
            *change,
            percent(row["found"]),
            f"{each['programs']:.1f}",
            f"{each['model_calls']:.1f}",
            f"{each['sampled_tokens']:,.0f}",
            f"{each['seconds']:.1f}",
            f"{solved['sampled_tokens']:,.0f}" if solved else "–",
        )
    return table
