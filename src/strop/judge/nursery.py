"""The judge worker's end of a zygote: starting it, asking it for processes, and the files that programs print to."""

from __future__ import annotations

import _socket
import contextlib
import fcntl
import json
import os
import resource
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from strop.judge.bounds import Bounds
from strop.judge.sandbox import layout
from strop.judge.sandbox.zygote import FORK, INT, cpu_limit

START_SECONDS = 30.0
_TIME = struct.Struct("@ll")  # struct timeval
_socketpair = _socket.socketpair  # without the checks that the wrapper in `socket` makes of its own two descriptors
_SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_START = f"import sys; sys.path.insert(0, {_SOURCE!r}); from strop.judge.sandbox.zygote import main; main()"
_INTERPRETER = 1 << 30
"""Address space that the interpreter and its packages take themselves, at most."""


class ZygoteGone(Exception):
    """The zygote died or cannot start: a failure of ours, never of the program."""

    killed = False
    """Somebody killed it: that says nothing about the level."""


class Capped(Exception):
    """The machine allows no process as much as this task's programs may use; no program can be blamed."""


class Caps(NamedTuple):
    """Hard limits that this process inherited from its machine, container or shell; -1: none."""

    cpu: int
    memory: int
    file: int

    @staticmethod
    def lifted() -> Caps:
        """What is left of them when those that may be lifted (by root, say) are gone."""
        found = []
        for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_FSIZE):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, (resource.getrlimit(kind)[0], resource.RLIM_INFINITY))
            found.append(resource.getrlimit(kind)[1])
        return Caps(*found)

    def problem(self, bounds: Bounds) -> str:
        """Why no process can be given `bounds` here; empty if one can."""
        for name, unit, cap, wanted in (
            ("CPU time", "s", self.cpu, cpu_limit(bounds.cpu_seconds) + 1),
            ("address space", "bytes", self.memory, bounds.memory + _INTERPRETER),
            ("the size of a file", "bytes", self.file, bounds.output),
        ):
            if 0 <= cap < wanted:
                return f"the hard limit on {name} (ulimit -H) is {cap} {unit} here, and this program needs {wanted}"
        return ""


class Zygote:
    """A running zygote at `level`. Raises ZygoteGone when that cannot be had.

    `waited(pid)`: seconds that a process was ready to run and had to wait for a core.
    """

    def __init__(
        self,
        level: str,
        slot: int,
        packages: dict[str, list[str]],
        waited: Callable[[int], float],
        hash_seed: int = 0,
    ) -> None:
        config = layout.configuration(level, slot, packages)
        # Bound at once, or else every child would look up the same C functions anew.
        environment = {"PYTHONHASHSEED": str(hash_seed), "LD_BIND_NOW": "1", **layout.ENVIRONMENT}
        self._begin(_START, config, environment, waited)

    def _begin(
        self, start: str, config: dict[str, Any], environment: dict[str, str], waited: Callable[[int], float]
    ) -> None:
        """Start an interpreter that runs `start` with `config`, and wait until it is ready."""
        self.level = config["level"]
        self.waited = waited
        self.caps = Caps.lifted()
        self._next: tuple[Bounds, Any] | None = None
        files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        self._files = files
        # The descriptors that programs inherit share their offset and flags with these, so both can be reset here.
        modes = (os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_APPEND)
        self._shared = [os.open(f"/proc/self/fd/{fd}", mode) for fd, mode in zip(files, modes)]
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        config = config | {"socket": theirs.fileno()}
        options = ["-P", "-s", "-S", "-B", "-X", "utf8", "-W", "ignore"]
        try:
            self.process = subprocess.Popen(
                [sys.executable, *options, "-c", start, json.dumps(config)],
                stdin=self._shared[0],
                stdout=self._shared[1],
                stderr=self._shared[2],
                pass_fds=[theirs.fileno()],
                cwd="/",
                env=environment,
            )
        except OSError as error:
            self._close_files()
            raise ZygoteGone(f"cannot start an interpreter: {error}") from None
        finally:
            theirs.close()
        self.channel.settimeout(START_SECONDS)
        try:
            answer = self.channel.recv(65536)
        except OSError:
            answer = b""
        problem = json.loads(answer[1:]).get("error") if answer else self._last_words()
        if problem:
            self.close()
            error = ZygoteGone(problem)
            error.killed = self.process.returncode < 0
            raise error
        self.channel.settimeout(None)
        limit_waiting(self.channel, START_SECONDS)  # by the kernel: Python's own way costs two more calls each time

    def _last_words(self) -> str:
        lines = os.pread(self._files[2], 4000, 0).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "the interpreter in the sandbox did not answer"

    def _close_files(self) -> None:
        self.channel.close()
        if self._next is not None:
            self._next[1].close()
        for fd in (*self._files, *self._shared):
            os.close(fd)
        self._files = self._shared = []

    def close(self) -> None:
        """End it with all that it forked. Safe to call twice."""
        self.channel.close()  # it leaves by itself when its worker hangs up, and is killed when its worker ends
        with contextlib.suppress(PermissionError):  # a worker that has locked itself in may not even wait
            try:
                self.process.wait(0.5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._close_files()

    def fork(self, bounds: Bounds) -> Any:
        """The socket of a fresh process with these limits: the one made ready before, or a new one.

        Raises Capped where the machine allows no process that much.
        """
        if problem := self.caps.problem(bounds):
            raise Capped(problem)
        ready, self._next = self._next, None
        if ready is not None:
            if ready[0] == bounds:
                return ready[1]
            self._next = ready
            self.dismiss()
        return self._fork(bounds)

    def dismiss(self) -> None:
        """End the process that was made ready, if there is one. No program may be running."""
        if self._next is not None:
            self._next[1].close()
            self._next = None
            self.ask(b"K")
            self.hear()

    def make_ready(self, bounds: Bounds) -> None:
        """Fork already for the next program, which may come when the one that runs has ended."""
        if self._next is None:
            self._next = bounds, self._fork(bounds)

    def _fork(self, bounds: Bounds) -> Any:
        ours, theirs = _socketpair()
        try:
            message = FORK.pack(b"F", bounds.cpu_seconds, bounds.memory, bounds.output)
            self.channel.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, INT.pack(theirs.fileno()))])
        except OSError as error:
            ours.close()
            raise ZygoteGone(f"the zygote is gone: {error}") from None
        finally:
            theirs.close()
        return ours

    def ask(self, message: bytes) -> None:
        try:
            self.channel.send(message)
        except OSError as error:
            raise ZygoteGone(f"the zygote is gone: {error}") from None

    def hear(self) -> bytes:
        try:
            message = self.channel.recv(64)
        except OSError as error:
            raise ZygoteGone(f"the zygote does not answer: {error}") from None
        if not message:
            raise ZygoteGone("the zygote died")
        return message

    def reset_streams(self, stdin: bytes) -> None:
        """Fresh standard streams for the next program; the last one is dead by now."""
        source, out, err = self._files
        if stdin or os.fstat(source).st_size:
            os.ftruncate(source, 0)
            os.pwrite(source, stdin, 0)
        os.lseek(self._shared[0], 0, os.SEEK_SET)
        for fd, shared in ((out, self._shared[1]), (err, self._shared[2])):
            if os.fstat(fd).st_size:
                os.ftruncate(fd, 0)
            fcntl.fcntl(shared, fcntl.F_SETFL, os.O_APPEND)  # a program may have cleared it

    def written(self, limit: int, stream: int = 1) -> tuple[bytes, int]:
        """First `limit` bytes of what the program wrote to descriptor 1 or 2, and how many there were."""
        fd = self._files[stream]
        size = os.fstat(fd).st_size
        return (os.pread(fd, min(limit, size), 0) if size else b""), size


def limit_waiting(channel: Any, receiving: float, sending: float | None = None) -> None:
    """Let a blocking socket wait so long at most. Raises BlockingIOError from then on."""
    for option, seconds in ((socket.SO_RCVTIMEO, receiving), (socket.SO_SNDTIMEO, sending)):
        if seconds is not None:
            whole = int(seconds)
            channel.setsockopt(socket.SOL_SOCKET, option, _TIME.pack(whole, int((seconds - whole) * 1e6) or 1))
