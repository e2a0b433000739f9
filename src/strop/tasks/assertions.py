"""A task's checks one assertion at a time, and each as the text that a person would write.

Benchmarks keep many assertions in one script; a pass matrix wants one column each, so that a program that passes nine
of ten says more than "failed".
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace

from strop.tasks.literals import parse, write_call, write_literal
from strop.types import CallCheck, Check, ScriptCheck, Task


def single_tests(task: Task) -> tuple[Check, ...]:
    """The task's checks, scripts of several assertions cut into one script each.

    Cut are plain `asserts` scripts and HumanEval's `check(candidate)` (where `candidate` becomes the entry point).
    Each piece keeps the statements before it that assert nothing, such as assignments. A script that does not come
    apart stays whole, as do call, stdio and other checks. Pieces that never name the entry point are left out: they
    test nothing (HumanEval's `assert True`).
    """
    return tuple(piece for check in task.checks for piece in _pieces(task, check))


def _pieces(task: Task, check: Check) -> Iterator[Check]:
    tree = parse(check.code) if isinstance(check, ScriptCheck) else SyntaxError()
    if not isinstance(check, ScriptCheck) or isinstance(tree, SyntaxError):
        yield check
    elif check.style == "asserts":
        yield from _cut(task, check, [], tree.body)
    elif check.style == "check" and task.entry_point and (function := _check_function(tree)) is not None:
        candidate = function.args.args[0].arg
        renamed = ast.fix_missing_locations(_Rename(candidate, task.entry_point).visit(function))
        around = [node for node in tree.body if node is not function]
        yield from _cut(task, check, around, renamed.body)
    else:
        yield check


def _check_function(tree: ast.Module) -> ast.FunctionDef | None:
    """`check` when its body can stand at the top of a script: one parameter, no `return`."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "check" and len(node.args.args) == 1:
            returns = any(isinstance(inner, ast.Return | ast.Yield | ast.YieldFrom) for inner in ast.walk(node))
            return None if returns else node
    return None


def _cut(task: Task, check: ScriptCheck, before: Sequence[ast.stmt], body: Sequence[ast.stmt]) -> Iterator[ScriptCheck]:
    """One check for each statement of `body` that asserts, with all that came before it and does not."""
    shared = list(before)
    pieces: list[str] = []
    for node in body:
        if not any(isinstance(inner, ast.Assert) for inner in ast.walk(node)) or isinstance(node, ast.FunctionDef):
            shared.append(node)
            continue
        names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        bound = {inner.id for one in shared for inner in ast.walk(one) if isinstance(inner, ast.Name)}
        if task.entry_point is None or task.entry_point in names or names & bound:
            pieces.append(ast.unparse(ast.Module([*shared, node], [])) + "\n")
    if len(pieces) < 2:
        yield check if check.style == "asserts" or not pieces else replace(check, code=pieces[0], style="asserts")
        return
    label = check.name or "script"
    for number, code in enumerate(pieces):
        yield replace(check, code=code, style="asserts", name=f"{label}[{number}]")


class _Rename(ast.NodeTransformer):
    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(self.new, node.ctx), node) if node.id == self.old else node


def assertion_text(check: Check) -> str | None:
    """The check as Python statements that raise AssertionError when it fails; None where it has no such form.

    Call checks with a tolerance on a plain float become `assert abs(f(x) - y) <= t`; on other values they have no form.
    """
    if isinstance(check, ScriptCheck):
        return check.code.strip() + "\n" if check.style == "asserts" else None
    if not isinstance(check, CallCheck):
        return None
    try:
        call, expected = write_call(check), write_literal(check.expected)
    except ValueError:
        return None
    if check.tolerance is not None:
        plain = isinstance(check.expected, int | float) and not isinstance(check.expected, bool)
        return f"assert abs({call} - {expected}) <= {check.tolerance!r}\n" if plain else None
    if check.expected is None or isinstance(check.expected, bool):
        return f"assert {call} is {expected}\n"
    return f"assert {call} == {expected}\n"
