"""Supervised fine-tuning with LoRA, through TRL's `SFTTrainer`. The loss covers the completion only."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from strop.train import prefix_tree
from strop.train.examples import Example
from strop.train.lora import LearnerSettings, OnMetrics, fresh_adapter, run_trainer, trainer_arguments
from strop.train.rows import fitting, tokens
from strop.types import StropError


def train_sft(
    base: str,
    examples: Sequence[Example],
    *,
    folder: Path,
    adapter: Path,
    settings: LearnerSettings,
    on_metrics: OnMetrics,
    on_progress: Callable[[int, int], None],
) -> None:
    """Train `base` on `examples` and leave a LoRA adapter in `adapter`. Checkpoints live in `folder`; resumes there.

    Raises `StropError` when there is nothing to learn from, or every example is longer than `settings.max_length`.
    """
    from datasets import Dataset
    from transformers import set_seed
    from trl.trainer.sft_config import SFTConfig

    from strop.models import load_for_training

    if not examples:
        raise StropError("No program passed in practice, so there is nothing to learn from. Draw more samples a task.")
    model, tokenizer = load_for_training(base)
    rows = []
    for example in examples:
        prompt, answer = tokens(tokenizer, example.prompt, example.completion)
        rows.append({"input_ids": prompt + answer, "completion_mask": [0] * len(prompt) + [1] * len(answer)})
    on_metrics(0, {"examples_from_references": sum(not example.own for example in examples)})
    rows = fitting(rows, lambda row: len(row["input_ids"]), settings, on_metrics)
    set_seed(settings.seed)
    trainer = sft_trainer(model)(
        model=model,
        args=SFTConfig(
            **trainer_arguments(settings, folder),
            max_length=settings.max_length,
            completion_only_loss=True,
            train_sampling_strategy="sequential",  # examples come shuffled, a task's programs side by side
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=fresh_adapter(model, settings),
    )
    run_trainer(trainer, base, folder, adapter, on_metrics, on_progress)


def sft_trainer(model: Any) -> type:
    """TRL's `SFTTrainer`; where one process trains a model of full attention on a CPU, on merged batches.

    There arithmetic is the limit: TRL 1.16 computes every example's prompt and padding, and multiplies all positions
    by the whole vocabulary before it masks the prompts. See `prefix_tree`: same loss and gradient, a fraction of the
    products.
    """
    import torch
    from trl.trainer.sft_trainer import SFTTrainer

    from strop.models import grouped

    one_process = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if torch.cuda.is_available() or not one_process or not grouped.supports(model):
        return SFTTrainer

    class TreeTrainer(SFTTrainer):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, data_collator=prefix_tree.collate, **options)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            return prefix_tree.loss(model.get_base_model(), inputs, num_items_in_batch)

    return TreeTrainer
