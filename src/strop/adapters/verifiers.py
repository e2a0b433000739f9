"""verifiers 1.x: what a task's `@vf.reward` returns.

    class CodeTask(vf.Task[CodeData]):
        @vf.reward(weight=1.0)
        async def solved(self, trace: vf.Trace) -> float:
            return await judged_reward(self.data.tests, trace)

`tests` is a row in any format that Strop knows, or its JSON text. Where the judge failed this raises: verifiers records
a `TaskError` on the trace and counts no reward for it.

Read in verifiers 0.4.0: `v1/task.py`, `v1/trace.py`, `v1/errors.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from strop.adapters.ground_truth import judged, program_in, reward_of, task_of
from strop.types import StropError


async def judged_reward(tests: Any, trace: Any, *, partial: bool = False) -> float:
    """Reward of the trace's last reply. Raises StropError for tests that are no task, and when the judge failed."""
    task = task_of(tests)
    program = program_in(task, trace.last_reply or "")
    (verdict,) = await asyncio.to_thread(judged, [task], [program], partial=partial)
    reward = reward_of(verdict, partial=partial)
    if reward is None:
        raise StropError(f"The judge failed, so there is no reward: {verdict.detail}")
    return reward
