"""The main figures of a run as files, for slides and papers: what its report shows, drawn by `strop.report.plot`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from strop.report import plot
from strop.types import StropError

OVER_TASKS = "with 95 % intervals over tasks"


def figures(data: Mapping[str, Any]) -> dict[str, str]:
    """SVG by name, from a run's `report.json`."""
    found = {}
    for split in data["splits"]:
        rows = [(row["label"], SimpleNamespace(**row["estimate"])) for row in split["rows"]]
        name = f"pass-at-1-{_plain(split['label'])}"
        found[name] = plot.dots(rows, title=split["label"], x_label=f"pass@1 in %, {OVER_TASKS}", percent=True)
    changes = [(split["label"], split["difference"]) for split in data["splits"] if split.get("difference")]
    if changes:
        rows = [(label, SimpleNamespace(**change)) for label, change in changes]
        about = f"change of pass@1 in points, {OVER_TASKS}, paired"
        found["change"] = plot.dots(rows, title="After against before", x_label=about, mark=0.0, percent=True)
    for curve in data.get("curves", []):
        found[f"curve-{_plain(curve['label'])}"] = plot.curves(curve["series"], title=curve["label"], x_label="step")
    return found


def search_figures(data: Mapping[str, Any]) -> dict[str, str]:
    """SVG by name, from a comparison's `search.json`."""
    rows = [row for row in data["methods"] if row["pass_at_1"]]
    estimates = [(row["method"], SimpleNamespace(**row["pass_at_1"])) for row in rows]
    about = f"pass@1 in %, {OVER_TASKS}"
    found = {"pass-at-1": plot.dots(estimates, title="Methods at equal budget", x_label=about, percent=True)}
    series = [{"label": row["method"], "points": row["anytime"]} for row in rows if len(row["anytime"]) > 1]
    if series:
        title, about = "Solved after so many programs, %", "programs written; best so far by visible checks"
        found["anytime"] = plot.curves(series, title=title, x_label=about, low=0.0, percent=True)
    return found


def write(run: Path, folder: Path, suffix: str = ".svg") -> list[Path]:
    """Write every figure of a run whose report is written. `suffix`: `.svg` or `.png`. Raises StropError."""
    name = "search.json" if (run / "search.json").is_file() else "report.json"
    try:
        data = json.loads((run / name).read_text(encoding="utf-8"))
        drawn = search_figures(data) if name == "search.json" else figures(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StropError(f"{run / name} cannot be drawn ({error}). Run `strop report` first.") from error
    paths = []
    for title, svg in drawn.items():
        paths.append(folder / f"{title}{suffix}")
        plot.save(svg, paths[-1])
    return paths


def _plain(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:60] or "figure"
