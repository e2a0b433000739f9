"""The errand of `strop judge`: a file of completions in, a file of verdicts out.

A verdict line carries the completion's line number as `index`, so the two files can be joined again whatever the order
of the lines. Completions are read twice: once to find every bad line before anything runs, once to judge. Standard
input is read once, line by line. Neither is ever held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from strop.judge import languages
from strop.judge.completions import excerpt, read_completions
from strop.judge.verdict_file import VerdictFile, completion_key, task_key, verdict_line
from strop.types import Status, StropError, Task, Verdict


class Streams(Protocol):
    """What `judge_file` needs of a judge."""

    def stream(self, jobs: Iterable[tuple[Any, Task, str]]) -> Iterator[tuple[Any, Verdict]]: ...


@dataclass(slots=True)
class Summary:
    """What `judge_file` did. `statuses` counts every completion of the file, kept verdicts included."""

    completions: int = 0
    kept: int = 0
    """Verdicts taken over from an earlier run."""
    statuses: dict[Status, int] = field(default_factory=dict)
    flaky: int = 0
    tasks: int = 0
    tasks_without_completion: int = 0
    isolation: dict[str, int] = field(default_factory=dict)

    @property
    def judge_errors(self) -> int:
        return self.statuses.get("judge_error", 0)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return asdict(self) | {"passed": self.statuses.get("passed", 0), "judge_errors": self.judge_errors}

    def as_text(self) -> str:
        """A few lines for people."""
        counts = sorted(self.statuses.items(), key=lambda item: (item[0] != "passed", -item[1]))
        lines = [f"{self.completions} completions: " + ", ".join(f"{count} {status}" for status, count in counts)]
        if self.kept:
            lines.append(f"{self.kept} verdicts kept from an earlier run")
        if self.flaky:
            lines.append(f"{self.flaky} flaky: runs of the same program disagreed")
        if self.tasks_without_completion:
            lines.append(f"{self.tasks_without_completion} of {self.tasks} tasks have no completion")
        lines += [f"isolation: {level} ({count})" for level, count in sorted(self.isolation.items())]
        return "\n".join(lines)

    def count(self, status: Status, isolation: str, flags: Iterable[str]) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.isolation[isolation] = self.isolation.get(isolation, 0) + 1
        self.flaky += "flaky" in flags


def judge_file(
    tasks: Iterable[Task],
    completions: str,
    out: str,
    judge: Streams,
    *,
    settings: Any = None,
    progress: Callable[[int, int | None], None] | None = None,
    stdout: TextIO | None = None,
) -> Summary:
    """Judge the completions file against `tasks` and write a verdict a line to `out` (`-`: `stdout`, or `sys.stdout`).

    Verdicts that `out` already holds for the same program, task and `settings` (limits, repetitions, ...) are kept.
    `progress(done, total)` is called after each verdict; total is None for standard input. Verdicts are written as they
    come and put in order at the end; on standard output they stay in the order in which they came.

    Raises StropError for unusable input, before anything runs unless it comes from standard input.
    """
    by_id = _by_id(tasks)
    if out.endswith(".gz"):
        raise StropError(f"{out}: verdicts are appended as they come, so --out is written plain; gzip it afterwards.")
    if completions != "-" and out != "-" and Path(out).exists() and Path(out).samefile(completions):
        raise StropError(f"{out}: --out is the completions file itself.")
    total = None if completions == "-" else sum(1 for _ in read_completions(completions, by_id))
    digests = {task_id: task_key(task, settings) for task_id, task in by_id.items()}
    summary, seen = Summary(tasks=len(by_id)), set()
    sink = VerdictFile(Path(out)) if out != "-" else None
    if sink:
        sink.open()
    complete = False

    def jobs() -> Iterator[tuple[tuple[int, str, str], Task, str]]:
        for line in read_completions(completions, by_id):
            summary.completions += 1
            seen.add(line.task_id)
            key = completion_key(digests[line.task_id], line.program)
            if sink and not sink.wants(line.index, key):
                summary.kept += 1
                continue
            yield (line.index, key, line.task_id), by_id[line.task_id], line.program

    done = 0
    try:
        for (index, key, task_id), verdict in judge.stream(jobs()):
            line = verdict_line(task_id, index, verdict, key)
            if sink:
                sink.write(index, key, line)
            else:
                summary.count(verdict.status, verdict.isolation, verdict.flags)
                print(line, end="", file=stdout, flush=True)
            done += 1
            if progress:
                progress(done + summary.kept, total)
        complete = True
    finally:
        if sink:
            sink.close(complete)
    if sink:
        _count_lines(sink.path, summary)
    summary.tasks_without_completion = len(by_id) - len(seen)
    return summary


def _count_lines(path: Path, summary: Summary) -> None:
    with open(path, "rb") as stream:
        for raw in stream:
            row = json.loads(raw)
            summary.count(row["status"], row.get("isolation", ""), row.get("flags", ()))


def _by_id(tasks: Iterable[Task]) -> dict[str, Task]:
    by_id: dict[str, Task] = {}
    for task in tasks:
        if task.id in by_id:
            raise StropError(f"Field `task_id`: {excerpt(task.id)} names two tasks of the task file.")
        if task.language != "python":
            languages.demand(task)
        by_id[task.id] = task
    if not by_id:
        raise StropError("The task file holds no task.")
    return by_id
