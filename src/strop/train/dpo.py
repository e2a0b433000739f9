"""Direct preference optimisation with LoRA, through TRL's `DPOTrainer` (Rafailov et al. 2023, arXiv 2305.18290).

The reference policy is the base model itself, with the adapter switched off. The loss adds the likelihood of the
chosen answer with weight 1 (Pang et al. 2024, arXiv 2404.19733), which keeps the passing programs likely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from strop.train.lora import LearnerSettings, OnMetrics, lora_config, run_trainer, trainer_arguments
from strop.types import Preference, StropError


def train_dpo(
    base: str,
    pairs: Sequence[Preference],
    *,
    folder: Path,
    adapter: Path,
    settings: LearnerSettings,
    on_metrics: OnMetrics,
    on_progress: Callable[[int, int], None],
    beta: float = 0.1,
) -> None:
    """Train `base` on `pairs` and leave a LoRA adapter in `adapter`. Checkpoints live in `folder`; resumes there."""
    from datasets import Dataset
    from transformers import set_seed
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from strop.models import load_for_training, prompt_text

    if not pairs:
        raise StropError(
            "No task has both a passing and a failing program, so there are no preference pairs. "
            "Draw more samples a task, or use --recipe rft."
        )
    model, tokenizer = load_for_training(base)
    rows = [
        {"prompt": prompt_text(tokenizer, pair.prompt), "chosen": pair.chosen, "rejected": pair.rejected}
        for pair in pairs
    ]
    set_seed(settings.seed)
    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(
            **trainer_arguments(settings, folder),
            max_length=settings.max_length,
            beta=beta,
            loss_type=["sigmoid", "sft"],
            loss_weights=[1.0, 1.0],
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(settings),
    )
    run_trainer(trainer, base, folder, adapter, on_metrics, on_progress)
