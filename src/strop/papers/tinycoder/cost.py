"""What a TinyCoder program costs: the number of list elements it touches, counted exactly, the same on every machine.

Wall time of such programs is all start-up and noise. Here each turn of a comprehension costs 1, each builtin as much as
its argument is long (sorting n log2 n), and each slice as much as it copies.
"""

from __future__ import annotations

import ast
import builtins
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from strop.tasks.literals import parse
from strop.types import StropError

LENGTH = 40
"""Elements of the list that a program is charged on: long enough for n and n squared to lie far apart."""
MOST = 1_000_000
"""Cost at which counting ends."""
_ALLOWED = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Assign, ast.Return, ast.Expr, ast.Constant, ast.Name,
    ast.Load, ast.Store, ast.ListComp, ast.comprehension, ast.BinOp, ast.Mult, ast.Add, ast.Mod, ast.Compare, ast.Eq,
    ast.NotEq, ast.Gt, ast.Lt, ast.In, ast.IfExp, ast.Call, ast.keyword, ast.Subscript, ast.Slice, ast.UnaryOp,
    ast.USub, ast.List, ast.Attribute, ast.GeneratorExp,
)  # fmt: skip
_CHARGED = ("sum", "max", "min", "len", "list", "set", "range", "sorted")


class _TooDear(Exception):
    pass


class _Counter:
    """Sums up charges while a program runs."""

    def __init__(self) -> None:
        self.total = 0.0

    def charge(self, amount: float) -> None:
        self.total += amount
        if self.total > MOST:
            raise _TooDear

    def turns(self, items: Any) -> Iterator[Any]:
        for item in items:
            self.charge(1)
            yield item

    def sliced(self, value: Any) -> Any:
        self.charge(len(value))
        return value

    def builtin(self, name: str) -> Callable[..., Any]:
        function = getattr(builtins, name)

        def charged(*args: Any, **kwargs: Any) -> Any:
            if name != "len" and args and isinstance(args[0], Iterator):
                args = (list(args[0]), *args[1:])  # a generator's elements are looked at like a list's
            size = len(args[0]) if args and hasattr(args[0], "__len__") else 1
            # `len` and `range` look at no element.
            self.charge(
                1 if name in ("len", "range") else size * max(1.0, math.log2(size or 1)) if name == "sorted" else size
            )
            return function(*args, **kwargs)

        return charged

    def fromkeys(self, items: Any) -> dict:
        self.charge(len(items))
        return dict.fromkeys(items)


class _Instrument(ast.NodeTransformer):
    def visit_comprehension(self, node: ast.comprehension) -> ast.comprehension:
        self.generic_visit(node)
        node.iter = ast.Call(ast.Name("turns_", ast.Load()), [node.iter], [])
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        sliced = isinstance(node.slice, ast.Slice)
        return ast.Call(ast.Name("sliced_", ast.Load()), [node], []) if sliced else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if node.attr != "fromkeys" or not isinstance(node.value, ast.Name) or node.value.id != "dict":
            raise StropError(f"TinyCoder's language has no attribute {node.attr!r}.")
        return ast.Name("fromkeys_", ast.Load())


def cost(program: str, *, length: int = LENGTH, seed: int = 0) -> float | None:
    """List elements that `f` touches on one random list of `length` numbers; None when it raises or costs too much.

    Only for programs in TinyCoder's own language, which cannot do anything but compute on lists: whatever holds another
    construct or name raises StropError and is not run.
    """
    tree = parse(program)
    if isinstance(tree, SyntaxError):
        return None
    strange = next((node for node in ast.walk(tree) if not isinstance(node, _ALLOWED)), None)
    if strange is not None:
        raise StropError(f"TinyCoder's language has no {type(strange).__name__}, so this program is not run.")
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - {"xs", "ys", "y", "i", "dict", "f"}
    if not names <= set(_CHARGED):
        raise StropError(
            f"TinyCoder's language has no name {min(names - set(_CHARGED))!r}, so this program is not run."
        )
    counter = _Counter()
    space: dict[str, Any] = {"__builtins__": {}, "turns_": counter.turns, "sliced_": counter.sliced}
    space |= {"fromkeys_": counter.fromkeys} | {name: counter.builtin(name) for name in _CHARGED}
    code = compile(ast.fix_missing_locations(_Instrument().visit(tree)), "<tinycoder>", "exec", dont_inherit=True)
    rng = random.Random(seed)
    xs = [rng.randint(-9, 99) for _ in range(length)]
    try:
        exec(code, space)
        space["f"](xs)
    except Exception:
        return None
    return counter.total
