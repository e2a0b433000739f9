"""Guards around practice: held-out tasks stay unseen, and what the model could do before is still there afterwards."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from strop.evals.solve import OnProgress, measure, silent
from strop.tasks.likeness import near_duplicates
from strop.types import SamplingParams, StropError, Task

if TYPE_CHECKING:
    from strop.judge import Judge
    from strop.models import Model
    from strop.run import Run


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


def perplexity(model: Model) -> float:
    """Perplexity per token of a fixed page of prose, arithmetic and code that ships with Strop.

    Each paragraph after the first is scored given the one before it, so no backend needs an empty prompt.
    """
    paragraphs = files("strop.train").joinpath("data/general.txt").read_text().split("\n\n")
    pairs = [(before + "\n\n", after) for before, after in itertools.pairwise(paragraphs)]
    scores = [value for score in model.score(pairs) for value in score.logprobs]
    return math.exp(-sum(scores) / len(scores))


def humaneval_slice(tasks: Sequence[Task], size: int) -> list[Task]:
    """The `size` HumanEval tasks with the shortest reference programs.

    Even small models solve some of them, so a loss can show; a random slice reads 0 before and after.
    """
    return sorted(tasks, key=lambda task: (len(task.reference or "") - len(task.stub), task.id))[:size]


def watch(
    run: Run, stage: str, model: Model, judge: Judge, *,
    count: int, protocol: str, max_tokens: int, seed: int, on_progress: OnProgress = silent,
) -> None:  # fmt: skip
    """General ability, under `stage`: `count` HumanEval tasks, greedy, and the perplexity of the fixed text.

    `protocol` is a name or `auto`. Nothing happens when `count` is 0; what is kept already is not done again.
    """
    from strop import tasks
    from strop.models.spec import is_local
    from strop.tasks import protocols

    if not count:
        return
    measure(
        run, stage, model, humaneval_slice(tasks.load("humaneval"), count), judge,
        protocols.choose(protocol, chat=model.chat, local=is_local(model.name)),
        samples_per_task=1, params=SamplingParams(temperature=0.0, top_p=1.0, max_tokens=max_tokens), seed=seed,
        on_progress=on_progress,
    )  # fmt: skip
    if run.result(stage) is None:
        run.save_result(stage, {"perplexity": perplexity(model)})
