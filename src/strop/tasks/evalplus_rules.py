"""The words and the sanitiser of evalplus 0.3.1, written anew over Python's `ast` (evalplus uses tree-sitter).

What evalplus does with a reply, as read in its `sanitize.py`:

1. Take the longest run of lines (counted without blank ones; the first of equals) that parses.
2. Of its top level keep imports, classes, functions that contain a `return`, and assignments; of equal names the
   first. Decorated functions, loops, branches and bare expressions go.
3. Of classes, functions and assignments keep those that the entry point reaches through the names they use.
4. If nothing is left, the run of step 1 is the program.

Where this differs: the error position of CPython's parser prunes the search of step 1 (same result, without the cubic
time), and replies of more than `MAX_LINES` lines are cut there.
"""

from __future__ import annotations

import ast

from strop.tasks.literals import parse

INSTRUCTION = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:"
)
RESPONSE = (
    "Below is a Python script with a self-contained function that solves the problem and passes corresponding tests:"
)
STOP = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(", "\n```\n")
MAX_LINES = 1500


def sanitise(text: str, entry_point: str | None) -> str:
    """The program that evalplus's `sanitize` reads out of a reply."""
    run = longest_run(text)
    tree = parse(run)
    if isinstance(tree, SyntaxError):
        return run
    kept: dict[str, ast.stmt] = {}
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in tree.body:
        name = _defined(node)
        if name is not None:
            kept.setdefault(name, node)
    if entry_point is not None:
        reachable = _reachable(entry_point, {name: _identifiers(node) for name, node in kept.items()})
        kept = {name: node for name, node in kept.items() if name in reachable}
    pieces = [ast.get_source_segment(run, node) or "" for node in [*imports, *kept.values()]]
    return "\n".join(pieces).strip() or run


def longest_run(text: str) -> str:
    """The longest run of lines that parses, by lines that are not blank; like evalplus, the first line if none does."""
    lines = text.split("\n")[:MAX_LINES]
    solid = [0]
    for line in lines:
        solid.append(solid[-1] + bool(line.strip()))
    best, most = (0, 1), 0
    for start in range(len(lines)):
        end = len(lines)
        while end > start and solid[end] - solid[start] > most:
            tree = parse("\n".join(lines[start:end]))
            if not isinstance(tree, SyntaxError):
                best, most = (start, end), solid[end] - solid[start]
                break
            # A run that holds the line of the error fails for the same reason, so go on in front of it.
            end = min(end - 1, start + max((tree.lineno or 1) - 1, 0))
    return "\n".join(lines[best[0] : best[1]])


def _defined(node: ast.stmt) -> str | None:
    """Name of a top-level class, function with a `return`, or assignment to one name; None for anything else."""
    if isinstance(node, ast.ClassDef) and not node.decorator_list:
        return node.name
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.decorator_list:
        returns = any(isinstance(item, ast.Return) for item in ast.walk(node))
        return node.name if returns else None
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name):
        return target.id
    return None


def _identifiers(node: ast.stmt) -> set[str]:
    """Every identifier in a statement: variables, attributes, parameters, keywords, names defined inside."""
    names: set[str] = set()
    for item in ast.walk(node):
        for field in ("id", "attr", "arg", "name"):
            value = getattr(item, field, None)
            if isinstance(value, str):
                names.add(value)
    return names


def _reachable(entry_point: str, uses: dict[str, set[str]]) -> set[str]:
    seen, queue = {entry_point}, [entry_point]
    while queue:
        for name in uses.get(queue.pop(), set()) - seen:
            seen.add(name)
            queue.append(name)
    return seen
