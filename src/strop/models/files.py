"""Hashes of model files, and the folder where Strop keeps what it can rebuild."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from strop.types import content_hash


def cache_folder() -> Path:
    """`$STROP_CACHE`, else `strop` under `$XDG_CACHE_HOME` or `~/.cache`. Everything in it can be deleted."""
    if folder := os.environ.get("STROP_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "strop"


def file_hash(path: Path) -> str:
    """SHA-256 of a file's contents.

    Remembered in the cache folder under (path, size, modification time, inode), because hashing 15 GB takes 10 s.
    """
    path = path.resolve()
    stat = path.stat()
    memo = cache_folder() / "hashes" / (content_hash(str(path)) + ".json")
    state = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    try:
        known = json.loads(memo.read_text())
        if known["state"] == state:
            return known["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if stat.st_size > 1 << 24:
        write_if_possible(memo, json.dumps({"state": state, "sha256": digest}))
    return digest


def folder_hash(folder: Path, patterns: tuple[str, ...]) -> str:
    """Hash over names and contents of the files in `folder` (not below) that match a glob pattern."""
    names = sorted({path.name for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return content_hash([[name, file_hash(folder / name)] for name in names])


def write_if_possible(path: Path, text: str) -> None:
    """Write a cache entry at once or not at all; a full or read-only disk only costs the entry."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
