"""Serving the page on the loopback address, and nowhere else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from strop.types import StropError

ADDRESS = "127.0.0.1"
PORT = 8640
"""Tried first when no port was named; when it is taken, any free one."""
LONGEST_HEAD = 256 * 1024
"""Bytes of a request's head: names of tasks stand in addresses, and may be long."""


def listen(port: int | None) -> socket.socket:
    """A socket on the loopback address. Raises StropError when the named port cannot be had."""
    problem = ""
    for wanted in [port] if port is not None else [PORT, 0]:
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((ADDRESS, wanted))
            found.listen(128)
            return found
        except (OSError, OverflowError) as error:
            found.close()
            problem = getattr(error, "strerror", None) or str(error)
    raise StropError(f"Port {port} of {ADDRESS} cannot be used: {problem}. Choose another with --port.")


def serve(
    folder: Path,
    port: int | None = None,
    *,
    tasks: Sequence[str] = (),
    on_ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the runs below `folder` until Ctrl-C. `on_ready` is called with the address when it answers.

    `tasks`: task files of the user's, besides the sets that Strop knows. Raises StropError when the folder, a task file
    or the port cannot be used, or the extra `web` is not installed.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise StropError("`strop view` needs the extra `web`: pip install 'strop[web]'.") from error
    from strop.tasks import load
    from strop.web import library_pages, run_pages
    from strop.web.app import create_app
    from strop.web.site import Site, compile_templates

    site = Site(folder, own_tasks={spec: load(spec, split="all") for spec in tasks})
    app = create_app(site)
    compile_templates()
    # Beside the first answers: what a person will look at first, and what costs most to make.
    threading.Thread(target=lambda: (run_pages.warm(site), library_pages.warm(site)), daemon=True).start()
    with listen(port) as door:
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, ws="none",
            h11_max_incomplete_event_size=LONGEST_HEAD, http="h11", lifespan="on", timeout_graceful_shutdown=3,
        )  # fmt: skip
        on_ready(f"http://{ADDRESS}:{door.getsockname()[1]}/")
        with suppress(KeyboardInterrupt):  # which is how it is meant to end
            uvicorn.Server(config).run(sockets=[door])
