"""Data sets that lie beside the checkout, and small files written for one test."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def shared():
    """Path of a file of the shared data sets; skips where they are absent, but not in CI."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists() and not os.environ.get("CI"):
            pytest.skip(f"the shared data set {name} is not beside this checkout")
        return path

    return find


@pytest.fixture
def write(tmp_path):
    """Write rows (dicts), lines (texts) or bytes to a file and return its path as text."""

    def to_file(content, name: str = "tasks.jsonl") -> str:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            lines = [item if isinstance(item, str) else json.dumps(item) for item in content]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)

    return to_file
