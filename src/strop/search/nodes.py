"""What a search leaves behind: programs as nodes of a tree, the words said about them, and the requests it made.

A method is a generator. It yields requests (`Draw`, `Judge`, `Outputs`, `Matrix`, `Report`, `Complete`) and gets their
answers; `strop.search.schedule` serves the requests of many searches at once. Methods rarely make requests themselves:
`strop.search.state.State` has a function for each.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from strop.types import CallCheck, Check, Completion, Message, Prompt, SamplingParams, Spent, Verdict

Fate = Literal["unvisited", "expanded", "aborted", "accepted"]
"""`unvisited`: written, and nothing followed from it. `expanded`: others were made from it. `aborted`: the method
decided against going on from it. `accepted`: the method ended with it."""

SHOWN = 20_000
"""Characters of a prompt or reply that a trace keeps."""


@dataclass(slots=True)
class Words:
    """Something a model said that is not a program."""

    role: str
    prompt: str
    reply: str
    understood: bool = True
    """False when the reply did not have the form that was asked for, so that a default was used."""

    def record(self) -> dict[str, Any]:
        """Plain data for the trace."""
        return {
            "role": self.role,
            "prompt": self.prompt[:SHOWN],
            "reply": self.reply[:SHOWN],
            "understood": self.understood,
        }


@dataclass(slots=True)
class Node:
    """A program that a method wrote, with what came of it."""

    number: int
    """Place among the programs of its search, from 0."""
    parent: int | None
    role: str
    prompt: str
    text: str
    code: str
    """Empty when no program could be read out of the reply."""
    finish_reason: str = "stop"
    logprob: float | None = None
    """Mean natural-log probability of its tokens, where the model tells."""
    depth: int = 1
    label: str = ""
    """A word on what made it: a strategy, a token."""
    verdict: Verdict | None = None
    """From visible checks only."""
    value: float | None = None
    """The method's own opinion."""
    words: list[Words] = field(default_factory=list)
    fate: Fate = "unvisited"
    spent: Spent = field(default_factory=Spent)

    @property
    def fraction(self) -> float:
        """Share of visible checks passed; 0 when it was not judged."""
        return self.verdict.fraction if self.verdict else 0.0

    def record(self) -> dict[str, Any]:
        """Plain data for the trace."""
        verdict = self.verdict
        return {
            "number": self.number,
            "parent": self.parent,
            "role": self.role,
            "label": self.label[:200],
            "depth": self.depth,
            "prompt": self.prompt[:SHOWN],
            "text": self.text[:SHOWN],
            "code": self.code,
            "finish_reason": self.finish_reason,
            "logprob": self.logprob,
            "status": verdict.status if verdict else None,
            "fraction": verdict.fraction if verdict else None,
            "checks": [
                {"name": c.name, "status": c.status, "message": c.message, "actual": c.actual, "expected": c.expected}
                for c in (verdict.checks if verdict else ())
            ],
            "value": self.value,
            "words": [words.record() for words in self.words],
            "fate": self.fate,
            "sampled_tokens": self.spent.sampled_tokens,
        }


# ---- requests ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One prompt of a `Draw`, to be answered `n` times."""

    prompt: Prompt
    params: SamplingParams
    n: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Replies to prompts. Answer: for each item the completions that the budget allowed, which may be fewer than `n`.

    When it allows none at all, `BudgetExhausted` is raised where the request was yielded.
    """

    items: tuple[Item, ...]
    programs: bool
    """Whether each reply is a program, and counts as one."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Verdicts of programs on the visible checks. Answer: a list of verdicts."""

    programs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outputs:
    """What programs give for inputs. Answer: for each program a tuple of texts, one an input."""

    programs: tuple[str, ...]
    inputs: tuple[Check, ...]
    """Call or stdio checks; what they expect is not looked at."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Which program passes which of the given tests, as `strop.evals.pass_matrix`. Answer: an array of 0, 1 and NaN."""

    programs: tuple[str, ...]
    tests: tuple[CallCheck, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Run `source` in the judge's sandbox, call `function(*args)` there, and read back the text that it leaves.

    Answer: the text (at most `strop.search.sandbox.MOST_TEXT` characters), or None when it left none.
    """

    source: str
    function: str
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """Token-level access to a local model: go on greedily from a prompt and tokens already chosen.

    Answer: a `strop.models.flow.TokenCompletion`.
    """

    prompt: Prompt
    tokens: tuple[int, ...]
    params: SamplingParams
    """Temperature 0; `logprobs` says how many alternatives to record at every place."""
    programs: bool = True


Request: TypeAlias = Draw | Judge | Outputs | Matrix | Report | Complete

T = TypeVar("T")
Steps: TypeAlias = Generator[Request, Any, T]
"""A part of a method: yields requests, returns a T."""

Method: TypeAlias = Callable[..., Steps[Node | str | None]]
"""`method(state, **options)` returns the chosen node, a program's text, or None for the best one by visible checks."""


def show_prompt(prompt: Prompt) -> str:
    """A prompt as text for people."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in prompt)


def mean_logprob(completion: Completion) -> float | None:
    """Mean log-probability of the tokens drawn."""
    if not completion.logprobs:
        return None
    return sum(completion.logprobs) / len(completion.logprobs)


def user(text: str, begun: str = "") -> tuple[Message, ...]:
    """One user message, and the beginning of the answer if there is one."""
    return (Message("user", text), Message("assistant", begun)) if begun else (Message("user", text),)
