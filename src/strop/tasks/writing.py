"""Writing tasks as Strop JSON Lines."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from pathlib import Path

from strop.tasks.schema import write_row
from strop.types import StropError, Task


def write_tasks(tasks: Iterable[Task], path: str | Path) -> int:
    """Write one task a line and return their number. A half-written file never carries the final name."""
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    count = 0
    try:
        # A fixed time stamp in the gzip header keeps equal sets equal byte for byte.
        with partial.open("wb") as raw:
            stream = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if target.name.endswith(".gz") else raw
            for task in tasks:
                stream.write(json.dumps(write_row(task)).encode() + b"\n")
                count += 1
            if stream is not raw:
                stream.close()
        partial.replace(target)
    except OSError as error:
        raise StropError(f"{target}: cannot be written: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return count
