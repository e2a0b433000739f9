"""Tasks, programs and pairs that are small enough for a random model of two layers."""

from __future__ import annotations

from strop.types import CallCheck, Preference, Sample, Spent, Task

STUB = 'def add(x):\n    """Add {n}."""\n'
RIGHT = ("    return x + {n}\n", "    y = {n}\n    return y + x\n")
WRONG = ("    return x\n", "    return {n}\n", "    return (\n")


def task(number: int, split: str = "train") -> Task:
    stub = STUB.format(n=number)
    checks = tuple(
        CallCheck(function="add", args=(x,), expected=x + number, visible=x < 2, name=f"{x}") for x in range(4)
    )
    return Task(id=f"add/{split}/{number}", prompt=stub, stub=stub, checks=checks, entry_point="add", split=split)


def programs(number: int) -> list[str]:
    return [(STUB + body).format(n=number) for body in (*RIGHT, *WRONG)]


def samples(tasks, programs_of=programs) -> list[Sample]:
    return [
        Sample(task_id=one.id, index=index, text=code, code=code, finish_reason="stop", seed=index,
               protocol="completion", spent=Spent())
        for number, one in enumerate(tasks, 1)
        for index, code in enumerate(programs_of(number))
    ]  # fmt: skip


def pairs(count: int) -> list[Preference]:
    """The chosen answer says yes, the rejected one no: what a learner can see at once."""
    return [
        Preference(prompt=f"# {number}\n", chosen="return yes\n", rejected="return no\n", why={"task_id": str(number)})
        for number in range(count)
    ]
