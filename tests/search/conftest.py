"""One judge for all tests of searches."""

import pytest


@pytest.fixture(scope="session")
def judge():
    from strop.judge import Judge

    with Judge(workers=1, stop_at_first_failure=False, cache=10_000) as bench:
        yield bench
