"""Does a box hold? Asked once when it starts, by a harmless prober in the place of a program.

It only tries what leaves no trace if it should succeed. No program is started before this came back clean.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable
from typing import Any


def problems(secret: str, command: dict[str, Any]) -> list[str]:
    """What this process can do although it must not. `secret`: a file of the judge's. `command`: as configured."""
    found = []

    def attempt(what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError:
            return
        found.append(what)

    def write(path: str) -> None:
        name = os.path.join(path, ".strop-probe")
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.unlink(name)

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    for path in ("/", "/usr", "/usr/lib", "/etc", "/dev", "/dev/shm", "/root", "/home", "/var/tmp", "/proc/self"):
        attempt(f"can write to {path}", lambda path=path: write(path))
    for path in (secret, "/etc/passwd", "/etc/shadow"):
        attempt(f"can read {path}", lambda path=path: os.close(os.open(path, os.O_RDONLY)))
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK):
        attempt("can open sockets", lambda family=family: socket.socket(family, socket.SOCK_STREAM).close())
    if not command["family"]:
        attempt("can fork", fork)
    attempt("can see other processes", lambda: os.stat("/proc/3"))  # 1 waits for 2, and 2 is this one
    attempt("can open the memory of the process that waits for it", lambda: os.open("/proc/1/mem", os.O_RDONLY))
    if os.getpid() != 2:
        found.append("is not in a pid namespace of its own")
    space = resource.RLIMIT_AS if command["space"] == "address" else resource.RLIMIT_DATA
    if resource.getrlimit(space)[1] < 0:
        found.append("has no memory limit")
    if resource.getrlimit(resource.RLIMIT_NPROC)[1] != command["processes"]:
        found.append("may start any number of processes")
    return found
