"""Confinement of the process that runs checks, for checks that nobody has read: a model may have written them.

A check can compute, and talk to the program through its stand-ins. It cannot start processes or threads, open sockets,
signal anybody, write to files, or read files beyond the standard library, Strop itself and the packages that were
asked for. The memory and CPU time it may use are bounded, and a worker that dies or is late is replaced.

Entered once per worker, after its zygotes are up. What a check can still do is described in docs/judge.md.
"""

from __future__ import annotations

import os
import resource
import socket
import sys

import strop
from strop.judge.sandbox import kernel, landlock, layout, seccomp

LARGEST_FILE = 64 << 20
"""Bytes that a worker can put into the files it shares with programs (their standard input)."""


def confine(packages: dict[str, list[str]]) -> None:
    """Lock this process up. Raises OSError where seccomp is missing; Landlock is used where it is there."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if landlock.version() > 0:
        known = layout.configuration("plain", 0, packages)
        readable = layout.without_hidden(known["readable"], known["hidden"])
        home = os.path.dirname(os.path.abspath(strop.__file__))
        # The import system lists a directory before it opens a package in it.
        landlock.confine([*readable, home], listable=[path for path in sys.path if os.path.isdir(path)])
    kernel.drop_capabilities()
    seccomp.Filter(checker=True).install()


def problems() -> list[str]:
    """What this process can still do although it must not. Tries only what leaves no trace."""
    found = []
    try:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        found.append("checks can start processes")
    except OSError:
        pass
    try:
        socket.socket().close()
        found.append("checks can open sockets")
    except OSError:
        pass
    try:
        os.close(os.open("/dev/null", os.O_WRONLY))
        found.append("checks can open files for writing")
    except OSError:
        pass
    try:
        os.kill(os.getppid(), 0)
        found.append("checks can signal other processes")
    except OSError:
        pass
    return found
