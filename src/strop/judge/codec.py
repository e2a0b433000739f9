"""The closed, tagged form in which values cross between a program and the judge.

Both directions use one text form: JSON in which a JSON list is a Python list and a JSON object is always a tag with
one key, such as `{"t": [1, 2]}` for a tuple. Decoding yields exact builtin types and nothing else, so a subclass with
its own `__eq__`, a spoofed `__class__` or a pickled payload cannot cross. The reader is strict, because what it reads
may have been written by a hostile process: size, depth, digits, hash collisions and NaN are checked.

Imports stay minimal: this module is loaded in the process that every program is forked from.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, defaultdict, deque
from math import isfinite

MAX_FRAME = 8 << 20
"""Bytes in one message. A JSON text expands about 20 times in memory, so 8 MiB stays well below the worker's limit."""
MAX_DEPTH = 150
MAX_INT_BITS = 1 << 17
"""About 39,000 decimal digits."""
JSON_INT_BITS = 14_000
"""Longer integers are sent in hexadecimal: Python refuses decimal texts of more than 4,300 digits."""
MAX_COLLISIONS = 100
"""Elements of one set or dict whose hashes may coincide; beyond that, building it would take quadratic time."""
MAX_ORDERED = 1000
"""Elements of a set whose order of iteration is kept if that takes trying."""

NoneType = type(None)
_ATOMS = frozenset({str, bool, NoneType})
_SCALARS = frozenset({str, bool, NoneType, int, float})
_dumps = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode


class CodecError(ValueError):
    """The value cannot cross, or what arrived is not a value."""


# ---- writing -----------------------------------------------------------------------------------


def dumps(tree: object) -> bytes:
    return _dumps(tree).encode()


def encode(value, opaque=None, coerce=False, depth=0):
    """Plain value -> tree of JSON values. `opaque(value)` gives the tag of anything that is not plain, or raises.

    With `coerce`, instances of subclasses of builtin types are sent as the builtin value that they hold.
    Raises CodecError for values that are too deep or not plain.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is int:
        if value.bit_length() <= JSON_INT_BITS:
            return value
        if value.bit_length() > MAX_INT_BITS:
            raise CodecError(f"integer of {value.bit_length()} bits; the limit is {MAX_INT_BITS}")
        return {"i": hex(value)}
    if kind is float:
        return value if isfinite(value) else {"n": repr(value)}
    if depth > MAX_DEPTH:
        raise CodecError(f"value nested more than {MAX_DEPTH} deep")
    if kind is list:
        return _items(value, opaque, coerce, depth)
    if kind is tuple:
        return {"t": _items(value, opaque, coerce, depth)}
    if kind is dict:
        if all(type(key) is str for key in value):
            return {"o": {key: encode(item, opaque, coerce, depth + 1) for key, item in value.items()}}
        pairs = [part for pair in value.items() for part in pair]
        return {"d": _items(pairs, opaque, coerce, depth)}
    writer = _WRITERS.get(kind)
    if writer is not None:
        return writer(value, opaque, coerce, depth + 1)
    late = _LATE_WRITERS.get((kind.__module__, kind.__name__))
    if late is not None:
        return late(value)
    if coerce:
        tree = _coerced(value, kind, opaque, depth)
        if tree is not None:
            return tree
    if opaque is None:
        raise CodecError(f"a value of type {kind.__name__} cannot cross between program and judge")
    return opaque(value)


def _items(values, opaque, coerce, depth):
    kinds = set(map(type, values))
    if kinds <= _SCALARS:
        plain_ints = int not in kinds or all(v.bit_length() <= JSON_INT_BITS for v in values if type(v) is int)
        if plain_ints and (float not in kinds or all(isfinite(v) for v in values if type(v) is float)):
            return list(values)
    return [encode(item, opaque, coerce, depth + 1) for item in values]


def _coerced(value, kind, opaque, depth):
    """The builtin value inside an instance of a subclass, or None. Only the program's side uses this."""
    if kind.__module__ == "numpy":
        if hasattr(value, "tolist") and hasattr(value, "dtype"):
            if getattr(value, "ndim", 0) == 0:
                return encode(value.tolist(), opaque, False, depth + 1)
            return {"A": [str(value.dtype), encode(value.tolist(), opaque, False, depth + 1)]}
        return None
    for base in kind.__mro__[1:]:
        if base in _BASES:
            if base is tuple and hasattr(kind, "_fields"):
                fields = [str(name) for name in kind._fields]
                return {
                    "N": [kind.__name__, fields, _items(tuple.__getitem__(value, slice(None)), opaque, True, depth)]
                }
            return encode(_BASES[base](value), opaque, True, depth + 1)
    return None


_BASES = {
    bool: bool,
    int: lambda v: int.__add__(v, 0),
    float: lambda v: float.__add__(v, 0.0),
    str: str.__str__,
    bytes: lambda v: bytes.__getitem__(v, slice(None)),
    list: lambda v: list.__getitem__(v, slice(None)),
    tuple: lambda v: tuple.__getitem__(v, slice(None)),
    dict: dict.copy,
    set: set.copy,
    frozenset: lambda v: frozenset(frozenset.__iter__(v)),
}
_WRITERS = {
    set: lambda v, o, c, d: {"s": _items(list(v), o, c, d)},
    frozenset: lambda v, o, c, d: {"f": _items(list(v), o, c, d)},
    bytes: lambda v, o, c, d: {"b": v.decode("latin-1")},
    bytearray: lambda v, o, c, d: {"y": v.decode("latin-1")},
    complex: lambda v, o, c, d: {"c": [encode(v.real), encode(v.imag)]},
    range: lambda v, o, c, d: {"r": [encode(v.start), encode(v.stop), encode(v.step)]},
    deque: lambda v, o, c, d: {"q": [v.maxlen, _items(v, o, c, d)]},
    Counter: lambda v, o, c, d: encode(dict(v), o, c, d),
    OrderedDict: lambda v, o, c, d: encode(dict(v), o, c, d),
    defaultdict: lambda v, o, c, d: encode(dict(v), o, c, d),
    type({}.keys()): lambda v, o, c, d: {"k": _items(list(v), o, c, d)},
    type({}.values()): lambda v, o, c, d: {"v": _items(list(v), o, c, d)},
    type({}.items()): lambda v, o, c, d: {"m": _items(list(v), o, c, d)},
    type(...): lambda v, o, c, d: {"e": "..."},
    type(NotImplemented): lambda v, o, c, d: {"e": "NotImplemented"},
    type: lambda v, o, c, d: _type(v, o),
}
# Types of modules that are not loaded unless a program uses them, found by name.
_LATE_WRITERS = {
    ("decimal", "Decimal"): lambda v: {"D": str(v)},
    ("fractions", "Fraction"): lambda v: {"F": [encode(v.numerator), encode(v.denominator)]},
    ("datetime", "date"): lambda v: {"T": ["date", v.isoformat()]},
    ("datetime", "time"): lambda v: {"T": ["time", v.isoformat()]},
    ("datetime", "datetime"): lambda v: {"T": ["datetime", v.isoformat()]},
    ("datetime", "timedelta"): lambda v: {"T": ["timedelta", [v.days, v.seconds, v.microseconds]]},
}
_NAMED_TYPES = {
    t.__name__: t
    for t in (int, float, complex, bool, str, bytes, bytearray, list, tuple, dict, set, frozenset, range, object, type)
} | {"NoneType": NoneType}


def _type(value, opaque):
    if _NAMED_TYPES.get(value.__name__) is value:
        return {"z": value.__name__}
    if opaque is None:
        raise CodecError(f"the class {value.__name__} cannot cross between program and judge")
    return opaque(value)


# ---- reading -----------------------------------------------------------------------------------


def _refuse(text):
    raise CodecError(f"{text} outside its tag")


_loads = json.JSONDecoder(parse_constant=_refuse).decode


def loads(data: bytes):
    """JSON text -> tree. Raises CodecError for anything else, however large, deep or long-winded."""
    try:
        return _loads(data.decode())
    except CodecError:
        raise
    except (ValueError, RecursionError) as error:
        raise CodecError(f"not a message: {type(error).__name__}") from None


def decode(tree, opaque=None, nan=False, depth=0):
    """Tree -> value of exact builtin types. `opaque(tag, body)` resolves handles; without it they are refused.

    `nan` admits NaN and infinities. Raises CodecError.
    """
    kind = type(tree)
    if kind in _ATOMS or kind is int:
        return tree
    if kind is float:  # 1e999 reads as infinity
        if isfinite(tree):
            return tree
        raise CodecError("infinity outside its tag")
    if depth > MAX_DEPTH:
        raise CodecError(f"value nested more than {MAX_DEPTH} deep")
    if kind is list:
        return _read_items(tree, opaque, nan, depth)
    if len(tree) != 1:
        raise CodecError("a tag has one key")
    ((tag, body),) = tree.items()
    reader = _READERS.get(tag)
    try:
        if reader is not None:
            return reader(body, opaque, nan, depth + 1)
    except CodecError:
        raise
    except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError) as error:
        raise CodecError(f"bad body of tag {tag!r}: {type(error).__name__}") from None
    if opaque is None:
        raise CodecError(f"unknown tag {tag[:20]!r}")
    return opaque(tag, body)


def _read_items(tree, opaque, nan, depth):
    if type(tree) is not list:
        raise CodecError("a list was due")
    kinds = set(map(type, tree))
    if kinds <= _SCALARS and (float not in kinds or all(isfinite(v) for v in tree if type(v) is float)):
        return tree.copy()  # the value may be changed, the message not
    return [decode(item, opaque, nan, depth + 1) for item in tree]


def _hashable(items):
    """Refuse crafted hash collisions, which would make building a set or dict quadratic."""
    try:
        hashes = set(map(hash, items))
    except TypeError:
        raise CodecError("unhashable key or set element") from None
    if len(items) - len(hashes) > MAX_COLLISIONS:
        raise CodecError("too many equal hashes")
    return items


def _read_pairs(body, opaque, nan, depth):
    flat = _read_items(body, opaque, nan, depth)
    keys, values = _hashable(flat[::2]), flat[1::2]
    return dict(zip(keys, values, strict=True))


def _read_set(kind, body, opaque, nan, depth):
    """A set that iterates as the one that was sent did, as far as that can be had.

    A check or a program may see that order. It depends on the size of the set's table, and on who came first where
    two elements wanted the same place; so sizes and orders of entry are tried.
    """
    items = _hashable(_read_items(body, opaque, nan, depth))
    built = kind(items)
    if list(built) == items or len(items) > MAX_ORDERED or len(set(items)) < len(items):
        return built
    smallest = 8
    while smallest * 3 <= len(items) * 5:
        smallest *= 2
    for attempt in range(MAX_ORDERED // len(items)):
        order = items if attempt < 4 else sorted(items, key=lambda item: hash((attempt, hash(item))))
        for _ in range(4):
            other = _arranged(order, smallest << attempt % 4)
            other = other if kind is set else kind(other)
            found = list(other)
            if found == items:
                return other
            due = next(due for due, got in zip(items, found) if due is not got)
            order = [due, *(item for item in order if item is not due)]  # it gets its place first
    return built


def _arranged(items, size):
    """A set of `items` in a table of `size` places, entered in this order.

    A set that is made from a dict gets room for twice as many at once; one that is added to grows when 3/5 are taken.
    """
    first = items[: max(4, size // 2 - 1)]
    fillers = [object() for _ in range(size // 4 + 1 - len(first))] if size > 8 else []
    arranged = set(dict.fromkeys([*first, *fillers]))
    arranged.update(items[len(first) :])
    arranged.difference_update(fillers)
    return arranged


def _read_object(body, opaque, nan, depth):
    if type(body) is not dict:
        raise CodecError("an object was due")
    return {key: decode(item, opaque, nan, depth) for key, item in body.items()}


def _read_int(body, opaque, nan, depth):
    if len(body) > MAX_INT_BITS // 4 + 3:
        raise CodecError("integer too long")
    return int(body, 16)


def _read_number(body, opaque, nan, depth):
    if not nan:
        raise CodecError(f"the program returned {body[:4]}, which no check expects")
    return {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}[body]


def _read_decimal(body, opaque, nan, depth):
    from decimal import Decimal

    value = Decimal(body[:100_000])
    if not value.is_finite() and (not nan or value.is_snan()):
        raise CodecError("the program returned a Decimal that is not finite")
    if value.is_finite() and abs(value.adjusted()) > 100_000:
        raise CodecError("Decimal exponent too large")
    return value


def _read_fraction(body, opaque, nan, depth):
    from fractions import Fraction

    numerator, denominator = (decode(part) for part in body)
    if type(numerator) is not int or type(denominator) is not int:
        raise CodecError("a fraction of two integers was due")
    return Fraction(numerator, denominator)


def _read_time(body, opaque, nan, depth):
    import datetime

    name, text = body
    if name == "timedelta":
        return datetime.timedelta(*text)
    return {"date": datetime.date, "time": datetime.time, "datetime": datetime.datetime}[name].fromisoformat(text)


_named_tuples: dict[tuple, type] = {}


def _read_namedtuple(body, opaque, nan, depth):
    from collections import namedtuple

    name, fields, values = body
    values = _read_items(values, opaque, nan, depth)
    key = (name, *fields)
    if key not in _named_tuples:
        if len(_named_tuples) > 1000:
            _named_tuples.clear()
        if len(fields) > 100:
            raise CodecError("named tuple with more than 100 fields")
        _named_tuples[key] = namedtuple(name, fields)
    return _named_tuples[key]._make(values)


def _read_array(body, opaque, nan, depth):
    import numpy

    dtype, items = body
    dtype = numpy.dtype(dtype)
    if dtype.kind not in "biufcU" or dtype.itemsize > 1024:
        raise CodecError("this array type does not cross")
    return numpy.array(decode(items, None, nan, depth), dtype=dtype)


def _read_deque(body, opaque, nan, depth):
    maxlen, items = body
    return deque(_read_items(items, opaque, nan, depth), maxlen)


_READERS = {
    "t": lambda b, o, n, d: tuple(_read_items(b, o, n, d)),
    "o": _read_object,
    "d": _read_pairs,
    "s": lambda b, o, n, d: _read_set(set, b, o, n, d),
    "f": lambda b, o, n, d: _read_set(frozenset, b, o, n, d),
    "i": _read_int,
    "n": _read_number,
    "b": lambda b, o, n, d: b.encode("latin-1"),
    "y": lambda b, o, n, d: bytearray(b.encode("latin-1")),
    "c": lambda b, o, n, d: complex(decode(b[0], None, n), decode(b[1], None, n)),
    "r": lambda b, o, n, d: range(decode(b[0]), decode(b[1]), decode(b[2])),
    "q": _read_deque,
    "k": lambda b, o, n, d: dict.fromkeys(_hashable(_read_items(b, o, n, d))).keys(),
    "v": lambda b, o, n, d: dict(enumerate(_read_items(b, o, n, d))).values(),
    "m": lambda b, o, n, d: _read_pairs([part for pair in b for part in pair["t"]], o, n, d).items(),
    "e": lambda b, o, n, d: {"...": ..., "NotImplemented": NotImplemented}[b],
    "z": lambda b, o, n, d: _NAMED_TYPES[b],
    "D": _read_decimal,
    "F": _read_fraction,
    "T": _read_time,
    "N": _read_namedtuple,
    "A": _read_array,
}
