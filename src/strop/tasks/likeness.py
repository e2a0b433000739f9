"""When two programs are the same program, and two prompts nearly the same problem."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Sequence

from strop.tasks.literals import parse
from strop.types import Task

NEAR_DUPLICATE = 0.8
"""Jaccard similarity of word trigrams from which two prompts count as the same problem (Lee et al. 2022,
arXiv 2107.06499, also use 0.8, on n-grams of documents)."""

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


def normal_form(code: str) -> str:
    """The program's syntax tree without docstrings, comments and layout; the text itself when it does not parse."""
    tree = _without_docstrings(code)
    return _dump(tree, code) if tree is not None else code.strip()


def renamed_form(code: str, keep: Sequence[str] = ()) -> str:
    """`normal_form` with the program's own names numbered in the order of their appearance: a new name is no new idea.

    Names in `keep` (the entry point), builtins, attributes, imported names and keywords of calls stay.
    """
    tree = _without_docstrings(code)
    if tree is None:
        return code.strip()
    stay = {*keep, *dir(builtins)}
    stay |= {(n.asname or n.name).partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.alias)}
    numbers: dict[str, str] = {}
    for node in ast.walk(tree):
        for field in ("id", "arg", "name"):
            name = getattr(node, field, None)
            if isinstance(name, str) and name not in stay and not isinstance(node, ast.alias | ast.keyword):
                setattr(node, field, numbers.setdefault(name, f"_{len(numbers)}"))
    return _dump(tree, code)


def distinct(programs: Iterable[str]) -> tuple[str, ...]:
    """The first of each group of programs with one `normal_form`, in order."""
    by_form: dict[str, str] = {}
    for program in programs:
        by_form.setdefault(normal_form(program), program)
    return tuple(by_form.values())


def _without_docstrings(code: str) -> ast.Module | None:
    tree = parse(code)
    if isinstance(tree, SyntaxError):
        return None
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(node, _DEFINITIONS) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            del body[0]  # type: ignore[union-attr]
    return tree


def _dump(tree: ast.Module, code: str) -> str:
    try:
        return ast.dump(tree)
    except RecursionError:  # a long chain of operators parses, but is deeper than `dump` can go
        return code.strip()


def near_duplicates(
    practice: Sequence[Task], held_out: Sequence[Task], threshold: float = NEAR_DUPLICATE
) -> list[tuple[str, str, float]]:
    """(practice id, held-out id, similarity) of every pair of prompts at or above `threshold`, most alike first."""
    shingled = [(task.id, word_trigrams(task.prompt)) for task in practice]
    holders: dict[str, list[int]] = {}
    for position, (_, grams) in enumerate(shingled):
        for gram in grams:
            holders.setdefault(gram, []).append(position)
    found = []
    for task in held_out:
        grams = word_trigrams(task.prompt)
        for position in {position for gram in grams for position in holders.get(gram, ())}:
            other_id, other = shingled[position]
            similarity = len(grams & other) / len(grams | other)
            if similarity >= threshold:
                found.append((other_id, task.id, similarity))
    return sorted(found, key=lambda row: -row[2])


def word_trigrams(text: str) -> set[str]:
    """Every three words in a row, in lower case; the whole text when it has fewer."""
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}
