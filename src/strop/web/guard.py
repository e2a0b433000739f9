"""The walls around the local page, in one place.

- Host: only names of this machine are answered, so that a foreign site whose name was pointed at 127.0.0.1 (DNS
  rebinding) reads nothing.
- Origin: a POST must come from this page itself, and carry the token that only this page's forms hold.
- Content-Security-Policy: our style sheet, our script, and nothing else; no text becomes markup by script.
- What a program printed as HTML or SVG is shown in a frame without scripts, forms and origin.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
MOST_BODY = 16_384
"""Bytes of the largest form that is read."""

PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "frame-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
OUTPUT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'"
)
"""For what programs printed: an origin of its own, no script, no request."""
IMAGE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""For figures of experiments, which are images that carry their own style."""

# same-origin, not no-referrer: browsers send `Origin: null` with a form under no-referrer.
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


def refusal(method: str, headers: dict[str, str]) -> tuple[int, str] | None:
    """Status and words when a request is to be refused; None when it may pass. Header names are lower case."""
    host = headers.get("host", "").lower()
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if (name if colon and port.isdigit() else host) not in HOSTS:
        return 421, "This page answers only to localhost and 127.0.0.1."
    if method in ("GET", "HEAD"):
        return None
    if method != "POST":
        return 405, "Only GET and POST are answered."
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
    if (origin is not None and origin.lower() != f"http://{host}") or site != "same-origin":
        return 403, "This form was not sent from a page of Strop."
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return 415, "Forms are sent url-encoded."
    return None


class Guard:
    """Refuses foreign requests and puts the security headers on every answer."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused = refusal(scope["method"], headers)

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                wanted = {**HEADERS, "content-security-policy": PAGE_POLICY}
                extra = [(n.encode(), v.encode()) for n, v in wanted.items() if n.encode() not in there]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        if refused is None:
            await self.app(scope, receive, sent)
            return
        status, words = refused
        kind = [(b"content-type", b"text/plain; charset=utf-8")]
        await sent({"type": "http.response.start", "status": status, "headers": kind})
        await sent({"type": "http.response.body", "body": f"{words}\n".encode()})
