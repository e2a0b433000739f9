"""Python in a box, for the drivers of languages that live inside it (SQL, Klong)."""

from __future__ import annotations

import glob
import os
import sys
from dataclasses import replace

from strop.judge.languages.language import Command, MissingTool, Toolchain
from strop.judge.sandbox import layout


def toolchain(driver: str, packages: tuple[str, ...] = (), **limits: object) -> Toolchain:
    """An interpreter that runs `/box/<driver>` with `main` or `call` as its argument.

    packages: what it may import; the first must be there. Raises MissingTool.
    """
    found = layout.package_paths(packages)
    if packages and packages[0] not in found:
        raise MissingTool(f"the Python package {packages[0]} is not installed")
    if hidden := [path for paths in found.values() for path in paths if path.startswith("/tmp/")]:
        raise MissingTool(f"{hidden[0]} lies in /tmp, where programs see an empty folder of their own")
    for name in list(found):  # some packages look up their own version
        found[name] += glob.glob(os.path.join(os.path.dirname(found[name][0]), f"{name}-*.dist-info"))
    known = layout.configuration("userns", 0, found)
    executable = os.path.realpath(sys.executable)
    main = Command(
        argv=(executable, "-I", "-S", "-B", "-X", "utf8", f"/box/{driver}", "main"),
        stack=8 << 20,
        more_memory_mb=128,
        more_seconds=0.5,
    )
    main = replace(main, **limits)  # type: ignore[arg-type]
    call = replace(main, argv=(*main.argv[:-1], "call"), channel="socket")
    return Toolchain(
        commands={"main": main, "call": call},
        readable=(executable, *known["readable"]),
        hidden=tuple(known["hidden"]),
        environment={"PYTHONHOME": sys.base_prefix, "HOME": "/tmp", "STROP_PATH": os.pathsep.join(known["path"])}
        | layout.ENVIRONMENT,
    )
