import pytest
from ray_nodes import Nodes


@pytest.fixture(scope="module")
def nodes():
    """A real cluster of two nodes with one core each, on this machine."""
    pytest.importorskip("ray", reason="needs the extra `ray`: pip install -e '.[ray]'")
    with Nodes() as made:
        yield made
