"""`Run`: the folder of one run, its manifest and its database."""

from __future__ import annotations

import json
import math
import os
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from strop.run.lock import FolderLock
from strop.run.manifest import check_same, make_manifest, read_manifest, versions
from strop.run.rows import Metric, dump, pack, plain, read_sample, read_verdict, sample_row, verdict_row
from strop.run.secrets import Secrets
from strop.run.store import Store
from strop.run.whole import write_whole
from strop.types import Sample, Spent, StropError, Verdict

_SPENT = ", ".join(field.name for field in fields(Spent))
_open_runs: weakref.WeakSet[Run] = weakref.WeakSet()


class Run:
    """One run on disk. Every `save_*` is one transaction, committed when it returns, and safe to repeat.

    What is listed comes back in an order that does not depend on how often the run was interrupted. Threads of one
    process may share a run; forked children must not. Methods raise StropError when the disk fails them.
    """

    path: Path
    manifest: dict[str, Any]

    def __init__(
        self, path: Path, manifest: dict[str, Any], store: Store, lock: FolderLock | None, secrets: Secrets
    ) -> None:
        """For `open` and `read`."""
        self.path = path
        self.manifest = manifest
        self._store = store
        self._lock = lock
        self._secrets = secrets
        _open_runs.add(self)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        command: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        fresh: bool = False,
    ) -> Run:
        """Start a run in the folder, or resume the one that is there.

        `command`: the command line, for the manifest; only its verb is compared. `config`: every setting that can
        change a result, as plain data. `inputs`: what the settings stood for, such as model fingerprint, task-set
        hash and isolation level. A resume must have the same config and inputs; secrets in them are hidden first.
        `fresh`: set an earlier run aside as PATH.1 (or .2, ...) and begin anew.
        Raises StropError when they differ, when another process is writing, or when the disk fails.
        """
        folder, secrets = Path(path), Secrets()
        manifest = make_manifest(command, config, inputs or {}, secrets)
        with _folder_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FolderLock(folder)
            if fresh and _holds_run(folder):
                try:
                    folder.rename(_free_name(folder))
                    folder.mkdir()
                finally:
                    lock.release()
                lock = FolderLock(folder)
            try:
                return cls._open_locked(folder, manifest, lock, secrets)
            except BaseException:
                lock.release()
                raise

    @classmethod
    def _open_locked(cls, folder: Path, manifest: dict[str, Any], lock: FolderLock, secrets: Secrets) -> Run:
        if (folder / "manifest.json").exists():
            old = read_manifest(folder)
            check_same(folder, old, manifest)
            run = cls(folder, old, Store.open(folder / "run.sqlite", writable=True), lock, secrets)
            if old["versions"] != versions():
                run.event("resumed", {"versions": versions(), "started_with": old["versions"]})
            return run
        # The manifest is written last: it marks a folder whose database is whole.
        store = Store.create(folder / "run.sqlite")
        run = cls(folder, manifest, store, lock, secrets)
        try:
            if run.stages() or store.query("SELECT 1 FROM results LIMIT 1"):
                raise StropError(
                    f"{folder} holds a run.sqlite with results but no manifest.json, so Strop cannot tell what they "
                    "are. Restore manifest.json from a copy, or choose another folder with --out."
                )
            run.write("manifest.json", json.dumps(manifest, indent=2, ensure_ascii=True) + "\n")
        except BaseException:
            store.close()
            raise
        return run

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Run:
        """Open a run for reading, also while another process is writing it.

        Raises StropError when the path holds no run, or one that this Strop cannot read.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        return cls(folder, manifest, Store.open(folder / "run.sqlite", writable=False), None, Secrets())

    def close(self) -> None:
        """Close the database and let others write. Without it nothing is lost."""
        self._store.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def atomic(self) -> AbstractContextManager[None]:
        """`with run.atomic():` commits all that is saved inside together, or nothing when it ends by an exception."""
        self._writable()
        return self._store.transaction()

    # ---- samples and verdicts ----

    def save_samples(self, stage: str, samples: Sequence[Sample]) -> None:
        """Keep samples. One already kept under the same stage, task and index stays as it is."""
        hide = self._secrets.hide_in_data
        rows = [
            (
                *(stage, sample.task_id, sample.index, dump(hide(sample_row(sample)))),
                *(pack("q", sample.token_ids), pack("d", sample.logprobs)),
            )
            for sample in samples
        ]
        with self._stage(stage):
            self._store.execute_many("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)

    def samples(self, stage: str) -> list[Sample]:
        """Samples of a stage by task id, then index."""
        rows = self._store.query(
            "SELECT task_id, number, data, token_ids, logprobs FROM samples WHERE stage = ? ORDER BY task_id, number",
            (stage,),
        )
        with self._readable("samples"):
            return [read_sample(*row) for row in rows]

    def sample_keys(self, stage: str) -> set[tuple[str, int]]:
        """(task id, index) of the samples of a stage."""
        rows = self._store.query("SELECT task_id, number FROM samples WHERE stage = ?", (stage,))
        return {(task_id, number) for task_id, number in rows}

    def sample_seeds(self, stage: str) -> Iterator[tuple[int, str, int]]:
        """(seed, task id, index) of the samples of a stage."""
        yield from self._store.query(
            "SELECT json_extract(data, '$.seed'), task_id, number FROM samples WHERE stage = ?", (stage,)
        )

    def sample(self, stage: str, task_id: str, index: int) -> Sample:
        """One sample that `sample_keys` names."""
        rows = self._store.query(
            "SELECT task_id, number, data, token_ids, logprobs FROM samples "
            "WHERE stage = ? AND task_id = ? AND number = ?",
            (stage, task_id, index),
        )
        with self._readable("samples"):
            return read_sample(*rows[0])

    def unjudged(self, stage: str) -> list[Sample]:
        """Samples of a stage without a verdict, in the order of `samples`."""
        rows = self._store.query(
            "SELECT task_id, number, samples.data, token_ids, logprobs FROM samples LEFT JOIN verdicts "
            "USING (stage, task_id, number) WHERE stage = ? AND verdicts.status IS NULL ORDER BY task_id, number",
            (stage,),
        )
        with self._readable("samples"):
            return [read_sample(*row) for row in rows]

    def save_verdicts(self, stage: str, rows: Sequence[tuple[str, int, Verdict]]) -> None:
        """Keep verdicts of (task id, index). The first stays, unless it was a `judge_error`: those give way."""
        hide = self._secrets.hide_in_data
        values = [
            (stage, task_id, index, verdict.status, dump(hide(verdict_row(verdict))))
            for task_id, index, verdict in rows
        ]
        with self._stage(stage):
            self._store.execute_many(
                "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?) ON CONFLICT (stage, task_id, number) DO UPDATE "
                "SET status = excluded.status, data = excluded.data WHERE verdicts.status = 'judge_error'",
                values,
            )

    def verdicts(self, stage: str) -> dict[tuple[str, int], Verdict]:
        """Verdicts of a stage by (task id, index), in the order of `samples`."""
        rows = self._store.query(
            "SELECT task_id, number, data FROM verdicts WHERE stage = ? ORDER BY task_id, number", (stage,)
        )
        with self._readable("verdicts"):
            return {(task_id, number): read_verdict(data) for task_id, number, data in rows}

    # ---- metrics and costs ----

    def save_metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Keep the numbers of one step. The last one stays: a step done again after a resume is the one that counts."""
        rows = [(stage, step, name, float(value)) for name, value in values.items()]
        with self._stage(stage):
            self._store.execute_many(
                "INSERT INTO metrics VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", rows
            )

    def metrics(self, stage: str | None = None) -> list[Metric]:
        """Metrics by stage (in the order of `stages`), step and name."""
        rows = self._store.query(
            "SELECT stage, step, metrics.name, value FROM metrics JOIN stages ON stages.name = stage "
            "WHERE ?1 IS NULL OR stage = ?1 ORDER BY stages.id, step, metrics.name",
            (stage,),
        )
        # SQLite keeps NaN as NULL.
        return [Metric(of, step, name, math.nan if value is None else value) for of, step, name, value in rows]

    def charge(self, stage: str, key: str, spent: Spent) -> None:
        """Count a cost once: a key already charged in the stage is not charged again."""
        if any(value < 0 or not math.isfinite(value) for value in astuple(spent)):
            raise ValueError(f"a cost must be finite and not negative: {spent}")
        with self._stage(stage):
            self._store.execute(
                "INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (stage, key, *astuple(spent)),
            )

    def spent(self, stage: str | None = None) -> Spent:
        """Sum of what was charged."""
        names = [field.name for field in fields(Spent)]
        sums = ", ".join(f"SUM({name})" for name in names)
        # By the database: a comparison of searches leaves a charge for each, which are many objects to add.
        (row,) = self._store.query(f"SELECT {sums} FROM spent WHERE ?1 IS NULL OR stage = ?1", (stage,))
        return Spent() if row[0] is None else Spent(**dict(zip(names, row)))

    def charges(self, stage: str | None = None) -> list[tuple[str, str, Spent]]:
        """Every charge as (stage, key, cost), by stage (in the order of `stages`) and key."""
        rows = self._store.query(
            f"SELECT stage, key, {_SPENT} FROM spent JOIN stages ON stages.name = stage "
            "WHERE ?1 IS NULL OR stage = ?1 ORDER BY stages.id, key",
            (stage,),
        )
        names = [field.name for field in fields(Spent)]
        return [(row[0], row[1], Spent(**dict(zip(names, row[2:])))) for row in rows]

    # ---- work items and events ----

    def result(self, key: str) -> Any | None:
        """The value saved under a key, or None. Give keys by `strop.types.content_hash` of all that goes into it."""
        rows = self._store.query("SELECT value FROM results WHERE key = ?", (key,))
        with self._readable("results"):
            return json.loads(rows[0][0]) if rows else None

    def save_result(self, key: str, value: Any) -> None:
        """Keep a finished work item; the first value stays. Dataclasses and tuples come back as dicts and lists."""
        if value is None:
            raise ValueError("None stands for 'not done yet'; save a value")
        self._writable()
        text = dump(self._secrets.hide_in_data(plain(value)))
        with self._store.transaction():
            self._store.execute("INSERT INTO results VALUES (?, ?) ON CONFLICT DO NOTHING", (key, text))

    def event(self, kind: str, data: Any) -> None:
        """Note something that happened, with the time; for people, not for resuming."""
        self._writable()
        with self._store.transaction():
            self._store.execute(
                "INSERT INTO events (time, kind, data) VALUES (?, ?, ?)",
                (time.time(), kind, dump(self._secrets.hide(plain(data)))),
            )

    def events(self, kind: str | None = None) -> list[tuple[float, str, Any]]:
        """Events as (Unix time, kind, data), as they happened."""
        rows = self._store.query(
            "SELECT time, kind, data FROM events WHERE ?1 IS NULL OR kind = ?1 ORDER BY id", (kind,)
        )
        with self._readable("events"):
            return [(when, name, json.loads(data)) for when, name, data in rows]

    def stages(self) -> list[str]:
        """Names of the stages that saved something, in the order they began."""
        return [name for (name,) in self._store.query("SELECT name FROM stages ORDER BY id")]

    def write(self, name: str, text: str) -> None:
        """Write a text file into the folder, whole or not at all; for reports. Hides secrets of the environment."""
        self._writable()
        file = self.path / name
        with _folder_errors(file):
            write_whole(file, self._secrets.hide_in_data(text), errors="backslashreplace")

    # ---- inside ----

    @contextmanager
    def _stage(self, stage: str) -> Iterator[None]:
        self._writable()
        with self._store.transaction():
            self._store.execute("INSERT INTO stages (name) VALUES (?) ON CONFLICT DO NOTHING", (stage,))
            yield

    def _writable(self) -> None:
        if not self._store.writable:
            raise RuntimeError(f"{self.path} was opened with Run.read and cannot be changed")

    @contextmanager
    def _readable(self, table: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError, TypeError) as error:
            raise StropError(
                f"{self.path / 'run.sqlite'} is damaged: a row of {table} cannot be read ({error}). Restore it from a "
                "copy, or start anew with --fresh."
            ) from error

    def _forked(self) -> None:
        """In a child: let go of the lock's copy, so that the folder is free as soon as the parent ends."""
        self._store.abandon()
        if self._lock is not None:
            self._lock.release()


def _let_go_in_child() -> None:
    for run in list(_open_runs):
        run._forked()


os.register_at_fork(after_in_child=_let_go_in_child)


def _holds_run(folder: Path) -> bool:
    if (folder / "run.sqlite").exists():
        return True
    try:
        return bool(read_manifest(folder))
    except StropError:
        return False


def _free_name(folder: Path) -> Path:
    folder = folder.resolve()
    return next(name for i in range(1, 10**6) if not (name := folder.with_name(f"{folder.name}.{i}")).exists())


@contextmanager
def _folder_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StropError(
            f"{path} cannot be written: {error.strerror or error}. Check free space and permissions, or choose another "
            "folder with --out; what was finished before is kept."
        ) from error
