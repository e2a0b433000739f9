"""Look at runs, samples, search trees, papers and tasks in the browser, and vote on programs side by side.

Serves RUNS_FOLDER on 127.0.0.1 until Ctrl-C. Nothing is sent anywhere, and nothing in the folder is changed but the
votes (arena.sqlite in a run's folder).
"""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer


def view(
    folder: Annotated[Path, typer.Argument(metavar="RUNS_FOLDER", help="Holds runs, or is one.")] = Path("runs"),
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", "-t", metavar="TASKS", help="Show this task file too, for its runs; repeatable."),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port; default: 8640, or a free one if taken.")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    from strop.web.server import serve

    def ready(address: str) -> None:
        typer.echo(f"{folder} is shown at {address} (Ctrl-C ends it)")
        if not no_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    serve(folder, port, tasks=tasks or (), on_ready=ready)
