"""The process that every program is forked from: a warm interpreter inside the sandbox that runs nothing untrusted.

Started once per judge worker and import flavour. It holds no tasks, no secrets and an empty environment, parses only
fixed messages from its worker, and answers with what the kernel measured:

    worker -> zygote    F + limits, with one socket attached     fork a candidate that talks on that socket
                        P                                        who is it?
                        K                                        kill it
                        D                                        it hung up: let it die by itself, then kill it
    zygote -> worker    R + JSON                                 ready (or why not)
                        P + pid                                  the process that was asked for
                        W + wait status, CPU seconds, peak KiB   dead and reaped

P, K and D mean the oldest candidate that is alive: the next one may be forked while it runs.

What costs most here is copying pages: whatever parent or child touches after a fork is copied. So the zygote does
beforehand, once, everything that need not be done in every child.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections import deque

from strop.judge.sandbox import kernel, landlock, layout, namespaces, seccomp

LEVELS = ("userns", "root", "plain", "unsafe")
"""The isolation ladder, strongest first."""
FORK = struct.Struct("<cdqq")
"""Tag, CPU seconds, bytes of address space, bytes of output."""
INT = struct.Struct("<i")
WAITED = struct.Struct("<cidq")
"""Tag, wait status, CPU seconds (user + system), peak resident KiB."""
MOST_CHILDREN = 2
"""The program that runs, and the process that was made ready for the next."""
CANDIDATE_FD = 3
WORKER_FD = 60
"""Away from the low numbers, so that a program's own socket is always descriptor 3."""
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}.get(kernel.MACHINE)
_STACK = 64 << 20
_SMALL, _POOL, _POOL_HEADER = 512, 1 << 14, 48
"""Python's allocator: largest size it serves itself, size and header of its pools (Objects/obmalloc.c)."""
_MAPPED = 1 << 17
"""Size from which the C library maps memory of its own for a piece."""

_python = ctypes.PyDLL(None)
# Looked up once here, and not by every child anew: what a child touches first is a page to be copied.
_before_fork, _after_in_child = _python.PyOS_BeforeFork, _python.PyOS_AfterFork_Child
_after_in_parent, _syscall = _python.PyOS_AfterFork_Parent, _python.syscall
_syscall.restype = ctypes.c_long
_CLONE_ARGUMENTS = (
    ctypes.c_long(_SYS_CLONE or -1),
    ctypes.c_ulong(kernel.CLONE_NEWPID | signal.SIGCHLD),
    *[ctypes.c_long(0)] * 4,
)


def fork_in_pid_namespace() -> int:
    """Like os.fork(), with the child as process 1 of a new pid namespace.

    unshare() can give a process's children a new pid namespace only once, so each program needs clone() itself. The
    interpreter's own fork hooks run around it, and PyDLL keeps the interpreter lock held across the call.
    """
    _before_fork()
    pid = _syscall(*_CLONE_ARGUMENTS)
    if pid == 0:
        _after_in_child()
    else:
        _after_in_parent()
        if pid < 0:
            raise OSError("clone failed")
    return pid


class Zygote:
    """State of the serving loop. `config` keys: level, slot, preload, readable, hidden."""

    def __init__(self, worker: socket.socket, config: dict) -> None:
        self.worker = worker
        self.level = config["level"]
        self.uid = 60000 + config["slot"] if self.level == "root" else None
        self.filter: seccomp.Filter | None = None
        self.fork = os.fork
        self.address_space = 0
        self._enter(config)

    def _enter(self, config: dict) -> None:
        with open("/proc/self/statm") as statm:
            self.address_space = int(statm.read().split()[0]) * resource.getpagesize()
        os.setsid()
        if self.level == "unsafe":
            return
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        if self.level in ("userns", "root"):
            namespaces.keep_proc()
            namespaces.enter(self.level, config["readable"], config["hidden"], config["slot"])
            namespaces.drop_proc()
            self.fork = fork_in_pid_namespace
        else:
            os.chdir("/")
            readable = layout.without_hidden(config["readable"], config["hidden"])
            landlock.confine(readable, ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"])
        self.filter = seccomp.Filter()
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # and so are the children

    def serve(self) -> None:
        """Fork and kill at the worker's word, until it hangs up."""
        worker = self.worker
        children: deque[int] = deque()
        while True:
            message, ancillary, _, _ = worker.recvmsg(64, 64)
            if not message:
                os._exit(0)
            what = message[:1]
            if what == b"F":
                if len(children) >= MOST_CHILDREN:
                    os._exit(1)  # a worker that asks for more is no longer ours
                limits, fd = FORK.unpack(message), INT.unpack(ancillary[0][2])[0]
                child = self.fork()
                if child == 0:
                    self._become_candidate(fd, *limits[1:])
                os.close(fd)
                children.append(child)
            elif what == b"P":
                worker.send(b"P" + INT.pack(children[0]))
            elif what in (b"K", b"D"):
                child = children.popleft()
                status, usage = _reap(child, gently=what == b"D")
                if self.filter is None:  # nothing else would end what it forked
                    with contextlib.suppress(OSError):
                        os.killpg(child, signal.SIGKILL)
                worker.send(WAITED.pack(b"W", status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss))

    def _become_candidate(self, fd: int, cpu: float, memory: int, output: int) -> None:
        """In the child: take on the limits, lock the door, run the program. Never returns."""
        try:
            if fd != CANDIDATE_FD:
                os.dup2(fd, CANDIDATE_FD)
            os.closerange(CANDIDATE_FD + 1, 64)
            set_limits(cpu, memory + self.address_space, output)
            _die_with_parent()
            if self.filter is None:
                os.setsid()
            else:
                if self.uid is not None:
                    os.setgroups([])
                    os.setresgid(self.uid, self.uid, self.uid)
                    os.setresuid(self.uid, self.uid, self.uid)
                    _die_with_parent()  # the new user id cleared it
                    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
                kernel.drop_capabilities()
                self.filter.install()
            candidate.main(CANDIDATE_FD)
        finally:
            os._exit(70)


def _die_with_parent() -> None:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)


def _reap(child: int, gently: bool) -> tuple[int, resource.struct_rusage]:
    """Make sure that the child is dead; how it ended and what it used. Its own way of dying is evidence."""
    for _ in range(50 if gently else 0):
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return status, usage
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return os.wait4(child, 0)[1:]


def set_common_limits() -> None:
    """Limits that are the same for all programs, in the zygote: its children inherit them."""
    limit = resource.setrlimit
    limit(resource.RLIMIT_CORE, (0, 0))
    limit(resource.RLIMIT_NOFILE, (64, 64))
    limit(resource.RLIMIT_MEMLOCK, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    limit(resource.RLIMIT_STACK, (_STACK if hard < 0 else min(_STACK, hard), hard))


def cpu_limit(seconds: float) -> int:
    """The kernel counts CPU in whole seconds; the worker watches the fraction."""
    return max(1, int(seconds + 1.999))


def set_limits(cpu: float, memory: int, output: int) -> None:
    """Limits of the calling process."""
    limit = resource.setrlimit
    seconds = cpu_limit(cpu)
    limit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    limit(resource.RLIMIT_AS, (memory, memory))
    limit(resource.RLIMIT_FSIZE, (output, output))


def _practise() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        candidate.practise(
            theirs.fileno(), lambda m: ours.send(len(m).to_bytes(4, "little") + m), lambda: ours.recv(1 << 16)
        )


def _fill_gaps() -> None:
    """Use up the free pieces of memory between what is in use, so that children take what they need from fresh pages
    one after the other, instead of copying a page for each piece."""
    libc = ctypes.CDLL(None)
    _python.PyObject_Malloc.restype, libc.malloc.restype = ctypes.c_size_t, ctypes.c_size_t
    _python.PyObject_Malloc.argtypes = libc.malloc.argtypes = (ctypes.c_size_t,)
    for size in range(16, _SMALL + 1, 16):
        while _python.PyObject_Malloc(size) % _POOL != _POOL_HEADER:  # the first piece of a fresh pool
            pass
    end = libc.malloc(_MAPPED // 2)
    for size in (*(_MAPPED >> power for power in range(2, 8)), *range(1024, 16, -16)):
        while libc.malloc(size) < end:
            pass


def _import_random() -> None:
    """Without its hook, which would seed it anew in every child: all programs start from the same seed."""
    register, os.register_at_fork = os.register_at_fork, lambda **_: None  # type: ignore[assignment]
    try:
        import random
    finally:
        os.register_at_fork = register
    random.seed(0)


def main() -> None:
    """Entry point: the configuration is the first argument, the worker's socket is the descriptor named in it."""
    config = json.loads(sys.argv[1])
    os.dup2(config["socket"], WORKER_FD)
    os.close(config["socket"])
    worker = socket.socket(fileno=WORKER_FD)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    sys.argv = [""]
    try:
        sys.path[:] = config["path"]
        _import_random()
        for name in config["preload"]:
            try:
                __import__(name)
            except ImportError:
                pass
        candidate.prepare()
        zygote = Zygote(worker, config)
    except OSError as error:
        worker.send(b"R" + json.dumps({"level": config["level"], "error": str(error)}).encode())
        os._exit(1)
    for name in [name for name in sys.modules if name.split(".")[0] == "strop"]:
        del sys.modules[name]
    os.environ.clear()
    _practise()
    set_common_limits()
    gc.collect()
    gc.disable()
    gc.freeze()
    _fill_gaps()
    worker.send(b"R" + json.dumps({"level": config["level"]}).encode())
    zygote.serve()


from strop.judge.sandbox import candidate  # noqa: E402 (kept last: it is what runs in the child)
