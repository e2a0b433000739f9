"""The process that programs of one other language are started from. It is sealed off before it starts any.

One for each judge worker and language. Its root holds the language's toolchain and nothing else, read-only. Every
program gets a directory `/box` of its own (in memory, bounded) with its sources and what a compiler made of them; every
process that compiles or runs it gets, beside its limits, pid and mount namespaces of its own, an empty `/tmp`, and the
allow-list of system calls for executed programs. `/box` is read-only while a program runs. It speaks like the zygote of
Python programs (`strop.judge.sandbox.zygote`), with two messages of its own:

    worker -> here    N                         a new program: its files are on descriptor 0, as a JSON object
                      F + JSON, with a socket   start a command of the configuration; the socket closes when it is over
    here -> worker    N                         the directory is ready

Between this process and the program stands a first process of the pid namespace, which waits for the program and then
ends, and the kernel ends all that the program started.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from typing import Any

from strop.judge.languages import boxtest
from strop.judge.sandbox import kernel, namespaces, seccomp, zygote
from strop.judge.sandbox.zygote import INT, WAITED, WORKER_FD, cpu_limit

BOX_MB = 64
"""Room for a program's files and what the compiler makes of them."""
SCRATCH_MB = 32
"""Room in /tmp while it runs."""
_CREDENTIALS = struct.Struct("3i")
_PASSCRED = socket.SO_PASSCRED
_PROC_FLAGS = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
_OPEN_FILES = 256
_LINKS = {"stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "fd": "/proc/self/fd"}


class Box:
    """State of the serving loop. `config`: see `strop.judge.languages.launcher`."""

    def __init__(self, worker: socket.socket, config: dict[str, Any]) -> None:
        self.worker = worker
        self.config = config
        self.commands: dict[str, dict[str, Any]] = config["commands"]
        self.level = config["level"]
        self.uid = 60000 + config["slot"] if self.level == "root" else os.getuid()
        self.full = False
        self.pid = self.program = 0
        self.trouble = b""
        self.status: socket.socket | None = None
        os.setsid()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))  # the worker's own is not for programs
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        namespaces.keep_proc()
        readable = [*config["readable"], "/proc"]
        namespaces.enter(self.level, readable, config["hidden"], config["slot"], _furnish)
        namespaces.drop_proc()
        kernel.unshare(kernel.CLONE_NEWNS)  # of our own user namespace: here we may mount
        self.filters = {family: seccomp.Filter(executed=True, family=family) for family in (False, True)}
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)

    # ---- the program's directory

    def renew(self) -> None:
        """An empty /box with the files that descriptor 0 lists."""
        if self.full:
            kernel.umount("/box")
            self.full = False
        self._mount_memory("/box", BOX_MB, 0)
        self.full = True
        size = os.fstat(0).st_size
        for name, text in json.loads(os.pread(0, size, 0)).items():
            fd = os.open("/box/" + os.path.basename(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            with open(fd, "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))

    def _mount_memory(self, path: str, megabytes: int, flags: int) -> None:
        options = f"size={megabytes}m,nr_inodes=4096,mode=755"
        if self.level == "root":
            options += f",uid={self.uid},gid={self.uid}"
        kernel.mount("tmpfs", path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV | flags, options)

    # ---- starting a command

    def start(self, request: dict[str, Any], fd: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, _PASSCRED, 1)
        pid = _fork(kernel.CLONE_NEWPID | kernel.CLONE_NEWNS)
        if pid == 0:
            ours.close()
            self._be_first(self.commands[request["command"]], request, fd, theirs)
        theirs.close()
        self.pid, self.program, self.status, self.trouble = pid, 0, ours, b""

    def _be_first(self, command: dict[str, Any], request: dict[str, Any], fd: int, status: socket.socket) -> None:
        """In the first process of the new pid namespace: start the program, and end when it ends. Never returns."""
        try:
            zygote._die_with_parent()
            # The proc file system of all processes is in this root, or the kernel would not let us mount our own.
            try:
                kernel.mount("proc", "/proc", "proc", _PROC_FLAGS)
            except OSError:
                kernel.mount("tmpfs", "/proc", "tmpfs", kernel.MS_RDONLY, "size=4k")
            self._mount_memory("/tmp", SCRATCH_MB, 0 if command["family"] else kernel.MS_NOEXEC)
            if not command["writes"] and self.full:
                kernel.mount(None, "/box", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | 6)
            program = os.fork()
            if program == 0:
                self._be_program(command, request, fd, status)
            while True:
                ended, how = os.wait()
                if ended == program:
                    break
            status.send(b"S" + INT.pack(how))
            with contextlib.suppress(OSError):  # what it left over counts as used, too
                os.kill(-1, signal.SIGKILL)
                while True:
                    os.wait()
        except BaseException as error:
            status.send(b"E" + repr(error).encode()[:500])
        finally:
            os._exit(0)

    def _be_program(self, command: dict[str, Any], request: dict[str, Any], fd: int, status: socket.socket) -> None:
        """In the program's process: take on the limits, lock the door, run it. Never returns."""
        keep = status.fileno()
        try:
            status.send(b"P")  # with our process id, as seen from outside
            if self.level == "root":
                os.setgroups([])
                os.setresgid(self.uid, self.uid, self.uid)
                os.setresuid(self.uid, self.uid, self.uid)
            os.setsid()
            os.chdir("/box" if command["writes"] else "/tmp")
            _set_limits(command, request)
            if fd != 3:
                if keep == 3:
                    keep = os.dup(3)
                os.dup2(fd, 3)
            os.set_inheritable(3, command["channel"] != "none")
            if command["channel"] == "streams":
                os.dup2(3, 0)
                os.dup2(3, 1)
            elif command["channel"] == "none" and command["writes"]:
                os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            for other in range(4, 64):
                if other != keep:
                    try:
                        os.close(other)
                    except OSError:
                        pass
            os.set_inheritable(keep, False)
            kernel.drop_capabilities()
            self.filters[command["family"]].install()
            if request["command"] == "probe":
                os.write(keep, b"R" + json.dumps(boxtest.problems(self.config["secret"], command)).encode()[:4000])
                os._exit(0)
            for name in ("SIGPIPE", "SIGXFSZ"):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
            # Runtimes that must be told how large their heap may become are told the program's limit.
            megabytes = (request["memory"] >> 20) - command["more_memory_mb"]
            argv = [part.replace("{memory}", str(megabytes)) for part in command["argv"]]
            os.execve(argv[0], argv, self.config["environment"])
        except BaseException as error:
            os.write(keep, b"E" + f"{command['argv'][0]}: {error!r}".encode()[:500])
        finally:
            os._exit(70)

    # ---- what the worker asks

    def _program_pid(self) -> int:
        """The process id of the program outside its namespace, as the kernel vouches for it."""
        assert self.status is not None
        if self.program:
            return self.program
        message, ancillary, *_ = self.status.recvmsg(600, socket.CMSG_SPACE(_CREDENTIALS.size))
        if message[:1] == b"E":
            self.trouble = message
        for _, kind, data in ancillary:
            if kind == socket.SCM_CREDENTIALS:
                self.program = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0]
        return self.program or self.pid

    def reap(self, gently: bool) -> tuple[int, resource.struct_rusage, bytes]:
        """End the program. Its wait status, what all its processes used, and what went wrong with starting it."""
        assert self.status is not None
        if not gently:  # first the program alone: who waits for it adds up what it used
            with contextlib.suppress(OSError):
                os.kill(self._program_pid(), signal.SIGKILL)
        usage = _wait(self.pid)
        how, trouble = signal.SIGKILL.value, self.trouble
        while True:
            try:
                message = self.status.recv(5000, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            if not message:
                break
            if message[:1] == b"S":
                how = INT.unpack(message[1:])[0]
            elif message[:1] in (b"E", b"R"):
                trouble = trouble or message
        self.status.close()
        self.status = None
        return how, usage, trouble

    def serve(self) -> None:
        """Do what the worker says, until it hangs up."""
        worker = self.worker
        while True:
            message, ancillary, _, _ = worker.recvmsg(4096, 64)
            if not message:
                os._exit(0)
            what = message[:1]
            if what == b"N":
                self.renew()
                worker.send(b"N")
            elif what == b"F":
                fd = INT.unpack(ancillary[0][2])[0]
                if self.status is not None:
                    os._exit(1)  # a worker that asks for more is no longer ours
                self.start(json.loads(message[1:]), fd)
                os.close(fd)
            elif what == b"P":
                worker.send(b"P" + INT.pack(self._program_pid()))
            elif what in (b"K", b"D"):
                how, usage, trouble = self.reap(gently=what == b"D")
                if trouble:
                    sys.stderr.write(trouble.decode(errors="replace") + "\n")
                    os._exit(1)  # the program was not started: our failure
                worker.send(WAITED.pack(b"W", how, usage.ru_utime + usage.ru_stime, usage.ru_maxrss))

    def probe(self) -> list[str]:
        """What a program could do here that it must not, found by trying as one. Raises OSError."""
        found: list[str] = []
        for command in ("probe", "probe family"):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                limits = {"command": "probe", "cpu": 5.0, "memory": 256 << 20, "output": 1 << 20}
                self.commands["probe"] = self.commands[command]
                self.start(limits, theirs.fileno())
                theirs.close()
                ours.recv(1)  # nothing comes: it closes when the program is over
            trouble = self.reap(gently=True)[2]
            if trouble[:1] != b"R":
                raise OSError(f"the probe failed: {trouble.decode(errors='replace')}")
            found += json.loads(trouble[1:])
        return found


def _furnish(base: str) -> None:
    for path in ("/box", "/proc", "/tmp"):
        os.makedirs(base + path, exist_ok=True)
    for name, target in _LINKS.items():
        os.symlink(target, f"{base}/dev/{name}")


def _fork(flags: int) -> int:
    """os.fork() with the child in new namespaces; see `zygote.fork_in_pid_namespace`."""
    import ctypes

    zygote._before_fork()
    pid = zygote._syscall(ctypes.c_long(zygote._SYS_CLONE or -1), ctypes.c_ulong(flags | signal.SIGCHLD),
                          *[ctypes.c_long(0)] * 4)  # fmt: skip
    if pid == 0:
        zygote._after_in_child()
    else:
        zygote._after_in_parent()
        if pid < 0:
            raise OSError("clone failed")
    return pid


def _wait(first: int) -> resource.struct_rusage:
    """What a pid namespace used, once it is over; it is ended by force when that takes more than a second."""
    deadline = time.monotonic() + 1.0
    pause = 0.0005
    while time.monotonic() < deadline:
        pid, _, usage = os.wait4(first, os.WNOHANG)
        if pid:
            return usage
        time.sleep(pause)
        pause = min(0.01, pause * 1.5)
    os.kill(first, signal.SIGKILL)
    return os.wait4(first, 0)[2]


def _set_limits(command: dict[str, Any], request: dict[str, Any]) -> None:
    limit = resource.setrlimit
    seconds = cpu_limit(request["cpu"])
    limit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    memory = request["memory"]
    space = resource.RLIMIT_AS if command["space"] == "address" else resource.RLIMIT_DATA
    limit(space, (memory, memory))
    limit(resource.RLIMIT_FSIZE, (request["output"], request["output"]))
    limit(resource.RLIMIT_NPROC, (command["processes"], command["processes"]))
    limit(resource.RLIMIT_CORE, (0, 0))
    limit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    limit(resource.RLIMIT_MEMLOCK, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    stack = command["stack"]
    limit(resource.RLIMIT_STACK, (stack if hard < 0 else min(stack, hard), hard))


def main() -> None:
    """Entry point: the configuration is the first argument, the worker's socket is the descriptor named in it."""
    config = json.loads(sys.argv[1])
    if config["socket"] != WORKER_FD:  # a worker with many boxes has many descriptors
        os.dup2(config["socket"], WORKER_FD)
        os.close(config["socket"])
    worker = socket.socket(fileno=WORKER_FD)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    answer: dict[str, Any] = {"level": config["level"]}
    try:
        box = Box(worker, config)
        if found := box.probe():
            raise OSError("; ".join(found))
    except OSError as error:
        worker.send(b"R" + json.dumps(answer | {"error": str(error)}).encode())
        os._exit(1)
    os.environ.clear()
    gc.collect()
    gc.disable()
    gc.freeze()
    worker.send(b"R" + json.dumps(answer).encode())
    box.serve()
