"""Runs that several modules look at. Made once, since their programs are really judged."""

from __future__ import annotations

from pathlib import Path

import pytest
import web_runs


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Three runs: `real`, `nested/hostile` and `search`."""
    root = tmp_path_factory.mktemp("runs")
    web_runs.real_run(root / "real")
    web_runs.hostile_run(root / "nested/hostile")
    web_runs.search_run(root / "search")
    return root
