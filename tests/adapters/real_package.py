"""The packages that Strop adapts to, each in an environment of its own, made once a run.

`STROP_TEST_VENVS` names a folder where these environments are kept between runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SOURCE = str(Path(__file__).parents[2] / "src")
_folder: list[str] = []


def python_with(name: str, *requirements: str) -> str:
    """The interpreter of an environment with these packages; skips (in CI: fails) when they cannot be installed."""
    if not _folder:
        _folder.append(os.environ.get("STROP_TEST_VENVS") or tempfile.mkdtemp(prefix="strop-venvs-"))
    home = Path(_folder[0]) / name
    python = home / "bin" / "python"
    if not (home / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        done = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *requirements], capture_output=True, text=True, timeout=900
        )
        if done.returncode:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} does not install: {done.stderr[-300:]}")
        (home / ".ready").touch()
    return str(python)


def run_there(python: str, script: str, **facts: object) -> dict:
    """What `script` prints last, as JSON. It finds `facts` in a global of that name, and can import Strop."""
    done = subprocess.run(
        [python, "-c", f"import json, sys; facts = json.loads(sys.argv[1])\n{script}", json.dumps(facts)],
        capture_output=True, text=True, timeout=280, env={**os.environ, "PYTHONPATH": SOURCE},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
