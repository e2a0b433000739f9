"""The judge worker's end of a box: starting it, giving it a program's files, and running its commands."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from strop.judge import nursery
from strop.judge.bounds import Bounds
from strop.judge.languages import LEVELS
from strop.judge.languages.language import Command, Toolchain
from strop.judge.nursery import Zygote, ZygoteGone
from strop.judge.sandbox import layout
from strop.judge.sandbox.zygote import INT

_START = nursery._START.replace("strop.judge.sandbox.zygote", "strop.judge.languages.box")
_PROBE = Command(argv=("probe",)).as_dict()


class Launcher(Zygote):
    """A running box for one language at `level`. Raises ZygoteGone when that cannot be had.

    It does what a zygote does; `command` names what `fork` starts next.
    """

    def __init__(self, level: str, slot: int, toolchain: Toolchain, waited: Callable[[int], float]) -> None:
        self.command = ""
        self.toolchain = toolchain
        if level not in LEVELS:
            raise ZygoteGone(f"level {level} has no private directories and process namespaces")
        config = {
            "level": level,
            "slot": slot,
            "readable": ["/etc/alternatives", *layout.library_paths(), "/usr/lib/locale/C.utf8", *toolchain.readable],
            "hidden": [path for path in toolchain.hidden if os.path.isdir(path)],
            "commands": {name: command.as_dict() for name, command in toolchain.commands.items()}
            | {"probe": _PROBE, "probe family": _PROBE | {"family": True}},
            "environment": toolchain.environment,
            "secret": __file__,
        }
        self._begin(_START, config, {"PYTHONHASHSEED": "0", **layout.ENVIRONMENT}, waited)

    def renew(self, files: Mapping[str, str]) -> None:
        """Throw away what the last program left, and take the files of a new one. Raises ZygoteGone."""
        data = json.dumps(files).encode()
        self.reset_streams(data)
        self.ask(b"N")
        if self.hear() != b"N":
            raise ZygoteGone("the box did not take the program's files")

    def _fork(self, bounds: Bounds) -> Any:
        ours, theirs = nursery._socketpair()
        request = {
            "command": self.command,
            "cpu": bounds.cpu_seconds,
            "memory": bounds.memory,
            "output": bounds.output,
        }
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, INT.pack(theirs.fileno()))]
            self.channel.sendmsg([b"F" + json.dumps(request).encode()], rights)
        except OSError as error:
            ours.close()
            raise ZygoteGone(f"the box is gone: {error}") from None
        finally:
            theirs.close()
        return ours
