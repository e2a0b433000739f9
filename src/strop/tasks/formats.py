"""Task files and their formats: which format a file has, and the tasks in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from strop.tasks.reading import Defect, Row, read_rows
from strop.types import Task

Reader = Callable[[dict[str, Any], str, int], Iterator[Task | Defect]]

FORMATS = ("strop", "humaneval", "mbpp", "apps")
"""Formats of task files, by name: `FORMAT:FILE` overrides detection."""

_DETECT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("strop", ("checks",)),
    ("humaneval", ("test", "entry_point")),
    ("mbpp", ("test_list",)),
    ("apps", ("input_output",)),
    ("apps", ("public_tests",)),
    ("apps", ("public_test_cases",)),
    ("apps", ("inputs", "outputs")),
    ("apps", ("tests",)),
)


def detect(row: dict[str, Any]) -> str | None:
    """The format whose telling fields `row` has; None when there is none."""
    return next((name for name, fields in _DETECT if all(field in row for field in fields)), None)


def read_file(path: Path, form: str | None = None) -> Iterator[Task | Defect]:
    """Tasks and defects of a task file, in order. `form` overrides what the fields say.

    A file has one format, that of its first row with telling fields: rows that lack them are defects. Ids that occur
    twice are defects too.
    """
    seen: dict[str, int] = {}
    waiting: list[Row] = []
    for row in read_rows(path):
        if isinstance(row, Defect):
            yield row
            continue
        form = form or detect(row.data)
        waiting.append(row)
        if form is not None:
            for item in waiting:
                yield from _once(item, str(path), form, seen)
            waiting = []
    if waiting:
        fields = ", ".join(sorted(waiting[0].data)[:12]) or "none"
        known = "; ".join(f"{name}: {' + '.join(keys)}" for name, keys in _DETECT)
        reason = f"no known task format (fields: {fields}; telling fields: {known})"
        yield Defect(str(path), waiting[0].line, None, reason)


def _once(row: Row, file: str, form: str, seen: dict[str, int]) -> Iterator[Task | Defect]:
    """The tasks and defects of a row, with a defect in place of a task whose id another line has."""
    for item in read_row(row, file, form):
        if isinstance(item, Task):
            first = seen.setdefault(item.id, row.line)
            if first != row.line:
                field = "id" if form in ("strop", "apps") else "task_id"
                item = Defect(file, row.line, field, f"{item.id!r} is also the id of line {first}")
        yield item


def read_row(row: Row, file: str, form: str) -> Iterator[Task | Defect]:
    """The task of one row in a known format, or its defects."""
    reader, fields = _reader(form)
    defects = [item for field in fields if (item := _field_defect(row, file, field))]
    yield from defects or reader(row.data, file, row.line)


def _field_defect(row: Row, file: str, field: str) -> Defect | None:
    """`a|b` means one of both; texts must not be empty; ids may be numbers."""
    names = field.split("|")
    name = next((name for name in names if name in row.data), None)
    if name is None:
        return Defect(file, row.line, field.replace("|", " or "), "missing")
    value = row.data[name]
    if name == "test_list":
        return None
    if isinstance(value, str) and value.strip():
        return None
    if name == "task_id" and isinstance(value, int) and not isinstance(value, bool):
        return None
    return Defect(file, row.line, name, "must be a text that is not empty")


def _reader(form: str) -> tuple[Reader, tuple[str, ...]]:
    if form == "humaneval":
        from strop.tasks import humaneval

        return humaneval.read_humaneval, humaneval.FIELDS
    if form == "mbpp":
        from strop.tasks import mbpp

        return mbpp.read_mbpp, mbpp.FIELDS
    if form == "apps":
        from strop.tasks import apps

        return apps.read_apps, ()
    from strop.tasks import schema

    return schema.read_task, ()
