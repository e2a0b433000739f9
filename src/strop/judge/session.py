"""The judge worker's side of the sandbox: a zygote, and one session per program run.

Everything that a program sends is hostile: lengths are capped, texts are read by `codec`, waiting has a deadline, and
time, memory and the way it ended are measured from outside.
"""

from __future__ import annotations

import _socket
import contextlib
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from strop.judge import codec
from strop.judge.bounds import Bounds, Usage
from strop.judge.sandbox import layout
from strop.judge.sandbox.zygote import FORK, INT, WAITED

START_SECONDS = 30.0
LOOK_SECONDS = 0.25
"""How often the clocks of a running program are looked at; more often near a limit."""
_TIME = struct.Struct("@ll")  # struct timeval
_socketpair = _socket.socketpair  # without the checks that the wrapper in `socket` makes of its own two descriptors
_SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_START = f"import sys; sys.path.insert(0, {_SOURCE!r}); from strop.judge.sandbox.zygote import main; main()"


class ZygoteGone(Exception):
    """The zygote died or cannot start: a failure of ours, never of the program."""

    killed = False
    """Somebody killed it: that says nothing about the level."""


class Ended(Exception):
    """The session is over. `kind`: died, timeout, bad_frame or load. Never the program's own exception."""

    def __init__(self, kind: str, text: str = "", reply: list | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.reply = reply


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
        self.level = level
        self.waited = waited
        self._next: tuple[Bounds, Any] | None = None
        files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        self._files = files
        # The descriptors that programs inherit share their offset and flags with these, so both can be reset here.
        modes = (os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_APPEND)
        self._shared = [os.open(f"/proc/self/fd/{fd}", mode) for fd, mode in zip(files, modes)]
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        config = layout.configuration(level, slot, packages) | {"socket": theirs.fileno()}
        command = [
            sys.executable,
            "-P",
            "-s",
            "-S",
            "-B",
            "-X",
            "utf8",
            "-W",
            "ignore",
            "-c",
            _START,
            json.dumps(config),
        ]
        try:
            self.process = subprocess.Popen(
                command,
                stdin=self._shared[0],
                stdout=self._shared[1],
                stderr=self._shared[2],
                pass_fds=[theirs.fileno()],
                cwd="/",
                # Bound at once, or else every child would look up the same C functions anew.
                env={"PYTHONHASHSEED": str(hash_seed), "LD_BIND_NOW": "1", **layout.ENVIRONMENT},
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
        _limit_waiting(self.channel, START_SECONDS)  # by the kernel: Python's own way costs two more calls each time

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
        """The socket of a fresh process with these limits: the one made ready before, or a new one."""
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


def _limit_waiting(channel: Any, receiving: float, sending: float | None = None) -> None:
    """Let a blocking socket wait so long at most. Raises BlockingIOError from then on."""
    for option, seconds in ((socket.SO_RCVTIMEO, receiving), (socket.SO_SNDTIMEO, sending)):
        if seconds is not None:
            whole = int(seconds)
            channel.setsockopt(socket.SOL_SOCKET, option, _TIME.pack(whole, int((seconds - whole) * 1e6) or 1))


class Session:
    """One program in one fresh process. `ask` sends a request and returns the reply's list.

    `on_callback(number, args tree, kwargs tree) -> request` serves calls from the program into the checks.
    """

    def __init__(self, zygote: Zygote, bounds: Bounds, stdin: bytes = b"") -> None:
        self.zygote = zygote
        self.bounds = bounds
        self.on_callback: Callable[[int, Any, Any], bytes] | None = None
        self.ended: Ended | None = None
        self.flags: set[str] = set()
        self.usage: Usage | None = None
        self.pid = 0
        zygote.reset_streams(stdin)
        self.socket = zygote.fork(bounds)
        self.wait = min(LOOK_SECONDS, bounds.cpu_seconds)
        _limit_waiting(self.socket, self.wait, bounds.wall_seconds)
        self.started = time.monotonic()
        self.look_at = self.started + self.wait
        self._buffer = b""

    # ---- talking

    def send(self, request: bytes) -> None:
        try:
            self.socket.sendall(len(request).to_bytes(4, "little") + request)
        except BlockingIOError:
            self._end(Ended("timeout", "the program stopped reading"))
        except OSError:
            pass  # it died; receiving finds out how

    def ask(self, request: bytes) -> list:
        """Send a request; serve callbacks until its reply arrives. Raises Ended."""
        if self.ended is not None:
            raise self.ended
        self.send(request)
        return self.answer()

    def answer(self) -> list:
        """The reply to what was sent; callbacks are served until it comes. Raises Ended."""
        while True:
            reply = self._receive()
            if reply[0] != "c":
                if reply[0] == "l":
                    self._end(Ended("load", reply=reply))
                return reply
            if self.on_callback is None or len(reply) != 4 or type(reply[1]) is not int:
                self._bad_frame("an unexpected call")
            else:
                self.send(self.on_callback(*reply[1:]))

    def _receive(self) -> list:
        data = self._buffer
        need = 4
        while len(data) < need:
            data += self._read()
            if len(data) >= 4:
                length = int.from_bytes(data[:4], "little")
                if length > codec.MAX_FRAME:
                    self._bad_frame(f"an answer of {length} bytes; the limit is {codec.MAX_FRAME}")
                need = 4 + length
                if need > 1 << 18 and len(data) < need:
                    data = self._read_long(data, need)
        if len(data) > need:
            self._bad_frame("more than was asked for")
        try:
            reply = codec.loads(data[4:])
        except codec.CodecError as error:
            self._bad_frame(str(error))
        if type(reply) is not list or not reply or type(reply[0]) is not str:
            self._bad_frame("not a reply")
        return reply

    def _read_long(self, data: bytes, need: int) -> bytes:
        parts, size = [data], len(data)
        while size < need:
            parts.append(self._read())
            size += len(parts[-1])
        return b"".join(parts)

    def _read(self) -> bytes:
        """Some bytes from the program, within its time. Raises Ended."""
        while True:
            if time.monotonic() >= self.look_at:
                self._look()
            try:
                data = self.socket.recv(1 << 16)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self._end(Ended("died"))
            return data

    def _look(self) -> None:
        """See whether a limit is passed, and set the time of the next look. Raises Ended."""
        patience = self._patience()
        if patience <= 0:
            self._end(Ended("timeout", self._over))
        patience = min(patience, LOOK_SECONDS)
        if patience < 0.9 * self.wait or self.wait < 0.9 * patience:
            self.wait = patience
            _limit_waiting(self.socket, patience)
        self.look_at = time.monotonic() + patience

    def has_more(self) -> bool:
        """Whether the program sent something that nobody asked for. Does not wait."""
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def _patience(self) -> float:
        """Seconds to wait before looking again; 0 or less when a limit is passed."""
        elapsed = time.monotonic() - self.started
        if elapsed < self.bounds.cpu_seconds:
            return self.bounds.cpu_seconds - elapsed + 0.01
        cpu, waited = self.clocks()
        if cpu >= self.bounds.cpu_seconds:
            self._over = f"used {cpu:.2f} s of CPU time; the limit is {self.bounds.cpu_seconds:.2f} s"
            return 0.0
        wall = elapsed - waited
        if wall >= self.bounds.wall_seconds:
            self._over = f"took {wall:.2f} s without ending; the limit is {self.bounds.wall_seconds:.2f} s"
            return 0.0
        return max(0.02, min(self.bounds.cpu_seconds - cpu, self.bounds.wall_seconds - wall))

    def clocks(self) -> tuple[float, float]:
        """CPU seconds that the program used, and seconds that it was ready but had to wait for a core."""
        if not self.pid:
            self.zygote.ask(b"P")
            self.pid = INT.unpack(self.zygote.hear()[1:])[0]
        try:
            cpu = time.clock_gettime((~self.pid << 3) | 2)  # the kernel's clock of another process
        except OSError:
            return 0.0, 0.0
        return cpu, self.zygote.waited(self.pid)

    # ---- ending

    def _bad_frame(self, text: str) -> NoReturn:
        self.flags.add("bad_frame")
        self._end(Ended("bad_frame", text))

    def _end(self, ended: Ended) -> NoReturn:
        self.ended = ended
        raise ended

    def close(self) -> Usage:
        """Kill the process if it lives, and say what it used. Raises ZygoteGone."""
        if self.usage is None:
            try:
                self.zygote.ask(b"D" if self.ended is not None and self.ended.kind == "died" else b"K")
                _, status, cpu, peak = WAITED.unpack(self.zygote.hear())
            finally:
                self.socket.close()
            self.usage = Usage(
                exit_code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
                signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
                cpu_seconds=cpu,
                wall_seconds=time.monotonic() - self.started,
                memory_mb=peak / 1024,
            )
        return self.usage
