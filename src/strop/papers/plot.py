"""Figures of experiments, drawn by `strop.report.plot`."""

from __future__ import annotations

from strop.papers.table import Table
from strop.report.plot import curves, dots

__all__ = ["curves", "dots", "means"]


def means(table: Table) -> str:
    """Every arm's mean of the main metric with its 95 % interval."""
    metric = next(iter(table.metrics))
    arms = [arm for arm in table.arms if table.grid(metric, arm)[0].size]
    rows = [(arm, table.mean(metric, arm)) for arm in arms]
    return dots(rows, title=metric, x_label="mean with 95 % interval")
