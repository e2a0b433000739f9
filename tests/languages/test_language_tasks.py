"""Real tasks in every language: the right solution passes, the wrong one fails, and nothing else happens."""

from __future__ import annotations

import pytest
from language_tasks import cases, missing

from strop.judge import Judge, languages
from strop.types import StropError

QUICK = {"bash", "lua", "sqlite"}
"""Languages that start in milliseconds: all their tasks are in the default run; of the others, one or two each."""
COMMON = {"c", "javascript"}


@pytest.fixture(scope="module")
def judge():
    try:
        judge = Judge(workers=2, require="root", preload=())
    except StropError as error:
        pytest.skip(f"no isolation level for other languages: {error}")
    with judge:
        yield judge


def both(judge: Judge, language: str, chosen) -> None:
    if why := missing(language):
        pytest.skip(why)
    jobs = [((case.task.id, side), case.task, getattr(case, side)) for case in chosen for side in ("right", "wrong")]
    verdicts = dict(judge.stream(jobs))
    bad = {
        key: (verdict.status, verdict.detail)
        for key, verdict in verdicts.items()
        if (verdict.status == "passed") != (key[1] == "right") or verdict.status in ("judge_error", "forbidden")
    }
    assert not bad
    assert len(verdicts) == len(jobs)


@pytest.mark.parametrize("language", languages.NAMES)
def test_some_tasks(judge, language):
    known = cases(language)
    kinds = {type(case.task.checks[0]): case for case in known}
    some = list(kinds.values()) if language in COMMON else known[:1]
    both(judge, language, known if language in QUICK else some)


@pytest.mark.slow
@pytest.mark.parametrize("language", [name for name in languages.NAMES if name not in QUICK])
def test_all_tasks(judge, language):
    both(judge, language, cases(language))


@pytest.mark.parametrize("language", languages.NAMES)
def test_there_are_twenty_tasks_with_two_solutions(language):
    known = cases(language)
    assert len(known) >= 20
    assert len({case.task.id for case in known}) == len(known)
    assert all(case.right != case.wrong for case in known)
