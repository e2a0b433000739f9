"""The judge worker's side of the sandbox: one session per program run.

Everything that a program sends is hostile: lengths are capped, texts are read by `codec`, waiting has a deadline, and
time, memory and the way it ended are measured from outside.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any, NoReturn

from strop.judge import codec
from strop.judge.bounds import Bounds, Usage
from strop.judge.nursery import Zygote, limit_waiting
from strop.judge.sandbox.zygote import INT, WAITED

LOOK_SECONDS = 0.25
"""How often the clocks of a running program are looked at; more often near a limit."""


class Ended(Exception):
    """The session is over. `kind`: died, timeout, bad_frame or load. Never the program's own exception."""

    def __init__(self, kind: str, text: str = "", reply: list | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.reply = reply


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
        limit_waiting(self.socket, self.wait, bounds.wall_seconds)
        self.started = time.monotonic()
        self.look_at = self.started + self.wait

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
        data = self._read()
        while len(data) < 4:
            data += self._read()
        length = int.from_bytes(data[:4], "little")
        if length > codec.MAX_FRAME:
            self._bad_frame(f"an answer of {length} bytes; the limit is {codec.MAX_FRAME}")
        need = 4 + length
        if len(data) < need:
            data = self._read_rest(data, need)
        if len(data) > need:
            self._bad_frame("more than was asked for")
        try:
            reply = codec.loads(data[4:])
        except codec.CodecError as error:
            self._bad_frame(str(error))
        if type(reply) is not list or not reply or type(reply[0]) is not str:
            self._bad_frame("not a reply")
        return reply

    def _read_rest(self, data: bytes, need: int) -> bytes:
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
            limit_waiting(self.socket, patience)
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
