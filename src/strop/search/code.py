"""Looking at programs without running them: functions, names that nothing defines, form without names.

Everything takes a text that may be hostile, and gives nothing for one that does not parse.
"""

from __future__ import annotations

import ast
import builtins
import copy
from collections import Counter
from dataclasses import dataclass

from strop.tasks.literals import parse

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BUILTINS = frozenset(dir(builtins))


def tree_of(code: str) -> ast.Module | None:
    """The syntax tree, or None."""
    tree = parse(code)
    return None if isinstance(tree, SyntaxError) else tree


@dataclass(frozen=True, slots=True)
class Function:
    """A top-level function of a program."""

    name: str
    source: str
    docstring: str


def functions(code: str) -> list[Function]:
    """Top-level functions in order; of several with one name, the last (as Python does)."""
    tree = tree_of(code)
    found = {}
    for node in tree.body if tree else ():
        if isinstance(node, FUNCTIONS):
            source = ast.get_source_segment(code, node) or ""
            found[node.name] = Function(node.name, source, ast.get_docstring(node) or "")
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Missing:
    """A function that a program calls and does not define."""

    name: str
    hint: str
    """The statement that calls it: what it takes and what is done with what it gives."""


def missing_functions(code: str) -> list[Missing]:
    """Plain names that are called, and that nothing in the program, its imports or Python defines; in order of use.

    A function's own name is known inside it. Names from `import *` cannot be known, so then nothing is missing.
    """
    tree = tree_of(code)
    if tree is None:
        return []
    bound = _bound_names(tree)
    if "*" in bound:
        return []
    found: dict[str, Missing] = {}
    for statement in ast.walk(tree):
        if not isinstance(statement, ast.stmt) or isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
            continue
        header = _without_body(statement)
        for node in (one for part in header for one in ast.walk(part)):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if name and name not in bound and name not in _BUILTINS and name not in found:
                found[name] = Missing(name, (ast.get_source_segment(code, statement) or "").split("\n")[0].strip())
    return list(found.values())


def _bound_names(tree: ast.Module) -> set[str]:
    """Every name that the program binds anywhere, in whatever scope."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {item.asname or item.name.partition(".")[0] for item in node.names}
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            names.add(node.rest)
    return names


def _without_body(statement: ast.stmt) -> list[ast.AST]:
    """The parts of a statement that are not statements or blocks of their own."""
    blocks = ("body", "orelse", "finalbody", "handlers", "cases")
    parts: list[ast.AST] = []
    for name, value in ast.iter_fields(statement):
        if name in blocks:
            continue
        parts += [value] if isinstance(value, ast.AST) else [v for v in value if isinstance(v, ast.AST)] \
            if isinstance(value, list) else []  # fmt: skip
    return parts


# ---- form --------------------------------------------------------------------------------------


def normal_form(code: str) -> str:
    """The program with its own names numbered, without docstrings, annotations and comments; empty if it is none.

    Two programs of one normal form differ in names and layout only.
    """
    tree = tree_of(code)
    if tree is None:
        return ""
    try:
        return ast.unparse(_Normaliser(_bound_names(tree)).visit(copy.deepcopy(tree)))
    except RecursionError:
        return code


class _Normaliser(ast.NodeTransformer):
    def __init__(self, own: set[str]) -> None:
        self.own = own
        self.numbers: dict[str, str] = {}

    def _name(self, name: str) -> str:
        return self.numbers.setdefault(name, f"n{len(self.numbers)}") if name in self.own else name

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self._name(node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(self._name(node.arg))

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        node.name = self._name(node.name)
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if not isinstance(node, ast.ClassDef):
            node.returns = None
        return self.generic_visit(node)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _definition

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value is None:
            return ast.Pass()
        return ast.Assign([node.target], node.value, lineno=node.lineno)


def operations(code: str) -> Counter[str]:
    """What a program is made of: loops and how deep they nest, recursion, comprehensions, calls, containers, operators.

    The profile that tells algorithms apart where names and order of statements do not (dossier of paper 85).
    """
    tree = tree_of(code)
    profile: Counter[str] = Counter()
    if tree is None:
        return profile
    own = {node.name for node in ast.walk(tree) if isinstance(node, FUNCTIONS)}
    stack: list[tuple[ast.AST, int, frozenset[str]]] = [(tree, 0, frozenset())]
    while stack:
        node, loops, inside = stack.pop()
        if isinstance(node, ast.For | ast.While | ast.AsyncFor | ast.comprehension):
            loops += 1
            profile[f"{type(node).__name__} at {loops}"] += 1
        elif isinstance(node, FUNCTIONS):
            inside = inside | {node.name}
        elif isinstance(node, ast.Call):
            name = _called(node)
            kind = "recursion" if name in inside else "own call" if name in own else f"call {name}"
            profile[kind] += 1
        elif isinstance(node, ast.BinOp | ast.AugAssign):
            profile[type(node.op).__name__] += 1
        elif isinstance(node, ast.List | ast.Dict | ast.Set | ast.Subscript | ast.Lambda | ast.IfExp | ast.Yield):
            profile[type(node).__name__] += 1
        stack += [(child, loops, inside) for child in ast.iter_child_nodes(node)]
    return profile


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""


def likeness(one: Counter[str], other: Counter[str]) -> float:
    """Share of operations that two profiles have in common: shared count over larger count, 0 to 1."""
    shared, union = sum((one & other).values()), sum((one | other).values())
    return shared / union if union else 1.0
