"""Stand-ins, inside the judge, for what lives in the program's process.

Assertion scripts run here unchanged, against these objects. The rule that keeps them honest:

- **Plain data decides.** Results that are plain data arrive as exact builtin values, and Python's own `==` compares
  them here. A handle (an object that stayed with the program) is never equal to plain data, and never "true" by its
  own say-so.
- **The program may answer for an object only what the task says that objects of its kind do.** Whether a task is about
  objects at all, and which methods and operators they have, is read from trusted text: the stub, the reference, the
  set-up and the script (`Evidence`). Without such evidence a handle can be called (a returned function) or iterated
  (a generator), and everything else about it fails the check, even if the script would swallow the error.

An operator that shows the program an expected value (`handle - 3.5`, `3 in handle`, `handle.startswith("ab")`) would
let it agree with anything; that is what the evidence is for.
"""

from __future__ import annotations

import builtins
import functools
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from strop.judge import codec
from strop.judge.session import Ended, Session

REVIVED = {
    name: cls
    for name, cls in vars(builtins).items()
    if isinstance(cls, type) and issubclass(cls, Exception) and cls not in (StopIteration, StopAsyncIteration)
}
"""Exceptions of the program that are raised again here, by name. Never StopIteration, which would end a test's loop."""

_BUILTIN_METHODS = frozenset(
    name for cls in (str, bytes, list, tuple, dict, set, frozenset, int, float) for name in dir(cls) if name[0] != "_"
)


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
                raise _Done
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


class _Done(Exception):
    """The program's iterator has no more items."""


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


# ---- stand-ins ---------------------------------------------------------------------------------


class Global:
    """A name of the program: function, class or value, looked up in the program when it is used."""

    __slots__ = ("__name__", "_strop_link", "_strop_path")
    _strop_link: Link
    _strop_path: str

    def __init__(self, link: Link, path: str) -> None:
        object.__setattr__(self, "_strop_link", link)
        object.__setattr__(self, "_strop_path", path)
        object.__setattr__(self, "__name__", path)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._strop_link.call(self._strop_path, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__dict__":
            raise AttributeError(name)
        link = self._strop_link
        if not link.evidence.objects and name in _BUILTIN_METHODS:
            link.refuse(f"the check uses .{name} of {self._strop_path}")
        return link.operate("get", self._strop_path, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._strop_link.operate("set", self._strop_path, name, value)

    def __instancecheck__(self, value: Any) -> bool:
        if not isinstance(value, Handle):
            return False
        if not self._strop_link.evidence.objects:
            self._strop_link.refuse(f"the check asks for an instance of {self._strop_path}")
        return self._strop_link.operate("isinstance", self._strop_path, value) is True

    def __subclasscheck__(self, value: Any) -> bool:
        return (
            isinstance(value, Handle | Global)
            and self._strop_link.operate("issubclass", self._strop_path, value) is True
        )

    def __getitem__(self, key: Any) -> Any:
        return self._strop_value("getitem", key)

    def __iter__(self) -> Any:
        return iter(self._strop_value("iter"))

    def __len__(self) -> int:
        return self._strop_value("len")

    def _strop_value(self, name: str, *args: Any) -> Any:
        if not self._strop_link.evidence.objects:
            self._strop_link.refuse(f"the check uses {self._strop_path} as a value")
        return self._strop_link.operate(name, self._strop_path, *args)

    def __repr__(self) -> str:
        return f"<{self._strop_path} of the program>"


class Handle:
    """An object that stayed with the program."""

    __slots__ = ("_strop_label", "_strop_link", "_strop_number")
    _strop_link: Link
    _strop_label: str
    _strop_number: int

    def __init__(self, link: Link, number: int, name: str) -> None:
        object.__setattr__(self, "_strop_link", link)
        object.__setattr__(self, "_strop_number", number)
        object.__setattr__(self, "_strop_label", name)

    def _strop_ask(self, operation: str, *args: Any, needs: str = "") -> Any:
        link = self._strop_link
        if needs and not link.evidence.allows(needs):
            link.refuse(f"the program returned an object ({self._strop_label}) where plain data was due: {needs}")
        return link.operate(operation, self._strop_number, *args)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__dict__", "__name__", "__doc__"):
            raise AttributeError(name)
        link = self._strop_link
        if not link.evidence.objects or (name in _BUILTIN_METHODS and not link.evidence.allows(name)):
            link.refuse(f"the program returned an object ({self._strop_label}) where plain data was due: .{name}")
        return link.operate("get", self._strop_number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._strop_ask("set", name, value, needs="" if self._strop_link.evidence.objects else "attributes")

    def __eq__(self, other: Any) -> Any:
        return self is other or (self._strop_same_kind(other) and self._strop_ask("eq", other) is True)

    def __ne__(self, other: Any) -> Any:
        return self is not other and not (self._strop_same_kind(other) and self._strop_ask("eq", other) is True)

    def _strop_same_kind(self, other: Any) -> bool:
        """Two objects of the program may be compared by it where the task says that they define `==`."""
        return isinstance(other, Handle) and self._strop_link.evidence.allows("__eq__")

    def __hash__(self) -> int:
        return self._strop_number

    def __bool__(self) -> bool:
        evidence = self._strop_link.evidence
        if evidence.objects and evidence.methods is not None and not evidence.methods & {"__bool__", "__len__"}:
            return True
        if evidence.objects and evidence.methods is None:
            return True
        return bool(self._strop_ask("bool", needs="__bool__" if evidence.allows("__bool__") else "__len__"))

    def __iter__(self) -> Any:
        iterator = self._strop_ask(
            "iter", needs="__iter__" if not self._strop_link.evidence.allows("__getitem__") else ""
        )
        if not isinstance(iterator, IteratorHandle):
            self._strop_link.refuse("the program's object gave no iterator")
        return iterator

    def __enter__(self) -> Any:
        return self._strop_ask("enter", needs="__enter__")

    def __exit__(self, *_: Any) -> None:
        self._strop_ask("exit", needs="__exit__")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("an object of the program cannot be copied")

    def __copy__(self) -> Any:
        return self

    def __repr__(self) -> str:
        if self._strop_link.closed or not self._strop_link.evidence.allows("__repr__"):
            return f"<{self._strop_label} object of the program>"
        return self._strop_text("repr")

    def __str__(self) -> str:
        if self._strop_link.closed or not (
            self._strop_link.evidence.allows("__str__") or self._strop_link.evidence.allows("__repr__")
        ):
            return f"<{self._strop_label} object of the program>"
        return self._strop_text("str")

    def _strop_text(self, operation: str, *args: Any) -> str:
        text = self._strop_ask(operation, *args)
        if type(text) is not str:
            self._strop_link.refuse("the program's object gave no text")
        return text

    def __format__(self, spec: str) -> str:
        return self._strop_text("format", spec) if spec else str(self)

    def __len__(self) -> int:
        return self._strop_ask("len", needs="__len__")


def _operator(name: str, dunder: str) -> Callable[..., Any]:
    def method(self: Handle, *args: Any) -> Any:
        evidence = self._strop_link.evidence
        if args and evidence.objects and not evidence.allows(dunder):
            return NotImplemented  # Python tries the other operand, then raises its own TypeError
        return self._strop_ask(name, *args, needs=dunder)

    method.__name__ = dunder
    return method


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "pow", "lshift", "rshift", "xor")
_FORWARDED = {f"__{name}__": name for name in _BINARY}
_FORWARDED |= {f"__r{name}__": f"r{name}" for name in _BINARY}
_FORWARDED |= {"__and__": "and", "__or__": "or", "__contains__": "contains"}
_FORWARDED |= {f"__{name}__": name for name in ("lt", "le", "gt", "ge", "neg", "pos", "invert", "abs", "round")}
_FORWARDED |= {f"__{name}__": name for name in ("getitem", "setitem", "delitem", "int", "float", "index", "reversed")}
for _dunder, _name in _FORWARDED.items():
    setattr(Handle, _dunder, _operator(_name, _dunder))


class CallableHandle(Handle):
    """A function, bound method, class or callable object of the program."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._strop_link.operate("call", self._strop_number, *args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self


class IteratorHandle(Handle):
    """A generator or other iterator of the program."""

    __slots__ = ()

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        try:
            return self._strop_link.operate("next", self._strop_number)
        except _Done:
            raise StopIteration from None

    def __len__(self) -> int:
        raise TypeError("an iterator has no length")

    def __contains__(self, value: Any) -> bool:
        return any(item is value or item == value for item in self)
