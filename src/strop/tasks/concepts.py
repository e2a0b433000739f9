"""Task sets written by hand as TOML: one file a concept, with tasks in three splits. Holds `basics`, the embedded set.

A file opens with `concept = "..."` and `split = "seen"` (its tasks are `train` or `near`) or `split = "far"` (a concept
that no training task touches), and then holds tasks:

    [[task]]
    name = "double_plus_one"          # the id becomes `basics/double_plus_one`
    split = "train"                   # train, near or far
    prompt = 'Return twice the number `n`, plus one.'
    signature = "def double_plus_one(n):"
    solution = '...'                  # the reference program
    visible = ['double_plus_one(4) == 9']
    hidden = ['double_plus_one(0) == 1', 'double_plus_one(0.1) == 1.2 ~ 1e-9']

Check strings are described at `strop.tasks.literals.parse_check`. Unknown keys are errors.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strop.tasks.literals import parse, parse_check, write_call, write_literal
from strop.tasks.reading import Defect
from strop.types import CallCheck, Check, ScriptCheck, Task

BASICS = Path(__file__).parent / "basics"
SPLITS = {"train": "train", "near": "held-out-near", "far": "held-out-far"}
_REQUIRED = ("name", "split", "prompt", "signature", "solution", "visible", "hidden")


def load_concepts(path: Path, prefix: str) -> Iterator[Task | Defect]:
    """The tasks of a `.toml` file, or of all of a folder's in the order of their names; ids are `prefix/name`."""
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    if not files:
        yield Defect(str(path), None, None, "the folder holds no .toml files")
    for file in files:
        try:
            document = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, RecursionError) as error:
            yield Defect(str(file), None, None, f"cannot be read: {error}")
            continue
        except tomllib.TOMLDecodeError as error:
            yield Defect(str(file), None, None, f"not valid TOML: {error}")
            continue
        yield from _document(document, str(file), prefix)


def _document(document: dict[str, Any], file: str, prefix: str) -> Iterator[Task | Defect]:
    unknown = sorted(document.keys() - {"concept", "split", "task"})
    if unknown:
        yield Defect(file, None, unknown[0], "unknown key (known at the top: concept, split, task)")
    concept, kind, rows = document.get("concept"), document.get("split"), document.get("task", [])
    if not isinstance(concept, str) or not concept:
        yield Defect(file, None, "concept", "must be a text that is not empty")
        return
    if kind not in ("seen", "far"):
        yield Defect(file, None, "split", f"must be 'seen' or 'far', not {kind!r}")
        return
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        yield Defect(file, None, "task", "the file needs at least one [[task]]")
        return
    for number, row in enumerate(rows):
        defects = list(_row_defects(row, file, f"task[{number}]", kind))
        yield from defects or [_task(row, concept, prefix)]


def _row_defects(row: dict[str, Any], file: str, place: str, kind: str) -> Iterator[Defect]:
    name = row.get("name")
    if isinstance(name, str):
        place = f"{place} ({name})"
    for key in sorted(row.keys() - set(_REQUIRED)):
        yield Defect(file, None, f"{place}.{key}", f"unknown key (known: {', '.join(_REQUIRED)})")
    for key in _REQUIRED:
        value, is_list = row.get(key), key in ("visible", "hidden")
        if key not in row:
            yield Defect(file, None, f"{place}.{key}", "missing")
        elif is_list and not (isinstance(value, list) and all(isinstance(item, str) for item in value) and value):
            yield Defect(file, None, f"{place}.{key}", "must be a list of check strings that is not empty")
        elif not is_list and not (isinstance(value, str) and value.strip()):
            yield Defect(file, None, f"{place}.{key}", "must be a text that is not empty")
        elif is_list and isinstance(value, list):
            for index, text in enumerate(value):
                try:
                    parse_check(text)
                except ValueError as error:
                    yield Defect(file, None, f"{place}.{key}[{index}]", str(error))
    allowed = ("far",) if kind == "far" else ("train", "near")
    if row.get("split") not in allowed:
        yield Defect(file, None, f"{place}.split", f"must be {' or '.join(allowed)} in a {kind!r} concept")
    if isinstance(row.get("solution"), str) and isinstance(parsed := parse(row["solution"]), SyntaxError):
        yield Defect(file, None, f"{place}.solution", f"not valid Python: {parsed}")


def _task(row: dict[str, Any], concept: str, prefix: str) -> Task:
    visible = [parse_check(text, visible=True, name=f"visible[{i}]") for i, text in enumerate(row["visible"])]
    hidden = [parse_check(text, name=f"hidden[{i}]") for i, text in enumerate(row["hidden"])]
    signature, prompt = row["signature"].strip(), row["prompt"].strip()
    checks: tuple[Check, ...] = (*visible, *hidden)
    return Task(
        id=f"{prefix}/{row['name']}",
        prompt=f"{prompt}\n\nSignature:\n\n{signature}\n\nExamples:\n\n" + "\n".join(map(example, visible)) + "\n",
        checks=checks,
        entry_point=row["name"] if f" {row['name']}" in signature else _defined_name(signature),
        stub=write_stub(signature, prompt, [example(check) for check in visible]),
        reference=row["solution"].strip() + "\n",
        split=SPLITS[row["split"]],
        tags=(concept,),
        source=prefix,
        licence="Apache-2.0" if prefix == "basics" else "",
    )


def _defined_name(signature: str) -> str:
    return signature.rpartition("\n")[2].split()[1].partition("(")[0].rstrip(":")


def example(check: CallCheck | ScriptCheck) -> str:
    """A visible check as doctest text: a call with its value, or the statements of a script."""
    if isinstance(check, CallCheck):
        return f">>> {write_call(check)}\n{write_literal(check.expected)}"
    tree = parse(check.code)
    if isinstance(tree, SyntaxError):
        return check.code.strip()
    lines = check.code.strip().split("\n")
    starts = {node.lineno for node in tree.body}
    return "\n".join((">>> " if number in starts else "... ") + line for number, line in enumerate(lines, 1))


def write_stub(signature: str, prompt: str, examples: list[str]) -> str:
    """Signature and docstring, ready to be completed: what HumanEval calls a prompt."""
    text = prompt + "\n\n" + "\n".join(examples)
    quote = "'''" if '"""' in text or text.endswith('"') else '"""'
    prefix = "r" if "\\" in text else ""
    body = "\n".join(f"    {line}".rstrip() for line in text.split("\n")).strip()
    return f"{signature}\n    {prefix}{quote}{body}\n    {quote}\n"
