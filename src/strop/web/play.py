"""What a program does when it is run: what it prints, and what it answers to its task's own inputs.

It runs where the judge runs programs, never in this process. What comes back is text that the program chose; nothing
here is a verdict.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strop.search.sandbox import CHUNK, probe_task, report_source, report_task, text_in
from strop.types import CallCheck, StdioCheck, Task

if TYPE_CHECKING:
    from strop.judge import Judge

MOST_PRINTED = 60_000
"""Characters of output that are brought back."""
MOST_INPUTS = 6
"""Inputs of the task's checks that a program is called with."""
_HARNESS = """
import contextlib, io, json, sys, traceback

_strop_text = ""

def strop_play():
    global _strop_text
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True) for _ in "oe")
    old, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO({stdin!r}), "utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                exec(compile({program!r}, "<program>", "exec"), {{"__name__": "__main__"}})
            except SystemExit as end:
                if end.code not in (None, 0):
                    print("exit code", end.code, file=err)
            except BaseException:
                kind, error, where = sys.exc_info()
                err.write("".join(traceback.format_exception(kind, error, where.tb_next))[-4000:])
    finally:
        sys.stdin = old
    read = lambda stream: stream.buffer.getvalue().decode("utf-8", "replace")
    _strop_text = json.dumps([read(out)[:{most}], read(err)[-4000:]])[:{whole}]
"""


@dataclass(frozen=True, slots=True)
class Played:
    """What a program did. All of it is hostile text."""

    printed: str
    errors: str
    """Standard error and the traceback of what ended it."""
    answers: tuple[tuple[str, str | None], ...]
    """A call (or standard input) of the task's checks, and what came out; None when nothing did."""
    ended: str
    """Empty, or how the run was cut short."""

    @property
    def page(self) -> bool:
        """Whether it printed HTML or SVG, which is worth seeing as a picture."""
        start = self.printed.lstrip().lower()
        return bool(re.match(r"<!doctype html|<html|<svg|<\?xml[^>]*>\s*<svg|<(body|div|table|p|h1|style)[\s>]", start))

    @property
    def picture(self) -> bool:
        """Whether that is an SVG alone."""
        return bool(re.match(r"<svg|<\?xml[^>]*>\s*<svg", self.printed.lstrip().lower()))


class Stage:
    """A judge of this site's own, started when the first program is played."""

    def __init__(self) -> None:
        self._judge: Judge | None = None
        self._lock = threading.Lock()

    def judge(self) -> Judge:
        """Raises StropError when no isolation level holds on this machine."""
        from strop.judge import Judge

        with self._lock:
            if self._judge is None:
                self._judge = Judge(workers=2, stop_at_first_failure=False)
            return self._judge

    def close(self) -> None:
        with self._lock:
            if self._judge is not None:
                self._judge.close()
                self._judge = None


def play(judge: Judge, task: Task, codes: Sequence[str], stdin: str = "") -> list[Played]:
    """Run each program as a script, and call it with the inputs of the task's first checks.

    `stdin`: what the script reads; empty for the first standard input among the checks.
    """
    inputs = [check for check in task.checks if isinstance(check, CallCheck | StdioCheck)][:MOST_INPUTS]
    first = next((check.stdin for check in inputs if isinstance(check, StdioCheck)), "")
    chunks = 2 * MOST_PRINTED // CHUNK
    script = report_task(task, "strop_play", (), chunks)
    probes = probe_task(task, inputs)
    jobs = []
    for place, code in enumerate(codes):
        source = _HARNESS.format(
            program=_encodable(code),
            stdin=(stdin or first).encode("utf-8", "replace"),
            most=MOST_PRINTED,
            whole=chunks * CHUNK,
        )
        jobs.append(((place, "script"), script, report_source(source)))
        if inputs:
            jobs.append(((place, "inputs"), probes, code))
    verdicts = dict(judge.stream(jobs))
    found = []
    for place in range(len(codes)):
        ran = verdicts[place, "script"]
        printed, errors = _read(text_in(ran))
        given = {one.name: one.actual for one in verdicts[place, "inputs"].checks} if inputs else {}
        ended = "" if ran.checks and ran.checks[0].passed else ran.detail or ran.status
        shown = tuple((_input_text(check), given.get(f"input {number}")) for number, check in enumerate(inputs))
        found.append(Played(printed or ran.output, errors, shown, ended))
    return found


def bare_task(task_id: str) -> Task:
    """For a task whose checks are not at hand: programs are run as scripts alone."""
    return Task(id=task_id, prompt="", checks=())


def _encodable(code: str) -> str:
    return code.encode("utf-8", "backslashreplace").decode("utf-8")


def _read(text: str | None) -> tuple[str, str]:
    """Both texts; a program can have left anything in their place."""
    try:
        printed, errors = json.loads(text or "")
        return str(printed), str(errors)
    except (ValueError, TypeError, RecursionError):
        return "", ""


def _input_text(check: CallCheck | StdioCheck) -> str:
    from strop.tasks.literals import write_call

    if isinstance(check, StdioCheck):
        return f"standard input {check.stdin[:200]!r}"
    try:
        return write_call(check)[:400]
    except ValueError:
        return f"{check.function}(…)"
