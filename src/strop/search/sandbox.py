"""Getting more than a verdict out of the judge's sandbox: outputs for inputs, and texts that a harness leaves there.

Programs run where the judge runs them, never in this process. What comes back is text that the program could have
forged; it only ever steers the search for that program's own task, and never counts as a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from strop.types import CallCheck, Check, CheckResult, StdioCheck, Task, Verdict

CHUNK = 300
"""Characters of one answer: the judge's excerpts hold no more."""
CHUNKS = 24
MOST_TEXT = CHUNK * CHUNKS
NOTHING = "\x00strop: no output is equal to this"

_READER = """

def strop_chunk(k):
    text = _strop_text if isinstance(_strop_text, str) else ""
    part = text[k * {chunk}:(k + 1) * {chunk}]
    return part or None
"""


def probe_task(task: Task, inputs: Sequence[Check]) -> Task:
    """A task whose checks call the program with `inputs` and expect what no program gives."""
    checks = []
    for place, check in enumerate(inputs):
        if isinstance(check, CallCheck):
            checks.append(replace(check, expected=NOTHING, tolerance=None, visible=True, name=f"input {place}"))
        elif isinstance(check, StdioCheck):
            checks.append(replace(check, stdout=NOTHING, comparer="exact", visible=True, name=f"input {place}"))
    return replace(task, checks=tuple(checks), reference=None)


def outputs_in(verdict: Verdict, count: int) -> tuple[str, ...]:
    """The text of each output, or `!` and what happened instead. Every place is filled."""
    by_name = {result.name: result for result in verdict.checks}
    return tuple(_output(by_name.get(f"input {place}")) for place in range(count))


def _output(result: CheckResult | None) -> str:
    if result is None:
        return "!not run"
    if result.actual is not None:
        return result.actual
    kind = re.match(r"\w+", result.message)
    return f"!{result.status} {kind[0] if kind else ''}".strip()


def report_task(task: Task, function: str, args: tuple[Any, ...], chunks: int = CHUNKS) -> Task:
    """A task that calls `function(*args)`, which leaves a text in `_strop_text`, and then reads it piece by piece."""
    first = CallCheck(function=function, args=args, expected=None, visible=True, name="run")
    pieces = [
        CallCheck(function="strop_chunk", args=(k,), expected=None, visible=True, name=f"piece {k}")
        for k in range(chunks)
    ]
    return replace(task, checks=(first, *pieces), reference=None, setup="", entry_point=function)


def report_source(source: str) -> str:
    """A harness's source with the function that reads its text."""
    return source + _READER.format(chunk=CHUNK)


def text_in(verdict: Verdict) -> str | None:
    """The text that `report_task` read; None when the harness did not come to its end."""
    if not verdict.checks or not verdict.checks[0].passed:
        return None
    pieces = [r.actual for r in verdict.checks[1:] if r.status == "failed" and r.actual is not None]
    return "".join(pieces) or None
