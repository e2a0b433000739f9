"""What several tests of models start from."""

from __future__ import annotations

import pytest
from fault_server import fault_server


@pytest.fixture
def server():
    with fault_server() as state:
        yield state
