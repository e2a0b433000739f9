"""The judge's end of one session with a program: operations on stand-ins become requests, replies become values.

What a program may answer is bounded here: values arrive as exact builtin types, exceptions as builtin or known classes,
and anything else fails the check, even if the script would swallow the error.
"""

from __future__ import annotations

import builtins
import functools
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from strop.judge import codec
from strop.judge.proxy import CallableHandle, Done, Global, Handle, IteratorHandle
from strop.judge.session import Ended, Session

REVIVED = {
    name: cls
    for name, cls in vars(builtins).items()
    if isinstance(cls, type) and issubclass(cls, Exception) and cls not in (StopIteration, StopAsyncIteration)
}
"""Exceptions of the program that are raised again here, by name. Never StopIteration, which would end a test's loop."""


class ProgramError(Exception):
    """An exception of the program's own kind, or one that is not raised again by name."""


class UnexpectedObject(TypeError):
    """The check used an object of the program as if it were plain data."""


class CannotPass(TypeError):
    """The check hands the program something that cannot cross; the check is at fault."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What trusted text says about the program's objects."""

    objects: bool = False
    """The task is about objects of the program's classes."""
    methods: frozenset[str] | None = frozenset()
    """Methods, operators included, that those classes define. None: not known, allow all."""

    def allows(self, name: str) -> bool:
        return self.objects and (self.methods is None or name in self.methods)


class Link:
    """Turns operations on stand-ins into requests of one session."""

    def __init__(self, session: Session, evidence: Evidence, nan: bool) -> None:
        self.session = session
        self.evidence = evidence
        self.nan = nan
        self.callbacks: list[Callable[..., Any]] = []
        self.handles: dict[int, Handle] = {}
        self.exceptions: dict[str, type[Exception]] = {}
        self.raised: BaseException | None = None
        """The last exception that came from the program."""
        self.refused = ""
        """Set once something happened that fails the check whatever the script does about it."""
        self.check_error = ""
        self.calls = 0
        self.closed = False
        session.on_callback = self._serve

    # ---- values

    def encode(self, value: Any) -> Any:
        return codec.encode(value, self._tag, True)

    def decode(self, tree: Any) -> Any:
        return codec.decode(tree, self._untag, self.nan)

    def _tag(self, value: Any) -> Any:
        kind = type(value)
        if isinstance(value, Handle):
            return {"h": value._strop_number}
        if kind is Global:
            return {"g": value._strop_path}
        if isinstance(value, type) and value.__name__ in self.exceptions:
            return {"g": value.__name__}
        if kind in (types.BuiltinFunctionType, type, types.WrapperDescriptorType, types.MethodDescriptorType):
            module = getattr(value, "__module__", None) or "builtins"
            if kind in (types.WrapperDescriptorType, types.MethodDescriptorType):
                module = value.__objclass__.__module__
            if module in ("builtins", "math", "operator", "_operator", "itertools", "functools", "collections"):
                return {"B": [module, value.__qualname__]}
        if hasattr(kind, "__next__"):
            return {"G": self._keep(functools.partial(_next_item, value))}
        if callable(value):
            return {"C": self._keep(value)}
        self.check_error = f"a {kind.__name__} object cannot be passed to a program"
        raise CannotPass(self.check_error)

    def _keep(self, function: Callable[..., Any]) -> int:
        for number, known in enumerate(self.callbacks):
            if known is function:
                return number
        self.callbacks.append(function)
        return len(self.callbacks) - 1

    def _untag(self, tag: str, body: Any) -> Any:
        if tag != "h" or type(body) is not list or len(body) != 3:
            raise codec.CodecError("unknown tag")
        number, offers, name = body
        if type(number) is not int or type(offers) is not str or type(name) is not str:
            raise codec.CodecError("bad handle")
        known = self.handles.get(number)
        if known is None:
            cls = IteratorHandle if "i" in offers else CallableHandle if offers and offers in "ctx" else Handle
            known = self.handles[number] = cls(self, number, name[:100])
        return known

    # ---- requests

    def call(self, path: str, args: tuple, kwargs: dict) -> Any:
        return self._ask(["call", path, self.encode(list(args)), self.encode(kwargs)], args)

    def operate(self, name: str, target: int | str, *args: Any, **kwargs: Any) -> Any:
        return self._ask(["op", name, target, self.encode(list(args)), self.encode(kwargs)])

    def ask_raw(self, request: bytes) -> Any:
        """Send a request that was encoded beforehand."""
        self.calls += 1
        return self.read(self.session.ask(request))

    def _ask(self, request: list, args: tuple = ()) -> Any:
        if self.closed:
            raise RuntimeError("the program is gone")
        self.calls += 1
        return self.read(self.session.ask(codec.dumps(request)), args)

    def read(self, reply: list, args: tuple = ()) -> Any:
        """The value in a reply. Raises the program's exception, or fails the check when the value cannot be had."""
        try:
            if reply[0] == "v":
                value = self.decode(reply[1])
                for index, tree in reply[2] if len(reply) > 2 else ():
                    if type(index) is int and 0 <= index < len(args):
                        _overwrite(args[index], self.decode(tree))
                return value
            if reply[0] == "s" and len(reply) == 1:
                raise Done
            if reply[0] == "e":
                self.raised = self._revive(*reply[1:])
            elif reply[0] == "m":
                self.raised = ProgramError(f"the program defines no {reply[1]!r}")
            elif reply[0] == "x":
                raise codec.CodecError(str(reply[1])[:300])
            else:
                raise codec.CodecError("unknown reply")
        except (codec.CodecError, IndexError, TypeError, ValueError, OverflowError) as error:
            self.refuse(str(error))
        raise self.raised  # type: ignore[misc]

    def refuse(self, why: str) -> None:
        self.refused = self.refused or why
        raise UnexpectedObject(why)

    def _revive(self, names: list, args: Any, text: str, line: Any, attributes: Any = None) -> BaseException:
        """An exception of ours for one of the program's: of the classes that the script knows, and a builtin one."""
        if not (isinstance(names, list) and names and all(type(name) is str for name in names)):
            raise codec.CodecError("bad exception")
        values = self.decode(args) if type(args) is list else []
        bases = [self.exceptions[name] for name in dict.fromkeys(names) if name in self.exceptions]
        builtin = next((REVIVED[name] for name in names if name in REVIVED and name != "Exception"), None)
        bases += [builtin] if builtin is not None else []
        if bases:
            cls = bases[0] if len(bases) == 1 else type(bases[0].__name__, tuple(bases), {})
            try:
                error = cls(*values)
            except Exception:
                error = cls(str(text))
        else:
            error = ProgramError(f"{names[0][:100]}: {text}"[:600])
        if type(attributes) is dict:
            error.__dict__.update(self.decode(attributes))
        error.__dict__["_strop_name"] = names[0][:100]
        error.__dict__["_strop_line"] = line if type(line) is int else None
        return error

    def _serve(self, number: int, args: Any, kwargs: Any) -> bytes:
        """Run one of the check's functions for the program."""
        try:
            if not 0 <= number < len(self.callbacks):
                raise codec.CodecError("no such function")
            values, named = self.decode(args), self.decode(kwargs)
            if type(values) is not list or type(named) is not dict:
                raise codec.CodecError("bad arguments")
            return codec.dumps(["return", self.encode(self.callbacks[number](*values, **named))])
        except Ended:
            raise
        except AssertionError:
            self.refused = self.refused or "an assertion failed in a function that the program called"
            return codec.dumps(["raise", "AssertionError", []])
        except Exception as error:
            name = type(error).__name__
            try:
                args = codec.encode(list(error.args))
            except codec.CodecError:
                args = [str(error)[:500]]
            return codec.dumps(["raise", name if name in REVIVED or name == "StopIteration" else "Exception", args])


def _next_item(iterator: Any) -> list:
    for item in iterator:
        return [item]
    return []


def _overwrite(target: Any, value: Any) -> None:
    """Show in the check's own list, dict or set what a function that returned None did to it."""
    if type(target) is not type(value):
        return
    if isinstance(target, list | bytearray):
        target[:] = value
    elif isinstance(target, dict | set):
        target.clear()
        target.update(value)
