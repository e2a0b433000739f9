"""Self-refinement pairs: a model looks at its own failing program and what a visible test saw, and tries again.

A revision that passes is preferred to the program it revises (under the plain question) and to a revision of the same
program that fails (under the question with feedback): the first teaches to solve, the second to repair. Related to
Self-Refine (Madaan et al. 2023, arXiv 2303.17651) and to CodeRL's repair data; this form is Strop's.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strop.data.pairs import Built
from strop.data.pools import Pool
from strop.tasks.likeness import normal_form
from strop.types import (
    Message,
    Preference,
    Prompt,
    Request,
    SamplingParams,
    Spent,
    StropError,
    Task,
    Verdict,
    content_hash,
    request_seed,
)

if TYPE_CHECKING:
    from strop.judge import Judge
    from strop.models import Model
    from strop.tasks.protocols import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One attempt to repair a failing program."""

    task: Task
    index: int
    """Sample index of the failing program."""
    first: str
    first_status: str
    feedback: str
    prompt: Prompt
    """What the model was asked."""
    answer: str
    program: str
    status: str
    """Under all checks of the task."""


def feedback_of(verdict: Verdict) -> str:
    """What a method may tell of a verdict: the first visible check that failed, or how the program ended.

    Names nothing of hidden checks, not even that one of them failed first.
    """
    shown = next((check for check in verdict.checks if check.visible and not check.passed), None)
    if shown is not None:
        lines = [f"A test failed: {shown.message}" if shown.message else "A test failed."]
        lines += [f"It gave {shown.actual}, expected was {shown.expected}."] if shown.actual is not None else []
        return " ".join(lines)
    if verdict.status == "syntax_error":
        return f"It is not valid Python: {verdict.detail}"
    return "It does not pass all tests."


def revision_prompt(task: Task, program: str, feedback: str, protocol: Protocol) -> Prompt:
    """The task's own prompt, the program as the answer given, the feedback, and the request to try again.

    Raises StropError for protocols without chat messages.
    """
    asked = protocol.render(task)
    if isinstance(asked, str):
        raise StropError(f"Self-refinement is a conversation, and the protocol {protocol.name!r} has no messages.")
    begun = asked[-1].content if asked[-1].role == "assistant" else ""
    said = Message("assistant", begun + protocol.answer(task, program))
    again = Message("user", f"{feedback}\n\nFind the mistake and write the whole program again, right this time.")
    messages = (*(asked[:-1] if begun else asked), said, again)
    return (*messages, asked[-1]) if begun else messages


def revise(
    model: Model, pools: Sequence[Pool], judge: Judge, protocol: Protocol, *, params: SamplingParams,
    per_program: int = 2, per_task: int = 2, seed: int = 0,
) -> tuple[list[Revision], dict[str, int], Spent]:  # fmt: skip
    """Let the model revise up to `per_task` distinct failing programs a task, `per_program` times each.

    Judges each failing program again with the visible checks, for the feedback, and each revision with all checks.
    Returns the revisions, what was dropped by reason, and the cost.
    """
    dropped: Counter[str] = Counter()
    items: list[tuple[Task, int, str, str, str, Prompt]] = []
    for pool in pools:
        failing = {normal_form(row.program): row for row in reversed(pool.candidates) if not row.passed}
        chosen = random.Random(f"{seed} {pool.task.id}").sample(sorted(failing), min(per_task, len(failing)))
        if not chosen:
            dropped["tasks without a failing program"] += 1
        rows = [failing[form] for form in chosen]
        for row, verdict in zip(rows, judge.run(pool.task, [row.program for row in rows], checks="visible")):
            feedback = feedback_of(verdict)
            try:
                prompt = revision_prompt(pool.task.public(), row.program, feedback, protocol)
            except StropError:
                if isinstance(protocol.render(pool.task.public()), str):
                    raise
                dropped["programs without a form under the protocol"] += 1
                continue
            items += [(pool.task, row.index, row.program, row.status, feedback, prompt)] * per_program
    requests = [
        Request(prompt=item[-1], seed=request_seed(seed, content_hash(item[-1]), number % per_program))
        for number, item in enumerate(items)
    ]
    texts: dict[int, str] = {}
    spent = Spent()
    for place, completion in model.sample(requests, params):
        texts[place] = completion.text
        spent += completion.spent
    programs = {place: protocol.extract(items[place][0].public(), text) for place, text in texts.items()}
    verdicts = dict(judge.stream((place, items[place][0], code) for place, code in programs.items()))
    revisions = [
        Revision(
            task=task, index=index, first=first, first_status=status, feedback=feedback, prompt=prompt,
            answer=texts[place], program=programs[place], status=verdicts[place].status,
        )
        for place, (task, index, first, status, feedback, prompt) in enumerate(items)
        if verdicts[place].status != "judge_error"
    ]  # fmt: skip
    if len(revisions) < len(items):
        dropped["revisions that the judge failed on"] = len(items) - len(revisions)
    return revisions, dict(dropped), spent + Spent(programs=len(items))


def refinement_pairs(revisions: Sequence[Revision], protocol: Protocol, *, per_task: int = 2, seed: int = 0) -> Built:
    """Pairs of both kinds, at most `per_task` of each kind a task. Deterministic in `revisions` and `seed`."""
    no_pair: Counter[str] = Counter()
    not_kept: Counter[str] = Counter()
    pairs: list[Preference] = []
    by_task: dict[str, list[Revision]] = {}
    for revision in revisions:
        by_task.setdefault(revision.task.id, []).append(revision)
    for rows in by_task.values():
        right = [row for row in rows if row.status == "passed"]
        made = [pair for row in right if (pair := _solve_pair(row, protocol, not_kept)) is not None]
        repairs = [
            _repair_pair(good, bad)
            for good in right
            for bad in rows
            if bad.status != "passed" and bad.prompt == good.prompt and bad.program.strip()
        ]
        if not right:
            no_pair["no revision passes"] += 1
        for kind in (made, repairs):
            unique = list(
                {
                    (normal_form(p.why["chosen_program"]), normal_form(p.why["rejected_program"])): p for p in kind
                }.values()
            )
            not_kept["duplicates"] += len(kind) - len(unique)
            not_kept["beyond the cap of a task"] += max(0, len(unique) - per_task)
            pairs += unique[:per_task]
    random.Random(seed).shuffle(pairs)
    return Built(
        pairs=tuple(pairs),
        tasks=len({pair.why["task_id"] for pair in pairs}),
        dropped_tasks=dict(no_pair),
        dropped_pairs={reason: number for reason, number in not_kept.items() if number},
    )


def _solve_pair(row: Revision, protocol: Protocol, not_kept: Counter[str]) -> Preference | None:
    task = row.task.public()
    try:
        chosen, rejected = protocol.answer(task, row.program), protocol.answer(task, row.first)
    except StropError:
        not_kept["programs without a form under the protocol"] += 1
        return None
    why = _why(row, row.program, row.status, row.first, row.first_status)
    return Preference(
        prompt=protocol.render(task), chosen=chosen, rejected=rejected, why=why | {"method": "refine-solve"}
    )


def _repair_pair(good: Revision, bad: Revision) -> Preference:
    why = _why(good, good.program, good.status, bad.program, bad.status)
    return Preference(
        prompt=good.prompt, chosen=good.answer, rejected=bad.answer, why=why | {"method": "refine-repair"}
    )


def _why(row: Revision, chosen: str, chosen_status: str, rejected: str, rejected_status: str) -> dict[str, object]:
    return {
        "task_id": row.task.id,
        "revised_index": row.index,
        "feedback": row.feedback,
        "chosen_program": chosen,
        "rejected_program": rejected,
        "chosen_status": chosen_status,
        "rejected_status": rejected_status,
    }
