"""What the README says was measured is what the results files hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("split", ["near", "far"])
def test_the_pooled_figures_are_those_of_the_results_file(split):
    results = json.loads((ROOT / "results" / "improve-star.json").read_text())
    words = results["splits"][f"held-out-{split}"]["words"].partition(": ")[2].rstrip(".")
    assert f"- {split}: {words}\n" in (ROOT / "README.md").read_text()
