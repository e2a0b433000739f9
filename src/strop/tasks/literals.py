"""Python literals as text, and check strings such as `median([3, 1, 2]) == 2 ~ 1e-9`.

JSON has no tuples, sets, bytes, complex numbers or non-string keys, so task files hold call checks as Python text.
The text is parsed with `ast` and never evaluated. Besides what `ast.literal_eval` reads, these constructors are
understood: `float("inf")`, `float("nan")`, `frozenset(...)`, `bytearray(...)`, `range(...)`, `Decimal("1.5")`,
`Fraction(1, 3)` and `date/datetime/time/timedelta(...)`, each with literal arguments.
"""

from __future__ import annotations

import ast
import contextlib
import datetime
import math
import re
import sys
import warnings
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from threading import Lock
from typing import Any

from strop.types import CallCheck, ScriptCheck

MAX_TEXT = 1_000_000
"""Longest check string that is parsed, in characters."""

USUAL_RECURSION = 1000
"""Python's own recursion limit, in frames."""

_PARSE_LOCK = Lock()
_UNPARSABLE = (SyntaxError, ValueError, MemoryError, RecursionError)
_TOLERANCE = re.compile(r"\s~\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*$")
_CONSTRUCTORS: dict[str, Any] = {
    "float": float,
    "frozenset": frozenset,
    "bytearray": bytearray,
    "range": range,
    "Decimal": Decimal,
    "Fraction": Fraction,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
    "set": set,
}


def parse(source: str) -> ast.Module | SyntaxError:
    """The syntax tree of `source`, or the `SyntaxError` that says why there is none.

    Never raises, whatever the text: NUL bytes, lone surrogates and nesting too deep for the parser are syntax errors
    too. Warnings about escape sequences are silenced; the lock keeps threads from restoring each other's filters.
    """
    try:
        with _PARSE_LOCK, warnings.catch_warnings(), _usual_recursion_limit():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError as error:
        return error
    except (ValueError, MemoryError, RecursionError) as error:
        return SyntaxError(str(error) or type(error).__name__)


@contextlib.contextmanager
def _usual_recursion_limit() -> Iterator[None]:
    """Lower a raised recursion limit for a moment: the parser goes as deep as it allows, and overflows the C stack."""
    limit = sys.getrecursionlimit()
    try:
        if limit > USUAL_RECURSION:
            sys.setrecursionlimit(USUAL_RECURSION)
    except RecursionError:  # already deeper than that
        raise SyntaxError("nested too deeply to be parsed here") from None
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def parse_literal(text: str) -> Any:
    """The value that `text` denotes. Raises ValueError when it is not a plain literal."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"literal longer than {MAX_TEXT} characters")
    tree = parse(text.strip())
    if isinstance(tree, SyntaxError):
        raise ValueError(f"not a Python literal: {_excerpt(text)} ({tree.msg})")
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
        raise ValueError(f"not a Python literal: {_excerpt(text)}")
    return _value(tree.body[0].value)


def _value(node: ast.expr) -> Any:
    """The value of a literal node, at any depth."""
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    try:
        if isinstance(node, ast.Set):
            return {_value(item) for item in node.elts}
        if isinstance(node, ast.Dict):
            if None in node.keys:
                raise ValueError("`**` is not allowed in a literal")
            return {_value(key): _value(item) for key, item in zip(node.keys, node.values) if key is not None}
        if isinstance(node, ast.Call):
            return _constructed(node)
        return ast.literal_eval(node)
    except (TypeError, ArithmeticError, *_UNPARSABLE) as error:
        reason = "" if "malformed node" in str(error) else f" ({error})"
        raise ValueError(f"not a Python literal: {_excerpt(_source(node))}{reason}") from None


def _constructed(node: ast.Call) -> Any:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        # `datetime.date(2024, 1, 31)`, `decimal.Decimal("1")` and `fractions.Fraction(1, 3)` as `repr` writes them.
        name = node.func.attr if node.func.value.id in ("datetime", "decimal", "fractions") else ""
    if name not in _CONSTRUCTORS:
        raise ValueError(f"call of {name or 'an expression'}")
    kwargs = {keyword.arg: _value(keyword.value) for keyword in node.keywords if keyword.arg}
    if len(kwargs) != len(node.keywords):
        raise ValueError("`**` is not allowed in a literal")
    return _CONSTRUCTORS[name](*[_value(item) for item in node.args], **kwargs)


def write_literal(value: Any) -> str:
    """Text that `parse_literal` reads back as an equal value of the same type. Raises ValueError for other values."""
    kind = type(value)
    if value is None or kind in (bool, int, str, bytes, range):
        return repr(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if kind is complex:
        if not (math.isfinite(value.real) and math.isfinite(value.imag)) or "-0.0" in repr((value.real, value.imag)):
            raise ValueError(f"complex number {value!r} has no literal")
        return repr(value)
    if kind is list:
        return "[" + ", ".join(map(write_literal, value)) + "]"
    if kind is tuple:
        return "(" + ", ".join(map(write_literal, value)) + ("," if len(value) == 1 else "") + ")"
    if kind is set:
        return "{" + ", ".join(sorted(map(write_literal, value))) + "}" if value else "set()"
    if kind is frozenset:
        return f"frozenset({write_literal(set(value)) if value else ''})"
    if kind is dict:
        return "{" + ", ".join(f"{write_literal(key)}: {write_literal(item)}" for key, item in value.items()) + "}"
    if kind is bytearray:
        return f"bytearray({bytes(value)!r})"
    if kind in (Decimal, Fraction, datetime.date, datetime.datetime, datetime.time, datetime.timedelta):
        if getattr(value, "tzinfo", None) is not None:
            raise ValueError(f"{value!r} carries a time zone, which has no literal")
        return repr(value)
    raise ValueError(f"a value of type {kind.__name__} has no literal")


def parse_call(text: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Function name, arguments and keyword arguments of `f(1, (2, 3), key="x")`. Raises ValueError."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"call longer than {MAX_TEXT} characters")
    tree = parse(text.strip())
    if isinstance(tree, SyntaxError):
        raise ValueError(f"not a Python call: {_excerpt(text)} ({tree.msg})")
    node = tree.body[0].value if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr) else None
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        raise ValueError(f"not a call of a named function: {_excerpt(text)}")
    return _call_parts(node)


def _call_parts(node: ast.Call) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    assert isinstance(node.func, ast.Name)
    kwargs = {keyword.arg: _value(keyword.value) for keyword in node.keywords if keyword.arg}
    if len(kwargs) != len(node.keywords) or any(isinstance(item, ast.Starred) for item in node.args):
        raise ValueError("`*` and `**` arguments are not literals")
    return node.func.id, tuple(_value(item) for item in node.args), kwargs


def write_call(check: CallCheck) -> str:
    """The call of a check as text, `f(1, key=2)`. Raises ValueError when the name or a value cannot be written."""
    if not check.function.isidentifier() or not all(name.isidentifier() for name in check.kwargs):
        raise ValueError(f"{check.function!r} or a keyword of it is not a Python name")
    parts = [write_literal(item) for item in check.args]
    parts += [f"{name}={write_literal(item)}" for name, item in check.kwargs.items()]
    return f"{check.function}({', '.join(parts)})"


def parse_check(text: str, *, visible: bool = False, name: str = "") -> CallCheck | ScriptCheck:
    """A check written as text.

    - `f(args) == literal`, with an optional ` ~ 1e-9` for the largest absolute or relative difference between floats,
      or `f(args) is None` (True, False): a `CallCheck`.
    - Any other single comparison, such as `Stack().size() == 0`: a `ScriptCheck` that asserts it.
    - Statements with at least one `assert`: a `ScriptCheck`.

    Raises ValueError when the text is none of these.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"check longer than {MAX_TEXT} characters")
    body, tolerance, tree = text.strip(), None, parse(text.strip())
    match = _TOLERANCE.search(body)
    if isinstance(tree, SyntaxError) and match:
        # `2 ~ 1e-9` is never valid Python, so the suffix cannot be part of the comparison.
        body, tolerance = body[: match.start()], float(match[1])
        tree = parse(body)
    if isinstance(tree, SyntaxError):
        raise ValueError(f"not valid Python: {_excerpt(text)} ({tree.msg})")
    expression = tree.body[0].value if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr) else None
    if expression is None:
        if tolerance is not None:
            raise ValueError("a tolerance belongs to `call == literal`, not to statements")
        if not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
            raise ValueError(f"statements without an assert check nothing: {_excerpt(text)}")
        return ScriptCheck(code=text.strip() + "\n", visible=visible, name=name)
    call = _plain_comparison(expression)
    if call is not None:
        try:
            function, args, kwargs = _call_parts(call[0])
            expected = _value(call[1])
        except ValueError:
            if tolerance is not None:
                raise
        else:
            return CallCheck(
                function=function,
                args=args,
                kwargs=kwargs,
                expected=expected,
                tolerance=tolerance,
                visible=visible,
                name=name,
            )
    if tolerance is not None or not isinstance(expression, ast.Compare):
        raise ValueError(f"not of the form `call == literal`: {_excerpt(text)}")
    return ScriptCheck(code=f"assert {body}\n", visible=visible, name=name)


def _plain_comparison(node: ast.expr) -> tuple[ast.Call, ast.expr] | None:
    """Call and expected value of `f(...) == value` or `f(...) is None`."""
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return None
    left, operator, right = node.left, node.ops[0], node.comparators[0]
    if not (isinstance(left, ast.Call) and isinstance(left.func, ast.Name)):
        return None
    singleton = isinstance(right, ast.Constant) and (right.value is None or isinstance(right.value, bool))
    if isinstance(operator, ast.Eq) or (isinstance(operator, ast.Is) and singleton):
        return left, right
    return None


def _source(node: ast.AST) -> str:
    try:
        return ast.unparse(node)
    except _UNPARSABLE:
        return type(node).__name__


def _excerpt(text: str, limit: int = 80) -> str:
    text = " ".join(text[: 4 * limit].split())
    return repr(text if len(text) <= limit else text[:limit] + "...")
