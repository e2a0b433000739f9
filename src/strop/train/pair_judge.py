"""A judge of pairs: asked which of two programs is better, it says A or B (CodeFavor's classification, 2410.03837).

Every pair is shown in both orders. `strop.evals.scorers.PairJudge` reads the answer from the two tokens' likelihoods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from strop.evals.codeprefbench import PrefItem, both_orders, pair_prompt
from strop.evals.scorers import ANSWERS, CRITERION, text_of
from strop.train.examples import Example
from strop.train.reward import program_of
from strop.train.sft import train_sft
from strop.types import Preference, StropError


def questions(pairs: Sequence[Preference], criterion: str = CRITERION) -> list[Example]:
    """Each pair as two questions with their answers. A pair's own criterion (`why["criterion"]`) wins."""
    found = []
    for pair in pairs:
        codes = program_of(pair, "chosen"), program_of(pair, "rejected")
        item = PrefItem(aspect="", instruction=text_of(pair.prompt), codes=codes, better=0, group="")
        asked = str(pair.why.get("criterion", criterion))
        found += [
            Example(
                task_id=str(pair.why.get("task_id", "")), prompt=pair_prompt(one, asked),
                completion=ANSWERS[one.better], own=True,
            )
            for one in both_orders([item])
        ]  # fmt: skip
    return found


def train_pair_judge(base: str, pairs: Sequence[Preference], **options: Any) -> None:
    """Train `base` to answer; `options` as `train_sft` takes them. Raises StropError when there is nothing to learn."""
    if not pairs:
        raise StropError("There are no pairs to learn to judge from.")
    train_sft(base, questions(pairs), **options)
