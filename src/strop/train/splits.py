"""Which tasks are practised and which are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from strop.train.guard import keep_apart
from strop.types import StropError, Task

HELD_OUT_SHARE = 0.3
"""Share of tasks held out when a task set names no splits of its own."""


def divide(tasks: Sequence[Task], held_out: Sequence[Task] | None = None) -> tuple[list[Task], list[Task], str]:
    """(practice tasks, held-out tasks, how they were divided).

    In this order: a separate held-out set; splits named `held-out-*` beside `train`; `test` or `validation` beside
    `train`; otherwise a split by hash of the task id, so that it stays the same when tasks are added.
    """
    if held_out is not None:
        return list(tasks), list(held_out), "a separate held-out task set"
    practice = [task for task in tasks if task.split == "train"]
    if practice:
        for names, what in (
            (lambda split: split.startswith("held-out"), "held-out splits"),
            (lambda split: split == "test", "test split"),
            (lambda split: split == "validation", "validation split"),
        ):
            rest = [task for task in tasks if names(task.split)]
            if rest:
                return practice, rest, f"train split practised, {what} held out"
    if len(tasks) < 4:
        raise StropError(f"{len(tasks)} tasks are too few to practise on some and hold out others; give at least 4.")
    order = sorted(tasks, key=lambda task: hashlib.sha256(task.id.encode()).hexdigest())
    size = max(1, round(HELD_OUT_SHARE * len(order)))
    chosen = {task.id for task in order[:size]}
    return (
        [task for task in tasks if task.id not in chosen],
        [task for task in tasks if task.id in chosen],
        f"{size} of {len(tasks)} tasks held out by hash of their id (the set names no splits)",
    )


def load_apart(
    tasks: str,
    held_out: str | None,
    *,
    practice_tasks: int | None,
    held_out_tasks: int | None,
    seed: int,
    allow_near_duplicates: bool,
) -> tuple[list[Task], list[Task], str]:
    """Load task sets by name, divide them, check that nothing held out can be practised, and pick (see `pick`).

    Returns what `divide` does. Raises StropError as `divide` and `guard.keep_apart` do.
    """
    from strop.tasks import load

    practice, rest, division = divide(load(tasks), None if held_out is None else load(held_out))
    if not allow_near_duplicates:
        keep_apart(practice, rest)
    return pick(practice, practice_tasks, seed), pick(rest, held_out_tasks, seed), division


def pick(tasks: Sequence[Task], limit: int | None, seed: int) -> list[Task]:
    """`limit` tasks chosen by seeded hash, spread evenly over first tags, in the order of the set. All when None."""
    if limit is None or limit >= len(tasks):
        return list(tasks)

    def rank(task: Task) -> str:
        return hashlib.sha256(f"{seed}\x1f{task.id}".encode()).hexdigest()

    groups: dict[str, list[Task]] = {}
    for task in sorted(tasks, key=rank):
        groups.setdefault(task.tags[0] if task.tags else "", []).append(task)
    chosen: set[str] = set()
    for place in range(len(tasks)):
        for group in groups.values():
            if place < len(group) and len(chosen) < limit:
                chosen.add(group[place].id)
    return [task for task in tasks if task.id in chosen]
