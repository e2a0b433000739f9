"""From prompts and answers to token ids: the same rows for every learner, as the model will see them when it samples.

TRL's trainers would tokenize text themselves: a chat template that writes a start token would then get a second one,
and tokens could merge where prompt and answer meet. Rows with ids have neither problem.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from strop.train.lora import LearnerSettings, OnMetrics
from strop.types import Prompt, StropError

Row = TypeVar("Row")


def tokens(tokenizer: Any, prompt: Prompt, answer: str) -> tuple[list[int], list[int]]:
    """Ids of the prompt, and of the answer with the end token that closes it."""
    from strop.models import prompt_token_ids

    return list(prompt_token_ids(tokenizer, prompt)), [
        *tokenizer(answer, add_special_tokens=False)["input_ids"],
        tokenizer.eos_token_id,
    ]


def fitting(
    rows: Sequence[Row], length: Callable[[Row], int], settings: LearnerSettings, on_metrics: OnMetrics
) -> list[Row]:
    """The rows of at most `settings.max_length` tokens; the others are counted, not cut. Raises when none is left."""
    kept = [row for row in rows if length(row) <= settings.max_length]
    on_metrics(0, {"examples": len(kept), "examples_too_long": len(rows) - len(kept)})
    if not kept:
        raise StropError(f"Every example is longer than {settings.max_length} tokens; use a smaller --max-tokens.")
    return kept
