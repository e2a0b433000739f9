"""The desk alone: a judge that breaks is replaced, and the queue counts right."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from serve_client import GOOD

from strop.adapters.ground_truth import task_of
from strop.serve.desk import Desk, Full, Settings
from strop.types import StropError

TASK = task_of({"id": "double", "prompt": "p", "entry_point": "f", "checks": ["f(2) == 4"]})


def test_a_judge_that_broke_is_replaced_for_the_next_request():
    async def conversation():
        desk = Desk(Settings(workers=1))
        desk.open()
        try:
            assert (await desk.verdict(TASK, GOOD, endpoint="t")).passed
            desk._judges[True].close()  # as when its workers cannot be started any more
            with pytest.raises(StropError):
                await desk.verdict(TASK, GOOD, endpoint="t")
            verdicts = await asyncio.gather(*[desk.verdict(TASK, GOOD, endpoint="t") for _ in range(3)])
            assert all(verdict.passed for verdict in verdicts)
            assert desk.counts.restarts._value.get() == 1
        finally:
            desk.close()

    asyncio.run(conversation())


def test_the_queue_gives_back_what_was_taken_however_a_request_ends():
    async def conversation():
        desk = Desk(Settings(queue=10))
        first = desk.admit(6)
        with pytest.raises(Full) as refused:
            desk.admit(5)
        assert 1 <= refused.value.seconds <= 60
        first.leave(2)
        with contextlib.suppress(RuntimeError), desk.admitted(6) as second:
            second.leave()
            raise RuntimeError
        assert desk.waiting == 4
        first.leave(100)
        first.close()
        first.close()
        assert desk.waiting == 0
        with pytest.raises(Full) as refused:
            desk.admit(11)
        assert refused.value.seconds is None

    asyncio.run(conversation())
