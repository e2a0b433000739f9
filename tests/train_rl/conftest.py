"""One tiny model for all tests of reinforcement learning, and one thread: on a busy machine two wait for each other."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folder of a tiny random model."""
    pytest.importorskip("peft")
    from rl_tiny import make_model

    return make_model(tmp_path_factory.mktemp("rl") / "tiny")
