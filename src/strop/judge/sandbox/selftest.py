"""Does the sandbox hold? Asked of every zygote when it starts, by running a harmless prober in it as a program.

The prober only tries what leaves no trace if it should succeed: opening files for writing that it then closes,
connecting to the discard port of this machine, forking a child that exits. The first hostile program runs only after
this came back clean.
"""

from __future__ import annotations

from typing import Any

from strop.judge import codec

_PROBER = r"""
import os, sys

def probe(paths, secret):
    found = []

    def attempt(what, action):
        try:
            action()
        except BaseException:
            return
        found.append(what)

    def write(path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.close(fd)
        os.unlink(path)

    def connect(family, address):
        import socket
        s = socket.socket(family, socket.SOCK_STREAM)
        s.settimeout(0.2)
        try:
            s.connect(address)
        except ConnectionRefusedError:
            pass

    def fork():
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    def read(path):
        with open(path, "rb") as file:
            file.read(1)

    for path in paths:
        attempt("can write to " + path, lambda: write(os.path.join(path, ".strop-probe")))
    attempt("can read the judge's files", lambda: read(secret))
    attempt("can open sockets", lambda: connect(2, ("127.0.0.1", 9)))
    attempt("can fork", fork)
    attempt("can signal other processes", lambda: os.kill(os.getppid() or 1, 0))
    attempt("can run other programs", lambda: os.posix_spawn("/bin/true", ["true"], {}))
    try:
        import resource
        if resource.getrlimit(resource.RLIMIT_AS)[1] < 0:
            found.append("has no memory limit")
    except ImportError:
        pass
    if os.environ:
        found.append("sees an environment")
    if os.path.exists("/proc/self/mem"):
        try:
            open("/proc/self/mem", "r+b").close()
            found.append("can open its own memory")
        except OSError:
            pass
    return found
"""


def problems(zygote: Any) -> list[str]:
    """What a program could do in this zygote that it must not; empty when the level holds. Raises ZygoteGone."""
    import site
    import sysconfig

    from strop.judge.bounds import Bounds
    from strop.judge.session import Ended, Session

    paths = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), *site.getsitepackages()]
    paths += ["/", "/tmp", "/var/tmp", "/dev/shm", "/root", "/home", "."]
    session = Session(zygote, Bounds(5.0, 10.0, 512 << 20, 1 << 20))
    try:
        session.send(codec.dumps(["load", _PROBER, "call"]))
        reply = session.ask(codec.dumps(["call", "probe", [sorted(set(paths)), __file__], {"o": {}}]))
        if reply[0] != "v":
            return [f"the probe failed: {reply}"]
        return list(codec.decode(reply[1]))
    except Ended as ended:
        return [f"the probe ended: {ended.kind} {ended.text} {ended.reply or ''} {session.close()}"]
    finally:
        session.close()
