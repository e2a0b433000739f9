"""What is asked of every request before any other code sees it: who sends it, how large it is, how long it takes.

The body is read here, whole and bounded, so that nothing behind the gate waits for a client. A token may come as
`Authorization: Bearer TOKEN`, or as the password of basic authentication, which HTTP clients take from a URL:
`http://strop:TOKEN@host:8080/run_code` is all that changes for a trainer that knows nothing of tokens.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any, TypeAlias

from strop.serve.desk import Desk

PUBLIC = frozenset({"/health", "/v1/ping"})
"""Paths that need no token: they say only that the server is there."""
BODIES = 4
"""All bodies together may be so many times as large as one."""

LINGER_SECONDS = 1.0

Message: TypeAlias = dict[str, Any]


class Refused(Exception):
    """A request that goes no further."""

    def __init__(self, code: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Gate:
    """ASGI middleware around the application."""

    def __init__(self, app: Any, desk: Desk, known: frozenset[str]) -> None:
        self.app = app
        self.desk = desk
        self.known = known
        """Paths that are counted by name."""
        self.digest = _digest(desk.settings.token) if desk.settings.token is not None else None
        self.largest = desk.settings.body_mb << 20
        self.held = 0
        """Bytes of bodies in memory."""

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no other protocol is spoken; uvicorn answers
        endpoint = scope["path"] if scope["path"] in self.known else "other"
        started, code, body = time.monotonic(), 0, bytearray()

        async def answer(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            self._inspect(scope)
            await self._read(scope, receive, body)
            await self.app(scope, _replay(bytes(body), receive), answer)
        except Refused as refusal:
            await _refuse(answer, receive, refusal, patient=b"expect" not in dict(scope["headers"]))
        finally:
            self.held -= len(body)
            self.desk.counts.requests.labels(endpoint, str(code or 499)).inc()
            self.desk.counts.seconds.labels(endpoint).observe(time.monotonic() - started)

    # ---- the head

    def _inspect(self, scope: Message) -> None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        if b"transfer-encoding" in headers and b"content-length" in headers:
            # Two lengths: servers that believe different ones disagree on where the next request begins.
            raise Refused(400, "Both Content-Length and Transfer-Encoding were sent.")
        for name in (b"host", b"content-length", b"authorization", b"content-type"):
            if len(headers.get(name, ())) > 1:
                raise Refused(400, f"The header {name.decode()} was sent more than once.")
        if headers.get(b"content-encoding", [b"identity"]) != [b"identity"]:
            raise Refused(415, "Bodies must not be compressed.")
        if self.digest is None:
            if b"origin" in headers:  # a page in somebody's browser, which can reach this machine's own address
                raise Refused(403, "Requests from web pages need a server that was started with a token.")
        elif scope["path"] not in PUBLIC and not self._knows(headers.get(b"authorization", [b""])[0]):
            raise Refused(401, "A valid token is needed.", WWW_Authenticate='Bearer realm="strop"')
        length = headers.get(b"content-length", [b"0"])[0]
        if not length.isdigit() or int(length) > self.largest:
            raise self._too_large()

    def _knows(self, authorization: bytes) -> bool:
        assert self.digest is not None
        scheme, _, value = authorization.partition(b" ")
        shown = b""
        if scheme.lower() == b"bearer":
            shown = value.strip()
        elif scheme.lower() == b"basic":
            try:
                shown = base64.b64decode(value.strip(), validate=True).partition(b":")[2]
            except ValueError:
                pass
        return hmac.compare_digest(_digest(shown), self.digest)  # of equal length whatever was shown

    # ---- the body

    async def _read(self, scope: Message, receive: Any, body: bytearray) -> None:
        """Read the body into `body`; what is in it counts as held until the request ends."""
        try:
            async with asyncio.timeout(self.desk.settings.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(499, "The client left.")
                    part, more = message.get("body", b""), message.get("more_body", False)
                    if len(body) + len(part) > self.largest:
                        raise self._too_large()
                    if self.held + len(part) > BODIES * self.largest:
                        raise Refused(503, "The server holds as many bodies as it can.", Retry_After="1")
                    body += part
                    self.held += len(part)
        except TimeoutError:
            raise Refused(408, "The body took too long.") from None

    def _too_large(self) -> Refused:
        return Refused(413, f"The body is larger than {self.largest >> 20} MB. Send fewer programs at once.")


def _digest(token: str | bytes) -> bytes:
    return hashlib.sha256(token.encode() if isinstance(token, str) else token).digest()


def _replay(body: bytes, receive: Any) -> Any:
    """What the application receives: the body at once, then whatever else comes (that the client left)."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


async def _refuse(send: Any, receive: Any, refusal: Refused, patient: bool) -> None:
    """Answer and close: what else the connection holds is not read as another request.

    A client that is still sending would lose the answer to a closed connection, so for a moment its body is taken in
    and thrown away.
    """
    body = json.dumps({"detail": refusal.detail}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    fields = [(name.lower().encode(), value.encode()) for name, value in (headers | refusal.headers).items()]
    await send({"type": "http.response.start", "status": refusal.code, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if patient:
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while (await receive()).get("more_body", False):
                    pass
        except TimeoutError:
            pass
    await send({"type": "http.response.body", "body": b""})
