"""Verdicts out: the JSONL file that `strop judge` writes, and picks up again when it is run a second time."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import IO, Any

from strop.types import StropError, Task, Verdict

LONGEST_LINE = 1 << 24
"""Bytes of a verdict line when reading an old file; ours are far below, see `LONGEST_DETAIL`."""

LONGEST_DETAIL = 2000
"""Characters of `detail` that are written."""


def verdict_line(task_id: str, index: int, verdict: Verdict, key: str) -> str:
    """One line of a verdict file: the eight fields of the contract, then what Strop keeps for itself.

    `seconds` is CPU time, `memory_mb` peak resident memory. `key` identifies program, task and settings; a later run
    reuses the line when they are the same.
    """
    row = {
        "task_id": task_id,
        "index": index,
        "passed": verdict.passed,
        "status": verdict.status,
        "fraction": round(verdict.fraction, 6),
        "seconds": round(verdict.seconds, 6),
        "memory_mb": round(verdict.memory_mb, 3),
        "detail": verdict.detail[:LONGEST_DETAIL],
        "wall_seconds": round(verdict.wall_seconds, 6),
        "isolation": verdict.isolation,
        "flags": list(verdict.flags),
        "forgeable": verdict.forgeable,
        "key": key,
    }
    # ASCII only: `detail` may quote hostile text with lone surrogates or terminal escapes.
    return json.dumps(row, ensure_ascii=True) + "\n"


def task_key(task: Task, *settings: Any) -> bytes:
    """Digest of everything about a task and the settings that a verdict depends on."""
    return hashlib.sha256(repr(_canonical((task, settings))).encode("utf-8", "surrogatepass")).digest()


def _canonical(value: Any) -> Any:
    """A form whose `repr` depends on content alone: sets and mappings in a fixed order, types kept apart."""
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value).__name__, *(_canonical(getattr(value, f.name)) for f in fields(value)))
    if isinstance(value, Mapping):
        return ("{}", *sorted(((_canonical(k), _canonical(v)) for k, v in value.items()), key=repr))
    if isinstance(value, set | frozenset):
        return ("set", *sorted(map(_canonical, value), key=repr))
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(_canonical, value))
    return value


def completion_key(task_digest: bytes, program: str) -> str:
    """16 hexadecimal digits; never all zero, which `VerdictFile` uses for `no verdict yet`."""
    digest = hashlib.sha256(task_digest + program.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return digest if int(digest, 16) else "1".rjust(16, "0")


class VerdictFile:
    """A verdict file that is appended to while judging, and put in order at the end.

    `have[index]` and `want[index]` are completion keys as integers: what the file holds, what the completions ask for.
    Eight bytes a completion each, so a million completions cost 16 MB.
    """

    def __init__(self, path: Path):
        self.path = path
        self.have, self.want = array("Q"), array("Q")
        self._stream: IO[bytes] | None = None

    def open(self) -> None:
        try:
            self._stream = open(self.path, "a+b")  # noqa: SIM115 - closed in `close`
            self._read_old(self._stream)
        except OSError as error:
            raise StropError(f"{self.path}: cannot be written ({error.strerror}).") from None

    def _read_old(self, stream: IO[bytes]) -> None:
        stream.seek(0)
        end = 0
        for number, raw in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b""), 1):
            start = b'{"task_id": '
            if not raw.endswith(b"\n") and len(raw) < LONGEST_LINE and raw[: len(start)] == start[: len(raw)]:
                break  # the torn last line of a run that was killed
            row = _verdict_row(raw)
            if row is None:
                raise StropError(
                    f"{self.path}, line {number}: not a verdict line, so this file is not overwritten. "
                    "Give another --out, or remove the file."
                )
            end += len(raw)
            index, key, status = row
            _put(self.have, index, 0 if status == "judge_error" else key)
        stream.truncate(end)
        stream.seek(0, os.SEEK_END)

    def wants(self, index: int, key: str) -> bool:
        """Whether the completion still needs a verdict."""
        _put(self.want, index, int(key, 16))
        return _get(self.have, index) != int(key, 16)

    def write(self, index: int, key: str, line: str) -> None:
        assert self._stream is not None
        self._stream.write(line.encode("ascii"))
        self._stream.flush()
        _put(self.have, index, int(key, 16))

    def close(self, complete: bool) -> None:
        """Drop lines of other completions and settings, keep the newest of each index, sort by index.

        When the run was cut short, lines whose completion was not reached are kept for the next run.
        """
        if self._stream is None:
            return
        self._stream.flush()
        self._stream.seek(0)
        starts, lengths = array("Q"), array("Q")  # where the newest good line of each index is
        at, last, tidy = 0, -1, True
        for raw in self._stream:
            row = _verdict_row(raw)
            index, key = row[:2] if row else (0, 0)
            wanted = _get(self.want, index)
            if row and (wanted == key or (wanted == 0 and not complete)):
                _put(starts, index, at)
                _put(lengths, index, len(raw))
                tidy = tidy and index > last
                last = index
            else:
                tidy = False
            at += len(raw)
        if not tidy:
            fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            with open(fresh, "wb") as out:
                for start, length in zip(starts, lengths):
                    self._stream.seek(start)
                    out.write(self._stream.read(length))
                out.flush()
                os.fsync(out.fileno())
            os.replace(fresh, self.path)
        self._stream.close()
        self._stream = None


def _verdict_row(raw: bytes) -> tuple[int, int, str] | None:
    """`(index, key, status)` of a verdict line, key 0 when it has none; None when it is no verdict line."""
    try:
        row = json.loads(raw)
        index, status, key = row["index"], row["status"], int(row.get("key") or "0", 16)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    good = type(index) is int and 0 <= index < 1 << 32 and isinstance(status, str) and "passed" in row and key < 1 << 64
    return (index, key, status) if good else None


def _put(numbers: array[int], index: int, value: int) -> None:
    if index >= len(numbers):
        numbers.extend(array("Q", bytes(8 * (index + 1 - len(numbers)))))
    numbers[index] = value


def _get(numbers: array[int], index: int) -> int:
    return numbers[index] if index < len(numbers) else 0
