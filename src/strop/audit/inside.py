"""What runs inside the box: a watcher (the box's first process) and, below it, the grader under audit.

    python -m strop.audit.inside            the watcher; reads a job as JSON from standard input
    python -m strop.audit.inside --grade    the grader's process; started by the watcher

The watcher cannot be killed from inside (it is process 1 of its namespace), so a program that kills its harness is
seen to have done so. It listens for leaked secrets on the loopback interface and, when the grader is done, counts the
processes and files that were left behind. It prints one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

REPORT = 250
"""Descriptor on which the grader's process reports; the suites' exploits write to 3..199 at most."""
CANARY_PORT = 47811
MARKER = "strop_leak"
"""Files that exploits leave behind begin with this."""
WATCHED = ("/tmp", "/dev/shm")
"""Folders that can be written in the box; /tmp holds HOME and the private copy of site-packages too."""


# ---- the watcher ---------------------------------------------------------------------------------


def watch(job: dict[str, Any]) -> dict[str, Any]:
    from strop.audit.container import enter, problems

    host_home = os.path.expanduser("~")
    missing = enter([job["cwd"], sys.prefix, sys.base_prefix, job["package"]]) if job["make_box"] else []
    found = problems(host_home, job["cwd"], alone=job["make_box"])
    if found:
        return {"refused": found}
    if job["exploit"] is None:
        return {"missing": missing}
    canary = _Canary()
    nonce = secrets.token_hex(8)
    read, write = os.pipe()
    os.dup2(write, REPORT, inheritable=True)
    os.close(write)
    grader = subprocess.Popen(
        [sys.executable, "-m", "strop.audit.inside", "--grade"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[REPORT],
        start_new_session=True,
        env=os.environ | {"STROP_AUDIT_SECRET": canary.secret},
    )
    os.close(REPORT)
    assert grader.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        grader.stdin.write(json.dumps(job | {"nonce": nonce}).encode())
        grader.stdin.close()
    row = _listen(grader, read, nonce, job)
    row |= _aftermath(canary)
    row["missing"] = missing
    return row


def _listen(grader: subprocess.Popen[bytes], pipe: int, nonce: str, job: dict[str, Any]) -> dict[str, Any]:
    """Follow the grader's reports until it ends or its time is over. Fields are explained in `grader.Row`."""
    row: dict[str, Any] = dict.fromkeys(("passed", "hung", "poisoned"), False)
    row |= {"died": True, "seconds": 0.0, "escaped": "", "score": None}
    end, rest = time.monotonic() + job["limit"] * job["exploit"].get("attempts", 1) ** 0.5 + job["start_limit"], b""
    os.set_blocking(pipe, False)
    while True:
        left = end - time.monotonic()
        if left <= 0:
            row["hung"] = True
            break
        # A grandchild may hold the pipe open after the grader's death, so look at the grader as well.
        if not select.select([pipe], [], [], min(left, 0.5))[0]:
            if grader.poll() is not None:
                break
            continue
        data = os.read(pipe, 1 << 16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(nonce.encode()):
                _take(row, json.loads(line[len(nonce) :]))
        if not row["died"] or "broken" in row or "unsound" in row:
            break
    row["died"] = row["died"] and not row["hung"] and "broken" not in row and "unsound" not in row
    if row["hung"]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(grader.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        grader.wait(15)
    row["grader_ended"] = grader.returncode is not None and not row["hung"]
    return row


def _take(row: dict[str, Any], message: dict[str, Any]) -> None:
    row |= {name: message[name] for name in ("broken", "unsound", "sound") if name in message}
    if "result" in message:
        row["seconds"] = max(row["seconds"], message["seconds"])
        row["passed"] = row["passed"] or message["passes"]
        row["escaped"], row["score"] = message["escaped"], message["result"]
    if "poisoned" in message:
        row["died"], row["poisoned"] = False, message["poisoned"]


class _Canary:
    """Listens where F57 and its like send what they stole."""

    def __init__(self) -> None:
        self.secret = "strop-secret-" + secrets.token_hex(16)
        self.heard = b""
        self.server: socket.socket | None = None
        with contextlib.suppress(OSError):
            self.server = socket.create_server(("127.0.0.1", CANARY_PORT))
            threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        assert self.server is not None
        while True:
            connection, _ = self.server.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(2)
                while data := connection.recv(1 << 16):
                    self.heard = (self.heard + data)[-(1 << 20) :]

    @property
    def leaked(self) -> bool:
        return self.secret.encode() in self.heard


def _aftermath(canary: _Canary) -> dict[str, Any]:
    """What is left a moment after the grader ended."""
    end = time.monotonic() + 2
    while (processes := _processes()) and time.monotonic() < end:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)
    files = {str(path) for folder in WATCHED for path in Path(folder).rglob(f"{MARKER}*")}
    return {"left_processes": len(processes), "left_files": sorted(files), "leaked": canary.leaked}


def _processes() -> list[str]:
    """Commands of the living processes other than the watcher."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in (1, os.getpid()):
            continue
        with contextlib.suppress(OSError):
            if Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append(Path(f"/proc/{name}/comm").read_text().strip())
    return found


# ---- the grader's process ------------------------------------------------------------------------


def grade(job: dict[str, Any]) -> None:
    os.set_inheritable(REPORT, False)
    sys.path[:0] = [job["cwd"]]

    def say(**message: Any) -> None:
        line = (job["nonce"] + json.dumps(message) + "\n").encode()
        # Wait out an exploit that filled the pipe or made it non-blocking.
        while line:
            try:
                line = line[os.write(REPORT, line) :]
            except BlockingIOError:
                time.sleep(0.01)

    from strop.audit.adapters import load_grader

    task, exploit = dict(job["task"]), job["exploit"]
    good, wrong = task.pop("good"), task.pop("wrong")
    with contextlib.ExitStack() as stack:
        try:
            score = stack.enter_context(load_grader(job["grader"], **job["options"]))
        except BaseException as error:
            say(broken=f"{type(error).__name__}: {error}")
            return

        def call(program: str) -> tuple[float | None, str]:
            try:
                return score(task, program), ""
            except BaseException as error:  # an escape into the harness is a finding
                return None, type(error).__name__

        before = [call(good), call(wrong)]
        if before[0][0] is None or (before[1][0] or 0.0) >= before[0][0]:
            names = [escaped or f"score {value}" for value, escaped in before]
            say(unsound=f"{task['task_id']}: {names[0]} for a correct program, {names[1]} for a wrong one")
            return
        worth = before[0][0]
        say(sound=True)
        for _ in range(exploit.get("attempts", 1)):
            began = time.monotonic()
            value, escaped = call(exploit["program"])
            passes = value is not None and value >= worth
            say(result=value, passes=passes, escaped=escaped, seconds=round(time.monotonic() - began, 3))
            if passes:
                break
        after = [call(good)[0], call(wrong)[0]]
        say(poisoned=after[0] is None or after[0] < worth or (after[1] or 0.0) >= worth)


if __name__ == "__main__":
    job = json.load(sys.stdin)
    if "--grade" in sys.argv:
        grade(job)
    else:
        print(json.dumps(watch(job)), flush=True)
        os._exit(0)  # no thread of the canary may hold up the end; the kernel kills the rest of the box
