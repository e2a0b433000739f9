"""One HTTP connection: uvicorn's, with deadlines for both sides and a bound on how many there are.

A connection without a request in progress is closed when the head of its next request is not complete in time, however
slowly bytes drip in; one whose client does not take its answer is cut. When there are too many, those that have been
idle longest make room, so that ten thousand idle connections cannot keep a client out.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_BYTES = 32 << 10
"""Largest head of a request, in bytes."""


class Connection(H11Protocol):
    """See the module. `bounded` makes the class for one server."""

    head_seconds: float
    answer_seconds: float
    most: int

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.since = self.loop.time()
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """No request is in progress: none came, none is complete, or the last was answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_head()
        if len(self.connections) > self.most:
            self._make_room()

    def _make_room(self) -> None:
        """Drop a tenth of the connections at once, so that a flood does not look for one each time."""
        others = [one for one in self.connections if isinstance(one, Connection) and one.idle and one is not self]
        others.sort(key=lambda one: one.since)
        for one in others[: 1 + self.most // 10]:
            one.drop()
        if not others:
            self.drop()

    def drop(self) -> None:
        self.connections.discard(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.idle:
            self._stop_deadline()
        elif self._deadline is None and not self.transport.is_closing():
            self._expect_head()

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """What was sent piles up: the client does not read. Closing would wait for it, so the connection is cut."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._read_again()
        super().resume_writing()

    def _read_again(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        self._read_again()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(self.head_seconds, self._too_slow)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.idle and not self.transport.is_closing():
            self.transport.abort()


def bounded(head_seconds: float, answer_seconds: float, most: int) -> type[Connection]:
    """The connection class of a server with these bounds."""
    bounds = {"head_seconds": head_seconds, "answer_seconds": answer_seconds, "most": most}
    return type("BoundedConnection", (Connection,), bounds)
