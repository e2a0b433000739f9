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

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strop.judge.link import Link

_BUILTIN_METHODS = frozenset(
    name for cls in (str, bytes, list, tuple, dict, set, frozenset, int, float) for name in dir(cls) if name[0] != "_"
)


class Done(Exception):
    """The program's iterator has no more items."""


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
        except Done:
            raise StopIteration from None

    def __len__(self) -> int:
        raise TypeError("an iterator has no length")

    def __contains__(self, value: Any) -> bool:
        return any(item is value or item == value for item in self)
