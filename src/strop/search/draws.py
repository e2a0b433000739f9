"""Replies already drawn, on disk, so that methods share what is the same draw and a stopped search costs nothing twice.

Keyed by model fingerprint, prompt, sampling parameters and seed. A reply from here is charged to the method that asks
for it as if it had been drawn: methods are compared by what they would have cost alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from strop.types import Completion, Prompt, SamplingParams, Spent, StropError, content_hash

SCHEMA = "CREATE TABLE IF NOT EXISTS draws (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"


def draw_key(fingerprint: str, prompt: Prompt | tuple, params: SamplingParams, seed: int) -> str:
    """Key of one draw. Greedy draws do not depend on the seed."""
    return content_hash(fingerprint, prompt, params, 0 if params.temperature == 0 else seed)


class DrawCache:
    """A file of replies. Safe to use from several processes; with `path=None` it lives in memory."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises StropError when the file cannot be opened or is no such file."""
        self.path = path
        try:
            self._connection = sqlite3.connect(":memory:" if path is None else path, timeout=30, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(SCHEMA)
        except sqlite3.Error as error:
            raise StropError(f"The file of draws {path} cannot be used: {error}.") from error

    def get(self, key: str) -> dict | None:
        """The plain data kept under a key, or None."""
        row = self._connection.execute("SELECT value FROM draws WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, rows: Iterable[tuple[str, dict]]) -> None:
        """Keep; what is there stays. Raises StropError when the disk fails."""
        try:
            with self._connection:
                self._connection.executemany(
                    "INSERT INTO draws VALUES (?, ?) ON CONFLICT DO NOTHING",
                    [(key, json.dumps(value)) for key, value in rows],
                )
        except sqlite3.Error as error:
            raise StropError(f"The file of draws {self.path} cannot be written: {error}.") from error

    def close(self) -> None:
        self._connection.close()


def packed(completion: Completion) -> dict:
    """A completion as plain data."""
    return asdict(completion)


def unpacked(data: dict) -> Completion:
    """The completion in `packed`'s data."""
    spent = Spent(**data["spent"])
    ids, logprobs = data["token_ids"], data["logprobs"]
    return Completion(
        text=data["text"],
        finish_reason=data["finish_reason"],
        spent=spent,
        token_ids=None if ids is None else tuple(ids),
        logprobs=None if logprobs is None else tuple(logprobs),
    )
