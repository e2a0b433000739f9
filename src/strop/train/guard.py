"""Guards around practice: held-out tasks stay unseen, and what the model could do before is still there afterwards."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from strop.types import StropError, Task

if TYPE_CHECKING:
    from strop.models import Model

NEAR_DUPLICATE = 0.8
"""Jaccard similarity of word trigrams from which two prompts count as the same problem (Lee et al. 2022,
arXiv 2107.06499, also use 0.8, on n-grams of documents)."""


def keep_apart(practice: Sequence[Task], held_out: Sequence[Task]) -> None:
    """Raise `StropError` when a held-out task could be practised: same id, or nearly the same prompt."""
    ids = {task.id for task in practice}
    shared = sorted(task.id for task in held_out if task.id in ids)
    if shared:
        raise StropError(
            f"These tasks are both practised and held out: {', '.join(shared[:5])} ({len(shared)} in all)."
        )
    twins = near_duplicates(practice, held_out)
    if twins:
        pairs = ", ".join(f"{a} ~ {b} ({similarity:.2f})" for a, b, similarity in twins[:5])
        raise StropError(
            f"{len(twins)} held-out prompts are near-duplicates of practice prompts, so a gain on them would mean "
            f"little: {pairs}. Remove one of each pair, or pass --allow-near-duplicates to go on regardless."
        )


def near_duplicates(
    practice: Sequence[Task], held_out: Sequence[Task], threshold: float = NEAR_DUPLICATE
) -> list[tuple[str, str, float]]:
    """(practice id, held-out id, similarity) of every pair of prompts at or above `threshold`, most alike first."""
    shingled = [(task.id, _trigrams(task.prompt)) for task in practice]
    holders: dict[str, list[int]] = {}
    for position, (_, grams) in enumerate(shingled):
        for gram in grams:
            holders.setdefault(gram, []).append(position)
    found = []
    for task in held_out:
        grams = _trigrams(task.prompt)
        for position in {position for gram in grams for position in holders.get(gram, ())}:
            other_id, other = shingled[position]
            similarity = len(grams & other) / len(grams | other)
            if similarity >= threshold:
                found.append((other_id, task.id, similarity))
    return sorted(found, key=lambda row: -row[2])


def _trigrams(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def perplexity(model: Model) -> float:
    """Perplexity per token of a fixed page of prose, arithmetic and code that ships with Strop.

    Each paragraph after the first is scored given the one before it, so no backend needs an empty prompt.
    """
    paragraphs = files("strop.train").joinpath("data/general.txt").read_text().split("\n\n")
    pairs = [(before + "\n\n", after) for before, after in itertools.pairwise(paragraphs)]
    scores = [value for score in model.score(pairs) for value in score.logprobs]
    return math.exp(-sum(scores) / len(scores))


def humaneval_slice(tasks: Sequence[Task], size: int) -> list[Task]:
    """A fixed `size` of HumanEval, chosen by hash of the task id."""
    return sorted(tasks, key=lambda task: hashlib.sha256(task.id.encode()).hexdigest())[:size]
