"""Figures, tables and the one-file HTML report of a run."""

from __future__ import annotations

from pathlib import Path

from strop.report.data import collect, without_times

__all__ = ["collect", "without_times", "write"]


def write(run_path: str | Path) -> Path:
    """Write `report.json` and `report.html` into the run folder and return the path of the page.

    Each file is written beside its place and renamed, so a reader sees the old one or the new one, never a part.
    Raises StropError when the folder is no run, holds nothing to report, or cannot be written.
    """
    import json

    from strop.report.html import render
    from strop.run import Run, write_whole
    from strop.types import StropError

    folder = Path(run_path)
    if (folder / "search.json").is_file():
        from strop.report.search import rewrite_page

        return rewrite_page(folder)
    with Run.read(folder) as run:
        data = collect(run)
    page = folder / "report.html"
    try:
        write_whole(folder / "report.json", json.dumps(data, indent=1, allow_nan=False) + "\n")
        write_whole(page, render(data))
    except OSError as error:
        raise StropError(f"Cannot write the report into {folder}: {error.strerror or error}.") from error
    return page
