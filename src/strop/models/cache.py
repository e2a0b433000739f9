"""Completions already drawn, on disk, so that nothing is paid twice: not by two methods, not by two runs.

Keyed by model fingerprint, prompt, sampling parameters and seed. Whoever asks for a completion from here is charged as
if it had been drawn: what a method costs does not depend on what ran before it.

Two users. `strop search` keeps the draws of a run in the run's folder. `CachedModel` puts a file that all runs share in
front of a model; `strop eval` uses it for local models, and for endpoints when told to, because the weights behind an
address can change unseen.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.models.files import cache_folder
from strop.types import Completion, Prompt, Request, SamplingParams, Spent, StropError, content_hash

if TYPE_CHECKING:
    from strop.models import Model

VERSION = 2
"""Raised when a change of Strop's own sampling gives other draws for the same key."""
SCHEMA = "CREATE TABLE IF NOT EXISTS draws (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"


def draw_key(fingerprint: str, prompt: Prompt | tuple, params: SamplingParams, seed: int) -> str:
    """Key of one draw. Greedy draws do not depend on the seed."""
    return content_hash(VERSION, fingerprint, prompt, params, 0 if params.temperature == 0 else seed)


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
        try:
            row = self._connection.execute("SELECT value FROM draws WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            return json.loads(zlib.decompress(row[0]) if isinstance(row[0], bytes) else row[0])
        except (sqlite3.Error, zlib.error, ValueError) as error:
            raise StropError(f"The file of draws {self.path} cannot be read: {error}. It may be deleted.") from error

    def put(self, rows: Iterable[tuple[str, dict]]) -> None:
        """Keep; what is there stays. Raises StropError when the disk fails."""
        try:
            with self._connection:
                self._connection.executemany(
                    "INSERT INTO draws VALUES (?, ?) ON CONFLICT DO NOTHING",
                    [(key, zlib.compress(json.dumps(value).encode(), 1)) for key, value in rows],
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
    ids, logprobs, top = data["token_ids"], data["logprobs"], data.get("top_logprobs")
    return Completion(
        text=data["text"],
        finish_reason=data["finish_reason"],
        spent=spent,
        token_ids=None if ids is None else tuple(ids),
        logprobs=None if logprobs is None else tuple(logprobs),
        top_logprobs=None if top is None else tuple(tuple((token, value) for token, value in place) for place in top),
    )


def shared_file() -> Path | None:
    """The file of completions that runs share: `$STROP_SAMPLES`, else `samples.sqlite` in the cache folder.

    None when the variable says `off`. The file can be deleted at any time.
    """
    told = os.environ.get("STROP_SAMPLES", "")
    if told.lower() == "off":
        return None
    path = Path(told).expanduser() if told else cache_folder() / "samples.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class CachedModel:
    """A model that draws only what a `DrawCache` does not hold. Everything else is the model's own."""

    def __init__(self, model: Model, cache: DrawCache) -> None:
        self.model, self.cache = model, cache
        self.reused = 0
        """Completions that came from the cache, or from an equal request of the same call."""

    if not TYPE_CHECKING:  # as the model's own, whatever it has besides

        def __getattr__(self, name: str) -> Any:
            return getattr(self.model, name)

    else:
        name: str
        fingerprint: str
        batch_size: int
        chat: bool
        score: Any

    def sample(self, requests: Sequence[Request], params: SamplingParams) -> Iterator[tuple[int, Completion]]:
        """As the model's own. What is drawn is kept at once, so a stop in the middle of a call loses nothing paid.

        Equal requests are drawn once; greedy draws of one prompt are equal whatever their seeds.
        """
        fresh: dict[str, list[int]] = {}
        for position, request in enumerate(requests):
            key = draw_key(self.model.fingerprint, request.prompt, params, request.seed)
            known = None if key in fresh else self.cache.get(key)
            if known is None:
                fresh.setdefault(key, []).append(position)
            else:
                self.reused += 1
                yield position, unpacked(known)
        keys = list(fresh)
        for number, completion in self.model.sample([requests[fresh[key][0]] for key in keys], params):
            self.cache.put([(keys[number], packed(completion))])
            self.reused += len(fresh[keys[number]]) - 1
            for position in fresh[keys[number]]:
                yield position, completion

    def close(self) -> None:
        self.cache.close()
        self.model.close()
