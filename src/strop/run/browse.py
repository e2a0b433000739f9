"""Reading a run a page at a time, for viewers. No function here loads a stage whole, and none waits for a writer."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from strop.run.folder import Run
from strop.run.rows import read_sample, read_verdict
from strop.types import Sample, Verdict

Tally: TypeAlias = dict[str, dict[str, Counter[str]]]
"""Stage, task id, status: how many samples. Samples without a verdict count under `UNJUDGED`."""
UNJUDGED = "unjudged"


class Row(NamedTuple):
    """One sample in a list."""

    task_id: str
    number: int
    status: str
    detail: str


def tally(run: Run) -> Tally:
    """How many samples ended how, by stage and task. Stages in the order they began, tasks by id."""
    found: Tally = {stage: {} for stage in run.stages()}
    query = run._store.query
    for stage, task_id, drawn in query("SELECT stage, task_id, COUNT(*) FROM samples GROUP BY stage, task_id"):
        found[stage][task_id] = Counter({UNJUDGED: drawn})
    # In the order of the index on status, which runs of earlier versions lack; there every verdict is read.
    statuses = query("SELECT stage, task_id, status, COUNT(*) FROM verdicts GROUP BY stage, status, task_id")
    for stage, task_id, status, number in statuses:
        of = found[stage].setdefault(task_id, Counter())
        of[status] += number
        of[UNJUDGED] -= number
    return {stage: {task_id: +tasks[task_id] for task_id in sorted(tasks)} for stage, tasks in found.items() if tasks}


def first_outcomes(run: Run, stage: str, tasks: Iterable[str]) -> dict[str, bool]:
    """Whether the first judged sample of each task passed. Samples that the judge failed on are passed over."""
    found = {}
    for task_id in tasks:  # a look-up in the index each, where one query for all would read every verdict
        status = run._store.query(
            "SELECT status FROM verdicts WHERE stage = ? AND task_id = ? AND status != 'judge_error' "
            "ORDER BY number LIMIT 1",
            (stage, task_id),
        )
        if status:
            found[task_id] = status[0][0] == "passed"
    return found


def rows(
    run: Run, stage: str, *, task_id: str | None = None, status: str | None = None, start: int = 0, limit: int = 50
) -> list[Row]:
    """At most `limit` samples of a stage by task id and index, from the `start`-th that fits on."""
    judged = status not in (None, UNJUDGED)
    table = "verdicts" if judged else "samples"
    where, values = [f"{table}.stage = ?"], [stage]
    if judged:
        where, values = [*where, "status = ?"], [*values, str(status)]
    if task_id is not None:
        where, values = [*where, f"{table}.task_id = ?"], [*values, task_id]
    if status == UNJUDGED:
        where = [*where, "verdicts.status IS NULL"]
    joined = "" if judged else "LEFT JOIN verdicts USING (stage, task_id, number)"
    # The page is chosen by keys first: only then are the texts of its rows read.
    found = run._store.query(
        f"SELECT {table}.task_id, {table}.number, verdicts.status, verdicts.rowid FROM {table} {joined} "
        f"WHERE {' AND '.join(where)} ORDER BY {table}.task_id, {table}.number LIMIT ? OFFSET ?",
        (*values, limit, start),
    )
    return [Row(task, number, said or UNJUDGED, _detail(run, place)) for task, number, said, place in found]


def _detail(run: Run, place: int | None) -> str:
    if place is None:
        return ""
    ((data,),) = run._store.query("SELECT data FROM verdicts WHERE rowid = ?", (place,))
    with run._readable("verdicts"):
        return read_verdict(data).detail


def one(run: Run, stage: str, task_id: str, index: int) -> tuple[Sample, Verdict | None] | None:
    """One sample with its verdict; None when there is no such sample."""
    key = (stage, task_id, index)
    where = "WHERE stage = ? AND task_id = ? AND number = ?"
    found = run._store.query(f"SELECT task_id, number, data, token_ids, logprobs FROM samples {where}", key)
    if not found:
        return None
    judged = run._store.query(f"SELECT data FROM verdicts {where}", key)
    with run._readable("samples"):
        return read_sample(*found[0]), read_verdict(judged[0][0]) if judged else None


def beside(run: Run, stage: str, task_id: str, index: int, status: str | None = None) -> tuple[Any, Any]:
    """Keys (task id, index) of the samples before and after this one in the stage, among those of a status."""
    ends = []
    among = "" if status is None else "AND status = ?4 "
    for sign, order in (("<", "DESC"), (">", "ASC")):
        found = run._store.query(
            f"SELECT task_id, number FROM verdicts WHERE stage = ?1 {among}AND (task_id, number) {sign} (?2, ?3) "
            f"ORDER BY task_id {order}, number {order} LIMIT 1",
            (stage, task_id, index, *([] if status is None else [status])),
        )
        ends.append(found[0] if found else None)
    return ends[0], ends[1]


def result_rows(run: Run, stage: str, fields: tuple[str, ...], start: int = 0, limit: int = 50) -> list[dict[str, Any]]:
    """Results that were charged to `stage` under their own key: `key` and the named top-level fields of each."""
    wanted = ", ".join("json_extract(value, ?)" for _ in fields)
    found = run._store.query(
        f"SELECT results.key, {wanted} FROM spent JOIN results USING (key) WHERE stage = ? "
        "ORDER BY spent.rowid LIMIT ? OFFSET ?",
        (*(f"$.{field}" for field in fields), stage, limit, start),
    )
    return [dict(zip(("key", *fields), row)) for row in found]


def charge_count(run: Run, stage: str) -> int:
    """How many charges a stage has."""
    return run._store.query("SELECT COUNT(*) FROM spent WHERE stage = ?", (stage,))[0][0]


def signature(folder: Path) -> tuple[tuple[int, int], ...]:
    """Changes whenever the run's database does; for caches. Zeros for what is not there."""
    found = []
    for name in ("run.sqlite", "run.sqlite-wal"):
        try:
            state = os.stat(folder / name)
            found.append((state.st_mtime_ns, state.st_size))
        except OSError:
            found.append((0, 0))
    return tuple(found)


def is_written(folder: Path) -> bool:
    """Whether a process of this machine holds the folder's lock. Looks without taking it, so no writer is disturbed."""
    try:
        inode = os.stat(folder / "run.lock").st_ino
        locks = Path("/proc/locks").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return any(f":{inode} " in line and "FLOCK" in line for line in locks.splitlines())


def text_of(folder: Path, name: str, most: int = 5_000_000) -> Any:
    """A JSON file of the folder, or None when it is missing, too large or damaged."""
    try:
        if (folder / name).stat().st_size > most:
            return None
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
