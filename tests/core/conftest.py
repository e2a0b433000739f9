import pytest
from hypothesis import settings
from run_nouns import COMMAND, CONFIG, INPUTS

from strop.run import Run

# A busy machine is no failure.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture
def run(tmp_path):
    with Run.open(tmp_path / "run", command=COMMAND, config=CONFIG, inputs=INPUTS) as opened:
        yield opened
