"""Kahneman-Tversky optimisation with LoRA, through TRL's `KTOTrainer` (Ethayarajh et al. 2024, arXiv 2402.01306).

Learns from single answers that are wanted or not, so tasks that were always or never solved teach too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.train.lora import LearnerSettings, OnMetrics, fresh_adapter, run_trainer, trainer_arguments
from strop.train.rows import fitting, tokens
from strop.types import StropError

if TYPE_CHECKING:
    from strop.data.plum import Labelled


def train_kto(
    base: str,
    labelled: Sequence[Labelled],
    *,
    folder: Path,
    adapter: Path,
    settings: LearnerSettings,
    on_metrics: OnMetrics,
    on_progress: Callable[[int, int], None],
    beta: float = 0.1,
) -> None:
    """Train `base` on labelled answers and leave a LoRA adapter in `adapter`. Checkpoints live in `folder`.

    The rarer label is weighted up until both weigh the same, the lower end of the paper's range (equation 8). Raises
    StropError for fewer than two answers, or answers of one label only.
    """
    from datasets import Dataset
    from transformers import set_seed
    from trl.trainer.kto_config import KTOConfig

    from strop.models import load_for_training

    if len({item.label for item in labelled}) < 2:
        seen = "none" if not labelled else "only wanted ones" if labelled[0].label else "only unwanted ones"
        raise StropError(f"KTO needs wanted and unwanted answers, and there are {seen}. Draw more samples a task.")
    if settings.batch_size < 2:
        raise StropError("KTO compares answers within a batch; batch_size must be at least 2.")
    model, tokenizer = load_for_training(base)
    rows = []
    for item in labelled:
        prompt, answer = tokens(tokenizer, item.prompt, item.completion)
        rows.append({"prompt_ids": prompt, "completion_ids": answer, "label": item.label})
    rows = fitting(rows, lambda row: len(row["prompt_ids"]) + len(row["completion_ids"]), settings, on_metrics)
    wanted = max(1, sum(row["label"] for row in rows))
    unwanted = max(1, len(rows) - wanted)
    set_seed(settings.seed)
    trainer = kto_trainer()(
        model=model,
        args=KTOConfig(
            **trainer_arguments(settings, folder),
            max_length=settings.max_length,
            beta=beta,
            desirable_weight=max(1.0, unwanted / wanted),
            undesirable_weight=max(1.0, wanted / unwanted),
            train_sampling_strategy="sequential",
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=fresh_adapter(model, settings),
    )
    run_trainer(trainer, base, folder, adapter, on_metrics, on_progress)


def kto_trainer() -> type:
    """TRL's `KTOTrainer` on rows that hold token ids; within a batch each prompt also meets the next row's answer."""
    from trl.trainer.kto_trainer import KTOTrainer

    class Trainer(KTOTrainer):
        def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
            def turned(rows: dict[str, list]) -> dict[str, list]:
                return {"KL_completion_ids": [rows["completion_ids"][-1], *rows["completion_ids"][:-1]]}

            return dataset.map(turned, batched=True, batch_size=args.per_device_train_batch_size)

    return Trainer
