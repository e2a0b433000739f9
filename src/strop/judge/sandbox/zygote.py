"""The process that every program is forked from: a warm interpreter inside the sandbox that runs nothing untrusted.

Started once per judge worker and import flavour. It holds no tasks, no secrets and an empty environment, parses only
fixed messages from its worker, and answers with what the kernel measured:

    worker -> zygote    F + limits, with one socket attached     fork a candidate that talks on that socket
                        K                                        kill it
                        D                                        it hung up: let it die by itself, then kill it
    zygote -> worker    R + JSON                                 ready (or why not)
                        P + pid                                  forked
                        W + wait status, CPU seconds, peak KiB   dead and reaped
"""

from __future__ import annotations

import array
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

from strop.judge.sandbox import kernel, landlock, layout, namespaces, seccomp

LEVELS = ("userns", "root", "plain", "unsafe")
"""The isolation ladder, strongest first."""
FORK = struct.Struct("<cdqq")
"""Tag, CPU seconds, bytes of address space, bytes of output."""
WAITED = struct.Struct("<cidq")
"""Tag, wait status, CPU seconds (user + system), peak resident KiB."""
CANDIDATE_FD = 3
WORKER_FD = 60
"""Away from the low numbers, so that a program's own socket is always descriptor 3."""
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}.get(kernel.MACHINE)
_STACK = 64 << 20

_python = ctypes.PyDLL(None)
_python.syscall.restype = ctypes.c_long


def fork_in_pid_namespace() -> int:
    """Like os.fork(), with the child as process 1 of a new pid namespace.

    unshare() can give a process's children a new pid namespace only once, so each program needs clone() itself. The
    interpreter's own fork hooks run around it, and PyDLL keeps the interpreter lock held across the call.
    """
    _python.PyOS_BeforeFork()
    pid = _python.syscall(_SYS_CLONE, ctypes.c_ulong(kernel.CLONE_NEWPID | signal.SIGCHLD), 0, 0, 0, 0)
    if pid == 0:
        _python.PyOS_AfterFork_Child()
    else:
        _python.PyOS_AfterFork_Parent()
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
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)

    def serve(self) -> None:
        """Fork and kill at the worker's word, until it hangs up."""
        worker, child = self.worker, 0
        while True:
            message, ancillary, _, _ = worker.recvmsg(64, 64)
            if not message:
                os._exit(0)
            if message[:1] == b"F":
                fds = array.array("i")
                fds.frombytes(ancillary[0][2])
                child = self.fork()
                if child == 0:
                    self._become_candidate(fds[0], FORK.unpack(message))
                os.close(fds[0])
                worker.send(b"P" + struct.pack("<i", child))
            elif message in (b"K", b"D"):
                status, usage = _reap(child, gently=message == b"D")
                worker.send(WAITED.pack(b"W", status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss))

    def _become_candidate(self, fd: int, request: tuple) -> None:
        """In the child: take on the limits, lock the door, run the program. Never returns."""
        try:
            _, cpu, memory, output = request
            os.setsid()
            if fd != CANDIDATE_FD:
                os.dup2(fd, CANDIDATE_FD)
            os.closerange(CANDIDATE_FD + 1, 64)
            set_limits(cpu, memory + self.address_space, output)
            if self.filter is not None:
                if self.uid is not None:
                    os.setgroups([])
                    os.setresgid(self.uid, self.uid, self.uid)
                    os.setresuid(self.uid, self.uid, self.uid)
                kernel.drop_capabilities()
                kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
                kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
                self.filter.install()
            else:
                kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            run_candidate(CANDIDATE_FD)
        finally:
            os._exit(70)


def _reap(child: int, gently: bool) -> tuple[int, resource.struct_rusage]:
    """Make sure that the child is dead; how it ended and what it used. Its own way of dying is evidence."""
    for _ in range(50 if gently else 0):
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return status, usage
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return os.wait4(child, 0)[1:]


def set_limits(cpu: float, memory: int, output: int) -> None:
    """Limits of the calling process. The kernel counts CPU in whole seconds; the worker watches the fraction."""
    limit = resource.setrlimit
    seconds = max(1, int(cpu + 1.999))
    limit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    limit(resource.RLIMIT_AS, (memory, memory))
    limit(resource.RLIMIT_FSIZE, (output, output))
    limit(resource.RLIMIT_CORE, (0, 0))
    limit(resource.RLIMIT_NOFILE, (64, 64))
    limit(resource.RLIMIT_MEMLOCK, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    limit(resource.RLIMIT_STACK, (_STACK if hard < 0 else min(_STACK, hard), hard))


def run_candidate(fd: int) -> None:
    candidate.main(fd)


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
    gc.collect()
    gc.disable()
    gc.freeze()
    worker.send(b"R" + json.dumps({"level": config["level"]}).encode())
    zygote.serve()


from strop.judge.sandbox import candidate  # noqa: E402 (kept last: it is what runs in the child)
