"""Reading what models say when they were not asked for a program.

Small models mangle every form, so each reader takes what it can get and returns None when there is nothing; the caller
then uses its default, and the search counts a format failure. No reader raises, whatever the text.
"""

from __future__ import annotations

import re

from strop.tasks.extract import drop_reasoning, fenced_blocks, normalise
from strop.tasks.literals import parse, parse_check
from strop.types import CallCheck

LONGEST = 20_000
"""Characters of a reply that are read."""

_NUMBERED = re.compile(
    r"^\s*(?:#+\s*)?(?:\*\*)?(?:(?:strategy|idea|step|reflection|fix)\s*)?(\d{1,2})\s*[.):]\s*(.*)$", re.I
)
_BULLET = re.compile(r"^\s*[-*•]\s+(.+)$")
_NUMBER = re.compile(r"(?<![\w.])(\d{1,3})(?!\s*\d|[\w]|\.\d)")


def clean(text: str) -> str:
    """Line ends, length and reasoning as in programs' replies."""
    return drop_reasoning(normalise(text[:LONGEST])).strip()


def items(text: str, most: int) -> list[str] | None:
    """The points of a numbered list, or of a bulleted one; None when the reply is neither.

    Lines below a point belong to it. Points without any letter are dropped.
    """
    lines = clean(text).split("\n")
    for pattern, group in ((_NUMBERED, 2), (_BULLET, 1)):
        found: list[list[str]] = []
        for line in lines:
            match = pattern.match(line)
            if match:
                found.append([match[group].strip().removesuffix("**")])
            elif found:
                found[-1].append(line.rstrip())
        points = ["\n".join(point).strip() for point in found]
        points = [point for point in points if re.search(r"[^\W\d_]", point)]
        if points:
            return points[:most]
    return None


def score(text: str, low: int, high: int) -> int | None:
    """A whole number from `low` to `high`: the last one in a line that says `score`, else the last one of all.

    `4/5` is 4. None when there is none.
    """
    lines = re.sub(rf"/\s*{high}\b", " ", clean(text)).split("\n")
    named = [line for line in lines if "score" in line.lower()]
    for group in (named, lines):
        numbers = [int(match[1]) for line in group for match in _NUMBER.finditer(line)]
        fitting = [number for number in numbers if low <= number <= high]
        if fitting:
            return fitting[-1]
    return None


def decision(text: str, yes: str, no: str) -> bool | None:
    """Which of two words stands last on the last line that holds one of them. None when none does."""
    pattern = re.compile(rf"\b(?:({re.escape(yes)})|({re.escape(no)}))\b", re.I)
    for line in reversed(clean(text).split("\n")):
        matches = list(pattern.finditer(line))
        if matches:
            return matches[-1][1] is not None
    return None


def tagged(text: str, tag: str) -> str | None:
    """What stands between `<tag>` and `</tag>`; the closing one may be missing. None without an opening one."""
    match = re.search(rf"<{tag}>(.*?)(?:</{tag}>|\Z)", normalise(text[:LONGEST]), re.S | re.I)
    return match[1].strip() if match and match[1].strip() else None


def written_tests(text: str, entry_point: str, most: int) -> list[CallCheck] | None:
    """Tests a model wrote: every `assert f(literals) == literal` of the entry point, without repeats. None: none.

    Only plain calls of plain values are taken, because anything else would be model-written code in the judge.
    """
    found: dict[str, CallCheck] = {}
    for line in normalise(text[:LONGEST]).split("\n"):
        match = re.match(r"^\s*(?:[-*>]\s*|\d+[.)]\s*)?`?assert\s+(.+?)`?\s*$", line)
        if match is None:
            continue
        for source in (match[1], match[1].rpartition(",")[0]):  # with and without a message
            try:
                check = parse_check(source, visible=True, name=f"written {len(found) + 1}")
            except ValueError:
                continue
            if isinstance(check, CallCheck) and check.function == entry_point:
                found.setdefault(repr((check.args, dict(check.kwargs))), check)
                break
    return list(found.values())[:most] or None


def module_names(text: str) -> list[str]:
    """Names of the functions that a reply declares in blocks tagged `module` (paper 81's form)."""
    names: dict[str, None] = {}
    for block in fenced_blocks(normalise(text[:LONGEST])):
        if block.tag in ("module", "modules"):
            for match in re.finditer(r"^\s*(?:async\s+)?def\s+([A-Za-z_]\w*)", block.text, re.M):
                names[match[1]] = None
    return list(names)


def block_opinions(text: str, count: int) -> dict[int, tuple[bool, str]] | None:
    """What a debugger says of numbered blocks: number -> (correct, explanation). None when it says nothing of any.

    Reads `BLOCK-2: incorrect. ...`, `[BLOCK-2] ... incorrect`, and JSON objects with `block` and `correct`.
    """
    found: dict[int, tuple[bool, str]] = {}
    pieces = re.split(r"(?=\bblock[\s_-]*\d)", clean(text), flags=re.I)
    for piece in pieces:
        match = re.match(r"block[\s_-]*(\d{1,4})", piece, re.I)
        if match is None or not 0 <= int(match[1]) < count or int(match[1]) in found:
            continue
        body = piece[match.end() :].strip(" \t\n\"'[]*:-,")
        wrong = re.search(r"incorrect|not correct|wrong|\"?correct\"?\s*:\s*false|\bbug\b", body, re.I)
        right = re.search(r"\bcorrect\b", body, re.I)
        if wrong or right:
            found[int(match[1])] = (not wrong, " ".join(body.split())[:300])
    return found or None


def parses(code: str) -> bool:
    """Whether Python's parser takes the text, which must not be empty."""
    return bool(code.strip()) and not isinstance(parse(code), SyntaxError)
