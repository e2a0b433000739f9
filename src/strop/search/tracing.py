"""Basic blocks of a program, and the values of its variables after each, for one input (LDB: Zhong et al. 2024).

The program is traced in the judge's sandbox (`trace_harness.py`). A block is a run of simple statements of one suite
together with the header of the compound statement that ends it; a loop's header is a block of its own, because it is
jumped back to. Every line of every statement below `def` lies in exactly one block.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from strop.search.code import tree_of
from strop.search.nodes import Node, Steps
from strop.search.sandbox import MOST_TEXT
from strop.search.state import State
from strop.tasks.literals import parse, parse_literal
from strop.types import CallCheck, Check, ScriptCheck, StdioCheck

Level = Literal["block", "line", "function"]

MOST_EVENTS = 20
"""Blocks whose values are shown; LDB keeps the first and last of long traces."""
MOST_LINES = 20_000
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LOOPS = (ast.For, ast.While, ast.AsyncFor)
_SUITES = ("body", "orelse", "finalbody")


@dataclass(frozen=True, slots=True)
class Block:
    """Lines `first` to `last` of a program, from 1."""

    first: int
    last: int


def blocks_of(code: str, level: Level = "block") -> list[Block]:
    """The blocks of all functions of a program (or of its top level, where it has none), in order of their lines.

    `line`: one block a statement. `function`: one block a function. Empty when the program does not parse.
    """
    tree = tree_of(code)
    if tree is None:
        return []
    own = [node for node in tree.body if isinstance(node, _DEFINITIONS)]
    if level == "function":
        spans = [(node.body[0].lineno, node.end_lineno or node.lineno) for node in own]
        found = {Block(*span) for span in spans or [(1, max(1, code.count("\n") + 1))]}
    else:
        found = set(_suite(tree.body, level))
    return sorted(found, key=lambda block: (block.first, -block.last))


def _suite(statements: Sequence[ast.stmt], level: Level) -> Iterator[Block]:
    run: list[ast.stmt] = []  # simple statements that are not in a block yet
    for node in statements:
        inner = _inner(node)
        jumped_to = isinstance(node, (*_LOOPS, *_DEFINITIONS))
        if run and (level == "line" or jumped_to):
            yield _spanning(run)
            run = []
        if isinstance(node, _DEFINITIONS):
            yield from _suite(_without_docstring(node.body), level)
        elif inner:
            head = max(node.lineno, min(suite[0].lineno for suite in inner) - 1)
            yield Block(run[0].lineno if run else node.lineno, head)
            run = []
            for suite in inner:
                yield from _suite(suite, level)
        else:
            run.append(node)
    if run:
        yield _spanning(run)


def _spanning(run: Sequence[ast.stmt]) -> Block:
    return Block(run[0].lineno, run[-1].end_lineno or run[-1].lineno)


def _inner(node: ast.stmt) -> list[list[ast.stmt]]:
    """The suites of a compound statement; none for one that stands on a single line."""
    suites = [getattr(node, name) for name in _SUITES if getattr(node, name, None)]
    suites += [handler.body for handler in getattr(node, "handlers", [])]
    suites += [case.body for case in getattr(node, "cases", [])]
    found = [suite for suite in suites if suite and isinstance(suite[0], ast.stmt)]
    return [] if node.lineno == node.end_lineno else found


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if is_text else body


# ---- running it --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trace:
    """What the program did for one input."""

    blocks: tuple[Block, ...]
    events: tuple[tuple[int, dict[str, str]], ...]
    """(block, values after it), in the order in which they ran."""
    result: str | None
    error: str | None
    cut: int
    """Events left out of the middle."""


def failing_input(state: State, node: Node) -> tuple[str | None, tuple[Any, ...], dict[str, Any], str] | None:
    """(function, args, kwargs, stdin) of the first failing visible check; None where it has no plain input."""
    for check, result in zip(state.task.visible_checks, node.verdict.checks if node.verdict else ()):
        if not result.passed:
            return _input_of(check, state.task.entry_point, result.message)
    return None


def _input_of(check: Check, entry_point: str | None, message: str) -> Any:
    if isinstance(check, CallCheck):
        return check.function, check.args, dict(check.kwargs), ""
    if isinstance(check, StdioCheck):
        return None, (), {}, check.stdin
    if isinstance(check, ScriptCheck):
        tree = parse(check.code)
        line = re.match(r"line (\d+):", message)
        calls = [
            node
            for node in ast.walk(tree if isinstance(tree, ast.Module) else ast.Module([], []))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == entry_point
        ]
        calls.sort(key=lambda node: (node.lineno != int(line[1]) if line else False, node.lineno))
        for call in calls:
            try:
                args = tuple(parse_literal(ast.unparse(arg)) for arg in call.args)
                kwargs = {item.arg: parse_literal(ast.unparse(item.value)) for item in call.keywords if item.arg}
            except ValueError:
                continue
            return entry_point, args, kwargs, ""
    return None


def trace(state: State, node: Node, level: Level = "block") -> Steps[Trace | None]:
    """Trace a program on the input of its first failing visible check. None when there is no plain input, when the
    program does not parse, or when it ends its own process before it can be read."""
    found, blocks = failing_input(state, node), blocks_of(node.code, level)
    if found is None or not blocks:
        return None
    function, args, kwargs, stdin = found
    starts = {line: number for number, block in enumerate(blocks) for line in range(block.first, block.last + 1)}
    # The judge keeps packages warm for programs that name them; the harness itself names none.
    mentions = "".join(f"# {line}\n" for line in node.code.split("\n") if "import" in line)
    text = yield from state.report(
        mentions + files("strop.search").joinpath("trace_harness.py").read_text(encoding="utf-8"),
        "strop_trace",
        *(node.code, function, list(args), kwargs, stdin, [list(pair) for pair in starts.items()]),
        *(MOST_EVENTS, MOST_LINES, MOST_TEXT),
    )
    return _read(text, blocks)


def _read(text: str | None, blocks: list[Block]) -> Trace | None:
    """The trace in the harness's JSON, which the program may have forged."""
    try:
        data = json.loads(text or "")
        events = tuple(
            (int(block), {str(name)[:50]: str(value)[:100] for name, value in values.items()})
            for block, values in data["events"][:MOST_EVENTS]
            if 0 <= int(block) < len(blocks)
        )
        shown = [None if data[name] is None else str(data[name])[:200] for name in ("result", "error")]
        return Trace(tuple(blocks), events, *shown, cut=int(data["cut"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def trace_text(code: str, found: Trace) -> str:
    """The trace for a prompt: each block that ran with its code, then the values after it."""
    lines = code.split("\n")
    parts = []
    for place, (number, values) in enumerate(found.events):
        block = found.blocks[number]
        shown = ", ".join(f"{name} = {value}" for name, value in values.items())
        parts.append(f"[BLOCK-{number}]\n" + "\n".join(lines[block.first - 1 : block.last]) + f"\n# after it: {shown}")
        if found.cut and place == MOST_EVENTS // 2 - 1:
            parts.append(f"... {found.cut} more blocks ran ...")
    end = f"It raised {found.error}" if found.error else f"It returned {found.result}"
    return "\n".join([*parts, end])[:MOST_TEXT]
