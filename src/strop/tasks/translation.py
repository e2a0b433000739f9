"""Translation between programming languages as tasks: a Python solution in, the same function in another language out.

The task that asks for `javascript` has the checks of the original: only what functions return is compared
(`strop.judge.languages`), so the unit tests are the same in every language. As in OORL (Wu et al. 2025, arXiv
2505.12723) the answer must keep to the form asked for, compile and pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from strop.tasks.extract import fenced_blocks, normalise
from strop.types import CallCheck, Message, Prompt, StropError, Task

FENCE = "\n```"
NAMES = {
    "bash": "Bash", "c": "C", "cpp": "C++", "go": "Go", "java": "Java", "javascript": "JavaScript", "lua": "Lua",
    "r": "R", "rust": "Rust", "typescript": "TypeScript",
}  # fmt: skip
"""Target languages, as prompts call them."""
UNTYPED = frozenset({"bash", "javascript", "lua", "r", "typescript"})
"""Languages in which a list may hold values of several kinds."""


def translations(tasks: Sequence[Task], languages: Sequence[str]) -> list[Task]:
    """A task for each task and language that it can be judged in, in that order.

    Left out are tasks without a reference, with other than call checks, and with values that the language has no plain
    form for (`fits`). The new id is `ID>LANGUAGE`; the Python program stands in `meta["source"]` and in the prompt.
    Raises StropError for an unknown language, and when nothing is left.
    """
    unknown = [name for name in languages if name not in NAMES]
    if unknown or not languages:
        raise StropError(
            f"{', '.join(unknown) or 'nothing'}: no language to translate to; choose from {', '.join(NAMES)}."
        )
    found = [_translation(task, name) for task in tasks for name in languages if task.reference and fits(task, name)]
    if not found:
        raise StropError(f"None of {len(tasks)} tasks can be translated to {', '.join(languages)} and judged there.")
    return found


def fits(task: Task, language: str) -> bool:
    """Whether every check is a call with values that the language can take and give back."""
    return bool(task.entry_point) and all(
        isinstance(check, CallCheck)
        and not check.kwargs
        and check.function == task.entry_point
        and all(_plain(value, language) for value in (*check.args, check.expected))
        for check in task.checks
    )


def _plain(value: Any, language: str) -> bool:
    if value is None:
        return language in UNTYPED
    if isinstance(value, bool | str):
        return True
    if isinstance(value, int):
        return abs(value) < 2**31
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | tuple):
        kinds = {float if type(item) is int else type(item) for item in value}
        return (len(kinds) < 2 or language in UNTYPED) and all(_plain(item, language) for item in value)
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return language != "bash" and _plain(list(value.values()), language)
    return False


def _translation(task: Task, language: str) -> Task:
    return replace(
        task,
        id=f"{task.id}>{language}",
        language=language,
        prompt=(
            f"Translate this Python function to {NAMES[language]}. Keep its name `{task.entry_point}`. Reply with the "
            f"whole {NAMES[language]} code in one code block.\n\n```python\n{(task.reference or '').strip()}\n```"
        ),
        stub="",
        setup="",
        reference=None,
        tags=(*task.tags, f"to-{language}"),
        meta={"source": task.reference},
    )


class Translate:
    """The prompt of a translation task, with the reply's code block already opened; the program is that block.

    An answer that opens another block, or none that closes before the limit, is read up to where it ends.
    """

    name = "translate"
    chat = True
    stop = (FENCE,)

    def render(self, task: Task) -> Prompt:
        return (Message("user", task.prompt), Message("assistant", f"```{task.language}\n"))

    def stop_for(self, task: Task) -> tuple[str, ...]:
        return self.stop

    def extract(self, task: Task, text: str) -> str:
        blocks = fenced_blocks(f"```{task.language}\n{normalise(text)}")
        return blocks[0].text.strip("\n") + "\n" if blocks and blocks[0].text.strip() else ""

    def answer(self, task: Task, program: str) -> str:
        return program.strip("\n") + FENCE
