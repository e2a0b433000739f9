"""Progress bars with ETA on standard error, shown only once something has taken two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from strop.evals.solve import OnProgress

PATIENCE = 2.0
"""Seconds of silence before the first bar appears."""


@contextmanager
def progress(show: bool = True) -> Iterator[OnProgress]:
    """Yield a callback for `evals` and `train`. Bars go to standard error; without a terminal, a line every 30 s."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if not show:
        yield lambda label, done, total: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    bars = Progress(*columns, console=console)
    rows: dict[str, object] = {}

    def advance(label: str, done: int, total: int) -> None:
        if label not in rows:
            rows[label] = bars.add_task(label, total=total)
        bars.update(rows[label], completed=done, total=total)  # type: ignore[arg-type]
        if not bars.live.is_started and time.monotonic() - began > PATIENCE:
            bars.start()

    try:
        yield advance
    finally:
        if bars.live.is_started:
            bars.stop()


def _lines(every: float = 30.0) -> OnProgress:
    last: dict[str, float] = {}
    began: dict[str, tuple[float, int]] = {}

    def advance(label: str, done: int, total: int) -> None:
        now = time.monotonic()
        start, first = began.setdefault(label, (now, done))
        if done < total and now - last.get(label, start) < every:
            return
        if done >= total and label not in last and now - start < PATIENCE:
            return
        last[label] = now
        rate = (done - first) / (now - start) if now > start else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        print(f"{label}: {done} of {total}, {now - start:.0f} s{left}", file=sys.stderr, flush=True)

    return advance
