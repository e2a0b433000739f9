"""`strop train rl` as a user types it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from strop.run import Run

STROP = [sys.executable, "-m", "strop.cli.main", "train", "rl"]
IMPROVE = [sys.executable, "-m", "strop.cli.main", "improve"]
TINY = [
    "steps=2", "prompts=2", "group=2", "max_tokens=8", "lora_rank=4", "held_out_samples=1", "held_out_tasks=2",
    "practice_tasks=4", "format_weight=0.1", "overlong=4", "threads=1", "protocol=completion",
]  # fmt: skip


def strop(*words, timeout=250, verb=STROP):
    return subprocess.run([*verb, *map(str, words)], capture_output=True, text=True, timeout=timeout)


def test_what_it_would_do_and_what_it_knows():
    listed = strop("--settings", "recipe=dapo")
    assert listed.returncode == 0
    assert "clip_high = 0.28" in listed.stdout
    assert "recipes: grpo, dr-grpo" in listed.stdout
    planned = strop("--dry-run", "steps=3", "prompts=4", "group=2", "held_out_samples=0")
    assert "samples to draw: 24 to learn from, 0 held-out" in planned.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps=none"], "steps: Input should be a valid integer"),
        (["--config", "nowhere.toml"], "nowhere.toml cannot be read"),
        (["--track", "carrier-pigeon"], "No tracker is called 'carrier-pigeon'"),
        (["model=openai/x@http://localhost:1/v1"], "cannot be trained|endpoint"),
    ],
)
def test_unusable_input_is_one_paragraph_and_exit_code_2(words, message, tmp_path):
    done = strop(*words, "--out", tmp_path / "run")
    assert done.returncode == 2, done.stderr[-2000:]
    assert re.search(message, " ".join(done.stderr.split()))
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(300)
def test_a_run_from_a_file_interrupted_and_resumed(tiny, tmp_path):
    file, out = tmp_path / "rl.toml", tmp_path / "run"
    file.write_text(f'model = "hf/{tiny}"\nlearning_rate = 0.01\n')
    words = ["--config", file, *TINY, "--out", out]
    process = subprocess.Popen([*STROP, *map(str, words)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not (out / "checkpoint" / "state.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=100)[1]
    assert process.returncode in (0, 130), errors[-2000:]  # 0 where it was faster than the signal
    done = strop(*words, "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["kind"] == "improve"
    assert {"reward", "reward/outcome", "reward/format", "special_cased"} <= {
        row["name"] for row in report["monitors"]["rows"]
    }
    with Run.read(out) as run:
        assert [one.value for one in run.metrics("train-1") if one.name == "groups"] == [2, 2]
        assert len(run.samples("practice-1")) == 8
        assert not run.events("not-reproduced")
    assert (out / "adapter" / "adapter_config.json").exists()
    assert (out / "report.html").exists()
    other = strop(*words, "group=3")
    assert other.returncode == 2
    assert "group was 2, now 3" in " ".join(other.stderr.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", 2], "--rounds does nothing with --recipe ppo: steps= says how long"),
        (["--tests", "all"], "--tests does nothing with --recipe ppo: the reward= setting"),
        (["recipes=1"], "no setting is called recipes"),
        (["--recipe", "star", "group=4"], "NAME=VALUE settings are for reinforcement learning"),
        (["--recipe", "sarsa"], "no recipe 'sarsa'; choose one of star, .*, ppo"),
    ],
)
def test_improve_refuses_what_a_recipe_has_no_use_for(words, message):
    done = strop("--recipe", "ppo", *words, verb=IMPROVE)
    assert done.returncode == 2, done.stderr[-2000:]
    assert re.search(message, " ".join(done.stderr.split()))


def test_improve_takes_the_same_path(tiny, tmp_path):
    """Options where they mean the same, words for the rest; guards and held-out tasks measured, monitors shown."""
    out = tmp_path / "run"
    options = ["--recipe", "rloo", "--model", f"hf/{tiny}", "--practice-samples", 2, "--max-tokens", 6, "--seed", 3]
    options += ["--guard-tasks", 0, "--held-out-tasks", 2, "--practice-tasks", 3, "--as", "completion"]
    options += ["--held-out-samples", 1, "--lora-rank", 4]
    done = strop(*options, "steps=1", "prompts=2", "threads=1", "--out", out, "--json", verb=IMPROVE)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["monitors"]["rows"][0]["name"] == "reward"
    with Run.read(out) as run:
        config = run.manifest["config"]
        assert len(run.samples("practice-1")) == 4
        assert len(run.samples("after-1")) == 2
    assert (config["recipe"], config["advantage"], config["group"], config["seed"]) == ("rloo", "leave-one-out", 2, 3)
    assert (config["temperature"], config["max_tokens"], config["guard_tasks"]) == (1.0, 6, 0)


def test_tracking_writes_where_it_was_asked_to(tmp_path, monkeypatch):
    from strop.cli.reinforce import tracker

    sent = []
    module = type(sys)("trackio")
    module.init = lambda **options: sent.append(options)  # type: ignore[attr-defined]
    module.log = lambda values, step: sent.append((step, values))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", module)
    tracker("trackio", tmp_path / "run", {"steps": 2})(1, {"reward": 0.5})
    assert sent == [{"project": "strop", "name": "run", "config": {"steps": 2}}, (1, {"reward": 0.5})]
    tracker(None, tmp_path, {})(1, {"reward": 0.5})
    assert len(sent) == 2
