"""Programs that solve nothing, made for one task; checks that let one of them pass are too weak.

Each probe has a name that says what it does: `empty`, `constant None`, `always-equal`, `early-exit`, `echo`, `raising`.
Only Python is probed beyond the empty program.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from typing import Any

from strop.types import CallCheck, ScriptCheck, StdioCheck, Task

COMMON = (None, True, False, 0, 1, -1, "", [], {}, ())
EXPECTED = 6
"""How many of a task's most frequent expected values are tried as constants."""

ALWAYS_EQUAL = """
class Yes:
    def yes(self, *args, **kwargs): return True
    def no(self, *args, **kwargs): return False
    def same(self, *args, **kwargs): return self
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __contains__ = yes
    __ne__ = no
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __abs__ = __round__ = __getitem__ = __call__ = same
    def __hash__(self): return 0
    def __len__(self): return 0
    def __iter__(self): return iter(())
"""


def probes(task: Task) -> Iterator[tuple[str, str]]:
    """`(name, program)` of every probe for `task`."""
    yield "empty", ""
    if task.language != "python":
        return
    yield "early-exit", "import os\nos._exit(0)\n"
    yield "early-exit", "raise SystemExit(0)\n"
    if any(isinstance(check, StdioCheck) for check in task.checks):
        yield "echo", "import sys\nsys.stdout.write(sys.stdin.read())\n"
        for text in _frequent([check.stdout for check in task.checks if isinstance(check, StdioCheck)]):
            yield f"constant {text[:40]!r}", f"print({text!r}, end='')\n"
    name = task.entry_point or next((c.function for c in task.checks if isinstance(c, CallCheck)), None)
    if name is None or not name.isidentifier():
        return
    head = f"def {name}(*args, **kwargs):\n    "
    yield "early-exit", head + "raise SystemExit(0)\n"
    yield "raising", head + "raise ValueError('no')\n"
    yield "echo", head + "return args[0] if args else None\n"
    yield "always-equal", ALWAYS_EQUAL + head + "return Yes()\n"
    constants = {repr(value): None for value in (*COMMON, *_frequent(list(expected_values(task))))}
    for text in constants:
        yield f"constant {text[:40]}", head + f"return {text}\n"


def expected_values(task: Task) -> Iterator[Any]:
    """Plain values that the task's checks compare with, read from the checks without running them."""
    for check in task.checks:
        if isinstance(check, CallCheck):
            yield check.expected
        elif isinstance(check, ScriptCheck):
            yield from _compared(check.code)


def _compared(code: str) -> Iterator[Any]:
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        sides: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "assertEqual":
            sides = node.args
        for side in sides:
            try:
                yield ast.literal_eval(side)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                continue


def _frequent(values: list[Any]) -> list[Any]:
    """The most frequent values, those only that survive being written as source."""
    counts: Counter[str] = Counter()
    for value in values:
        try:
            text = repr(value)
            if len(text) <= 10_000 and repr(ast.literal_eval(text)) == text:
                counts[text] += 1
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return [ast.literal_eval(text) for text, _ in counts.most_common(EXPECTED)]
