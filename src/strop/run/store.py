"""The database of a run: SQLite in WAL mode, every failure told in words.

`synchronous=NORMAL`: what is committed survives `kill -9` at once; a loss of power may cost the last commits but never
damages the file. FULL would wait for the disk at every commit, a quarter of a second each on a busy one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from strop.types import StropError

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE stages (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE samples (stage TEXT NOT NULL, task_id TEXT NOT NULL, number INTEGER NOT NULL, data TEXT NOT NULL,
    token_ids BLOB, logprobs BLOB, UNIQUE (stage, task_id, number));
CREATE TABLE verdicts (stage TEXT NOT NULL, task_id TEXT NOT NULL, number INTEGER NOT NULL, status TEXT NOT NULL,
    data TEXT NOT NULL, UNIQUE (stage, task_id, number));
CREATE INDEX verdicts_by_status ON verdicts (stage, status, task_id, number);
CREATE TABLE metrics (stage TEXT NOT NULL, step INTEGER NOT NULL, name TEXT NOT NULL, value REAL,
    UNIQUE (stage, step, name));
CREATE TABLE spent (stage TEXT NOT NULL, key TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    sampled_tokens INTEGER NOT NULL, model_calls INTEGER NOT NULL, programs INTEGER NOT NULL, seconds REAL NOT NULL,
    money REAL NOT NULL, UNIQUE (stage, key));
CREATE TABLE events (id INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE results (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Store:
    """One connection, shared by the threads of one process."""

    def __init__(self, path: Path, connection: sqlite3.Connection, writable: bool) -> None:
        self.path = path
        self.writable = writable
        self._connection = connection
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._depth = 0
        self._closed = False

    @classmethod
    def create(cls, path: Path) -> Store:
        """Open for writing; make the tables when the file is new."""
        with _told(path):
            store = cls(path, _connect(f"{path.resolve().as_uri()}?mode=rwc"), writable=True)
        try:
            # The schema is one transaction, so a creation cut short leaves an empty file.
            if store.query("PRAGMA user_version")[0][0] == 0 and not store.query("SELECT 1 FROM sqlite_master LIMIT 1"):
                mode = store.query("PRAGMA journal_mode=WAL")[0][0]
                if mode != "wal":
                    raise StropError(
                        f"{path} cannot use SQLite's write-ahead log (the file system answers '{mode}'). Network file "
                        "systems often cannot; put the run folder on a local disk with --out."
                    )
                with store.transaction():
                    for statement in filter(str.strip, _SCHEMA.split(";")):
                        store.execute(statement)
                    store.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            store.execute("PRAGMA synchronous=NORMAL")
            store.check_version()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open(cls, path: Path, writable: bool) -> Store:
        """Open an existing database. Raises StropError when it is missing, damaged or newer than this Strop."""
        if not path.is_file():
            raise StropError(f"{path} is missing, although the folder's manifest says that a run was started there.")
        uri = path.resolve().as_uri()
        with _told(path):
            store = cls(path, _connect(f"{uri}?mode={'rw' if writable else 'ro'}"), writable)
        try:
            if not writable:
                store._settle_for_reading(uri)
            else:
                store.execute("PRAGMA synchronous=NORMAL")
            store.check_version()
        except BaseException:
            store.close()
            raise
        return store

    def _settle_for_reading(self, uri: str) -> None:
        """A folder that may not be written cannot hold the files of a reader; without a log it needs none."""
        try:
            self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        except sqlite3.Error as error:
            log = self.path.with_name(self.path.name + "-wal")
            unwritable = not os.access(self.path.parent, os.W_OK) and os.access(self.path, os.R_OK)
            if not (unwritable and isinstance(error, sqlite3.OperationalError)):
                raise StropError(_words(self.path, error)) from error
            if log.exists() and log.stat().st_size:
                raise StropError(
                    f"{self.path} was not closed and its folder cannot be written, so its last entries cannot be "
                    "read. Copy the folder to a place where you can write, and read the copy."
                ) from error
            self._connection.close()
            with _told(self.path):
                self._connection = _connect(f"{uri}?mode=ro&immutable=1")

    def check_version(self) -> None:
        version = self.query("PRAGMA user_version")[0][0]
        if version > SCHEMA_VERSION:
            raise StropError(
                f"{self.path} was written by a newer Strop (format {version}; this one reads up to {SCHEMA_VERSION}). "
                "Upgrade Strop, or use the version that the folder's manifest.json names."
            )
        if version < 1:
            raise StropError(
                f"{self.path} holds no run: it is empty or damaged. Restore it from a copy, or use --fresh."
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Inside another transaction it joins that one, and undoes only its own part."""
        with self._lock:
            begin, commit, undo = (
                (f"SAVEPOINT s{self._depth}", f"RELEASE s{self._depth}", f"ROLLBACK TO s{self._depth}")
                if self._depth
                else ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
            )
            self._depth += 1
            try:
                self.execute(begin)
                yield
                self.execute(commit)
            except BaseException:
                # SQLite may have rolled back by itself, when the disk is full for instance.
                if not self._closed and self._connection.in_transaction:
                    self.execute(undo)
                raise
            finally:
                self._depth -= 1

    def execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        with self._lock, _told(self.path):
            self._ready().execute(statement, values)

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        rows = list(rows)
        with self._lock, _told(self.path):
            self._ready().executemany(statement, rows)

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, _told(self.path):
            return self._ready().execute(statement, values).fetchall()

    def _ready(self) -> sqlite3.Connection:
        if self._closed:
            raise RuntimeError(f"the run in {self.path.parent} has been closed")
        if os.getpid() != self._pid:
            raise RuntimeError("a run belongs to the process that opened it; a forked child must not use it")
        return self._connection

    def close(self) -> None:
        with self._lock:
            if not self._closed and os.getpid() == self._pid:
                self._closed = True
                self._connection.close()

    def abandon(self) -> None:
        """In a forked child: never close the parent's connection, which could end its log under it."""
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))


def _connect(uri: str) -> sqlite3.Connection:
    # isolation_level=None: transactions are only those that `transaction` begins.
    return sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # misuse of the interface, not a state of the disk
    except sqlite3.Error as error:
        raise StropError(_words(path, error)) from error
    except UnicodeEncodeError as error:
        raise StropError(f"A stage, task id or key for {path} is not valid Unicode text: {error}.") from error
    except OverflowError as error:
        raise StropError(f"A number for {path} does not fit into 64 bits: {error}.") from error


def _words(path: Path, error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "") or ""
    kept = "; what was finished before is kept"
    if name.startswith("SQLITE_FULL"):
        cause = f"the disk is full{kept}. Free some space and run the same command again; it goes on where it stopped"
    elif name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH", "SQLITE_CANTOPEN")):
        cause = f"it cannot be opened or written ({error}){kept}. Check the permissions of the file and of its folder"
    elif name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        cause = (
            f"the file is damaged ({error}). Restore it from a copy, save what can be read with "
            f"`sqlite3 {path.name} .recover`, or start anew with --fresh"
        )
    elif name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        cause = f"another program holds it{kept}. Close that program and run the same command again"
    elif name.startswith("SQLITE_IOERR"):
        cause = f"reading or writing failed ({error}){kept}. The disk may be full, over quota or failing"
    else:
        cause = f"{error} ({name or type(error).__name__})"
    return f"Strop cannot use {path}: {cause}."
