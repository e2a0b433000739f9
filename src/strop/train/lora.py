"""What every learner here shares: a seeded LoRA model, a resumable trainer run, and an adapter written all at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import Trainer

OnMetrics: TypeAlias = Callable[[int, Mapping[str, float]], None]
"""`(optimiser step, values)`; called again with the same values when a resumed run passes a step twice."""

CLOCK_METRICS = ("runtime", "per_second")
"""Parts of trainer metric names that measure time; they are left out so that a resumed run has the same curves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerSettings:
    """How to train. LoRA on every linear layer at rank 16 and alpha 32 is the common recipe of Hu et al. (2021) and
    Dettmers et al. (2023); learning rate and epochs were the best of a few tried on `basics` with one seed
    each, a difference that one seed cannot settle."""

    epochs: float = 2.0
    learning_rate: float = 1e-3
    batch_size: int = 8
    lora_rank: int = 16
    lora_alpha: int = 32
    max_length: int = 768
    """Tokens of prompt and completion; longer examples are left out and counted, not cut."""
    seed: int = 0


def lora_config(settings: LearnerSettings, task_type: str = "CAUSAL_LM") -> LoraConfig:
    """Adapters on all linear layers, without dropout so that a resumed run needs no random state."""
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type=task_type,
    )


def fresh_adapter(model: Any, settings: LearnerSettings) -> LoraConfig | None:
    """The adapter to begin with; None for a model that brings one (`BASE+FOLDER`), which goes on learning."""
    return None if hasattr(model, "peft_config") else lora_config(settings)


def trainer_arguments(settings: LearnerSettings, folder: Path) -> dict[str, Any]:
    """Arguments common to TRL's trainers: constant batch, linear decay, a checkpoint every epoch, nothing sent out."""
    import torch

    return {
        "output_dir": str(folder),
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "per_device_train_batch_size": settings.batch_size,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.1,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "save_strategy": "epoch",
        "save_total_limit": 2,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        "gradient_checkpointing": False,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def run_trainer(
    trainer: Trainer, base: str, folder: Path, adapter: Path, on_metrics: OnMetrics, on_progress: Callable
) -> None:
    """Train from the last whole checkpoint in `folder`, report each step, then rename the adapter into place.

    Under `accelerate launch` every process trains and the first one reports and writes.
    """
    from transformers import ProgressCallback, TrainerCallback
    from transformers.trainer_callback import PrinterCallback

    from strop.models import save_adapter

    class Report(TrainerCallback):
        def on_log(
            self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any
        ) -> None:
            values = {name: float(value) for name, value in (logs or {}).items() if isinstance(value, int | float)}
            on_metrics(state.global_step, {n: v for n, v in values.items() if not any(c in n for c in CLOCK_METRICS)})

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            on_progress(state.global_step, state.max_steps)

    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    if trainer.is_world_process_zero():
        trainer.add_callback(Report())
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    trainer.accelerator.wait_for_everyone()
    if not trainer.is_world_process_zero():
        return
    partial = adapter.with_name(adapter.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    save_adapter(trainer.accelerator.unwrap_model(trainer.model), partial, base=base)
    shutil.rmtree(partial / "ref", ignore_errors=True)  # TRL's frozen copy of an adapter that went on learning
    partial.rename(adapter)
    shutil.rmtree(folder, ignore_errors=True)


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint, or None. The trainer writes its state file last, so one without it was cut short."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        try:
            whole.append((json.loads((path / "trainer_state.json").read_text())["global_step"], str(path)))
        except (OSError, ValueError, KeyError):
            shutil.rmtree(path, ignore_errors=True)
    return max(whole)[1] if whole else None
