"""How the nouns lie in the database: exact round trips between frozen dataclasses and plain JSON."""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from strop.types import CheckResult, Sample, Spent, StropError, Verdict


class Metric(NamedTuple):
    """One number of one step, such as a training loss."""

    stage: str
    step: int
    name: str
    value: float


def plain(value: Any) -> Any:
    """JSON data: dataclasses and mappings become dicts, tuples and sets lists, paths and enums text.

    Raises TypeError for anything else, so that no run folder depends on an object's `repr`.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value.value if isinstance(value, enum.Enum) else value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if type(value).__module__ == "numpy":
        return plain(value.tolist())  # pyright: ignore[reportAttributeAccessIssue]
    raise TypeError(f"a {type(value).__name__} cannot be kept in a run folder; give plain data")


def dump(value: Any) -> str:
    """JSON in ASCII: lone surrogates and NULs in hostile text survive, where UTF-8 and SQLite would refuse them."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def sample_row(sample: Sample) -> dict[str, Any]:
    return {
        "text": sample.text,
        "code": sample.code,
        "finish_reason": sample.finish_reason,
        "seed": sample.seed,
        "protocol": sample.protocol,
        "spent": asdict(sample.spent),
    }


def read_sample(task_id: str, index: int, data: str, token_ids: bytes | None, logprobs: bytes | None) -> Sample:
    row = json.loads(data)
    return Sample(
        task_id=task_id,
        index=index,
        **(row | {"spent": Spent(**row["spent"])}),
        token_ids=unpack("q", token_ids),
        logprobs=unpack("d", logprobs),
    )


def verdict_row(verdict: Verdict) -> dict[str, Any]:
    return asdict(verdict)


def read_verdict(data: str) -> Verdict:
    row = json.loads(data)
    row["checks"] = tuple(CheckResult(**check) for check in row["checks"])
    row["flags"] = tuple(row["flags"])
    return Verdict(**row)


def pack(kind: str, numbers: Sequence[float] | None) -> bytes | None:
    """Little-endian 8-byte numbers, `q` for whole ones and `d` for floats; None stays None. Raises StropError."""
    try:
        return None if numbers is None else struct.pack(f"<{len(numbers)}{kind}", *numbers)
    except struct.error as error:
        raise StropError(f"Token ids or log-probabilities of a sample are not 64-bit numbers: {error}.") from error


def unpack(kind: str, blob: bytes | None) -> tuple[Any, ...] | None:
    return None if blob is None else struct.unpack(f"<{len(blob) // 8}{kind}", blob)
