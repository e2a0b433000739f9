"""Nothing that the judge starts may outlive it: checked after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from judge_helpers import QUICK, family, note_bystanders, running_programs, settle, traces

from strop.judge import Judge
from strop.types import StropError

LEVELS = ("userns", "root", "plain")


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test: no program runs, no file was left; without a shared judge, no process or descriptor either."""
    note_bystanders()
    before = traces()
    yield
    assert not settle(running_programs)
    assert not settle(lambda: set(traces()["files"]) - set(before["files"]))  # type: ignore[call-overload]
    if "judges" not in request.fixturenames:
        left = settle(lambda: set(family()) - set(before["processes"]))  # type: ignore[call-overload]
        assert not left, family()
        assert not settle(lambda: max(0, traces()["descriptors"] - before["descriptors"]))  # type: ignore[operator]


@pytest.fixture(scope="module")
def judges() -> Iterator:
    """`judges(level)`: a judge at that level with short limits, shared by the tests of a module, gone after it."""
    made: dict[str, Judge] = {}
    before = traces()

    def judge_at(level: str = "userns") -> Judge:
        if level not in made:
            try:
                made[level] = Judge(workers=2, level=level, limits=QUICK)
            except StropError as error:
                pytest.skip(f"level {level} does not hold here: {error}")
        return made[level]

    yield judge_at
    for judge in made.values():
        judge.close()
    assert not settle(lambda: set(family()) - set(before["processes"]))  # type: ignore[call-overload]
    assert not settle(lambda: max(0, traces()["descriptors"] - before["descriptors"]))  # type: ignore[operator]


@pytest.fixture
def judge(judges) -> Judge:
    return judges("userns")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "level" in metafunc.fixturenames:
        metafunc.parametrize("level", LEVELS)
