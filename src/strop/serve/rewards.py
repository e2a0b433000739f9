"""Reward endpoints of trainers: OpenRLHF's remote reward URL and NeMo-Gym's `/verify`, in their own wire formats."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from strop.adapters import nemo_gym, openrlhf
from strop.serve.batch import unfit
from strop.serve.desk import Desk
from strop.serve.execution import JudgeFailed
from strop.types import StropError, Task, Verdict

router = APIRouter(tags=["rewards"])


class RemoteReward(BaseModel):
    """What OpenRLHF posts to `--reward.remote_url`."""

    query: list[str] = Field(min_length=1)
    prompts: list[str]
    labels: list[str]


@router.post("/openrlhf")
async def remote_reward(body: RemoteReward, request: Request) -> dict[str, Any]:
    """Rewards for OpenRLHF; `labels` are task rows as JSON text. 503 when the judge failed: there is no reward."""
    try:
        jobs = openrlhf.read_jobs(body.query, body.prompts, body.labels)
    except StropError as error:
        raise HTTPException(422, str(error)) from None
    try:
        return openrlhf.answer(await _verdicts(request, jobs, "/openrlhf"))
    except StropError as error:
        raise JudgeFailed(str(error)) from None


@router.post("/verify")
async def verify(body: dict[str, Any], request: Request) -> JSONResponse:
    """NeMo-Gym's verify: the request, with `reward`, or with `mask_sample` when the judge failed."""
    try:
        job = nemo_gym.read_job(body)
    except StropError as error:
        raise HTTPException(422, str(error)) from None
    if job is None:
        return JSONResponse(nemo_gym.answer(body, None, None))
    (verdict,) = await _verdicts(request, [job], "/verify")
    return JSONResponse(nemo_gym.answer(body, job[1], verdict))


async def _verdicts(request: Request, jobs: list[tuple[Task, str]], endpoint: str) -> list[Verdict]:
    desk: Desk = request.app.state.desk
    for index, (task, _) in enumerate(jobs):
        for problem in unfit(task):
            raise HTTPException(422, f"item {index}, {problem}")
    found: dict[int, Verdict] = {}
    with desk.admitted(len(jobs)) as ticket:
        numbered = [(index, task, program) for index, (task, program) in enumerate(jobs)]
        async with aclosing(desk.stream(numbered, stop=False, endpoint=endpoint)) as stream:
            async for index, verdict in stream:
                ticket.leave()
                found[index] = verdict
    return [found[index] for index in range(len(jobs))]
