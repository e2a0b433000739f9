"""Where the server may listen, how it starts, and how it ends."""

from __future__ import annotations

import ipaddress
import logging
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from strop.types import StropError

if TYPE_CHECKING:
    from strop.serve.desk import Settings

TOKEN_VARIABLE = "STROP_JUDGE_TOKEN"
SHORTEST_TOKEN = 16
"""Characters; a token shorter than that can be guessed."""


def serve(address: str, settings: Settings) -> None:
    """Serve on `HOST:PORT` (port 0: any that is free; the address is printed) until SIGTERM or Ctrl-C.

    Then nothing new is let in, requests that were begun are finished, and it returns. Raises StropError when the web
    packages are missing, for an address that cannot be bound, for one that others can reach without a token, and when
    no isolation level holds.
    """
    try:
        import uvicorn

        from strop.serve.app import gated
        from strop.serve.connections import HEAD_BYTES, bounded
        from strop.serve.desk import Desk
    except ImportError as error:
        raise StropError(f"--serve needs more packages ({error.name}): pip install 'strop[web]'") from None
    listener = listen(*split_address(address), has_token=settings.token is not None)
    desk = Desk(settings)
    try:
        check_sets(settings)
        desk.open()
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
        most = allowed_connections(settings.connections)
        config = uvicorn.Config(
            gated(desk),
            http=bounded(settings.head_seconds, settings.body_seconds, most),
            backlog=max(8, most // 8),  # so many come in at once: not enough to drop one that has yet to be read
            ws="none",
            loop="asyncio",
            lifespan="off",
            h11_max_incomplete_event_size=HEAD_BYTES,
            timeout_keep_alive=int(settings.head_seconds),
            timeout_graceful_shutdown=int(settings.drain_seconds),
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"Judging on http://{shown}:{port} at isolation level {desk.isolation}", flush=True)
        # uvicorn raises the signal again once it has drained; by then it was served.
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        uvicorn.Server(config).run([listener])
    finally:
        desk.close()
        listener.close()


def check_sets(settings: Settings) -> None:
    """Raise StropError for a task that this server could not judge."""
    from strop.serve.batch import unfit

    for name, tasks in settings.tasks.items():
        for task in tasks:
            for problem in unfit(task):
                raise StropError(f"--tasks {name}: task {task.id!r}, {problem}.")


def split_address(address: str) -> tuple[str, int]:
    """`HOST:PORT`, `[V6]:PORT` or `PORT`. Raises StropError."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise StropError(f"--serve {address}: expected HOST:PORT, such as 127.0.0.1:8080.")
    return host, int(port)


def listen(host: str, port: int, *, has_token: bool) -> socket.socket:
    """A bound socket. Raises StropError where others could reach it and no token is set."""
    try:
        family, _, _, _, bound = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise StropError(f"--serve {host}:{port}: {error.strerror or error}.") from None
    if not ipaddress.ip_address(str(bound[0]).partition("%")[0]).is_loopback and not has_token:
        raise StropError(
            f"--serve {host}:{port}: other machines can reach this address, so a token is needed: set "
            f"{TOKEN_VARIABLE}, or give --token-file. Without one, listen on 127.0.0.1."
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(bound)
    except OSError as error:
        listener.close()
        raise StropError(f"--serve {host}:{port}: cannot listen there ({error.strerror}).") from None
    return listener


def read_token(file: Path | None) -> str | None:
    """The token in the file, or in the environment. Raises StropError for one that is unusable."""
    source = str(file) if file is not None else TOKEN_VARIABLE
    try:
        text = file.read_text(encoding="utf-8") if file is not None else os.environ.get(TOKEN_VARIABLE)
    except (OSError, UnicodeDecodeError) as error:
        raise StropError(f"--token-file {source}: cannot be read ({error}).") from None
    if text is None:
        return None
    token = text.strip()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise StropError(f"{source}: a token has at least {SHORTEST_TOKEN} visible ASCII characters and no space.")
    return token


def allowed_connections(wanted: int) -> int:
    """`wanted`, or what the limit on open files leaves after the judge's own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = wanted + 512
    if soft != resource.RLIM_INFINITY and soft < need:
        soft = need if hard == resource.RLIM_INFINITY else min(need, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(16, min(wanted, soft - 256))
