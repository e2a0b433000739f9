"""Reading task files row by row: JSON Lines or one JSON list, plain or gzip, with the line of every defect.

Task files come from anywhere, so each limit is checked before the memory is spent: bytes of a line, bytes of a file
after decompression, and nesting (by the parser itself). Nothing here knows what a row means.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from strop.types import StropError

MAX_LINE_BYTES = 128 * 2**20
MAX_FILE_BYTES = 4 * 2**30
MAX_DEPTH = 200
"""Limits on one line, on one file (decompressed) and on nesting; LiveCodeBench and APPS stay far below."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing wrong with a task file. Prints as `file, line 3, field checks[2].call: what is wrong`."""

    file: str
    line: int | None
    field: str | None
    message: str

    def __str__(self) -> str:
        place = [self.file]
        if self.line is not None:
            place.append(f"line {self.line}")
        if self.field:
            place.append(f"field {self.field}")
        return f"{', '.join(place)}: {self.message}"


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object of a file, with the line it starts on, counted from 1. In a JSON list: its place, from 1."""

    line: int
    data: dict[str, Any]


def raise_defects(defects: list[Defect], limit: int = 5) -> None:
    """Raise one StropError that names the first defects; return when there are none."""
    if defects:
        more = f"\n... and {len(defects) - limit} more defects" if len(defects) > limit else ""
        raise StropError("\n".join(map(str, defects[:limit])) + more)


def read_rows(path: Path) -> Iterator[Row | Defect]:
    """Every row of a `.jsonl`, `.jsonl.gz`, `.json` or `.json.gz` file, and a `Defect` for each line that is not one.

    A byte order mark is skipped, blank lines are ignored. An unreadable, truncated or empty file ends in a defect,
    never in an exception.
    """
    file, found = str(path), False
    try:
        with _open(path) as stream:
            whole = path.name.removesuffix(".gz").endswith(".json")
            for item in _read_document(stream, file) if whole else _read_lines(stream, file):
                found = True
                yield item
    except (OSError, EOFError, zlib.error) as error:
        found = True
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        yield Defect(file, None, None, f"cannot be read: {reason}")
    if not found:
        yield Defect(file, None, None, "the file holds no rows")


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")  # type: ignore[return-value]


def _read_lines(stream: IO[bytes], file: str) -> Iterator[Row | Defect]:
    number = total = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        total += len(line)
        if len(line) > MAX_LINE_BYTES or total > MAX_FILE_BYTES:
            what = "line" if len(line) > MAX_LINE_BYTES else "file"
            limit = MAX_LINE_BYTES if what == "line" else MAX_FILE_BYTES
            yield Defect(file, number, None, f"the {what} is longer than {limit // 2**20} MiB; reading stops here")
            return
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        value = _decode(line, file, number)
        if isinstance(value, Defect):
            yield value
        elif isinstance(value, dict):
            yield Row(number, value)
        else:
            yield Defect(file, number, None, f"expected a JSON object, found {_kind(value)}")


def _read_document(stream: IO[bytes], file: str) -> Iterator[Row | Defect]:
    """Rows of a JSON list. Data sets named `.json` that hold one object a line are read as lines."""
    text = stream.read(MAX_LINE_BYTES + 1).removeprefix(b"\xef\xbb\xbf")
    if len(text) > MAX_LINE_BYTES:
        yield Defect(file, None, None, f"the file is longer than {MAX_LINE_BYTES // 2**20} MiB; use JSON Lines")
        return
    if not text.strip():
        return
    if text.lstrip()[:1] == b"{":
        import io

        yield from _read_lines(io.BytesIO(text), file)
        return
    value = _decode(text, file, None)
    if isinstance(value, Defect):
        yield value
    elif not isinstance(value, list):
        yield Defect(file, None, None, f"expected a JSON list of tasks, found {_kind(value)}")
    else:
        for number, item in enumerate(value, 1):
            if isinstance(item, dict):
                yield Row(number, item)
            else:
                yield Defect(file, number, None, f"expected a JSON object, found {_kind(item)}")


def _decode(data: bytes, file: str, line: int | None) -> Any:
    """The JSON value of `data`, or the defect that says why there is none."""
    if _nests_deeper_than(data, MAX_DEPTH):
        return Defect(file, line, None, "nested too deeply")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except _DuplicateKeyError as error:
        return Defect(file, line, str(error), "the key occurs twice in one object")
    except UnicodeDecodeError as error:
        return Defect(file, line, None, f"not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x})")
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if line is not None else f"line {error.lineno}, column {error.colno}"
        return Defect(file, line, None, f"not valid JSON ({error.msg} at {place})")
    except RecursionError:
        return Defect(file, line, None, "nested too deeply")
    except ValueError as error:  # integers with more digits than Python converts
        return Defect(file, line, None, f"not usable JSON ({error})")


def _nests_deeper_than(data: bytes, limit: int) -> bool:
    """Brackets outside strings, counted before parsing: a raised recursion limit must not let the parser crash."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    depth = 0
    for bracket in re.finditer(rb'[\[{\]}]|"(?:[^"\\]|\\.)*+"', data):
        if bracket[0] in (b"[", b"{"):
            depth += 1
            if depth > limit:
                return True
        elif bracket[0] in (b"]", b"}"):
            depth -= 1
    return False


class _DuplicateKeyError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        raise _DuplicateKeyError(next(key for key, _ in pairs if key in seen or seen.add(key)))
    return result


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
