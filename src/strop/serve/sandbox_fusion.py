"""The endpoints of SandboxFusion that verl, its own client and others call, answered by Strop's judge.

Field names, statuses and error forms are SandboxFusion's (bytedance/SandboxFusion, `sandbox/server/sandbox_api.py`,
`online_judge_api.py` and `runners/types.py`; client `sandbox-fusion` 0.3.7). Where Strop departs:

- `/run_code` runs Python. Other languages, `files` and `fetch_files` answer `SandboxError`, naming what is missing.
- A program that leaves by `os._exit(0)` skips what follows it, so it is `Failed` although its exit code is 0. That a
  program calls `sys.exit(0)` before tests in its own text cannot be told from success: whoever appends tests to a
  program can be cheated, here as there. `/submit` and `/v1/judge` keep the tests away from the program.
- `/submit` judges in Strop's way; a judge that failed answers 503 instead of `accepted: false`.
- `custom_extract_logic` is code for the server's own process and is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, Field

from strop.adapters.ground_truth import program_in, task_of
from strop.serve.batch import unfit
from strop.serve.desk import MOST_MEMORY_MB, MOST_SECONDS, Desk
from strop.serve.execution import Execution, JudgeFailed
from strop.types import CheckResult, Limits, StdioCheck, StropError, Task

router = APIRouter(tags=["SandboxFusion"])

Language = Literal[
    "python", "cpp", "nodejs", "go", "go_test", "java", "php", "csharp", "bash", "typescript", "sql", "rust", "cuda",
    "lua", "R", "perl", "D_ut", "ruby", "scala", "julia", "pytest", "junit", "kotlin_script", "jest", "verilog",
    "python_gpu", "lean", "swift", "racket",
]  # fmt: skip
Seconds = Annotated[float, Field(gt=0, le=MOST_SECONDS, allow_inf_nan=False)]


class CommandRunStatus(StrEnum):
    Finished = "Finished"
    Error = "Error"
    TimeLimitExceeded = "TimeLimitExceeded"


class CommandRunResult(BaseModel):
    status: CommandRunStatus
    execution_time: float | None = None
    return_code: int | None = None
    stdout: str | None = None
    stderr: str | None = None


class RunStatus(StrEnum):
    Success = "Success"
    Failed = "Failed"
    SandboxError = "SandboxError"


class RunCodeRequest(BaseModel):
    code: str
    language: Language
    stdin: str | None = None
    compile_timeout: Seconds = 10
    run_timeout: Seconds = 10
    memory_limit_MB: int = Field(-1, ge=-1, le=MOST_MEMORY_MB, description="-1: the server's default")
    files: dict[str, str | None] = {}
    fetch_files: list[str] = []
    args: list[str] = []


class RunCodeResponse(BaseModel):
    status: RunStatus
    message: str
    compile_result: CommandRunResult | None = None
    run_result: CommandRunResult | None = None
    executor_pod_name: str | None = None
    files: dict[str, str] = {}


class RunJupyterRequest(BaseModel):
    cells: list[str]


class RunJupyterResponse(BaseModel):
    status: RunStatus
    message: str
    driver: CommandRunResult | None = None
    cells: list[dict[str, Any]] = []
    executor_pod_name: str | None = None
    files: dict[str, str] = {}


class Prompt(BaseModel):
    id: int | str
    prompt: str
    labels: dict[str, Any] = {}


class TestConfig(BaseModel):
    __test__ = False
    dataset_type: str | None = None
    language: Language | None = None
    locale: str | None = None
    is_fewshot: bool | None = None
    compile_timeout: Seconds | None = None
    run_timeout: Seconds | None = None
    custom_extract_logic: str | None = None
    provided_data: list[dict[str, Any]] | dict[str, Any] | None = None
    extra: dict[str, Any] = {}


class GetPromptsRequest(BaseModel):
    dataset: str
    config: TestConfig
    offset: int = Field(0, ge=0)
    limit: int = Field(1_000_000, ge=0)


class GetPromptByIdRequest(BaseModel):
    dataset: str
    config: TestConfig
    id: int | str


class SubmitRequest(GetPromptByIdRequest):
    completion: str


class EvalTestCase(BaseModel):
    passed: bool
    exec_info: RunCodeResponse
    test_info: dict[str, Any] | None = None


class EvalResult(BaseModel):
    id: int | str
    accepted: bool
    extracted_code: str
    full_code: str | None = None
    test_code: str | None = None
    tests: list[EvalTestCase]
    extracted_type: str | None = None
    extra: dict[str, Any] | None = None


# ---- running code ------------------------------------------------------------------------------


@router.post("/run_code")
async def run_code(body: RunCodeRequest, request: Request) -> RunCodeResponse:
    """Run a whole program on `stdin`."""
    missing = _missing(body)
    if missing:
        return RunCodeResponse(status=RunStatus.SandboxError, message=missing)
    desk: Desk = request.app.state.desk
    memory = body.memory_limit_MB if body.memory_limit_MB > 0 else None
    limits = Limits(cpu_seconds=body.run_timeout, wall_seconds=body.run_timeout, memory_mb=memory)
    with desk.admitted() as ticket:
        try:
            done = await desk.execute(body.code, body.stdin or "", limits, endpoint="/run_code")
        except (JudgeFailed, StropError) as error:
            return RunCodeResponse(status=RunStatus.SandboxError, message=f"the judge failed: {error}")
        ticket.leave()
    return _answer(done)


def _missing(body: RunCodeRequest) -> str:
    if body.language != "python":
        return f"language {body.language!r} is not run by this server; it runs: python"
    if body.files or body.fetch_files:
        return "programs have no files here: `files` and `fetch_files` must be empty"
    return ""


def _answer(done: Execution) -> RunCodeResponse:
    timed_out = done.exit_code is None
    result = CommandRunResult(
        status=CommandRunStatus.TimeLimitExceeded if timed_out else CommandRunStatus.Finished,
        execution_time=done.seconds,
        return_code=done.exit_code,
        stdout=done.stdout,
        stderr=done.stderr,
    )
    good = done.exit_code == 0 and done.whole
    return RunCodeResponse(status=RunStatus.Success if good else RunStatus.Failed, message="", run_result=result)


@router.post("/run_jupyter")
async def run_jupyter(body: RunJupyterRequest) -> RunJupyterResponse:
    """Notebooks are not run."""
    return RunJupyterResponse(status=RunStatus.SandboxError, message="notebooks are not run by this server")


@router.get("/v1/ping")
async def ping() -> str:
    """`"pong"`. Needs no token."""
    return "pong"


# ---- data sets ---------------------------------------------------------------------------------


@router.get("/list_datasets")
async def list_datasets(request: Request) -> list[str]:
    """The task sets that the server was started with."""
    return list(request.app.state.desk.settings.tasks)


@router.post("/list_ids")
async def list_ids(body: GetPromptsRequest, request: Request) -> list[int | str]:
    """The ids of a task set."""
    return [task.id for task in _tasks(body, request)]


@router.post("/get_prompts")
async def get_prompts(body: GetPromptsRequest, request: Request) -> list[Prompt]:
    """The problems of a task set, without checks and solutions."""
    chosen = _tasks(body, request)[body.offset : body.offset + body.limit]
    return [Prompt(id=task.id, prompt=task.prompt) for task in chosen]


@router.post("/get_prompt_by_id")
async def get_prompt_by_id(body: GetPromptByIdRequest, request: Request) -> Prompt:
    """One problem of a task set."""
    return Prompt(id=body.id, prompt=_task(body, request).prompt)


@router.post("/submit")
async def submit(body: SubmitRequest, request: Request) -> EvalResult:
    """Judge the program in a model's reply."""
    desk: Desk = request.app.state.desk
    if body.config.custom_extract_logic:
        raise HTTPException(400, "custom_extract_logic is not run by this server.")
    task = _task(body, request)
    if seconds := body.config.run_timeout:
        task = replace(task, limits=replace(task.limits, cpu_seconds=seconds, wall_seconds=seconds))
    for problem in unfit(task):
        raise HTTPException(400, problem)
    program = program_in(task, body.completion)
    stop = not body.config.extra.get("run_all_cases")
    with desk.admitted() as ticket:
        verdict = await desk.verdict(task, program, stop=stop, endpoint="/submit")
        ticket.leave()
    if verdict.status == "judge_error":
        raise JudgeFailed(verdict.detail)
    return EvalResult(
        id=body.id,
        accepted=verdict.passed,
        extracted_code=program,
        tests=[_case(check, verdict.wall_seconds if len(verdict.checks) == 1 else None) for check in verdict.checks],
        extra={"strop": {"status": verdict.status, "fraction": verdict.fraction, "isolation": verdict.isolation}},
    )


def _case(check: CheckResult, seconds: float | None) -> EvalTestCase:
    timed_out = check.status == "timeout"
    result = CommandRunResult(
        status=CommandRunStatus.TimeLimitExceeded if timed_out else CommandRunStatus.Finished,
        execution_time=seconds,
        return_code=None if timed_out else 0 if check.passed else 1,
        stdout=_text(check.actual or ""),
        stderr=_text(check.message),
    )
    status = RunStatus.Success if check.passed else RunStatus.Failed
    info = {"name": _text(check.name), "status": check.status}
    return EvalTestCase(
        passed=check.passed, exec_info=RunCodeResponse(status=status, message="", run_result=result), test_info=info
    )


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _task(body: GetPromptByIdRequest, request: Request) -> Task:
    wanted = str(body.id)
    tasks = _tasks(body, request)
    if isinstance(body.config.provided_data, dict):
        return tasks[0]
    found = next((task for task in tasks if task.id == wanted or task.id.rpartition("/")[2] == wanted), None)
    if found is None:
        raise HTTPException(400, f"dataset {body.dataset!r} has no id {wanted[:100]!r}")
    return found


def _tasks(body: GetPromptsRequest | GetPromptByIdRequest, request: Request) -> Sequence[Task]:
    """The tasks that came with the request, or those of the set that it names."""
    given = body.config.provided_data
    sets: dict[str, tuple[Task, ...]] = request.app.state.desk.settings.tasks
    if given is not None:
        rows = [given] if isinstance(given, dict) else given
        try:
            return [task_of(_row(row, body.config)) for row in rows]
        except (StropError, RecursionError) as error:
            raise HTTPException(400, f"provided_data: {error}") from None
    if body.dataset not in sets:
        raise HTTPException(400, f"no eval class found for dataset {body.dataset[:100]}")
    return sets[body.dataset]


def _row(row: Mapping[str, Any], config: TestConfig) -> Mapping[str, Any] | Task:
    """A row as SandboxFusion's data sets hold it, in a form that Strop reads."""
    if config.language not in (None, "python"):
        raise StropError(f"language {config.language!r} is not judged by this server; it judges: python")
    kind = config.dataset_type
    labels, tests = _parsed(row.get("labels", {}), dict), _parsed(row.get("test"), list)
    if kind == "CommonOJDataset" or (tests and isinstance(tests[0], Mapping) and "input" in tests[0]):
        return _online_judge(row, tests)
    if kind == "MBPPDataset" and tests:
        setup = labels.get("test_setup_code", "")
        return {"task_id": row.get("id", 0), "text": row.get("content", "(none)"), "test_list": tests,
                "test_setup_code": setup, "code": labels.get("code", "")}  # fmt: skip
    if kind == "HumanEvalDataset":
        return {"task_id": str(row.get("id", "task"))} | dict(row)
    return row


def _online_judge(row: Mapping[str, Any], tests: Iterable[Any]) -> Task:
    try:
        checks = tuple(
            StdioCheck(stdin=_stream(test["input"]["stdin"]), stdout=_stream(test["output"]["stdout"]))
            for test in tests
        )
    except (KeyError, TypeError):
        raise StropError("field test: every test has input.stdin and output.stdout, as texts") from None
    if not checks:
        raise StropError("field test: there is no test")
    return Task(id=str(row.get("id", "task")), prompt=str(row.get("content", "")), checks=checks)


def _stream(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _parsed(value: Any, kind: type) -> Any:
    """A field that may be JSON text; empty when it is of another kind."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return kind()
    return value if isinstance(value, kind) else kind()
