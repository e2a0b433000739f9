"""How methods put tasks, programs and test results into words.

Prompt texts are the files in `prompts/`, with `$name` for what is filled in (`string.Template`, so nothing inside a
program or a task is read as a place to fill).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from string import Template

from strop.search.nodes import Node, user
from strop.tasks.protocols import PROTOCOLS, Protocol, fenced
from strop.types import CallCheck, Check, CheckResult, Prompt, ScriptCheck, StdioCheck, Task

LONGEST_CODE = 6000
"""Characters of a program that a prompt repeats."""
LONGEST_VALUE = 200
MOST_FAILURES = 3
"""Failing tests that feedback shows."""
OPENED = "```python\n"


@lru_cache
def template(name: str) -> Template:
    """The prompt file `NAME.txt`."""
    return Template(files("strop.search").joinpath("prompts", f"{name}.txt").read_text(encoding="utf-8").strip())


@lru_cache
def variants(name: str) -> tuple[Template, ...]:
    """The variants in the prompt file `NAME.txt`, which are parted by lines of `---`."""
    return tuple(Template(part.strip()) for part in template(name).template.split("\n---\n"))


def fill(name: str, /, **fields: str) -> str:
    """The prompt `NAME.txt` with its fields. Raises KeyError when one is missing."""
    return template(name).substitute(fields)


def statement(task: Task) -> str:
    """The problem as every prompt shows it: the stub to complete, or the text with the name to define."""
    if task.stub and task.stub == task.prompt:
        return f"Complete this Python function:\n\n```python\n{task.stub.strip()}\n```"
    text = task.prompt.strip()
    if task.entry_point:
        kind = "class" if f"class {task.entry_point}" in task.stub else "function"
        return f"{text}\n\nWrite the Python {kind} `{task.entry_point}`."
    return f"{text}\n\nWrite a Python program that reads standard input and writes standard output."


def shown(code: str) -> str:
    """A program as a code block, cut when it is very long."""
    return fenced(code if len(code) <= LONGEST_CODE else code[:LONGEST_CODE] + "\n# ...") if code.strip() else "(none)"


def short(value: object) -> str:
    """A value in at most `LONGEST_VALUE` characters."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."


def call_text(check: CallCheck) -> str:
    """`f(1, b=2)`."""
    parts = [short(arg) if not isinstance(arg, str) else short(repr(arg)) for arg in check.args]
    parts += [f"{name}={short(repr(value))}" for name, value in check.kwargs.items()]
    return f"{check.function}({', '.join(parts)})"


def test_text(check: Check) -> str:
    """A visible test as people would write it."""
    if isinstance(check, CallCheck):
        return f"{call_text(check)} == {short(repr(check.expected))}"
    if isinstance(check, ScriptCheck):
        return check.code.strip()[: 3 * LONGEST_VALUE]
    if isinstance(check, StdioCheck):
        return f"input:\n{short(check.stdin)}\noutput:\n{short(check.stdout)}"
    return ""


def tests_text(task: Task) -> str:
    """All visible tests."""
    return "\n".join(filter(None, map(test_text, task.visible_checks))) or "(none are given)"


def failure_text(check: Check | None, result: CheckResult) -> str:
    """What one failing test did."""
    if isinstance(check, CallCheck):
        got = f"it returned {short(result.actual)}" if result.status == "failed" and result.actual is not None else ""
        return f"`{call_text(check)}` should be {short(repr(check.expected))}, but {got or short(result.message)}."
    if isinstance(check, StdioCheck):
        got = f"it printed:\n{short(result.actual)}" if result.actual is not None else short(result.message)
        return f"For the input\n{short(check.stdin)}\nit should print\n{short(check.stdout)}\nbut {got}"
    text = short(result.message or result.status)
    if result.actual is not None and result.expected is not None:
        text += f" (left side: {short(result.actual)}; right side: {short(result.expected)})"
    return text


def feedback(task: Task, node: Node) -> str:
    """What the visible tests said of a program, for a prompt: how many passed, and the first few that did not."""
    if not node.code.strip():
        return "The reply holds no program."
    verdict = node.verdict
    if verdict is None:
        return "It has not been tested."
    if not task.visible_checks:
        return "There are no tests. It loads." if verdict.passed else f"It does not load: {short(verdict.detail)}"
    by_name = dict(zip((result.name for result in verdict.checks), task.visible_checks))
    bad = [result for result in verdict.checks if not result.passed]
    good = sum(result.passed for result in verdict.checks)
    lines = [f"{good} of {len(task.visible_checks)} tests pass."]
    lines += [f"- {failure_text(by_name.get(result.name), result)}" for result in bad[:MOST_FAILURES]]
    if len(bad) > MOST_FAILURES:
        lines.append(f"- and {len(bad) - MOST_FAILURES} more.")
    return "\n".join(lines)


# ---- the forms that models take ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt for a program."""

    prompt: Prompt
    stop: tuple[str, ...]
    """Where sampling may end."""
    program: Callable[[Task, str], str]
    """The program in a reply; empty when there is none."""


@dataclass(frozen=True, slots=True)
class Form:
    """How prompts are put to one model: as messages with or without a begun answer, or as text to continue."""

    protocol: Protocol
    """Renders the first prompt for a program, the same as `strop eval`'s."""
    chat: bool
    begun: bool
    """Whether answers may be begun: local models."""

    def ask_task(self, task: Task) -> Asked:
        """The task's own prompt, the same as `strop eval`'s, so that draws are shared."""
        return Asked(self.protocol.render(task), self.protocol.stop_for(task), self.protocol.extract)

    def ask_program(self, task: Task, text: str, *, whole_reply: bool = False) -> Asked:
        """A prompt that wants a program. `whole_reply`: it wants more than one block, so none is opened."""
        block = PROTOCOLS["block"]
        if not self.chat and not whole_reply:
            return Asked(f"{text}\n\n{OPENED}", block.stop_for(task), block.extract)
        if self.begun and not whole_reply:
            return Asked(user(text, OPENED), block.stop_for(task), block.extract)
        return Asked(user(text) if self.chat else f"{text}\n\n", (), PROTOCOLS["chat"].extract)

    def ask_words(self, text: str) -> Prompt:
        """A prompt that wants an answer in words."""
        return user(text) if self.chat else f"{text}\n\nAnswer:\n"


def form_for(protocol: Protocol, *, chat: bool, local: bool) -> Form:
    """The form of a model that follows `protocol`. A completion protocol means text even for chat models."""
    chat = chat and protocol.chat
    return Form(protocol, chat, chat and local)
