"""Supervised fine-tuning with LoRA, through TRL's `SFTTrainer`. The loss covers the completion only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from strop.train.examples import Example
from strop.train.lora import LearnerSettings, OnMetrics, lora_config, run_trainer, trainer_arguments
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
    from trl.trainer.sft_trainer import SFTTrainer

    from strop.models import load_for_training, prompt_token_ids

    if not examples:
        raise StropError("No program passed in practice, so there is nothing to learn from. Draw more samples a task.")
    model, tokenizer = load_for_training(base)
    rows = []
    for example in examples:
        prompt = list(prompt_token_ids(tokenizer, example.prompt))
        answer = [*tokenizer(example.completion, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        if len(prompt) + len(answer) > settings.max_length:
            continue
        rows.append({"input_ids": prompt + answer, "completion_mask": [0] * len(prompt) + [1] * len(answer)})
    on_metrics(0, {"examples": len(rows), "examples_too_long": len(examples) - len(rows)})
    if not rows:
        raise StropError(f"Every example is longer than {settings.max_length} tokens; use a smaller --max-tokens.")
    set_seed(settings.seed)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            **trainer_arguments(settings, folder), max_length=settings.max_length, completion_only_loss=True
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(settings),
    )
    run_trainer(trainer, base, folder, adapter, on_metrics, on_progress)
