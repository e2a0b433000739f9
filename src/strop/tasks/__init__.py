"""Where problems come from: embedded task sets, benchmark loaders, file formats and prompt protocols.

`load` turns a name or a path into tasks, `dump` writes them as Strop's own JSON Lines, `task_set_hash` names a set.
`strop.tasks.protocols` turns a task into a model's prompt and the reply into a program.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from strop.tasks.loading import find_defects, load
from strop.types import Task

__all__ = ["dump", "find_defects", "load", "task_set_hash"]


def task_set_hash(tasks: Iterable[Task]) -> str:
    """SHA-256 over everything in the tasks, in the order of their ids: equal for equal sets, however loaded."""
    from strop.tasks.schema import write_row
    from strop.types import content_hash

    return content_hash([write_row(task) for task in sorted(tasks, key=lambda task: task.id)])


def dump(tasks: Iterable[Task], path: str | Path) -> int:
    """Write tasks as Strop JSON Lines (gzip when `path` ends in `.gz`) and return how many.

    The file appears whole or not at all. Raises StropError when a task has a value without a text form.
    """
    from strop.tasks.writing import write_tasks

    return write_tasks(tasks, path)
