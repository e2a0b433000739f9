"""A task from a data set's column, a program from a reply, a reward from a verdict."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from strop.tasks.formats import FORMATS, detect, read_row
from strop.tasks.literals import parse
from strop.tasks.protocols import get_protocol
from strop.tasks.reading import Defect, Row
from strop.types import StropError, Task, Verdict

if TYPE_CHECKING:
    from strop.judge import Judge


def tasks_in(row: Mapping[str, Any], place: int = 1) -> list[Task | Defect]:
    """The tasks of one row in any format that `strop tasks` knows, or what is wrong with it."""
    form = detect(dict(row))
    if form is None:
        fields = ", ".join(sorted(map(str, row))[:12]) or "none"
        return [Defect("tasks", place, None, f"no known task format (fields: {fields}; known: {', '.join(FORMATS)})")]
    try:
        return list(read_row(Row(place, dict(row)), "tasks", form))
    except (RecursionError, MemoryError):
        return [Defect("tasks", place, None, "nested too deeply")]


def task_of(value: Any) -> Task:
    """The task in `value`: a task, a row in any known format, or such a row as JSON text. Raises StropError.

    Rows of tests alone, as verl, NeMo-Gym and LiveCodeBench keep them (`inputs`, `outputs` and perhaps `fn_name`), are
    tasks too; they need no id and no prompt.
    """
    if isinstance(value, Task):
        return value
    if isinstance(value, str):
        return _task_in_text(value)
    if not isinstance(value, Mapping):
        raise StropError(f"A task is a row or its JSON text, not {type(value).__name__}.")
    row = dict(value)
    if "inputs" in row and "outputs" in row:
        row = _tests_alone(row)
    found = tasks_in(row)
    defects = [item for item in found if isinstance(item, Defect)]
    tasks = [item for item in found if isinstance(item, Task)]
    if defects or len(tasks) != 1:
        raise StropError("; ".join(str(item) for item in defects[:5]) or "The row holds no task.")
    return tasks[0]


def _tests_alone(row: dict[str, Any]) -> dict[str, Any]:
    """A row that APPS's reader knows. Calls given as texts have one argument a line, each as JSON (LiveCodeBench)."""
    row = {"id": "task", "question": "(not given)"} | row
    name, given, wanted = row.get("fn_name"), row["inputs"], row["outputs"]
    texts = isinstance(given, list) and isinstance(wanted, list) and all(isinstance(x, str) for x in given + wanted)
    if not name or not texts or len(given) != len(wanted):
        return row
    cases = [{"input": one, "output": other} for one, other in zip(given, wanted)]
    kept = {key: value for key, value in row.items() if key not in ("inputs", "outputs", "fn_name")}
    return kept | {"public_test_cases": [], "private_test_cases": cases, "metadata": {"func_name": name}}


@lru_cache(1024)
def _task_in_text(text: str) -> Task:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StropError(f"The task is not JSON ({error}): {text[:80]!r}.") from None
    if not isinstance(value, Mapping):
        raise StropError(f"A task is a JSON object, not {type(value).__name__}.")
    return task_of(value)


def program_in(task: Task, reply: str) -> str:
    """The whole program in a model's reply, by the rules of Strop's `chat` protocol; empty when there is none.

    A method of LeetCode's `class Solution` stands for the function of that name, as other graders have it.
    """
    program = get_protocol("chat").extract(task.public(), reply)
    name = task.entry_point
    if name and name != "Solution" and "class Solution" in program:
        tree = parse(program)
        top = {} if isinstance(tree, SyntaxError) else {getattr(node, "name", ""): node for node in tree.body}
        methods = {getattr(node, "name", "") for node in getattr(top.get("Solution"), "body", ())}
        if name not in top and name in methods:
            return f"{program}\n{name} = Solution().{name}\n"
    return program


def reward_of(verdict: Verdict, *, partial: bool = False) -> float | None:
    """1 for a passed program, else 0, or with `partial` the share of checks passed. None where Strop failed."""
    if verdict.status == "judge_error":
        return None
    return float(verdict.fraction if partial else verdict.passed)


_lock = threading.Lock()
_judges: dict[bool, Judge] = {}


def judged(tasks: Sequence[Task], programs: Sequence[str], *, partial: bool = False) -> list[Verdict]:
    """Verdicts from a judge that all adapters of this process share. With `partial` every check runs."""
    from strop.judge import Judge

    with _lock:
        if partial not in _judges:
            _judges[partial] = Judge(stop_at_first_failure=not partial)
    found = dict(_judges[partial].stream((i, task, code) for i, (task, code) in enumerate(zip(tasks, programs))))
    return [found[index] for index in range(len(programs))]
