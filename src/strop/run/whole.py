"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str, *, errors: str = "strict") -> None:
    """Write a text file beside its place, sync it and rename it: a reader sees the old one or the new one, no part.

    `errors` is what to do with text that UTF-8 cannot hold, as in `open`. Raises OSError when the disk fails.
    """
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", errors=errors) as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
