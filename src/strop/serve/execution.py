"""A whole program run for what it prints: the judge's sandbox, limits and measurements, but no verdict.

A verdict holds excerpts of 300 characters, so the output comes back in pieces, one call check each. Most programs print
little; one that printed more than the pieces hold is run again with enough of them.
"""

from __future__ import annotations

import marshal
import re
import signal
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from strop.types import CallCheck, Limits, Task, Verdict

if TYPE_CHECKING:
    from strop.judge import Judge

PIECE = 300
"""Characters of one answer: the judge's excerpts hold no more."""
PIECES = (8, 240, 7200)
"""How many answers are asked for: enough for 2,400 characters, 72,000 and 2,160,000. The last holds both outputs at
their limit, 1 MiB each as in SandboxFusion."""


class JudgeFailed(Exception):
    """Strop failed, not the program. Holds what is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What one program did. `exit_code` is negative for a signal, None when it was stopped at its time limit."""

    stdout: str
    stderr: str
    exit_code: int | None
    whole: bool
    """False when it left by `os._exit`, or in another way that skips the end of the program."""
    seconds: float
    """Wall time, without waiting for a core."""
    memory_mb: float
    isolation: str


@cache
def _harness() -> str:
    """The harness, compiled here once: the sandbox runs the same interpreter, and would compile it for each program."""
    text = files("strop.serve").joinpath("run_harness.py").read_text(encoding="utf-8")
    code = marshal.dumps(compile(text, "<harness>", "exec", dont_inherit=True, optimize=2))
    return f"import marshal\nexec(marshal.loads({code!r}))\n"


@lru_cache(512)
def _task(stdin: str, limits: Limits, pieces: int) -> Task:
    run = CallCheck(function="strop_run", args=(stdin,), name="run")
    return Task(id="run", prompt="", checks=(run, *_pieces(pieces)), limits=limits)


@cache
def _pieces(count: int) -> tuple[CallCheck, ...]:
    return tuple(CallCheck(function="strop_piece", args=(k,), name="piece") for k in range(count))


async def execute(judge: Judge, source: str, stdin: str, limits: Limits) -> Execution:
    """Run `source` as a program with `stdin`. `judge` must go on after a failed check.

    Raises JudgeFailed when the judge did, and StropError when it is closed or broken.
    """
    program = f"_strop_program = {source!r}\n{_harness()}"
    verdict = None
    for pieces in PIECES:
        task = _task(stdin, limits, pieces) if len(stdin) < 10_000 else _task.__wrapped__(stdin, limits, pieces)
        verdict = (await judge.arun(task, [program]))[0]
        if verdict.status == "judge_error":
            raise JudgeFailed(verdict.detail)
        if not verdict.checks or not verdict.checks[0].passed:
            return _cut_short(verdict)
        done = _read(verdict)
        if done is not None:
            return done
    raise JudgeFailed("the program's output could not be read")


def _read(verdict: Verdict) -> Execution | None:
    """The execution in the pieces; None when they were too few."""
    if verdict.checks[-1].actual is not None:
        return None
    text = "".join(check.actual or "" for check in verdict.checks[1:])
    head, _, body = text.partition("\n")
    numbers = head.split()
    if len(numbers) != 3 or not all(re.fullmatch(r"-?\d{1,9}", number) for number in numbers):
        return _ended(verdict, 1, "the program overwrote what recorded its output", whole=False)  # its own loss
    code, out, err = map(int, numbers)
    return Execution(
        stdout=_text(body[:out]),
        stderr=_text(body[out : out + err]),
        exit_code=code,
        whole=True,
        seconds=verdict.wall_seconds,
        memory_mb=verdict.memory_mb,
        isolation=verdict.isolation,
    )


def _cut_short(verdict: Verdict) -> Execution:
    """A program that did not come to its end."""
    first = verdict.checks[0] if verdict.checks else None
    status, message = (first.status, first.message) if first else (verdict.status, verdict.detail)
    if status == "timeout":
        return _ended(verdict, None, "", whole=False)
    if status == "out_of_memory":
        return _ended(verdict, -signal.SIGKILL, message, whole=False)
    if status == "forbidden" and "sigsys" in verdict.flags:
        return _ended(verdict, -signal.SIGSYS, message, whole=False)
    if died := re.search(r"process died: (SIG[A-Z0-9]+)", message):
        number = getattr(signal, died[1], signal.SIGKILL)
        return _ended(verdict, -int(number), message, whole=False)
    if left := re.search(r"\(exit code (\d+)\)", message):
        return _ended(verdict, int(left[1]), message, whole=False)
    return _ended(verdict, 1, message, whole=False)


def _ended(verdict: Verdict, code: int | None, message: str, *, whole: bool) -> Execution:
    return Execution(
        stdout=_text(verdict.output),
        stderr=_text(message),
        exit_code=code,
        whole=whole,
        seconds=verdict.wall_seconds,
        memory_mb=verdict.memory_mb,
        isolation=verdict.isolation,
    )


def _text(text: str) -> str:
    """Without lone surrogates, which JSON in UTF-8 cannot carry; only a forged answer has them."""
    return text.encode("utf-8", "replace").decode("utf-8")
