"""From events to results: what one program did under its checks, and how that is reported."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Any

from strop.judge import compare
from strop.judge.bounds import Usage
from strop.judge.script import Script
from strop.types import Check, CheckResult, TextCheck


@dataclass(slots=True)
class Outcome:
    """A verdict under construction: what crosses from worker to supervisor."""

    total: int
    results: list[CheckResult] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    cpu: float = 0.0
    wall: float = 0.0
    memory: float = 0.0
    output: str = ""
    timed_out: list[tuple[float, float]] = field(default_factory=list)
    """(CPU, wall) seconds of sessions that hit a limit."""

    def add_usage(self, usage: Usage) -> None:
        self.cpu += usage.cpu_seconds
        self.wall += usage.wall_seconds
        self.memory = max(self.memory, usage.memory_mb)

    def as_message(self) -> dict[str, Any]:
        """Plain JSON for the supervisor."""
        bad = next((r for r in self.results if not r.passed), None)
        passed = sum(r.passed for r in self.results)
        return {
            "status": bad.status if bad else "passed",
            "fraction": passed / self.total if self.total else 1.0,
            "checks": [
                [r.name, r.visible, r.status, r.message, r.actual, r.expected] for r in self.results
            ],
            "seconds": self.cpu,
            "wall": self.wall,
            "memory": self.memory,
            "detail": (f"{bad.name}: {bad.message}" if bad.name else bad.message)[:500] if bad else "",
            "output": self.output,
            "flags": sorted(self.flags),
            "limit": bool(self.timed_out) or "judge_limit" in self.flags,
        }  # fmt: skip


def load_failure(reply: list) -> tuple[str, str]:
    """Status and text of a program that could not be loaded, from its own report."""
    try:
        _, kind, names, _, text, line, *_ = reply
        name, text = str(names[0])[:100], str(text)[:300]
    except (ValueError, IndexError, TypeError):
        return "runtime_error", "the program did not load"
    where = f" (line {line})" if type(line) is int else ""
    if kind == "syntax":
        return "syntax_error", f"{name}: {text}{where}"
    return status_of(name, text), f"{name} while loading: {text}{where}"


def status_of(exception: str, text: str) -> str:
    """Status for an exception that the program let out: what the sandbox refused is `forbidden`."""
    if exception == "MemoryError":
        return "out_of_memory"
    return "forbidden" if exception == "PermissionError" or "Read-only file system" in text else "runtime_error"


def result(check: Check, name: str, status: Any, message: str = "", actual: str | None = None,
            expected: str | None = None) -> CheckResult:  # fmt: skip
    return CheckResult(
        name=name, passed=status == "passed", visible=check.visible, status=status, message=message[:500],
        actual=actual, expected=expected,
    )  # fmt: skip


def compare_text(program: str, check: TextCheck, name: str) -> CheckResult:
    """The program's text against a reference, white space aside."""
    same = program.split() == check.reference.split()
    message = "" if same else "the text differs from the reference"
    texts = (None, None) if same else (compare.excerpt(program), compare.excerpt(check.reference))
    return result(check, name, "passed" if same else "failed", message, *texts)


def place_of(error: BaseException, script: Script | None) -> str:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if script is None:
        return text
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == "<check>" and frame.lineno and frame.lineno <= len(script.lines):
            source = script.lines[frame.lineno - 1].strip()[:200]
            return f"line {frame.lineno}: {source}" if isinstance(error, AssertionError) else f"{text} at: {source}"
    return text
