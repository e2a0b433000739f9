import pytest
from run_nouns import COMMAND, CONFIG, INPUTS

from strop.run import Run


@pytest.fixture
def run(tmp_path):
    with Run.open(tmp_path / "run", command=COMMAND, config=CONFIG, inputs=INPUTS) as opened:
        yield opened
