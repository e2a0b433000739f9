"""From pools to preference pairs: what every construction shares once its rule has chosen."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from strop.data.pools import Candidate, Pool
from strop.tasks.likeness import normal_form
from strop.types import Preference, StropError, content_hash

if TYPE_CHECKING:
    from strop.tasks.protocols import Protocol


class NoPair(Exception):
    """A rule makes no pair of this pool. The text is the reason, as it is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A pair that a rule proposes."""

    chosen: Candidate
    rejected: Candidate
    margin: float | None = None
    """Difference of their scores under the rule; None for rules that do not score."""
    why: Mapping[str, Any] = field(default_factory=dict)
    """The rule's own evidence, as plain data."""
    chosen_tail: str = ""
    rejected_tail: str = ""
    """Code that is trained on after the program, such as a test."""


Rule: TypeAlias = Callable[[Pool, random.Random], Sequence[Draft]]
"""Proposes pairs of one pool, best first. Raises NoPair with the reason when there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The pairs of a construction, and what did not become one."""

    pairs: tuple[Preference, ...]
    tasks: int
    """Tasks that gave at least one pair."""
    dropped_tasks: Mapping[str, int]
    """Tasks that gave none, by reason."""
    dropped_pairs: Mapping[str, int]
    """Proposed pairs that were not kept, by reason."""


def build(
    pools: Sequence[Pool],
    rule: Rule,
    protocol: Protocol,
    *,
    method: str,
    per_task: int = 1,
    seed: int = 0,
    reuse: bool = False,
    by_behaviour: bool = False,
) -> Built:
    """Pairs of all pools, at most `per_task` each, in an order drawn with `seed`.

    Not kept are pairs of one program with itself in other words (`tasks.likeness.normal_form`, tails included), pairs
    made before, pairs that the protocol cannot put into words, and, unless `reuse`, pairs with a program that an
    earlier pair of the task holds. `by_behaviour` keeps one rejected program of each row of the pass matrix as well:
    programs that pass and fail the same tests in the same way teach the same thing.

    Each pair carries the evidence to judge it again: task, sample indices, programs, statuses and the rule's own.
    """
    if per_task < 1:
        raise StropError(f"per_task must be at least 1, not {per_task}.")
    pairs: list[Preference] = []
    no_pair: Counter[str] = Counter()
    not_kept: Counter[str] = Counter()
    for pool in pools:
        try:
            drafts = rule(pool, random.Random(content_hash(seed, method, pool.task.id)))
        except NoPair as reason:
            no_pair[str(reason)] += 1
            continue
        made: list[Preference] = []
        used: set[str] = set()
        for draft in drafts:
            if len(made) == per_task:
                not_kept["beyond the cap of a task"] += 1
                continue
            forms = {_form(draft.chosen, draft.chosen_tail), _form(draft.rejected, draft.rejected_tail)}
            behaviour = f"behaviour {_row(pool, draft.rejected)}"
            if len(forms) == 1 or normal_form(draft.chosen.program) == normal_form(draft.rejected.program):
                not_kept["both are the same program"] += 1
            elif (not reuse and forms & used) or "".join(sorted(forms)) in used:
                not_kept["a program that another pair holds"] += 1
            elif by_behaviour and behaviour in used:
                not_kept["a rejected program that behaves like another"] += 1
            else:
                pair = _preference(pool, draft, protocol, method)
                if pair is None:
                    not_kept["programs without a form under the protocol"] += 1
                else:
                    made.append(pair)
                    used |= {*forms, "".join(sorted(forms)), behaviour}
        if not made:
            no_pair["no proposed pair could be kept"] += 1
        pairs += made
    random.Random(seed).shuffle(pairs)
    tasks = len({pair.why["task_id"] for pair in pairs})
    return Built(pairs=tuple(pairs), tasks=tasks, dropped_tasks=dict(no_pair), dropped_pairs=dict(not_kept))


def _form(candidate: Candidate, tail: str) -> str:
    return normal_form(candidate.program + "\n" + tail)


def _row(pool: Pool, candidate: Candidate) -> tuple[str, ...]:
    if pool.matrix is None:
        return (candidate.status, normal_form(candidate.program))
    return tuple(pool.matrix.statuses[pool.candidates.index(candidate)])


def _preference(pool: Pool, draft: Draft, protocol: Protocol, method: str) -> Preference | None:
    task = pool.task.public()
    try:
        chosen = protocol.answer(task, _joined(draft.chosen.program, draft.chosen_tail))
        rejected = protocol.answer(task, _joined(draft.rejected.program, draft.rejected_tail))
    except StropError:
        return None
    return Preference(
        prompt=protocol.render(task),
        chosen=chosen,
        rejected=rejected,
        margin=draft.margin,
        why={
            "task_id": task.id,
            "method": method,
            "chosen_index": draft.chosen.index,
            "rejected_index": draft.rejected.index,
            "chosen_program": draft.chosen.program,
            "rejected_program": draft.rejected.program,
            "chosen_status": draft.chosen.status,
            "rejected_status": draft.rejected.status,
            "policy": draft.chosen.policy,
        }
        | dict(draft.why),
    )


def _joined(program: str, tail: str) -> str:
    return f"{program.rstrip()}\n\n\n{tail.strip()}\n" if tail else program
