"""Values of calls in other languages: arguments on their way in, results compared on their way out.

Languages differ in what they can tell apart. A result is compared by what it is in JSON's terms: lists, tuples and
arrays are one kind, numbers are equal whatever their type, keys of maps count as text. Truth values and numbers are
different, unless a language cannot tell them apart.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from strop.judge import compare


def plain(value: Any) -> Any:
    """`value` in JSON's terms. Raises ValueError when it has no such form."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if value.bit_length() > 14_000:
            raise ValueError("an argument has more digits than can be sent")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("NaN and infinities cannot be arguments")
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=lambda item: json.dumps(item))
    if isinstance(value, dict):
        return {_key(key): plain(item) for key, item in value.items()}
    raise ValueError(f"a {type(value).__name__} cannot be an argument in another language")


def same(actual: Any, expected: Any, tolerance: float | None = None, loose: bool = False, empty: bool = False) -> bool:
    """Whether two values are equal in JSON's terms.

    loose: 1 and 0 pass for true and false, for languages that have no truth values.
    empty: an empty list passes for an empty map and the other way round.
    """
    if isinstance(expected, bool) or isinstance(actual, bool):
        if type(actual) is type(expected):
            return actual is expected
        return loose and type(actual) in (bool, int) and type(expected) in (bool, int) and actual == expected
    if expected is None or isinstance(expected, str | bytes):
        return type(actual) is type(expected) and actual == expected
    if isinstance(expected, list | tuple):
        if empty and not expected and actual == {}:
            return True
        if not isinstance(actual, list | tuple) or len(actual) != len(expected):
            return False
        return all(same(a, e, tolerance, loose, empty) for a, e in zip(actual, expected))
    if isinstance(expected, dict):
        if empty and not expected and actual == []:
            return True
        if not isinstance(actual, dict) or len(actual) != len(expected):
            return False
        found = {_key(key): item for key, item in actual.items()}
        due = {_key(key): item for key, item in expected.items()}
        return found.keys() == due.keys() and all(same(found[k], e, tolerance, loose, empty) for k, e in due.items())
    if isinstance(expected, set | frozenset):
        if not isinstance(actual, list | set | frozenset):
            return False
        return Counter(map(_text, actual)) == Counter(map(_text, expected))
    if isinstance(expected, int | float):
        return isinstance(actual, int | float) and compare.equal(actual, expected, tolerance)
    return False


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    return _text(key)


def _text(value: Any) -> str:
    """The same text for what is the same in JSON's terms."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, tuple | list):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value) if value is None or isinstance(value, str | int | float) else repr(value)
