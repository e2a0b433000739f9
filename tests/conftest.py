"""What every test starts from."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def usual_recursion_limit():
    """Hypothesis leaves a raised limit behind, with which deeply nested JSON overflows the C stack of later tests."""
    sys.setrecursionlimit(1000)
