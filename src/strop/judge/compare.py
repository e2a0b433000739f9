"""Comparing what a program gave with what was due. Both sides are plain data by now."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from strop.types import StdioCheck

EXCERPT = 300


def contains_nonfinite(value: Any) -> bool:
    """Whether NaN or an infinity is anywhere inside `value`."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, complex):
        return not (math.isfinite(value.real) and math.isfinite(value.imag))
    if isinstance(value, dict):
        return any(contains_nonfinite(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(contains_nonfinite, value))
    return bool(type(value).__module__ == "decimal" and not value.is_finite())


def equal(actual: Any, expected: Any, tolerance: float | None = None) -> bool:
    """Python's own `==`; with a tolerance, floats anywhere inside may differ by that much, absolutely or relatively.

    Two NaN in the same place are equal: a check that expects NaN could not be passed otherwise.
    """
    if actual is expected:
        return True
    if isinstance(expected, float) and expected != expected:
        return isinstance(actual, float) and actual != actual
    if isinstance(expected, list | tuple) and type(actual) is type(expected):
        return len(actual) == len(expected) and all(equal(a, e, tolerance) for a, e in zip(actual, expected))
    if isinstance(expected, dict) and type(actual) is dict:
        return actual.keys() == expected.keys() and all(equal(actual[k], e, tolerance) for k, e in expected.items())
    if tolerance is not None and _is_number(actual) and _is_number(expected):
        return actual == expected or close(actual, expected, tolerance)
    result = actual == expected
    if type(result) is bool:
        return result
    return bool(result.all()) and getattr(actual, "shape", None) == getattr(expected, "shape", None)  # numpy arrays


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | complex) and not isinstance(value, bool)


def close(actual: Any, expected: Any, tolerance: float) -> bool:
    try:
        difference = abs(actual - expected)
        return bool(difference <= tolerance or difference <= tolerance * abs(expected))
    except OverflowError:
        return False


def stdio_comparer(check: StdioCheck) -> Callable[[str], bool]:
    """A function of the program's output. Raises ValueError when the check's own comparer is unusable."""
    expected, name, tolerance = check.stdout, check.comparer, check.tolerance
    if name == "exact":
        return lambda actual: actual == expected
    if name == "lines":
        lines = _lines(expected)
        return lambda actual: _lines(actual) == lines
    if name == "tokens":
        tokens = expected.split()
        return lambda actual: actual.split() == tokens
    if name == "numeric":
        wanted = expected.split()
        margin = 1e-6 if tolerance is None else tolerance
        return lambda actual: _same_numbers(actual.split(), wanted, margin)
    if "def compare" not in name:
        raise ValueError(f"comparer {name[:40]!r} is not exact, lines, tokens, numeric or source of compare(...)")
    space: dict[str, Any] = {"__name__": "comparer"}
    exec(compile(name, "<comparer>", "exec"), space)
    return lambda actual: space["compare"](check.stdin, expected, actual) is True


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_numbers(actual: list[str], expected: list[str], margin: float) -> bool:
    return len(actual) == len(expected) and all(
        a == e or _close_texts(a, e, margin) for a, e in zip(actual, expected)
    )  # fmt: skip


def _close_texts(actual: str, expected: str, margin: float) -> bool:
    if len(actual) > 1000:
        return False
    try:
        a, e = float(actual), float(expected)
    except ValueError:
        return False
    return math.isfinite(a) and close(a, e, margin)


def excerpt(value: Any) -> str:
    """A short, safe text of a value for reports."""
    try:
        text = value if type(value) is str and len(value) <= EXCERPT else repr(_shortened(value))
    except Exception as error:
        text = f"<{type(value).__name__}: {type(error).__name__} while showing it>"
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def _shortened(value: Any, depth: int = 0) -> Any:
    """Cut long parts before repr() makes a megabyte of text."""
    if type(value) in (str, bytes):
        return value[: EXCERPT + 1]
    if type(value) is int and value.bit_length() > 4096:
        return f"integer of {value.bit_length()} bits"
    if isinstance(value, list | tuple) and depth < 4:
        parts = [_shortened(part, depth + 1) for part in value[: EXCERPT // 2]]
        return parts if type(value) is list else tuple(parts)
    return value
