# ruff: noqa: E501 (programs are easier to read on one line)
"""The ladder: which levels hold, for whom, and that nothing falls down it silently."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from judge_helpers import REPO, as_nobody

from strop.judge import Judge, doctor
from strop.types import CallCheck, StropError, Task

SQUARE = Task(id="square", prompt="", checks=(CallCheck(function="f", args=(3,), expected=9),))

LADDER = """
import json, sys, warnings
from strop.judge import Judge, doctor
from strop.types import CallCheck, Task, StropError
task = Task(id="square", prompt="", checks=(CallCheck(function="f", args=(3,), expected=9),))
found = {level.name: level.why for level in doctor().levels if not level.holds}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with Judge(workers=1) as judge:
        verdicts = judge.run(task, ["def f(x): return x * x", "import os\\nos._exit(0)", "import os\\nos.fork()", "def f(x): return 8"])
refused = ""
if "userns" in found:
    try:
        Judge(workers=1, require="userns").close()
    except StropError as error:
        refused = str(error)
print(json.dumps([found, judge.isolation, [v.status for v in verdicts], [str(w.message) for w in caught], refused]))
"""


def test_doctor_reports_every_level():
    report = doctor()
    assert [level.name for level in report.levels] == ["userns", "root", "plain"]
    assert report.best is not None
    assert all(level.layers and (level.holds or level.why) for level in report.levels)


def test_an_ordinary_user_is_isolated_as_well():
    done = as_nobody(LADDER)
    assert done.returncode == 0, done.stderr
    missing, level, statuses, warned, _ = json.loads(done.stdout)
    assert (list(missing), level, warned) == (["root"], "userns", [])
    assert "needs root" in missing["root"]
    assert statuses == ["passed", "runtime_error", "forbidden", "failed"]


DOCKER_LIKE = """
import errno, pyseccomp
rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
for name in ("unshare", "mount", "setns", "pivot_root", "ptrace", "move_mount", "open_tree", "fsopen"):
    rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
rules.load()
"""


@pytest.mark.parametrize("user", ["nobody", "root"])
def test_where_a_container_forbids_namespaces_the_judge_says_so(user):
    pytest.importorskip("pyseccomp")
    if user == "nobody":
        done = as_nobody(DOCKER_LIKE + LADDER)
    else:
        environment = os.environ | {"PYTHONPATH": str(REPO / "src")}
        command = [sys.executable, "-c", DOCKER_LIKE + LADDER]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    missing, level, statuses, warned, refused = json.loads(done.stdout)
    assert (list(missing), level) == (["userns", "root"], "plain")
    assert "plain" in warned[0]
    assert "userns" in warned[0]
    assert "No isolation level that was allowed (userns) holds" in refused
    assert statuses == ["passed", "runtime_error", "forbidden", "failed"]


def test_unsafe_only_when_asked_for_and_labelled():
    with pytest.raises(StropError, match="unsafe=True"):
        Judge(workers=1, level="unsafe")
    with Judge(workers=1, level="unsafe", unsafe=True) as judge:
        (verdict,) = judge.run(SQUARE, ["def f(x): return x * x"])
    assert verdict.passed
    assert verdict.isolation == "unsafe"


CAPPED = """
import resource
resource.setrlimit(resource.RLIMIT_CPU, (100, 100))
from strop.judge import Judge
from strop.types import CallCheck, Limits, Task
checks = (CallCheck(function="f", args=(3,), expected=9),)
with Judge(workers=1) as judge:
    for seconds in (2, 200):
        task = Task(id=str(seconds), prompt="", checks=checks, limits=Limits(cpu_seconds=seconds))
        verdict = judge.run(task, ["def f(x): return x * x"])[0]
        print(verdict.status, verdict.detail)
"""


def test_a_hard_limit_below_what_a_program_needs_is_told_and_blames_no_program():
    done = as_nobody(CAPPED)
    assert done.returncode == 0, done.stderr
    enough, too_little = done.stdout.splitlines()
    assert enough.startswith("passed")
    assert too_little.startswith("judge_error")
    assert "the hard limit on CPU time (ulimit -H) is 100 s here" in too_little


def _may_lift_limits() -> bool:
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff"))
    return bool(effective >> 24 & 1)  # CAP_SYS_RESOURCE


@pytest.mark.skipif(not _may_lift_limits(), reason="only who has CAP_SYS_RESOURCE may lift a hard limit")
def test_root_lifts_a_hard_limit():
    command = [sys.executable, "-c", CAPPED]
    environment = os.environ | {"PYTHONPATH": str(REPO / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["passed", "passed"], done.stderr
