"""Mutants: copies of a program with one small bug each, made by editing its syntax tree.

A check is worth having if it rejects wrong programs, so task sets are measured by the share of mutants that their
checks reject (DeMillo, Lipton and Sayward 1978). The edits are the usual ones of mutation testing (operators,
comparisons, constants, conditions, statements) and those that beginners and language models make: off-by-one bounds
and slices, the wrong builtin or method, swapped arguments, the wrong variable, a forgotten return.

A mutant may be equivalent to its source: nothing here runs a program.
"""

from __future__ import annotations

import ast
import copy
import random
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from strop.tasks.literals import parse

Replacement = tuple[str, ast.AST]
"""Kind of edit, and the node that takes the place of the old one."""


class Place(NamedTuple):
    """A node and where it hangs: `parent.field`, or `parent.field[position]`."""

    parent: ast.AST
    field: str
    position: int | None
    node: ast.AST


_COMPILE_LOCK = Lock()
_Item = TypeVar("_Item")
_Node = TypeVar("_Node", bound=ast.AST)

_BINARY: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add, ast.FloorDiv),
    ast.Mult: (ast.Add, ast.Pow),
    ast.Div: (ast.FloorDiv, ast.Mult),
    ast.FloorDiv: (ast.Div, ast.Mod),
    ast.Mod: (ast.FloorDiv, ast.Mult),
    ast.Pow: (ast.Mult, ast.Add),
    ast.BitAnd: (ast.BitOr, ast.BitXor),
    ast.BitOr: (ast.BitAnd, ast.BitXor),
    ast.BitXor: (ast.BitAnd, ast.BitOr),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
_COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt, ast.GtE),
    ast.Gt: (ast.GtE, ast.LtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt, ast.LtE),
    ast.Eq: (ast.NotEq, ast.LtE, ast.GtE),
    ast.NotEq: (ast.Eq, ast.Lt, ast.Gt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_CONFUSED = [
    ("min", "max"), ("any", "all"), ("sum", "len"), ("len", "sum"), ("sorted", "list"), ("set", "list"),
    ("list", "sorted"), ("ord", "len"), ("range", "reversed"), ("abs", "int"), ("round", "int"), ("int", "float"),
    ("str", "repr"), ("upper", "lower"), ("isupper", "islower"), ("isdigit", "isalpha"), ("isalpha", "isalnum"),
    ("startswith", "endswith"), ("find", "rfind"), ("index", "rindex"), ("strip", "lstrip"), ("strip", "rstrip"),
    ("split", "splitlines"), ("ljust", "rjust"), ("capitalize", "upper"), ("title", "capitalize"),
    ("keys", "values"), ("append", "extend"), ("add", "discard"), ("update", "difference_update"),
    ("union", "intersection"), ("floor", "ceil"), ("get", "pop"), ("popleft", "pop"), ("gcd", "lcm"),
]  # fmt: skip
_WRONG_NAME: dict[str, list[str]] = defaultdict(list)
for _one, _other in _CONFUSED:
    _WRONG_NAME[_one].append(_other)
    if _one not in _WRONG_NAME[_other]:
        _WRONG_NAME[_other].append(_one)


def mutants(source: str, *, limit: int, seed: int = 0) -> list[str]:
    """Up to `limit` different mutants of `source`, as program texts. The same arguments give the same list.

    Each compiles, and differs in its syntax tree from the source and from the others (so layout and comments do not
    count, and are lost). All have one edit; only when there are fewer than `limit` of those, some have two. Kinds of
    edit take turns, and `seed` picks among the edits of a kind.

    Raises SyntaxError when `source` does not parse and ValueError for a negative `limit`.
    """
    if limit < 0:
        raise ValueError(f"limit must not be negative, but is {limit}")
    tree = parse(source)
    if isinstance(tree, SyntaxError):
        raise tree
    seen = {ast.dump(tree)}
    found: list[str] = []
    for text in chain(_edited(tree, seed), _twice_edited(found, seed)):
        if len(found) == limit:
            break
        key = _tree_key(text)
        if key is not None and key not in seen:
            seen.add(key)
            found.append(text)
    return found


def _twice_edited(once: list[str], seed: int) -> Iterator[str]:
    """Mutants of the mutants in `once`, one of each in turn; `once` is read when the first is asked for."""
    streams = []
    for number, text in enumerate(list(once)):
        tree = parse(text)
        if isinstance(tree, ast.Module):
            streams.append(_edited(tree, seed + number + 1))
    yield from _in_turn(streams)


def _in_turn(streams: Sequence[Iterable[_Item]]) -> Iterator[_Item]:
    """The first item of each stream, then the second of each, and so on. Items are not None."""
    for row in zip_longest(*streams):
        yield from (item for item in row if item is not None)


def _edited(tree: ast.Module, seed: int) -> Iterator[str]:
    """Program texts with one edit of `tree`, kinds of edit in turn. The tree is restored after each."""
    by_kind: dict[str, list[tuple[Place, ast.AST]]] = defaultdict(list)
    for place in _editable(tree):
        for kind, new in _replacements(place.node):
            by_kind[kind].append((place, new))
    rng = random.Random(seed)
    kinds = sorted(by_kind)
    rng.shuffle(kinds)
    for kind in kinds:
        rng.shuffle(by_kind[kind])
    for edit in _in_turn([by_kind[kind] for kind in kinds]):
        yield _with_edit(tree, *edit)


def _with_edit(tree: ast.Module, place: Place, new: ast.AST) -> str:
    parent, field, index, _ = place
    old = getattr(parent, field)
    setattr(parent, field, new if index is None else [*old[:index], new, *old[index + 1 :]])
    try:
        return ast.unparse(tree) + "\n"
    finally:
        setattr(parent, field, old)


def _tree_key(text: str) -> str | None:
    """The dump of the program's tree, or None if it does not compile."""
    tree = parse(text)
    if isinstance(tree, SyntaxError):
        return None
    try:
        with _COMPILE_LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as `"a" is 1`, which a mutant may well say
            compile(tree, "<mutant>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return ast.dump(tree)


def _children(parent: ast.AST) -> Iterator[Place]:
    for field, value in ast.iter_fields(parent):
        if isinstance(value, ast.AST):
            yield Place(parent, field, None, value)
        elif isinstance(value, list):
            for index, node in enumerate(value):
                if isinstance(node, ast.AST):
                    yield Place(parent, field, index, node)


def _editable(tree: ast.AST) -> Iterator[Place]:
    """Every place that an edit may change.

    Left out are parts that do not change what a program does: docstrings, annotations and imports.
    """
    parents = [tree]
    while parents:
        parent = parents.pop()
        for place in _children(parent):
            node = place.node
            if place.field in ("annotation", "returns", "decorator_list", "format_spec"):
                continue
            if isinstance(node, ast.Import | ast.ImportFrom):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            yield place
            parents.append(node)
        if isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _wrong_variables(parent)


def _wrong_variables(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Place]:
    """Uses of a parameter, marked so that `_replacements` exchanges each for the next parameter."""
    names = [argument.arg for argument in [*function.args.posonlyargs, *function.args.args] if argument.arg != "self"]
    if len(names) < 2:
        return
    for parent in ast.walk(function):
        for place in _children(parent):
            node = place.node
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
                yield place._replace(node=_Swap(names[(names.index(node.id) + 1) % len(names)]))


class _Swap(ast.AST):
    """Stands for "the name found here, exchanged for `name`"."""

    def __init__(self, name: str) -> None:
        self.name = name


def _replacements(node: ast.AST) -> Iterator[Replacement]:
    """The nodes that may take the place of `node`."""
    if isinstance(node, _Swap):
        yield "variable", ast.Name(node.name, ast.Load())
    elif isinstance(node, ast.stmt):
        yield from _statement(node)
    elif isinstance(node, ast.comprehension):
        yield from _comprehension(node)
    elif isinstance(node, ast.expr) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        yield from _expression(node)


def _changed(node: _Node, **fields: object) -> _Node:
    """A copy of `node` with some fields exchanged; its other children are shared, which printing does not mind."""
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _statement(node: ast.stmt) -> Iterator[Replacement]:
    if isinstance(node, ast.Expr | ast.AugAssign | ast.Raise | ast.Break | ast.Continue | ast.If | ast.For | ast.Try):
        yield "drop", ast.Pass()
    if isinstance(node, ast.Return):
        yield "drop", ast.Pass()
        if node.value is not None:
            yield "return", ast.Return(ast.Constant(None))
            yield "return", ast.Return(ast.Tuple([node.value], ast.Load()))
            yield "return", ast.Expr(ast.Call(ast.Name("print", ast.Load()), [node.value], []))
    if isinstance(node, ast.Break):
        yield "jump", ast.Continue()
    if isinstance(node, ast.Continue):
        yield "jump", ast.Break()
    if isinstance(node, ast.AugAssign):
        for operator in _BINARY.get(type(node.op), ()):
            yield "arithmetic", _changed(node, op=operator())
        yield "drop", ast.Assign([node.target], node.value, lineno=node.lineno)
    if isinstance(node, ast.If):
        yield "condition", _changed(node, test=_negated(node.test))
        yield "condition", _changed(node, test=ast.Constant(True))
        if node.orelse:
            yield "drop", _changed(node, orelse=[])
    if isinstance(node, ast.While):
        yield "condition", _changed(node, test=_negated(node.test))
        yield "loop", ast.If(node.test, node.body, node.orelse)
    if isinstance(node, ast.For):
        yield "loop", _changed(node, body=[*node.body, ast.Break()])
        for items in _shortened(node.iter):
            yield "loop", _changed(node, iter=items)


def _comprehension(node: ast.comprehension) -> Iterator[Replacement]:
    for number, test in enumerate(node.ifs):
        others = node.ifs[:number] + node.ifs[number + 1 :]
        yield "condition", _changed(node, ifs=others)
        yield "condition", _changed(node, ifs=[*others, _negated(test)])
    for items in _shortened(node.iter):
        yield "loop", _changed(node, iter=items)


def _expression(node: ast.expr) -> Iterator[Replacement]:
    match node:
        case ast.Constant():
            yield from (("constant", ast.Constant(value)) for value in _other_constants(node.value))
        case ast.BinOp():
            for operator in _BINARY.get(type(node.op), ()):
                yield "arithmetic", _changed(node, op=operator())
            yield "operand", _changed(node, left=node.right, right=node.left)
            yield "operand", node.left
            yield "operand", node.right
        case ast.UnaryOp():
            yield "operand", node.operand
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for number, operator in enumerate(ops):
                for other in _COMPARE.get(type(operator), ()):
                    yield "comparison", _changed(node, ops=[*ops[:number], other(), *ops[number + 1 :]])
            if len(ops) > 1:
                yield "condition", ast.Compare(left, ops[:1], comparators[:1])
                yield "condition", ast.Compare(comparators[0], ops[1:], comparators[1:])
        case ast.BoolOp():
            yield "logic", _changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
            yield from (("logic", value) for value in node.values)
        case ast.IfExp():
            yield "condition", _changed(node, test=_negated(node.test))
            yield "condition", node.body
            yield "condition", node.orelse
        case ast.Call():
            yield from _call(node)
        case ast.Subscript(slice=ast.Slice() as part):
            yield "operand", node.value
            for bounds in _other_bounds(part):
                yield "bound", _changed(node, slice=bounds)
        case ast.Subscript(slice=index) if not isinstance(index, ast.Constant):
            for shifted in _shifted(index):
                yield "bound", _changed(node, slice=shifted)
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items) if len(items) > 1:
            yield "element", _changed(node, elts=items[1:])
            yield "element", _changed(node, elts=items[:-1])
            yield "element", _changed(node, elts=items[::-1])


def _call(node: ast.Call) -> Iterator[Replacement]:
    function, arguments = node.func, node.args
    if isinstance(function, ast.Name):
        for other in _WRONG_NAME.get(function.id, ()):
            yield "call", _changed(node, func=ast.Name(other, ast.Load()))
        if function.id == "range" and arguments:
            for number in range(min(len(arguments), 2)):
                for bound in _shifted(arguments[number]):
                    yield "bound", _changed(node, args=[*arguments[:number], bound, *arguments[number + 1 :]])
            if len(arguments) == 1:
                yield "bound", _changed(node, args=[ast.Constant(1), *arguments])
    if isinstance(function, ast.Attribute):
        for other in _WRONG_NAME.get(function.attr, ()):
            yield "call", _changed(node, func=_changed(function, attr=other))
        if not isinstance(function.value, ast.Constant):
            yield "call", function.value
    elif len(arguments) == 1 and not isinstance(arguments[0], ast.Starred):
        yield "call", arguments[0]
    if len(arguments) >= 2:
        yield "argument", _changed(node, args=[arguments[1], arguments[0], *arguments[2:]])
        yield "argument", _changed(node, args=arguments[:-1])
    if node.keywords:
        yield "argument", _changed(node, keywords=node.keywords[:-1])


def _other_bounds(part: ast.Slice) -> Iterator[ast.Slice]:
    """The slice with one bound left out or moved by one."""
    for field, missing in (("lower", 1), ("upper", -1)):
        bound = getattr(part, field)
        if bound is None:
            yield _changed(part, **{field: ast.Constant(missing)})
        else:
            yield _changed(part, **{field: None})
            for shifted in _shifted(bound):
                yield _changed(part, **{field: shifted})
    if part.step is not None:
        yield _changed(part, step=None)


def _other_constants(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [other for other in (value + 1, value - 1, 0, -value) if other != value and other >= 0] or [1]
    if isinstance(value, float):
        return [value + 1.0, -value]
    if isinstance(value, str):
        return [value + "x", value.swapcase(), value[1:]] if value else ["x"]
    if value is None:
        return [0, False]
    return []


def _negated(test: ast.expr) -> ast.expr:
    return (
        test.operand if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) else ast.UnaryOp(ast.Not(), test)
    )


def _shifted(bound: ast.expr) -> Iterator[ast.expr]:
    """`bound + 1` and `bound - 1`."""
    yield ast.BinOp(bound, ast.Add(), ast.Constant(1))
    yield ast.BinOp(bound, ast.Sub(), ast.Constant(1))


def _shortened(items: ast.expr) -> Iterator[ast.expr]:
    """The items without the first, without the last, and in the opposite order."""
    as_list = ast.Call(ast.Name("list", ast.Load()), [items], [])
    yield ast.Subscript(as_list, ast.Slice(ast.Constant(1), None, None), ast.Load())
    yield ast.Subscript(as_list, ast.Slice(None, ast.UnaryOp(ast.USub(), ast.Constant(1)), None), ast.Load())
    yield ast.Subscript(as_list, ast.Slice(None, None, ast.UnaryOp(ast.USub(), ast.Constant(1))), ast.Load())
