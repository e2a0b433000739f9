"""The command line as a user meets it: a real process, its exit code and what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def strop(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "strop.cli.main", *arguments],
        capture_output=True, text=True, timeout=240, env={**os.environ, **environment},
    )  # fmt: skip


def test_help_names_every_verb_and_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "strop.cli.main", "--help"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    for verb in ("judge", "eval", "improve", "tasks", "lint", "audit", "report", "export"):
        assert f"\n  {verb} " in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"torch", "transformers", "trl", "numpy", "scipy", "pydantic", "rich.console"}


def test_importing_strop_imports_nothing_heavy():
    code = "import strop, strop.types, sys; print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("verb", ["judge", "eval", "improve", "tasks", "lint", "audit", "report", "export"])
def test_every_verb_explains_itself(verb):
    done = strop(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["eval", "--model", "gguf/missing.gguf"], ["missing.gguf"]),
        (["eval", "--model", "llama-70b"], ["llama-70b", "hf/NAME-or-PATH"]),
        (["eval", "--tasks", "humanevil"], ["humanevil"]),
        (["eval", "--tasks", "missing.jsonl"], ["missing.jsonl"]),
        (["eval", "--n", "1", "--k", "5"], ["pass@5", "5 samples"]),
        (["eval", "--k", "zero"], ["--k", "zero"]),
        (["eval", "--budget", "tokens=5"], ["tokens=5", "sampled_tokens"]),
        (["eval", "--as", "shouting"], ["shouting", "chat"]),
        (["eval", "--model", "openai/m@http://127.0.0.1:9/v1", "--limit", "1"], ["127.0.0.1:9"]),
        (["improve", "--recipe", "magic", "--dry-run"], ["magic", "rft"]),
        (["report", "no-such-run"], ["no-such-run"]),
        (["export", "no-such-run"], ["no-such-run"]),
    ],
)
def test_what_cannot_be_done_is_said_in_one_paragraph(arguments, words, tmp_path):
    where = ["--out", str(tmp_path / "run")] if arguments[0] in ("eval", "improve") else []
    done = strop(*arguments, *where)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in " ".join(done.stderr.split()), done.stderr


def test_a_bad_line_is_named(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"id": "a", "prompt": "p", "checks": ["f(1) == 1"], "entry_point": "f"}\n{"id": "b"}\n')
    done = strop("eval", "--tasks", str(path), "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "tasks.jsonl, line 2" in done.stderr
    assert not (tmp_path / "run").exists()


def test_dry_runs_spend_nothing(tmp_path):
    for verb in ("eval", "improve"):
        done = strop(verb, "--dry-run", "--out", str(tmp_path / "run"))
        assert done.returncode == 0, done.stderr
        assert "samples" in done.stdout
    assert not (tmp_path / "run").exists()


def test_an_old_python_is_refused_with_a_reason():
    code = (
        "import sys, runpy; sys.version_info = (3, 9, 0, 'final', 0); sys.argv = ['strop', '--help'];"
        "runpy.run_module('strop.cli.main', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "3.11" in done.stderr


def test_a_folder_of_other_settings_is_refused(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    Path(run / "manifest.json").write_text("{ not json")
    done = strop("report", str(run))
    assert done.returncode == 2
    assert "manifest.json" in done.stderr


def test_ctrl_c_says_what_is_kept_and_exits_with_130():
    code = (
        "import strop.cli.main as m, strop.cli.report as r, sys\n"
        "def report(): raise KeyboardInterrupt\n"
        "r.report = report; sys.argv = ['strop', 'report']; m.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130, done.stderr
    assert "is kept" in done.stderr
    assert "Traceback" not in done.stderr
