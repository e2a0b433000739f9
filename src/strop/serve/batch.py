"""Strop's own endpoint: many programs for many tasks in one request, a line of JSON for each verdict as it comes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from strop.adapters.ground_truth import tasks_in
from strop.judge.completions import whole_program
from strop.judge.verdict_file import verdict_line
from strop.serve.desk import MOST_CHECKS, MOST_MEMORY_MB, MOST_SECONDS, Desk, Ticket
from strop.tasks.reading import Defect
from strop.types import StropError, Task, Verdict

router = APIRouter(tags=["strop"])
DEFECTS = 20


class ProgramRow(BaseModel):
    """One program for one task: a whole program in `solution`, or in `completion` what continues the task's stub."""

    model_config = ConfigDict(extra="forbid")
    task_id: str
    solution: str | None = None
    completion: str | None = None


class JudgeRequest(BaseModel):
    """Tasks and the programs to judge on them."""

    model_config = ConfigDict(extra="forbid")
    tasks: list[dict[str, Any]] = Field([], description="Task rows in any format of `strop tasks`.")
    task_set: str | None = Field(None, description="A task set that the server was started with, besides `tasks`.")
    programs: Annotated[list[ProgramRow], Field(min_length=1)]
    checks: Literal["all", "visible", "hidden"] = "all"
    stop_at_first_failure: bool = True
    details: bool = Field(False, description="Give every check's result too.")


LINE = {
    "type": "object",
    "description": "One line a verdict (`index` is the program's place in the request), then `{done, statuses}`. "
    "An answer without that last line is not whole: ask again for the programs that are missing.",
}


@router.post(
    "/v1/judge",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/x-ndjson": {"schema": LINE}}},
        404: {"description": "The server has no such task set."},
    },
)
async def judge(body: JudgeRequest, request: Request) -> StreamingResponse:
    """Judge every program and send its verdict as soon as it is there."""
    desk: Desk = request.app.state.desk
    ticket = desk.admit(len(body.programs))
    try:
        tasks = await asyncio.to_thread(read_tasks, body.tasks)
        tasks = {task.id: task for task in named_set(desk, body.task_set)} | tasks
        jobs = list(_jobs(body.programs, tasks))
    except BaseException:
        ticket.close()
        raise
    return _Lines(_verdicts(desk, body, jobs, ticket), ticket)


class _Lines(StreamingResponse):
    """NDJSON whose place in the queue is given back however the answer ends."""

    def __init__(self, lines: AsyncIterator[str], ticket: Ticket) -> None:
        super().__init__(lines, media_type="application/x-ndjson")
        self.ticket = ticket

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.ticket.close()


async def _verdicts(
    desk: Desk, body: JudgeRequest, jobs: list[tuple[int, Task, str]], ticket: Ticket
) -> AsyncIterator[str]:
    statuses: Counter[str] = Counter()
    names = {index: task.id for index, task, _ in jobs}
    stream = desk.stream(jobs, checks=body.checks, stop=body.stop_at_first_failure, endpoint="/v1/judge")
    try:
        async with aclosing(stream):
            async for index, verdict in stream:
                ticket.leave()
                statuses[verdict.status] += 1
                yield line(names[index], index, verdict, body.details)
    except StropError as error:
        yield json.dumps({"error": f"The judge failed: {error}"}) + "\n"
        return
    yield json.dumps({"done": len(jobs), "statuses": statuses}) + "\n"


def line(task_id: str, index: int, verdict: Verdict, details: bool) -> str:
    """A verdict as `strop judge --out` writes it, without the key; with each check's result when asked for."""
    row = json.loads(verdict_line(task_id, index, verdict, "0"))
    del row["key"]
    if details:
        fields = ("name", "passed", "visible", "status", "message", "actual", "expected")
        row["checks"] = [{field: getattr(check, field) for field in fields} for check in verdict.checks]
        row["output"] = verdict.output
    return json.dumps(row, ensure_ascii=True) + "\n"


# ---- what a request holds ----------------------------------------------------------------------


def named_set(desk: Desk, name: str | None) -> Iterable[Task]:
    if name is None:
        return ()
    if name not in desk.settings.tasks:
        known = ", ".join(desk.settings.tasks) or "none"
        raise HTTPException(404, f"This server has no task set {name!r} (it has: {known}).")
    return desk.settings.tasks[name]


def read_tasks(rows: Iterable[dict[str, Any]]) -> dict[str, Task]:
    """The tasks of rows in any known format, by id. Raises HTTPException (422) that names every defect."""
    tasks: dict[str, Task] = {}
    defects: list[str] = []
    for place, row in enumerate(rows):
        for item in tasks_in(row, place):
            if isinstance(item, Task) and item.id in tasks:
                item = Defect("tasks", place, "id", f"{item.id!r} names two tasks")
            if isinstance(item, Task):
                defects += [f"tasks, row {place}, {problem}" for problem in unfit(item)]
                tasks[item.id] = item
            else:
                defects.append(f"tasks, row {place}, field {item.field}: {item.message}")
    if defects:
        raise HTTPException(422, [text[:500] for text in defects[:DEFECTS]])
    return tasks


def unfit(task: Task) -> Iterable[str]:
    """Why a task cannot be judged on this server."""
    limits = task.limits
    if task.language != "python":
        yield f"field language: {task.language!r} is not judged by this server; it judges: python"
    if max(limits.cpu_seconds or 0, limits.wall_seconds or 0) > MOST_SECONDS:
        yield f"field limits: at most {MOST_SECONDS:g} s are given here"
    if (limits.memory_mb or 0) > MOST_MEMORY_MB:
        yield f"field limits.memory_mb: at most {MOST_MEMORY_MB} MB are given here"
    if (limits.output_kb or 0) > 64 << 10:
        yield "field limits.output_kb: at most 65536 KB are given here"
    if len(task.checks) > MOST_CHECKS:
        yield f"field checks: at most {MOST_CHECKS} are taken here"


def _jobs(programs: list[ProgramRow], tasks: dict[str, Task]) -> Iterable[tuple[int, Task, str]]:
    for index, row in enumerate(programs):
        task = tasks.get(row.task_id)
        if task is None:
            raise HTTPException(422, f"programs, row {index}, field task_id: there is no task {row.task_id[:100]!r}.")
        if row.solution is None and row.completion is None:
            raise HTTPException(422, f"programs, row {index}: one of `solution` and `completion` is needed.")
        program = row.solution if row.solution is not None else whole_program(task, row.completion or "")
        yield index, task, program
