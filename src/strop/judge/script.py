"""Assertion scripts: read once per task, run once per program, always inside the judge.

HumanEval's `check(candidate)`, MBPP's asserts, unittest cases and pytest functions run unchanged. Names that a script
uses are resolved in this order: the script itself, the task's set-up, builtins, trusted text of the task (helpers and
imports of the stub, imports of the reference), standard modules used as `module.name`; whatever is left is the
program's. The entry point is always the program's.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib.util
import random
import re
import symtable
import sys
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from strop.judge.link import Evidence, Link
from strop.judge.proxy import Global
from strop.types import ScriptCheck, Task

_NOT_FINITE = re.compile(r"nan|inf|1e\d{3}", re.IGNORECASE)
_EXCEPTIONS = re.compile(r"except|[rR]aises|suppress")
_PROGRAM_MODULES = frozenset({"solution", "candidate", "program", "main", "submission", "answer", "your_module"})
KEEP_LEFT, KEEP_RIGHT = "__strop_left__", "__strop_right__"


class BrokenCheck(Exception):
    """The check itself is unusable; no program can be blamed."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script check, analysed and compiled."""

    check: ScriptCheck
    code: CodeType
    setup: CodeType | None
    prelude: CodeType | None
    """Imports and helpers from trusted text that the script needs."""
    names: tuple[str, ...]
    """Globals of the program that the script uses."""
    exceptions: tuple[str, ...]
    """Those of them that stand where an exception class must."""
    evidence: Evidence
    nan: bool
    entry_point: str | None
    lines: tuple[str, ...] = field(repr=False, default=())


# ---- reading -----------------------------------------------------------------------------------


def compile_script(task: Task, check: ScriptCheck) -> Script:
    """Analyse a script check. Raises BrokenCheck when it does not parse."""
    try:
        tree = ast.parse(check.code, "<check>")
        setup = ast.parse(task.setup, "<setup>")
        tables = [
            symtable.symtable(text, name, "exec") for text, name in ((check.code, "<check>"), (task.setup, "<setup>"))
        ]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BrokenCheck(f"the check does not parse: {error}") from None
    imported = _take_program_imports(tree) | _take_program_imports(setup)
    used, defined = set(), set()
    for table in tables:
        _collect(table, used, defined)
    defined -= imported
    used |= imported
    if task.entry_point:
        used.add(task.entry_point)
        defined.discard(task.entry_point)
    free = {name for name in used - defined if name == task.entry_point or not hasattr(builtins, name)}
    free -= {"__name__", "__file__", "__doc__"}
    if check.style == "check":
        free.discard("candidate")
    prelude = _prelude(task, free - {task.entry_point}, [tree, setup])
    free -= {name for node in prelude for name in _bound(node)}
    stands = _exception_names(tree) | _exception_names(setup) if _EXCEPTIONS.search(check.code + task.setup) else set()
    _KeepSides().visit(tree)
    return Script(
        check=check,
        code=compile(tree, "<check>", "exec", dont_inherit=True),
        setup=compile(setup, "<setup>", "exec", dont_inherit=True) if setup.body else None,
        prelude=compile(ast.Module(prelude, []), "<stub>", "exec", dont_inherit=True) if prelude else None,
        names=tuple(sorted(free)),
        exceptions=tuple(sorted(free & stands)),
        evidence=find_evidence(task, [tree, setup], free),
        nan=bool(_NOT_FINITE.search(check.code) or _NOT_FINITE.search(task.setup)),
        entry_point=task.entry_point,
        lines=tuple(check.code.splitlines()),
    )


def _collect(table: symtable.SymbolTable, used: set[str], defined: set[str], top: bool = True) -> None:
    for symbol in table.get_symbols():
        name = symbol.get_name()
        if top:
            if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                defined.add(name)
            elif symbol.is_referenced():
                used.add(name)
        elif symbol.is_global():
            if symbol.is_assigned() or symbol.is_imported():
                defined.add(name)
            if symbol.is_referenced():
                used.add(name)
    for child in table.get_children():
        _collect(child, used, defined, top=False)


def _take_program_imports(tree: ast.Module) -> set[str]:
    """Remove imports of the program's own module; return the names that they would have bound."""
    names: set[str] = set()

    class Imports(ast.NodeTransformer):
        def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
            if node.level or _is_program(node.module or ""):
                names.update(alias.name for alias in node.names if alias.name != "*")
                renamed = [alias for alias in node.names if alias.asname and alias.asname != alias.name]
                return [
                    ast.Assign([ast.Name(a.asname or "", ast.Store())], ast.Name(a.name, ast.Load())) for a in renamed
                ] or ast.Pass()
            return node

    if any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree)):
        Imports().visit(tree)
        ast.fix_missing_locations(tree)
    return names


def _is_program(module: str) -> bool:
    top = module.split(".")[0]
    if top in sys.modules or top in sys.stdlib_module_names:
        return False
    return top in _PROGRAM_MODULES or _find(top) is None


def _find(name: str) -> Any:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _parse(text: str) -> ast.Module | None:
    try:
        return ast.parse(text) if text.strip() else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_skeleton(node: ast.stmt) -> bool:
    """A definition that a solution is meant to fill in: nothing but docstring, `pass` or `...`."""
    if isinstance(node, ast.ClassDef):
        return all(_is_skeleton(item) for item in node.body)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return all(
            isinstance(item, ast.Pass | ast.Raise)
            or (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
            for item in node.body
        )
    return isinstance(node, ast.Pass | ast.Expr | ast.AnnAssign)


def _prelude(task: Task, wanted: set[str], trees: list[ast.Module]) -> list[ast.stmt]:
    """Trusted statements that define names among `wanted`: the stub's helpers and imports, the reference's imports."""
    stub, reference = _parse(task.stub), _parse(task.reference or "")
    # Classes stay the program's: it gets instances of them, which only it can make.
    statements = [
        node for node in (stub.body if stub else []) if not _is_skeleton(node) and not isinstance(node, ast.ClassDef)
    ]
    imports = [node for node in (reference.body if reference else []) if isinstance(node, ast.Import | ast.ImportFrom)]
    chosen: list[ast.stmt] = []
    found: set[str] = set()
    pending = set(wanted)
    while pending:
        name = pending.pop()
        found.add(name)
        node = next((n for n in statements + imports if name in _bound(n) and task.entry_point not in _bound(n)), None)
        if node is None or node in chosen:
            continue
        chosen.append(node)
        # What a helper itself needs comes along.
        pending |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - found - {task.entry_point}
    order = {id(node): place for place, node in enumerate(imports + statements)}
    chosen.sort(key=lambda node: order[id(node)])
    bound = {name for node in chosen for name in _bound(node)}
    for name in sorted((wanted - bound) & sys.stdlib_module_names):
        nodes = [node for tree in trees for node in ast.walk(tree)]
        places = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
        if all(id(node) in places for node in nodes if isinstance(node, ast.Name) and node.id == name):
            chosen.insert(0, ast.Import([ast.alias(name)]))
    module = ast.fix_missing_locations(ast.Module(chosen, []))
    return module.body


def _exception_names(tree: ast.Module) -> set[str]:
    """Names that stand where only an exception class can: `except X`, `raises(X)`, `assertRaises(X, ...)`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            names |= {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("raises", "assertRaises", "assertRaisesRegex", "suppress"):
                names |= {n.id for arg in node.args[:1] for n in ast.walk(arg) if isinstance(n, ast.Name)}
    return names


# ---- what the task says about objects ----------------------------------------------------------

_ORDER = {"__lt__", "__le__", "__gt__", "__ge__"}


def find_evidence(task: Task, trees: list[ast.Module], free: set[str]) -> Evidence:
    """Read from trusted text whether the task is about objects, and which methods their classes define."""
    texts = [text for text in (task.stub, task.reference or "") if "class" in text]
    sources = [tree for tree in map(_parse, texts) if tree is not None]
    classes = [node for tree in sources for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    if classes:
        methods = {name for node in classes for name in _defined_in(node)}
        if any(not _plain_base(base, classes) for node in classes for base in node.bases):
            return Evidence(True, None)  # inherits from outside: what it offers is not written here
        return Evidence(True, frozenset(methods))
    if task.reference and _parse(task.reference) is not None:
        return Evidence()
    called = {
        node.func.id
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return Evidence(True, None) if any(name[:1].isupper() for name in called & free) else Evidence()


def _plain_base(base: ast.expr, classes: list[ast.ClassDef]) -> bool:
    names = {"object", "ABC", "Exception", "ValueError", "RuntimeError", "Protocol"} | {node.name for node in classes}
    return isinstance(base, ast.Name) and base.id in names


def _defined_in(node: ast.ClassDef) -> set[str]:
    names = set()
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(item.name)
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            names.add(item.target.id)
        elif isinstance(item, ast.Assign):  # __radd__ = __add__
            names |= {target.id for target in item.targets if isinstance(target, ast.Name)}
    names |= {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    marks = {n.id if isinstance(n, ast.Name) else n.attr for d in node.decorator_list for n in ast.walk(d)
             if isinstance(n, ast.Name | ast.Attribute)}  # fmt: skip
    if "dataclass" in marks:
        names |= {"__eq__", "__repr__"}
        if any(isinstance(d, ast.Call) and any(k.arg == "order" for k in d.keywords) for d in node.decorator_list):
            names |= _ORDER
    return names | (_ORDER if "total_ordering" in marks else set())


class _KeepSides(ast.NodeTransformer):
    """`assert a == b` also keeps both values, for the report."""

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            test.left = _wrap(KEEP_LEFT, test.left)
            test.comparators = [_wrap(KEEP_RIGHT, test.comparators[0])]
        return node


def _wrap(name: str, value: ast.expr) -> ast.expr:
    function = ast.copy_location(ast.Name(name, ast.Load()), value)
    return ast.copy_location(ast.Call(function, [value], []), value)


# ---- running -----------------------------------------------------------------------------------


class Sides:
    """The two sides of the last comparison that an assertion made."""

    def __init__(self) -> None:
        self.left: Any = None
        self.right: Any = None
        self.kept = False

    def keep_left(self, value: Any) -> Any:
        self.left = value
        self.kept = False
        return value

    def keep_right(self, value: Any) -> Any:
        self.right = value
        self.kept = True
        return value


def run_script(script: Script, link: Link, sides: Sides) -> None:
    """Run the script against the program behind `link`. Whatever it raises is for the caller to judge."""
    from strop.judge import testing

    space: dict[str, Any] = {"__name__": "__checks__", KEEP_LEFT: sides.keep_left, KEEP_RIGHT: sides.keep_right}
    for name in script.names:
        space[name] = Global(link, name)
    for name in script.exceptions:
        link.exceptions[name] = space[name] = type(name, (Exception,), {"__module__": "program"})
    random.seed(0)
    with contextlib.redirect_stdout(None):
        if script.prelude is not None:
            exec(script.prelude, space)
        if script.setup is not None:
            exec(script.setup, space)
        exec(script.code, space)
        if script.check.style == "check":
            if "check" not in space:
                raise BrokenCheck("the script defines no check(candidate)")
            space["check"](Global(link, script.entry_point or "candidate"))
        elif script.check.style == "unittest":
            testing.run_unittest(space)
        elif script.check.style == "pytest":
            testing.run_functions(space)
