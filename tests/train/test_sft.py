"""Supervised fine-tuning: Strop's loss on a CPU is TRL's."""

from __future__ import annotations

import pytest

from strop.train import sft
from strop.train.examples import Example
from strop.train.lora import LearnerSettings
from strop.types import Message


@pytest.mark.timeout(600)
def test_the_loss_over_merged_batches_equals_trls(small_model, tmp_path, monkeypatch):
    from trl.trainer.sft_trainer import SFTTrainer

    examples = [
        Example(
            task_id=str(number),
            prompt=(Message("user", f"add {number // 2} " + "please " * (number // 2)),),
            completion=f"return n + {number}\n" * (1 + number % 3),
            own=True,
        )
        for number in range(8)
    ]

    def losses(name: str) -> list[float]:
        seen: list[float] = []
        sft.train_sft(
            f"hf/{small_model('llama')}", examples,
            folder=tmp_path / name, adapter=tmp_path / f"{name}-adapter",
            settings=LearnerSettings(epochs=2, batch_size=4),
            on_metrics=lambda step, values: seen.append(values["loss"]) if "loss" in values else None,
            on_progress=lambda done, total: None,
        )  # fmt: skip
        return seen

    ours = losses("ours")
    monkeypatch.setattr(sft, "sft_trainer", lambda model: SFTTrainer)
    theirs = losses("theirs")
    assert len(ours) == 4
    assert ours == pytest.approx(theirs, rel=1e-4)
