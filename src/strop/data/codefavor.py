"""CodeFavor: preferences from edits (Liu et al. 2024, arXiv 2410.03837). Before and after, with a criterion.

Two sources. *Commits*: a strong model turns a commit into an instruction, a worse and a better program. *Critiques*: a
strong model reflects on a weak model's answer and, only where it is worth it, writes a better one. The wording of the
prompts is Strop's; their steps and the rule that the critic may stop are the paper's. Nothing here runs a program: an
edit is better because a model said so, so judge the pairs where there are tests (`audit.recheck`).

Evolutions become pairs for DPO (`preferences`) and, in both orders, questions for a judge that answers A or B
(`comparisons`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from strop.evals.codeprefbench import PrefItem, both_orders, pair_prompt
from strop.tasks.likeness import normal_form
from strop.tasks.literals import parse
from strop.types import Message, Preference, Prompt

MAX_CODE = 20_000
"""Characters of a program; longer ones are dropped."""
_SECTION = re.compile(r"^[ \t]*(?:#+[ \t]*)?\[([A-Z]+)\][ \t]*$", re.MULTILINE)
_BLOCK = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evolution:
    """A program, a better one, and in which respect."""

    instruction: str
    criterion: str
    before: str
    after: str
    feedback: str
    source: str
    """`commit` or `critique`."""


def commit_prompt(message: str, before: str, after: str) -> Prompt:
    """Ask what a commit improves, whether it clearly does, and for a self-contained exercise made of it."""
    text = (
        f"A commit with the message:\n{message.strip()}\n\n"
        f"Code before:\n```python\n{before.strip()}\n```\n\nCode after:\n```python\n{after.strip()}\n```\n\n"
        "1. Under [EXPLANATION], say in a few sentences what the commit changes and why.\n"
        "2. Under [VERDICT], write YES if the new code is clearly better, otherwise NO. After NO, stop.\n"
        "3. Under [INSTRUCTION], write a self-contained exercise whose solution shows the same improvement.\n"
        "4. Under [CRITERION], name in one sentence the quality that the improvement is about.\n"
        "5. Under [BEFORE], solve the exercise in Python with the old weakness; under [AFTER], without it.\n"
        "6. Under [FEEDBACK], say why the second solution is better.\n"
        "Write each name on a line of its own, in brackets. Put each solution into one code block."
    )
    return (Message("user", text),)


def critique_prompt(instruction: str, attempt: str, examples: Sequence[str] = ()) -> Prompt:
    """Ask for a reflection on an attempt and, only where it pays, for a better one. `examples`: worked ones to show
    first, in the order in which they are to be shown (the paper shuffles them for every call)."""
    shown = "".join(f"{example.strip()}\n\n---\n\n" for example in examples)
    text = (
        f"{shown}Exercise:\n{instruction.strip()}\n\nAttempt:\n```python\n{attempt.strip()}\n```\n\n"
        "1. Under [REFLECTION], name the attempt's notable weaknesses: wrong results, slowness, security holes, "
        "needless length. Leave style, type hints and docstrings alone.\n"
        "2. If it is good as it is, write NO under [VERDICT] and stop. Otherwise write YES.\n"
        "3. Under [CRITERION], name the one weakness that matters most, as a quality to look for.\n"
        "4. Under [AFTER], write the better program in one code block.\n"
        "5. Under [FEEDBACK], say what the better program does better.\n"
        "Write each name on a line of its own, in brackets."
    )
    return (Message("user", text),)


def read_commit(text: str) -> Evolution | str:
    """The evolution in a reply to `commit_prompt`, or the reason why there is none."""
    parts = _sections(text)
    return _declined(parts) or _evolution(parts, parts.get("INSTRUCTION", ""), _code(parts.get("BEFORE", "")), "commit")


def read_critique(text: str, instruction: str, attempt: str) -> Evolution | str:
    """The evolution in a reply to `critique_prompt`, or the reason why there is none."""
    parts = _sections(text)
    return _declined(parts) or _evolution(parts, instruction, attempt, "critique")


def evolutions(found: Iterable[Evolution | str]) -> tuple[list[Evolution], dict[str, int]]:
    """The evolutions among what the readers gave, once per (instruction, before, after), and the others by reason."""
    kept: dict[tuple[str, str, str], Evolution] = {}
    dropped: Counter[str] = Counter()
    for item in found:
        if isinstance(item, str):
            dropped[item] += 1
            continue
        key = (item.instruction, normal_form(item.before), normal_form(item.after))
        if key in kept:
            dropped["duplicates"] += 1
        kept.setdefault(key, item)
    return list(kept.values()), dict(dropped)


def _sections(text: str) -> dict[str, str]:
    """Texts under `[NAME]` lines. Of a name that occurs twice the last counts: models repeat the question."""
    marks = list(_SECTION.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return {mark[1]: text[mark.end() : end].strip() for mark, end in zip(marks, ends)}


def _declined(parts: dict[str, str]) -> str | None:
    verdict = parts.get("VERDICT", "").strip(" .*`").upper()
    return "the critic saw nothing to improve" if verdict.startswith("NO") else None


def _code(text: str) -> str:
    block = _BLOCK.search(text)
    return block[1] if block else ""


def _evolution(parts: dict[str, str], instruction: str, before: str, source: str) -> Evolution | str:
    after = _code(parts.get("AFTER", ""))
    criterion, feedback = parts.get("CRITERION", ""), parts.get("FEEDBACK", "")
    if not (instruction.strip() and criterion and before.strip() and after.strip()):
        return "a part is missing"
    if max(len(before), len(after)) > MAX_CODE:
        return "a program is too long"
    if isinstance(parse(after), SyntaxError):
        return "the better program does not parse"
    if normal_form(before) == normal_form(after):
        return "both programs are the same"
    return Evolution(
        instruction=instruction.strip(), criterion=criterion, before=before.strip() + "\n",
        after=after.strip() + "\n", feedback=feedback, source=source,
    )  # fmt: skip


def preferences(items: Iterable[Evolution]) -> list[Preference]:
    """The better program chosen, the other rejected, with criterion and feedback as evidence."""
    return [
        Preference(
            prompt=(Message("user", item.instruction),),
            chosen=f"```python\n{item.after.strip()}\n```",
            rejected=f"```python\n{item.before.strip()}\n```",
            why={
                "method": f"codefavor-{item.source}",
                "criterion": item.criterion,
                "feedback": item.feedback,
                "chosen_program": item.after,
                "rejected_program": item.before,
            },
        )
        for item in items
    ]


def comparisons(items: Sequence[Evolution]) -> list[tuple[str, str]]:
    """(question, answer) for a judge of pairs, each evolution in both orders; the answer is ` A` or ` B`."""
    rows = []
    for item in items:
        asked = PrefItem(aspect="", instruction=item.instruction, codes=(item.before, item.after), better=1, group="")
        for one in both_orders([asked]):
            rows.append((pair_prompt(one, item.criterion), f" {'AB'[one.better]}"))
    return rows
