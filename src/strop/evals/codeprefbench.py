"""CodePrefBench: which of two programs is better? For judges of code pairs (Liu et al. 2024, arXiv 2410.03837).

The data is not part of Strop: its licence (CC BY-NC 4.0, not for training) leaves it to you to fetch
`datasets/eval/*.jsonl.gz` of amazon-science/llm-code-preference. Rows hold `instruction`, `choices` (two programs) and
`gt_choice` (0 or 1); the aspect is the file's name before `-alignment`.

Score trivial judges first (`length_baselines`): "shorter is better" alone is right on most correctness pairs, so a
judge means something only above that. Show every pair in both orders (`both_orders`): a judge that always says A is
wrong in half of them.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from strop.stats import Estimate, estimate
from strop.tasks.literals import parse
from strop.tasks.reading import Defect, Row, raise_defects, read_rows
from strop.types import StropError

ASPECTS = ("correctness", "efficiency", "security", "human-preference")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefItem:
    """One comparison."""

    aspect: str
    instruction: str
    codes: tuple[str, str]
    better: int
    """0 or 1."""
    group: str
    """Task that the pair belongs to: intervals resample these, because a task has two or three pairs."""


def load_codeprefbench(path: str | Path, *, remove_comments: bool = True) -> list[PrefItem]:
    """The items of a file, or of a folder with the four files of the benchmark.

    `remove_comments`: as the benchmark does, programs lose comments and docstrings except for human preference; a
    program that does not parse stays as it is. Raises StropError naming file, line and field of what is wrong.
    """
    source = Path(path)
    files = sorted(source.glob("*-alignment.jsonl*")) if source.is_dir() else [source]
    if not files:
        raise StropError(f"{source} holds no file named ASPECT-alignment.jsonl or .jsonl.gz.")
    by_aspect: dict[str, list[PrefItem]] = {}
    defects: list[Defect] = []
    for file in files:
        aspect = next((name for name in ASPECTS if file.name.startswith(name)), file.name.partition(".")[0])
        if by_aspect.get(aspect):
            continue  # the same file, packed and unpacked
        clean = remove_comments and aspect != "human-preference"
        items = [_item(row, str(file), aspect, clean) for row in read_rows(file)]
        defects += [item for item in items if isinstance(item, Defect)]
        by_aspect[aspect] = [item for item in items if isinstance(item, PrefItem)]
    raise_defects(defects)
    return [item for items in by_aspect.values() for item in items]


def _item(row: Row | Defect, file: str, aspect: str, clean: bool) -> PrefItem | Defect:
    if isinstance(row, Defect):
        return row
    instruction, choices, better = row.data.get("instruction"), row.data.get("choices"), row.data.get("gt_choice")
    if not isinstance(instruction, str):
        return Defect(file, row.line, "instruction", "missing, or not a text")
    if not isinstance(choices, list) or len(choices) != 2 or not all(isinstance(code, str) for code in choices):
        return Defect(file, row.line, "choices", "must be a list of two programs")
    if isinstance(better, bool) or better not in (0, 1):
        return Defect(file, row.line, "gt_choice", "must be 0 or 1")
    one, other = (without_comments(code) if clean else code for code in choices)
    group = str(row.data.get("task_id", instruction))
    return PrefItem(aspect=aspect, instruction=instruction, codes=(one, other), better=better, group=group)


def without_comments(code: str) -> str:
    """The program printed again from its syntax tree, without docstrings; as it is when it does not parse."""
    tree = parse(code)
    if isinstance(tree, SyntaxError):
        return code
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or ([ast.Pass()] if not isinstance(node, ast.Module) else [])
    try:
        return ast.unparse(ast.fix_missing_locations(tree))
    except RecursionError:
        return code


def both_orders(items: Sequence[PrefItem]) -> list[PrefItem]:
    """Every item as it is, then with its programs exchanged."""
    turned = [
        PrefItem(
            aspect=item.aspect, instruction=item.instruction, codes=(item.codes[1], item.codes[0]),
            better=1 - item.better, group=item.group,
        )
        for item in items
    ]  # fmt: skip
    return [*items, *turned]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefScore:
    """Accuracy on one aspect."""

    accuracy: Estimate
    """Mean over tasks, undecided answers counting one half. `plain_accuracy` weighs tasks by their pairs."""
    undecided: float
    items: int


def score_choices(items: Sequence[PrefItem], choices: Sequence[int | None]) -> dict[str, PrefScore]:
    """Accuracy by aspect. `choices`: 0, 1 or None (undecided) for each item. Raises ValueError when they do not fit."""
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    undecided: dict[str, int] = defaultdict(int)
    for item, choice in zip(items, choices, strict=True):
        if choice not in (0, 1, None):
            raise ValueError(f"a choice is 0, 1 or None, not {choice!r}")
        rows[item.aspect][item.group].append(0.5 if choice is None else float(choice == item.better))
        undecided[item.aspect] += choice is None
    found = {}
    for aspect, groups in rows.items():
        count = sum(map(len, groups.values()))
        accuracy = estimate([sum(values) / len(values) for values in groups.values()])
        found[aspect] = PrefScore(accuracy=accuracy, undecided=undecided[aspect] / count, items=count)
    return found


def plain_accuracy(items: Sequence[PrefItem], choices: Sequence[int | None]) -> dict[str, float]:
    """The benchmark's own figure by aspect: the mean over pairs, not over tasks."""
    sums: dict[str, list[float]] = defaultdict(list)
    for item, choice in zip(items, choices, strict=True):
        sums[item.aspect].append(0.5 if choice is None else float(choice == item.better))
    return {aspect: sum(values) / len(values) for aspect, values in sums.items()}


def length_baselines(items: Sequence[PrefItem]) -> Mapping[str, dict[str, PrefScore]]:
    """What "the shorter program is better" and its opposite score, by characters; equal lengths are undecided."""
    signs = [(len(one) > len(other)) - (len(one) < len(other)) for one, other in (item.codes for item in items)]
    shorter = [None if sign == 0 else int(sign > 0) for sign in signs]
    longer = [None if choice is None else 1 - choice for choice in shorter]
    return {"shorter": score_choices(items, shorter), "longer": score_choices(items, longer)}


def position_bias(choices: Sequence[int | None]) -> float:
    """Share of items whose answer changes with the order of the programs.

    `choices`: for `both_orders(items)`, that is first all items as they are, then all of them exchanged. An item
    undecided in one order only counts as changed.
    """
    half = len(choices) // 2
    if not half or len(choices) % 2:
        raise ValueError("choices must hold each item in both orders")
    same = [
        (one is None and other is None) or (one is not None and other is not None and one == 1 - other)
        for one, other in zip(choices[:half], choices[half:])
    ]
    return 1 - sum(same) / half


def pair_prompt(item: PrefItem, criterion: str) -> str:
    """A plain question for a judge, ending where it says A or B. The wording is Strop's."""
    one, other = (f"```python\n{code.strip()}\n```" for code in item.codes)
    return (
        f"Task:\n{item.instruction.strip()}\n\nProgram A:\n{one}\n\nProgram B:\n{other}\n\n"
        f"Criterion: {criterion}\nWhich program is better by this criterion? Answer A or B.\nAnswer:"
    )


def read_choice(text: str) -> int | None:
    """0 for A and 1 for B, from the last line of a judge's answer that names exactly one of them; None otherwise."""
    for line in reversed(text.strip().split("\n")):
        named = set(re.findall(r"\b[AB]\b", line))
        if len(named) == 1:
            return int("B" in named)
    return None
