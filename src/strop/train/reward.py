"""A scalar reward model with LoRA, through TRL's `RewardTrainer`: the chosen program scores above the rejected one.

Loss -log sigmoid(r(x, chosen) - r(x, rejected)) (Bradley and Terry 1952; the reranker of arXiv 2504.09643 and the
reward model of PF-PPO, arXiv 2409.06957, are trained so). `strop.models.scorers.RewardModel` loads the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from strop.train.lora import LearnerSettings, OnMetrics, lora_config, run_trainer, trainer_arguments
from strop.train.rows import fitting
from strop.types import Preference, StropError


def program_of(pair: Preference, side: str) -> str:
    """The program of a pair's side, where the pair keeps its programs; else the answer as it is."""
    return str(pair.why.get(f"{side}_program", getattr(pair, side)))


def train_reward(
    base: str,
    pairs: Sequence[Preference],
    *,
    folder: Path,
    adapter: Path,
    settings: LearnerSettings,
    on_metrics: OnMetrics,
    on_progress: Callable[[int, int], None],
) -> None:
    """Train a score on `base` and leave adapter and head in `adapter`. Checkpoints live in `folder`; resumes there.

    Raises StropError when there is nothing to learn from, or `base` brings an adapter: a reward model begins with a
    bare one.
    """
    from datasets import Dataset
    from transformers import set_seed
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer

    from strop.models import load_for_training, parse_spec
    from strop.models.scorers import scored_tokens, with_score_head

    if not pairs:
        raise StropError("There are no pairs to learn a reward from.")
    if parse_spec(base).adapter is not None:
        raise StropError(f"A reward model begins with a bare model; give {parse_spec(base).base}.")
    model, tokenizer = load_for_training(base)
    rows = [
        {
            f"{side}_ids": scored_tokens(tokenizer, pair.prompt, program_of(pair, side))
            for side in ("chosen", "rejected")
        }
        for pair in pairs
    ]
    rows = fitting(rows, lambda row: max(map(len, row.values())), settings, on_metrics)
    set_seed(settings.seed)
    trainer = RewardTrainer(
        model=with_score_head(model, tokenizer),
        args=RewardConfig(**trainer_arguments(settings, folder), max_length=settings.max_length),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(settings, "SEQ_CLS"),
    )
    run_trainer(trainer, base, folder, adapter, on_metrics, on_progress)
