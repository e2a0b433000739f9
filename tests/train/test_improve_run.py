"""The main job end to end on the real embedded model: small here, and killed again and again in the slow test."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

STROP = [sys.executable, "-m", "strop.cli.main"]
SMALL = [
    "improve", "--tasks", "basics", "--practice-tasks", "6", "--practice-samples", "4", "--held-out-tasks", "4",
    "--held-out-samples", "2", "--max-tokens", "48", "--epochs", "1", "--guard-tasks", "2", "--seed", "7",
]  # fmt: skip


def run_to_end(folder: Path) -> None:
    done = subprocess.run([*STROP, *SMALL, "--out", str(folder), "-q"], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]


def without_times(value):
    """The report's data without what a clock decides, and without the run's own folder name."""
    if isinstance(value, dict):
        return {
            name: without_times(item)
            for name, item in value.items()
            if not re.search(r"seconds|created|command|memory|path|folder", name)
        }
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def report(folder: Path) -> dict:
    return without_times(json.loads((folder / "report.json").read_text()))


def rows(folder: Path) -> dict[str, int]:
    with sqlite3.connect(folder / "run.sqlite") as database:
        return dict(database.execute("select stage, count(*) from samples group by stage"))


@pytest.mark.model
@pytest.mark.timeout(900)
def test_improve_leaves_a_usable_adapter_and_a_report(tmp_path):
    folder = tmp_path / "run"
    run_to_end(folder)
    assert rows(folder) == {
        "before": 8, "practice-1": 24, "after-1": 8, "guard-before": 2, "guard-after-1": 2,
    }  # fmt: skip
    assert (folder / "adapter" / "adapter_model.safetensors").stat().st_size > 1_000_000
    assert "<html" in (folder / "report.html").read_text()
    before = report(folder)
    again = subprocess.run([*STROP, *SMALL, "--out", str(folder), "-q"], capture_output=True, text=True, timeout=600)
    assert again.returncode == 0, again.stderr[-2000:]
    assert rows(folder)["practice-1"] == 24
    assert report(folder) == before


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_at_twenty_moments_it_ends_as_if_nothing_had_happened(tmp_path):
    """Nothing is sampled twice, and the final report equals that of a run that was left alone.

    A run that got to its end between two kills is compared, thrown away and begun again.
    """
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    began = time.monotonic()
    run_to_end(whole)
    length = time.monotonic() - began
    generator = random.Random(int(os.environ.get("STROP_TEST_SEED", "0")))
    kills = 0
    drawn: dict[str, int] = {}
    while kills < 20:
        process = subprocess.Popen(
            [*STROP, *SMALL, "--out", str(broken), "-q"], start_new_session=True, stderr=subprocess.DEVNULL
        )
        try:
            assert process.wait(timeout=generator.uniform(0.05, 0.8) * length) == 0
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            if (broken / "run.sqlite").exists():
                now = rows(broken)
                assert all(now.get(stage, 0) >= count for stage, count in drawn.items()), "a resume lost samples"
                drawn = now
        else:
            assert rows(broken) == rows(whole)
            assert report(broken) == report(whole)
            shutil.rmtree(broken)
            drawn = {}
    run_to_end(broken)
    assert rows(broken) == rows(whole)
    assert report(broken) == report(whole)
