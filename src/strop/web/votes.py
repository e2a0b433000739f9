"""Votes of the arena: `arena.sqlite` in the run's folder, safe for several viewers at once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from strop.evals.arena import Vote
from strop.types import StropError

FILE = "arena.sqlite"
Choice = Literal["left", "right", "tie", "both bad"]
CHOICES: tuple[str, ...] = get_args(Choice)
SCORES = {"left": 1.0, "right": 0.0, "tie": 0.5, "both bad": 0.5}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS votes (pair TEXT PRIMARY KEY, task_id TEXT NOT NULL,
    left_player TEXT NOT NULL, left_run TEXT NOT NULL, left_stage TEXT NOT NULL, left_number INTEGER NOT NULL,
    left_status TEXT NOT NULL, right_player TEXT NOT NULL, right_run TEXT NOT NULL, right_stage TEXT NOT NULL,
    right_number INTEGER NOT NULL, right_status TEXT NOT NULL, played INTEGER NOT NULL,
    choice TEXT NOT NULL CHECK (choice IN ('left', 'right', 'tie', 'both bad')), time REAL NOT NULL)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """One vote with all that it was about. `played`: whether the programs had been run before it."""

    pair: str
    task_id: str
    left_player: str
    left_run: str
    left_stage: str
    left_number: int
    left_status: str
    right_player: str
    right_run: str
    right_stage: str
    right_number: int
    right_status: str
    played: bool
    choice: str
    time: float = 0.0

    @property
    def vote(self) -> Vote:
        return Vote(self.left_player, self.right_player, SCORES[self.choice], self.task_id)

    @property
    def agrees(self) -> bool | None:
        """Whether the vote went to the program that passes; None when both or neither do, or nobody was preferred."""
        passed = [status == "passed" for status in (self.left_status, self.right_status)]
        if passed[0] == passed[1] or self.choice not in ("left", "right"):
            return None
        return passed[0] == (self.choice == "left")


_NAMES = [field.name for field in fields(Ballot)]


def save(folder: Path, ballot: Ballot) -> bool:
    """Keep a vote; False when this pair was voted on already: the first vote stays. Raises StropError."""
    if ballot.choice not in CHOICES:
        raise StropError(f"A vote is one of {', '.join(CHOICES)}.")
    values = asdict(ballot) | {"time": ballot.time or time.time()}
    marks = ", ".join("?" for _ in _NAMES)
    with _told(folder), closing(_connect(folder / FILE)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # waits for other viewers, who are done in a moment
        connection.execute(_SCHEMA)
        done = connection.execute(
            f"INSERT INTO votes ({', '.join(_NAMES)}) VALUES ({marks}) ON CONFLICT DO NOTHING",
            [values[name] for name in _NAMES],
        )
        connection.execute("COMMIT")
        return done.rowcount == 1


def read(folder: Path) -> list[Ballot]:
    """Every vote in the order in which they came; none when nobody has voted. Raises StropError for a damaged file."""
    if not (folder / FILE).is_file():
        return []
    with _told(folder), closing(_connect(folder / FILE)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'votes'").fetchone():
            return []  # the first vote is being written
        rows = connection.execute(f"SELECT {', '.join(_NAMES)} FROM votes ORDER BY time, pair").fetchall()
    return [_ballot(dict(zip(_NAMES, row, strict=True))) for row in rows]


def _ballot(row: dict[str, Any]) -> Ballot:
    row["played"] = bool(row["played"])
    return Ballot(**row)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=20, isolation_level=None)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeEncodeError) as error:
        raise StropError(f"{folder / FILE} cannot be used: {error}. The votes in it were not changed.") from error
