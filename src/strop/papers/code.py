"""Code versions: a hash of the source that an experiment's outcomes come from."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from strop.types import StropError, content_hash


def resolve(name: str) -> Any:
    """The module, class or function that a dotted name stands for. Raises StropError when there is none."""
    module = module_of(name)
    thing: Any = import_module(module)
    for part in name.removeprefix(module).strip(".").split("."):
        if part:
            try:
                thing = getattr(thing, part)
            except AttributeError:
                raise StropError(f"'{name}' is not there: {module} has no '{part}'.") from None
    return thing


def module_of(name: str) -> str:
    """The longest beginning of a dotted name that is a module. Raises StropError when there is none in Strop."""
    parts = name.split(".")
    if parts[0] != "strop" or not all(part.isidentifier() for part in parts):
        raise StropError(f"'{name}' names no module of Strop.")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        try:
            found = find_spec(module)
        except (ModuleNotFoundError, ValueError):
            continue
        if found is not None:
            return module
    raise StropError(f"'{name}' names no module of Strop.")


def code_version(names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """One hash over the modules that hold `names`, and the hash of each. A package counts with all its modules.

    Comments, docstrings, blank lines and line endings do not count: they change no outcome.
    """
    modules = {module: _hash(module) for module in sorted({module_of(name) for name in names})}
    return content_hash(modules)[:16], modules


def _hash(module: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise StropError(f"The source of '{module}' cannot be found, so its version is unknown.")
    file = Path(spec.origin)
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    sources = [(path.relative_to(file.parent).as_posix(), path.read_text(encoding="utf-8")) for path in files]
    return content_hash([[name, bare(source)] for name, source in sources])[:16]


def bare(source: str) -> str:
    """Python source without comments, docstrings, blank lines and trailing spaces."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            text = node.body[0]
            for row in range(text.lineno - 1, text.end_lineno or text.lineno):
                lines[row] = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(stripped for line in lines if (stripped := line.rstrip()))
