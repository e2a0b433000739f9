"""Defects of task sets: references that fail, checks that pass what solves nothing, checks that trust the program.

By reading alone:
- `duplicate-id`, `duplicate-prompt`, `no-checks`, `no-reference`, `bad-check` (a script that is not Python, or
  fails before it uses the program);
- `name-from-program`: a check uses a name that the program's file defines, so a program can redefine it;
- `compares-with-itself`: both sides of a comparison call the function under test.

By running, several times in peace and again while every core is busy:
- `reference-fails`, `reference-flaky`, `reference-slow` (fails only under load);
- `accepts-...`: a program that solves nothing passes every check (see `probes`).
"""

from __future__ import annotations

import ast
import builtins
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from strop.judge.files import Streams
from strop.judge.probes import probes
from strop.types import GoalCheck, ScriptCheck, Task, TextCheck, Verdict


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One defect. `line` is the task's line in its file, from 1; None when the tasks come from no file."""

    task_id: str
    line: int | None
    kind: str
    message: str

    def __str__(self) -> str:
        place = self.task_id if self.line is None else f"line {self.line}, {self.task_id}"
        return f"{place}: {self.kind}: {self.message}"


def lint(
    tasks: Sequence[Task],
    judge: Streams,
    *,
    lines: Sequence[int] | None = None,
    repeat: int = 3,
    load: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Every defect of `tasks`, in their order.

    `lines[i]`: line of `tasks[i]` in its file. `repeat`: runs of each reference, in peace and again under load.
    `load`: whether to run the references while every core is busy as well. `progress(done, total)` counts programs.
    """
    at = {index: None if lines is None else lines[index] for index in range(len(tasks))}
    found = [
        (index, Finding(tasks[index].id, at[index], kind, message))
        for index, kind, message in (*_between(tasks), *_read(tasks), *_run(tasks, judge, repeat, load, progress))
    ]
    return [finding for _, finding in sorted(found, key=lambda item: (item[0], item[1].kind, item[1].message))]


# ---- by reading ----------------------------------------------------------------------------------


def _between(tasks: Sequence[Task]) -> Iterator[tuple[int, str, str]]:
    ids: dict[str, int] = {}
    prompts: dict[str, int] = {}
    for index, task in enumerate(tasks):
        if task.id in ids:
            yield index, "duplicate-id", "an earlier task has the same id"
        ids.setdefault(task.id, index)
        words = re.sub(r"\s+", " ", task.prompt).strip().lower()
        first = prompts.setdefault(words, index)
        if first != index and tasks[first].id != task.id:
            yield index, "duplicate-prompt", f"the same prompt as {tasks[first].id}"


def _read(tasks: Sequence[Task]) -> Iterator[tuple[int, str, str]]:
    for index, task in enumerate(tasks):
        if not task.checks:
            yield index, "no-checks", "nothing decides whether a program is right"
        if task.reference is None and not all(isinstance(check, TextCheck | GoalCheck) for check in task.checks):
            yield index, "no-reference", "no program is known to pass the checks"
        for kind, message in dict.fromkeys(
            finding for check in task.checks if isinstance(check, ScriptCheck) for finding in _script(task, check)
        ):
            yield index, kind, message


def _script(task: Task, check: ScriptCheck) -> Iterator[tuple[str, str]]:
    """Defects of one script: names that the program can override, and comparisons with the program itself."""
    tree = _parse(check.code)
    if tree is None:
        yield "bad-check", f"the script {check.name or ''} is not valid Python".replace("  ", " ")
        return
    given = _defined(_parse(task.stub) or _parse(task.stub + "\n    pass\n"))
    own = given | _defined(_parse(task.reference or ""))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    suspects = used - _bound(tree) - set(dir(builtins)) - {task.entry_point, "candidate"}
    for name in sorted(suspects & own):
        where = "the prompt's code" if name in given else "the reference"
        safe = " (Strop uses its own copy)" if name in _defined(_parse(task.setup)) else ""
        yield "name-from-program", f"the check uses `{name}`, which {where} defines and a program can redefine{safe}"
    tested = {"candidate", task.entry_point} if check.style == "check" else {task.entry_point}
    mirrors = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare) and sum(_calls(side, tested) for side in (node.left, *node.comparators)) > 1
    ]
    if mirrors:
        text, more = ast.unparse(mirrors[0])[:160], f" and {len(mirrors) - 1} more" if len(mirrors) > 1 else ""
        yield "compares-with-itself", f"both sides call the function under test: `{text}`{more}"


def _parse(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _defined(tree: ast.Module | None) -> set[str]:
    """Functions, classes and variables at the top of a module; not what it imports, which is the same anywhere."""
    names: set[str] = set()
    for node in tree.body if tree else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names


def _bound(tree: ast.Module) -> set[str]:
    """Every name that the script binds anywhere: assigned, defined, imported, or a parameter."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def _calls(side: ast.expr, names: set[str | None]) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
        for node in ast.walk(side)
    )


# ---- by running ----------------------------------------------------------------------------------


def _run(
    tasks: Sequence[Task], judge: Streams, repeat: int, load: bool, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[int, str, str]]:
    runnable = [i for i, task in enumerate(tasks) if task.checks and _executed(task)]
    peaceful = [((i, "reference", r), tasks[i].reference) for i in runnable for r in range(repeat)]
    busy = [((i, "busy", r), tasks[i].reference) for i in runnable for r in range(repeat if load else 0)]
    tries = [((i, name, n), program) for i in runnable for n, (name, program) in enumerate(probes(tasks[i]))]
    jobs = [(key, program) for key, program in (*peaceful, *tries) if program is not None]
    busy = [(key, program) for key, program in busy if program is not None]
    total, done = len(jobs) + len(busy), 0
    verdicts: dict[int, dict[str, list[Verdict]]] = {index: {} for index in runnable}

    def judged(batch: Iterable[tuple[Any, str | None]]) -> None:
        nonlocal done
        for (index, name, _), verdict in judge.stream((key, tasks[key[0]], program or "") for key, program in batch):
            verdicts[index].setdefault(name, []).append(verdict)
            done += 1
            if progress:
                progress(done, total)

    judged(jobs)
    if busy:
        with _every_core_busy():
            judged(busy)
    for index, mine in verdicts.items():
        yield from ((index, kind, message) for kind, message in _judgement(mine))


def _executed(task: Task) -> bool:
    return not any(isinstance(check, TextCheck | GoalCheck) for check in task.checks)


def _judgement(verdicts: Mapping[str, list[Verdict]]) -> Iterator[tuple[str, str]]:
    peace, busy = verdicts.get("reference", []), verdicts.get("busy", [])
    errors = [verdict for runs in verdicts.values() for verdict in runs if verdict.status == "judge_error"]
    if errors and all("the check failed before it used the program" in verdict.detail for verdict in errors):
        yield "bad-check", errors[0].detail
    elif errors:
        yield "judge-error", f"the judge failed {len(errors)} times: {errors[0].detail}"
    failures = [verdict for verdict in peace if not verdict.passed and verdict.status != "judge_error"]
    late = [verdict for verdict in busy if not verdict.passed and verdict.status != "judge_error"]
    if failures and len(failures) == len(peace):
        yield "reference-fails", _why(failures)
    elif failures:
        yield "reference-flaky", f"passed {len(peace) - len(failures)} of {len(peace)} runs; {_why(failures)}"
    elif late:
        yield "reference-slow", f"passed {len(busy) - len(late)} of {len(busy)} runs under load; {_why(late)}"
    if peace and len(failures) == len(peace):
        return  # checks that reject everything say nothing about probes
    for name, runs in verdicts.items():
        if name not in ("reference", "busy") and any(verdict.passed for verdict in runs):
            kind, _, value = name.partition(" ")
            yield f"accepts-{kind}", f"a program that {SINS[kind].format(value)} passes every check"


SINS = {
    "empty": "is empty",
    "constant": "always gives {}",
    "always-equal": "returns an object equal to everything",
    "early-exit": "exits at once",
    "echo": "gives back its input",
    "raising": "only raises an error",
}


def _why(runs: list[Verdict]) -> str:
    (status, detail), _ = Counter((run.status, run.detail) for run in runs).most_common(1)[0]
    return f"{status}: {detail}" if detail else status


@contextmanager
def _every_core_busy() -> Iterator[None]:
    """Two busy loops a core. They end with this process at the latest: each watches a pipe that we hold open."""
    watch = "threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()"
    loop = f"import os, sys, threading\n{watch}\nwhile True: pass"
    burners = [
        subprocess.Popen([sys.executable, "-I", "-S", "-c", loop], stdin=subprocess.PIPE)
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
        for burner in burners:
            burner.communicate()
