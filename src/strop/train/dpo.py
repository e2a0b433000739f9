"""Direct preference optimisation with LoRA, through TRL's `DPOTrainer` (Rafailov et al. 2023, arXiv 2305.18290).

The reference policy is the model as it starts. The default loss adds the likelihood of the chosen answer with weight 1
(Pang et al. 2024, arXiv 2404.19733), which keeps the passing programs likely; CodeDPO trains so too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from strop.train.lora import LearnerSettings, OnMetrics, fresh_adapter, run_trainer, trainer_arguments
from strop.train.rows import fitting, tokens
from strop.types import Preference, StropError

LOSSES = (
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "nca_pair", "bco_pair", "sppo_hard", "aot", "apo_zero",
    "apo_down", "sft",
)  # fmt: skip
"""Losses of TRL 1.16's `DPOConfig.loss_type` that need no further setting."""


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
    loss: Sequence[str] = ("sigmoid", "sft"),
    loss_weights: Sequence[float] = (1.0, 1.0),
) -> None:
    """Train `base` on `pairs` and leave a LoRA adapter in `adapter`. Checkpoints live in `folder`; resumes there.

    `loss`: names of TRL's losses, summed with `loss_weights`. Raises StropError when there is nothing to learn from,
    and for losses that TRL does not know or weights that do not fit.
    """
    from datasets import Dataset
    from transformers import set_seed
    from trl.trainer.dpo_config import DPOConfig

    from strop.models import load_for_training

    if not pairs:
        raise StropError(
            "No task has both a passing and a failing program, so there are no preference pairs. "
            "Draw more samples a task, or use --recipe rft."
        )
    if unknown := [name for name in loss if name not in LOSSES]:
        raise StropError(f"TRL has no loss {unknown[0]!r} for DPO; choose among {', '.join(LOSSES)}.")
    if len(loss) != len(loss_weights):
        raise StropError(f"{len(loss)} losses ({', '.join(loss)}) need as many weights, not {len(loss_weights)}.")
    model, tokenizer = load_for_training(base)
    rows = []
    for pair in pairs:
        prompt, chosen = tokens(tokenizer, pair.prompt, pair.chosen)
        _, rejected = tokens(tokenizer, pair.prompt, pair.rejected)
        rows.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    rows = fitting(
        rows,
        lambda row: len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])),
        settings,
        on_metrics,
    )
    set_seed(settings.seed)
    trainer = dpo_trainer()(
        model=model,
        args=DPOConfig(
            **trainer_arguments(settings, folder),
            max_length=settings.max_length,
            beta=beta,
            loss_type=list(loss),
            loss_weights=list(loss_weights),
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=fresh_adapter(model, settings),
    )
    run_trainer(trainer, base, folder, adapter, on_metrics, on_progress)


def dpo_trainer() -> type:
    """TRL's `DPOTrainer` on rows that hold token ids."""
    from trl.trainer.dpo_trainer import DPOTrainer

    class Trainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    return Trainer
