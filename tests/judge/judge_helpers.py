"""What the judge's tests share: tasks, data, and what of a judge still runs or lies about."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from strop.types import Limits, ScriptCheck, Task

REPO = Path(__file__).resolve().parents[2]
SHARED = REPO.parent / "shared"
QUICK = Limits(cpu_seconds=1.0, wall_seconds=1.5)
MARKED = ("/tmp", "/dev/shm", "/var/tmp", str(Path.home()))


def shared(path: str) -> Path:
    """A shared data file; the test is skipped where it is absent, except in CI."""
    file = SHARED / path
    if not file.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{path} must be present in CI")
        pytest.skip(f"shared data {path} is not here")
    return file


def task(code: str, style: str = "asserts", entry_point: str | None = None, **fields) -> Task:
    check = ScriptCheck(code=code, style=style)  # type: ignore[arg-type]
    return Task(id="t", prompt="", checks=(check,), entry_point=entry_point, **fields)


bystanders: set[int] = set()
"""Children of this process that were there before a test and are no judge's, such as a server that tests share."""


def note_bystanders() -> None:
    for child in psutil.Process().children():
        try:
            if "strop.judge." not in " ".join(child.cmdline()):
                bystanders.add(child.pid)
        except psutil.NoSuchProcess:
            pass


def family() -> dict[int, str]:
    """Every process below this one, by command line, without bystanders and what is below them."""
    found = {}
    own = [child for child in psutil.Process().children() if child.pid not in bystanders]
    while own:
        process = own.pop()
        try:
            own += process.children()
            if process.status() != psutil.STATUS_ZOMBIE or process.ppid() == os.getpid():
                found[process.pid] = " ".join(process.cmdline())[:200]
        except psutil.NoSuchProcess:
            pass
    return found


def traces() -> dict[str, object]:
    """What a program or a judge could leave behind: processes, descriptors, files."""
    packages = Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
    marks = [p.name for place in {*MARKED, str(packages)} for p in Path(place).glob("*strop_leak*")]
    probes = [p.name for place in {*MARKED, str(packages)} for p in Path(place).glob(".strop-probe*")]
    return {"processes": family(), "descriptors": len(os.listdir("/proc/self/fd")), "files": sorted(marks + probes)}


def settle(check, patience: float = 5.0):
    """Wait until `check()` is falsy, and return its last answer: processes take a moment to go."""
    deadline = time.monotonic() + patience
    while (found := check()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def running_programs() -> dict[int, str]:
    """Processes of programs: children of a zygote, and whatever is below this process and not the judge's."""
    tree = family()
    zygotes = {pid for pid, line in tree.items() if ".zygote import" in line}
    found = {}
    for pid, line in tree.items():
        try:
            parent = psutil.Process(pid).ppid()
        except psutil.NoSuchProcess:
            continue
        if parent in zygotes or "strop.judge." not in line:
            found[pid] = line
    return found


def as_nobody(code: str, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run Python code as an unprivileged user (needs root).

    In a mount namespace of its own, where the interpreter's folder can be reached although it may lie in a home
    directory that others cannot enter.
    """
    if os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"):
        pytest.skip("needs root, setpriv and unshare to become another user")
    base = Path(sys.base_prefix)
    home = Path("/", base.parts[1])
    script = f"""
    set -e
    if [ ! -x {home} ] || ! setpriv --reuid 65534 --regid 65534 --clear-groups test -x {base}/bin; then
        mkdir -p /run/strop-test && mount -t tmpfs tmpfs /run/strop-test && mkdir /run/strop-test/base
        mount --bind {base} /run/strop-test/base
        mount -t tmpfs -o mode=755 tmpfs {home} && mkdir -p {base} && mount --bind /run/strop-test/base {base}
    fi
    cd /
    exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs "$@"
    """
    command = ["unshare", "--mount", "--fork", "--kill-child", "bash", "-c", script, "bash"]
    command += [sys.executable, "-c", code, *arguments]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO / "src"), "HOME": "/tmp"}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)
