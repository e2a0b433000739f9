"""What a method holds in its hands: the public task, its budget, and a function for everything it may ask for.

    def search(state, *, n: int = 4):
        nodes = yield from state.write(n=n)          # programs, drawn with the task's own prompt
        yield from state.judge(nodes)                # visible checks only
        return state.best(nodes)

Each of these functions is a generator: call it with `yield from`. Drawing raises `BudgetExhausted` when nothing more
can be paid; a method that lets it pass ends with its best program by visible checks.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from strop.budget import Meter
from strop.search.nodes import (
    Complete,
    Draw,
    Item,
    Judge,
    Matrix,
    Node,
    Outputs,
    Report,
    Steps,
    Words,
    mean_logprob,
    show_prompt,
)
from strop.search.prompting import Asked, Form, feedback, fill, shown, statement, tests_text
from strop.types import CallCheck, Check, Completion, Prompt, SamplingParams, Spent, StdioCheck, Task

WORDS_TOKENS = 320
"""Most tokens of an answer in words; about 250 English words."""


class State:
    """One search for one task. Everything on it is the method's to read; nothing leads to hidden checks."""

    def __init__(self, task: Task, *, form: Form, params: SamplingParams, meter: Meter, seed: int) -> None:
        """`task`: public. `params`: how programs are drawn unless a method says otherwise. `seed`: of this search."""
        self.task = task
        self.form = form
        self.params = params
        self.seed = seed
        self.nodes: list[Node] = []
        self.words: list[Words] = []
        """Answers in words that belong to no program."""
        self.notes: list[str] = []
        """What the method did because it could not do what it is meant to; shown in the results."""
        self.formats: Counter[str] = Counter()
        """`ROLE` counts replies, `ROLE!` those that did not have the form asked for."""
        self.facts: dict[str, float] = {}
        """Numbers a method wants in its trace, such as cache hits."""
        self.rng = random.Random(f"{seed}:{task.id}")
        self._meter = meter

    # ---- what there is

    @property
    def has_checks(self) -> bool:
        """Whether there are visible checks. Without any, judging only says whether a program loads."""
        return bool(self.task.visible_checks)

    @property
    def spent(self) -> Spent:
        return self._meter.spent

    def left(self, name: str = "programs") -> int | None:
        """How many `programs`, `model_calls` or `sampled_tokens` are left; None when that is not limited."""
        left = self._meter.remaining().get(name)
        return None if left is None else int(left)

    def programs_to_plan(self, default: int) -> int:
        """Programs that a method may plan for: what is left, or `default` when programs are not limited."""
        left = self.left()
        return default if left is None else left

    def note(self, text: str) -> None:
        """Say once what the method does instead of what it is meant to do."""
        if text not in self.notes:
            self.notes.append(text)

    # ---- programs

    def write(
        self,
        text: str | None = None,
        n: int = 1,
        *,
        parent: Node | None = None,
        role: str = "solver",
        label: str = "",
        temperature: float | None = None,
        whole_reply: bool = False,
        one_block: bool = False,
    ) -> Steps[list[Node]]:
        """Up to `n` programs for one prompt: the task's own, or `text`. Fewer when the budget ends."""
        made = yield from self.write_each(
            [(text, parent, label)],
            n,
            role=role,
            temperature=temperature,
            whole_reply=whole_reply,
            one_block=one_block,
        )
        return made[0]

    def write_each(
        self,
        prompts: Sequence[tuple[str | None, Node | None, str]],
        n: int = 1,
        *,
        role: str = "solver",
        temperature: float | None = None,
        whole_reply: bool = False,
        one_block: bool = False,
    ) -> Steps[list[list[Node]]]:
        """Programs for several independent prompts at once, drawn in one batch.

        `prompts`: (text or None for the task's own prompt, parent, label). `whole_reply`: more than a program is
        wanted, so no block is begun; `one_block`: and a reply ends behind its first block. Returns a list of nodes for
        each prompt; when the budget ends within, the later ones are short or empty.
        """
        asked = [self._asked(text, whole_reply) for text, _, _ in prompts]
        at = [replace(self._params(one.stop, temperature), stop_after_block=one_block) for one in asked]
        items = tuple(Item(prompt=one.prompt, params=params, n=n) for one, params in zip(asked, at))
        answers: list[list[Completion]] = yield Draw(items=items, programs=True)
        return [
            [self._program(one, reply, parent, role, label) for reply in replies]
            for one, replies, (_, parent, label) in zip(asked, answers, prompts)
        ]

    def _asked(self, text: str | None, whole_reply: bool) -> Asked:
        if text is None:
            return self.form.ask_task(self.task)
        return self.form.ask_program(self.task, text, whole_reply=whole_reply)

    def _params(self, stop: tuple[str, ...], temperature: float | None) -> SamplingParams:
        own = self.params.temperature if temperature is None else temperature
        return replace(self.params, stop=tuple(dict.fromkeys((*self.params.stop, *stop))), temperature=own)

    def _program(self, asked: Asked, reply: Completion, parent: Node | None, role: str, label: str) -> Node:
        return self.add(
            asked.program(self.task, reply.text),
            parent=parent,
            role=role,
            label=label,
            prompt=show_prompt(asked.prompt),
            text=reply.text,
            finish_reason=reply.finish_reason,
            logprob=mean_logprob(reply),
            spent=reply.spent,
        )

    def add(self, code: str, *, parent: Node | None = None, role: str = "solver", **fields: Any) -> Node:
        """Put a program into the tree. `fields` are further fields of `Node`."""
        fields = {"prompt": "", "text": code, "depth": parent.depth + 1 if parent else 1} | fields
        node = Node(number=len(self.nodes), parent=parent.number if parent else None, role=role, code=code, **fields)
        self.nodes.append(node)
        self.understood("program", bool(code.strip()))
        if parent is not None:
            parent.fate = "expanded"
        return node

    # ---- words

    def ask(self, name: str, /, *, about: Node | None = None, temperature: float = 0.0, **fields: str) -> Steps[Words]:
        """The answer in words to the prompt `prompts/NAME.txt`, greedy unless told otherwise.

        `problem`, `tests` and, with `about`, its `code` and `feedback` are filled in; `fields` are the rest.
        """
        answers = yield from self.ask_each(name, [(about, fields)], temperature=temperature)
        return answers[0]

    def ask_each(
        self, name: str, questions: Sequence[tuple[Node | None, Mapping[str, str]]], *, temperature: float = 0.0
    ) -> Steps[list[Words]]:
        """Several answers to one prompt file, in one batch. When the budget ends within, the last are empty."""
        prompts = [self.form.ask_words(fill(name, **self.fields(about), **fields)) for about, fields in questions]
        params = replace(
            self.params, temperature=temperature, max_tokens=min(self.params.max_tokens, WORDS_TOKENS), stop=()
        )
        items = tuple(Item(prompt=prompt, params=params) for prompt in prompts)
        answers: list[list[Completion]] = yield Draw(items=items, programs=False)
        said = []
        for (about, _), prompt, replies in zip(questions, prompts, answers):
            words = Words(name, show_prompt(prompt), replies[0].text if replies else "")
            (self.words if about is None else about.words).append(words)
            said.append(words)
        return said

    def fields(self, about: Node | None = None) -> dict[str, str]:
        """What every prompt file may use."""
        fields = {"problem": statement(self.task), "tests": tests_text(self.task)}
        if about is not None:
            fields |= {"code": shown(about.code), "feedback": feedback(self.task, about)}
        return fields

    def prompt(self, name: str, /, about: Node | None = None, **fields: str) -> str:
        """The prompt file `NAME.txt` as text for `write`."""
        return fill(name, **self.fields(about), **fields)

    def understood(self, role: str | Words, ok: bool) -> None:
        """Count a reply, and whether it had the form that was asked for."""
        if isinstance(role, Words):
            role.understood = ok
            role = role.role
        self.formats[role] += 1
        self.formats[f"{role}!"] += not ok

    # ---- running programs

    def judge(self, nodes: Iterable[Node]) -> Steps[None]:
        """Run programs against the visible checks; fills `verdict` (and `value`, where it is None, with the share)."""
        waiting = [node for node in nodes if node.verdict is None]
        if not waiting:
            return
        verdicts = yield Judge(tuple(node.code for node in waiting))
        for node, verdict in zip(waiting, verdicts):
            node.verdict = verdict
            if node.value is None and verdict.status != "judge_error":
                node.value = verdict.fraction

    def passes(self, node: Node) -> bool:
        """Whether it passes every visible check. Never true for tasks without any: loading proves nothing."""
        return self.has_checks and node.verdict is not None and node.verdict.passed

    def best(self, nodes: Sequence[Node] | None = None) -> Node | None:
        """Highest share of visible checks, then earliest; unjudged and empty programs last. None without programs."""
        return max(self.nodes if nodes is None else nodes, key=self.rank, default=None)

    def rank(self, node: Node) -> tuple[float, float, int]:
        """Sort key of `best`."""
        known = -1.0 if node.verdict is None else node.fraction
        loads = float(node.verdict is not None and node.verdict.status not in ("syntax_error",))
        return (known if node.code.strip() else -2.0, loads, -node.number)

    def inputs(self) -> tuple[Check, ...]:
        """Inputs on which programs can be compared: those of the visible call and stdio checks."""
        return tuple(check for check in self.task.visible_checks if isinstance(check, CallCheck | StdioCheck))

    def outputs(self, nodes: Sequence[Node], inputs: Sequence[Check]) -> Steps[list[tuple[str, ...]]]:
        """What each program gives for each input, as text; failures as `!` and their kind."""
        return (yield Outputs(tuple(node.code for node in nodes), tuple(inputs)))

    def matrix(self, nodes: Sequence[Node], tests: Sequence[CallCheck]) -> Steps[np.ndarray]:
        """1, 0 or NaN for each program and test, shape (programs, tests)."""
        return (yield Matrix(tuple(node.code for node in nodes), tuple(tests)))

    def report(self, source: str, function: str, *args: Any) -> Steps[str | None]:
        """The text that a harness leaves in the sandbox; see `strop.search.sandbox`."""
        return (yield Report(source, function, args))

    def complete(self, prompt: Prompt, tokens: Sequence[int], params: SamplingParams, *, programs: bool) -> Steps[Any]:
        """Go on greedily from a prompt and chosen tokens; local models only."""
        return (yield Complete(prompt=prompt, tokens=tuple(tokens), params=params, programs=programs))
