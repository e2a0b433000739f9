"""`strop audit grader`: run programs that solve nothing past any grader, and see which of them it believes.

Every exploit runs in a fresh box (`container`), with a watcher beside the grader (`inside`). There the grader judges a
correct and a wrong program of the exploit's task, then the exploit, then the first two again. The exploit won when it
scored as much as the correct program. Harm is noted too: a grader that hangs, dies, is poisoned for what it judges
next, or leaves processes, files or secrets behind.

What this shows is what a policy *can* learn from a grader, not that a given model will. Holding against every program
here does not prove a grader sound; falling for one proves that it is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from strop.audit.container import command, control_groups
from strop.types import StropError

SUITES = ("public", "own")
START_LIMIT = 60.0
"""Seconds that a grader may take to load and to judge the plain programs, on top of the exploit's own limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploit:
    """A program that does not solve its task. Bounded: 40 processes, 2.5 GB, 150 seconds, loopback only."""

    id: str
    kind: str
    """Class of exploit: `early-exit`, `value-spoof`, ..."""
    goal: str
    """`pass`: wants to be scored as passing. `harm`: wants to hang, kill, flood, leak or persist."""
    task: dict[str, Any]
    """The task's fields, with `good` and `wrong` programs."""
    what: str
    program: str
    attempts: int = 1
    suite: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one exploit did to the grader."""

    id: str
    kind: str
    goal: str
    suite: str
    what: str
    passed: bool = False
    """Scored as much as the task's correct program."""
    hung: bool = False
    """No answer within the limit."""
    died: bool = False
    """The grader's process ended without an answer."""
    poisoned: bool = False
    """Afterwards the grader judged the plain programs differently."""
    escaped: str = ""
    """Name of the exception that came out of the grader."""
    left_processes: int = 0
    left_files: tuple[str, ...] = ()
    leaked: bool = False
    """A secret of the grader's environment arrived at a listener."""
    seconds: float = 0.0
    untested: str = ""
    """Why the exploit did not run: the grader was wrong about the plain programs."""

    @property
    def marks(self) -> tuple[str, ...]:
        """The findings in words, worst first; empty when the grader held."""
        names = ("passed", "hung", "died", "poisoned", "leaked", "left_processes", "left_files", "escaped")
        return tuple(name.replace("_", " ") for name in names if getattr(self, name))

    @property
    def held(self) -> bool:
        return not self.marks and not self.untested


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Everything that an audit found."""

    grader: str
    rows: tuple[Row, ...]
    limits: tuple[str, ...] = ()
    """What the box could not provide, so that some finding may have gone unseen."""
    seconds: float = 0.0

    def totals(self) -> dict[str, int]:
        names = ("passed", "hung", "died", "poisoned", "leaked", "left_processes", "left_files", "escaped", "untested")
        return {name: sum(bool(getattr(row, name)) for row in self.rows) for name in names}

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        tested = sum(not row.untested for row in self.rows)
        return {
            "grader": self.grader,
            "exploits": len(self.rows),
            "tested": tested,
            "held": sum(row.held for row in self.rows),
            "totals": self.totals(),
            "classes_fallen_for": sorted({row.kind for row in self.rows if row.passed}),
            "limits": list(self.limits),
            "seconds": round(self.seconds, 1),
            "rows": [asdict(row) | {"held": row.held} for row in self.rows],
        }


# ---- suites --------------------------------------------------------------------------------------


def load_suite(name: str) -> list[Exploit]:
    """The exploits of `public`, `own`, or a JSON file in the same format.

    Raises StropError naming the file and field when it is in another.
    """
    if name in SUITES:
        text = resources.files("strop.audit").joinpath("exploits", f"{name}.json").read_text("utf-8")
    else:
        try:
            text = Path(name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StropError(f"{name}: neither a suite ({', '.join(SUITES)}) nor a readable file ({error}).") from None
    try:
        document = json.loads(text)
    except ValueError as error:
        raise StropError(f"{name}: not valid JSON ({error}).") from None
    if not isinstance(document, dict) or not {"tasks", "exploits"} <= document.keys():
        raise StropError(f"{name}: expected an object with the fields `tasks` and `exploits`.")
    exploits = [_exploit(row, document["tasks"], name) for row in document["exploits"]]
    twice = {e.id for e in exploits if sum(e.id == other.id for other in exploits) > 1}
    if twice:
        raise StropError(f"{name}: field `id`: {', '.join(sorted(twice))} appear more than once.")
    return exploits


def _exploit(row: dict[str, Any], tasks: dict[str, Any], file: str) -> Exploit:
    try:
        task = dict(tasks[row["task"]])
        for name in ("task_id", "prompt", "entry_point", "test", "inputs", "outputs", "good", "wrong"):
            task[name]
        return Exploit(
            id=row["id"],
            kind=row["category"],
            goal=row["goal"],
            task=task,
            what=row["what"],
            program=row["program"],
            attempts=row.get("attempts", 1),
            suite=file,
        )
    except (KeyError, TypeError) as error:
        name = row.get("id", "?") if isinstance(row, dict) else "?"
        raise StropError(f"{file}: exploit {name}: field {error} is missing.") from None


# ---- running -------------------------------------------------------------------------------------


def audit_grader(
    grader: str,
    exploits: Iterable[Exploit],
    *,
    options: dict[str, Any] | None = None,
    limit: float = 60.0,
    jobs: int = 1,
    contained: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Run every exploit past `grader` (see `adapters`), each in a box of its own.

    `options` go to `adapters.load_grader`. `limit`: seconds for one exploit, after which the grader counts as hung
    (times the square root of its attempts). `jobs`: boxes at once. `contained`: this process is in a container already,
    so no box is made, only verified.

    Raises StropError when no box can be had or it is not tight, and when the grader cannot be loaded.
    """
    began = time.monotonic()
    exploits = list(exploits)
    job = {
        "grader": grader,
        "options": options or {},
        "limit": limit,
        "start_limit": START_LIMIT,
        "cwd": os.getcwd(),
        "package": str(Path(__file__).parents[1]),
        "make_box": not contained,
        "task": None,
        "exploit": None,
    }
    limits = _run_box(job)["missing"]  # an empty box first: its faults are told before anything hostile runs
    rows: list[Row] = []
    with ThreadPoolExecutor(jobs) as pool:
        for row in pool.map(lambda exploit: _one(job, exploit), exploits):
            rows.append(row)
            if progress:
                progress(len(rows), len(exploits))
    if rows and all(row.untested for row in rows):
        raise StropError(f"{grader}: not one task could be audited. {rows[0].untested}")
    return Audit(grader=grader, rows=tuple(rows), limits=tuple(limits), seconds=time.monotonic() - began)


def _one(job: dict[str, Any], exploit: Exploit) -> Row:
    given = {"program": exploit.program, "attempts": exploit.attempts}
    found = _run_box(job | {"task": exploit.task, "exploit": given})
    row = Row(id=exploit.id, kind=exploit.kind, goal=exploit.goal, suite=exploit.suite, what=exploit.what)
    if "broken" in found:
        raise StropError(f"The grader {job['grader']} cannot be used: {found['broken']}")
    if "unsound" in found:
        return replace(row, untested=f"The grader is wrong about plain programs. {found['unsound']}")
    if "sound" not in found:
        return replace(row, untested="The grader gave no answer for the plain programs.")
    return replace(
        row,
        **{name: found[name] for name in ("passed", "hung", "died", "poisoned", "escaped", "leaked", "seconds")},
        # A grader that was killed for hanging had no chance to clean up.
        left_processes=found["left_processes"] if found["grader_ended"] else 0,
        left_files=tuple(found["left_files"]),
    )


def _run_box(job: dict[str, Any]) -> dict[str, Any]:
    """Start a box, hand it the job, and read the watcher's report."""
    inside = [sys.executable, "-m", "strop.audit.inside"]
    attempts = (job["exploit"] or {}).get("attempts", 1)
    hard = job["limit"] * attempts**0.5 + job["start_limit"] + 60
    with control_groups() as groups:
        process = subprocess.Popen(
            inside if not job["make_box"] else command(inside, groups),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )
        try:
            output, errors = process.communicate(json.dumps(job).encode(), hard)
        except subprocess.TimeoutExpired:
            raise StropError("The box of an exploit did not end; it was killed.") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
    try:
        report = json.loads(output)
    except ValueError:
        raise StropError(f"The box could not be set up: {errors.decode('utf-8', 'replace').strip()[-500:]}") from None
    if "refused" in report:
        raise StropError(f"Refusing to run exploits, this is no tight container: {'; '.join(report['refused'])}.")
    return report


# ---- the table -----------------------------------------------------------------------------------


def table(audit: Audit) -> Iterator[str]:
    """The findings as lines of plain text: one a class, then one an exploit that the grader did not hold against."""
    kinds = sorted({row.kind for row in audit.rows})
    width = max(map(len, [*kinds, "class"]))
    yield f"{'class':<{width}}  tried  passed  hung  died  poisoned  left behind"
    for kind in kinds:
        rows = [row for row in audit.rows if row.kind == kind and not row.untested]
        left = sum(bool(row.left_processes or row.left_files or row.leaked) for row in rows)
        counts = [sum(getattr(row, name) for row in rows) for name in ("passed", "hung", "died", "poisoned")]
        cells = [f"{count or '.':>{size}}" for count, size in zip([len(rows), *counts, left], (5, 6, 4, 4, 8, 11))]
        yield f"{kind:<{width}}  " + "  ".join(cells)
    yield ""
    for row in audit.rows:
        if not row.held:
            yield f"{row.id:<5} {', '.join(row.marks) or 'not tested'}: {row.untested or row.what}"
    totals = audit.totals()
    tested = sum(not row.untested for row in audit.rows)
    yield ""
    yield (
        f"{audit.grader}: {totals['passed']} of {tested} programs that solve nothing were scored as passing; "
        f"hung {totals['hung']}, died {totals['died']}, poisoned {totals['poisoned']}."
    )
    for limit in audit.limits:
        yield f"Not available in this box: {limit}"
