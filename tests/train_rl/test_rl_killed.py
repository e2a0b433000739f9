"""`kill -9` in every phase of a step: the resumed run ends with the same bits as one that was left alone."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rl_killed import PHASES

from strop.run import Run

SETTINGS = {
    "steps": 3, "prompts": 2, "group": 4, "max_tokens": 10, "recipe": "ppo", "epochs": 2, "minibatches": 2,
    "learning_rate": 0.01, "lora_rank": 4, "warmup": 0, "held_out_samples": 0,
}  # fmt: skip
MOMENTS = {
    "sampling": (3, 10), "judging": (2, 9), "rewards": (2, 5), "update": (1, 3), "metrics": (0, 1),
    "checkpoint": (0, 1), "swap": (1, 2),
}  # fmt: skip
"""The occasion at which a run dies, for the first run and for the one that resumes it."""


def run_all(plans: list[dict], folder: Path) -> list[int]:
    """Exit statuses of the runs, in order."""
    file = folder / "plan.json"
    file.write_text(json.dumps(plans))
    script = Path(__file__).with_name("rl_killed.py")
    done = subprocess.run([sys.executable, str(script), str(file)], capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line)["status"] for line in done.stdout.splitlines() if line.startswith("{")]


def ends(folder: Path) -> dict:
    """All that a run leaves, without what a clock measured."""
    with Run.read(folder) as run:
        samples = [(one.task_id, one.index, one.token_ids, one.logprobs) for one in run.samples("practice-1")]
        metrics = [(one.step, one.name, one.value) for one in run.metrics("train-1")]
        steps = [run.result(f"policy-{step}") for step in (1, 2, 3)]
        rewards = [run.result(f"rewards-{step}") for step in (1, 2, 3)]
        differences = run.events("not-reproduced")
    weights = hashlib.sha256((folder / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()
    return {
        "samples": samples, "metrics": metrics, "policies": steps, "rewards": rewards, "weights": weights,
        "differences": differences, "files": sorted(path.name for path in folder.iterdir()),
    }  # fmt: skip


@pytest.mark.timeout(1600)
@pytest.mark.parametrize("save_every", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_killed_in_every_phase_it_ends_with_the_same_bits(tiny, tmp_path, save_every):
    common = SETTINGS | {"model": f"hf/{tiny}", "save_every": save_every}
    plans = [common | {"out": str(tmp_path / "whole")}]
    expected = [0]
    for phase in PHASES:
        for number in MOMENTS[phase][: 2 if save_every == 1 else 1]:
            plans.append(common | {"out": str(tmp_path / phase), "kill": f"{phase}:{number}"})
            expected.append(-9)
        plans.append(common | {"out": str(tmp_path / phase)})
        expected.append(0)
    assert run_all(plans, tmp_path) == expected
    whole = ends(tmp_path / "whole")
    assert len({one["fingerprint"] for one in whole["policies"]}) == 3  # every step changed the weights
    assert not whole["differences"]
    for phase in PHASES:
        assert ends(tmp_path / phase) == whole, phase
