"""Which methods there are, and how a name such as `codetree:policy=bfs` or `./mine.py:search` becomes one.

A method is a generator function `method(state, *, option: type = default, ...)`; see `strop.search.state`. Its
keyword-only parameters are its options, read from the text after the name: `best-of-n:select=mbr:stop=yes`.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin

from strop.search.nodes import Method
from strop.types import StropError, content_hash

if TYPE_CHECKING:
    from strop.search.state import State

METHODS = {
    "direct": "one program, greedy",
    "best-of-n": "many programs, chosen by tests, likelihood, vote, MBR, CodeT agreement, clusters or a scorer",
    "self-debug": "a chain of repairs from test feedback, with or without reflections (Reflexion)",
    "codetree": "a tree of strategies, programs and repairs with a critic, depth first or breadth first",
    "pg-td": "tree search over tokens with look-ahead completions (local models)",
    "tree-of-code": "a tree of whole programs that grows where they crash; a vote on outputs",
    "codechain": "rounds of modular programs that reuse representative functions",
    "agents": "analyst, coder and tester in turn, with or without runtime debugging",
    "runtime-debug": "repairs from a trace of the failing test, block by block (LDB)",
    "hierarchical": "functions that a program calls and does not define are written in turn",
}
"""Every method by name, in a line."""


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """A method with its options."""

    name: str
    """As the user gave it: name and options."""
    call: Method
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    """Hash of a user's own file; empty for Strop's methods."""

    @property
    def needs_tokens(self) -> bool:
        """Whether it chooses single tokens, which only local models show."""
        return bool(getattr(sys.modules.get(self.call.__module__), "NEEDS_TOKENS", False))

    def begin(self, state: State) -> Any:
        """The generator. Raises StropError when the function is no generator."""
        steps = self.call(state, **self.options)
        if not inspect.isgenerator(steps):
            raise StropError(
                f"The search method {self.name} is not a generator: it must ask its state with `yield from`, "
                "for instance `nodes = yield from state.write(n=4)`."
            )
        return steps


def with_model(method: MethodSpec, model: str) -> MethodSpec:
    """The same method under a name that tells the model too, for comparisons of several."""
    return replace(method, name=f"{method.name} with {model}")


def get_method(text: str) -> MethodSpec:
    """The method that a text names. Raises StropError for unknown names, files, options and values."""
    head, *rest = _split(text)
    if head.endswith(".py"):
        if not rest or "=" in rest[0]:
            raise StropError(f"--method {text}: name the function in the file, such as {head}:search.")
        function, source = _from_file(head, rest[0])
        rest = rest[1:]
    else:
        name = head.replace("_", "-")
        if name not in METHODS:
            close = difflib.get_close_matches(name, METHODS, 1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise StropError(
                f"No search method {head!r} (known: {', '.join(METHODS)}; your own: FILE.py:FUNCTION).{hint}"
            )
        function, source = import_module(f"strop.search.{name.replace('-', '_')}").search, ""
    return MethodSpec(text, function, _options(text, function, rest), source)


def _split(text: str) -> list[str]:
    """`a:b=c` at the colons, but a Windows-like or dotted path before `.py` stays whole."""
    if ".py" in text:
        path, _, rest = text.partition(".py")
        return [path + ".py", *filter(None, rest.split(":"))]
    return text.split(":")


def _from_file(path: str, name: str) -> tuple[Method, str]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise StropError(f"There is no file {path} with a search method.")
    module_name = f"strop_user_method_{content_hash(str(file.resolve()))[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise StropError(f"{path} could not be loaded: {type(error).__name__}: {error}") from error
    function: Any = getattr(module, name, None)
    if not callable(function):
        raise StropError(f"{path} defines no function {name!r}.")
    return cast(Method, function), content_hash(file.read_text(encoding="utf-8", errors="replace"))


def _options(text: str, function: Method, parts: list[str]) -> dict[str, Any]:
    known = {
        name: parameter
        for name, parameter in inspect.signature(function, eval_str=True).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    options: dict[str, Any] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or name not in known:
            listed = ", ".join(f"{one}={parameter.default}" for one, parameter in known.items()) or "none"
            raise StropError(f"Method {text!r}: {part!r} is no option of it. Its options: {listed}.")
        options[name] = _value(text, name, value, known[name])
    return options


def _value(text: str, name: str, value: str, parameter: inspect.Parameter) -> Any:
    """An option's value as its annotation says: a choice of words, yes or no, a number that is not negative, a text."""
    kind, words = parameter.annotation, get_args(parameter.annotation)
    if get_origin(kind) is Literal:
        if value not in words:
            raise StropError(f"Method {text!r}: {name} is one of {', '.join(words)}, not {value!r}.")
        return value
    kinds = [one for one in words if one is not type(None)] or [kind]
    try:
        if bool in kinds:
            return {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}[value.lower()]
        for number in (int, float):
            if number in kinds:
                read = number(value)
                if not 0 <= read < 1e9:
                    raise ValueError
                return read
    except (KeyError, ValueError):
        raise StropError(f"Method {text!r}: cannot read {name}={value!r} as {kinds[0].__name__}.") from None
    return value
