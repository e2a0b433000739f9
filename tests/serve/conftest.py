import pytest
from serve_client import Server


@pytest.fixture(scope="session")
def server():
    """One open server for tests that leave nothing behind in it."""
    with Server("--queue", "200", "--tasks", "basics") as one:
        yield one
