"""What a program may read: the standard library, the shared libraries, and the packages that were asked for.

Everything else stays outside, above all `site-packages`: benchmark packages keep their answers there.
"""

from __future__ import annotations

import os
import sys
import sysconfig

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HOME": "/tmp"}
"""Seen by packages while they are preloaded; programs start with an empty environment."""

STANDARD = (
    "bisect",
    "collections",
    "copy",
    "datetime",
    "functools",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "random",
    "re",
    "string",
    "sys",
    "time",
    "typing",
)
"""Standard modules that are warm in every zygote: those that most programs import."""

_LIBRARY_DIRS = ("/lib", "/usr/lib")


def package_paths(names: tuple[str, ...]) -> dict[str, list[str]]:
    """Files of the installed packages among `names`, found without importing them."""
    from importlib.util import find_spec

    found: dict[str, list[str]] = {}
    for name in names:
        try:
            spec = find_spec(name)
        except (ImportError, ValueError):
            continue
        if spec is None or not spec.origin:
            continue
        if spec.submodule_search_locations:
            paths = [os.path.abspath(path) for path in spec.submodule_search_locations]
            libs = f"{paths[0]}.libs"  # where wheels keep the shared libraries they bring along
            found[name] = paths + ([libs] if os.path.isdir(libs) else [])
        else:
            found[name] = [os.path.abspath(spec.origin)]
    return found


def configuration(level: str, slot: int, packages: dict[str, list[str]]) -> dict:
    """The zygote's configuration for `packages` (name -> paths, as from `package_paths`)."""
    stdlib = sorted({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
    stdlib = [path for path in stdlib if os.path.exists(os.path.join(path, "os.py"))] or [os.path.dirname(os.__file__)]
    dynamic = [path for path in sys.path if path.endswith("lib-dynload")]
    hidden = [os.path.join(path, name) for path in stdlib for name in ("site-packages", "dist-packages")]
    parts = [path for paths in packages.values() for path in paths]
    readable = [*stdlib, *dynamic, *library_paths(), *parts, "/usr/share/zoneinfo", "/etc/localtime"]
    path = [*stdlib, *dynamic, *dict.fromkeys(os.path.dirname(p) for p in parts)]
    return {
        "level": level,
        "slot": slot,
        "preload": [*STANDARD, *packages],
        "readable": list(dict.fromkeys(readable)),
        "hidden": hidden,
        "path": path,
    }


def library_paths() -> list[str]:
    """Directories of shared libraries: those this interpreter loaded from, and the system's own for the machine."""
    triplet = sysconfig.get_config_var("MULTIARCH") or ""
    paths = {"/etc/ld.so.cache"}
    for base in _LIBRARY_DIRS:
        if triplet:
            paths.add(f"{base}/{triplet}")
        paths.add(f"{base}64")
    with open("/proc/self/maps") as maps:
        for line in maps:
            name = line.split(maxsplit=5)[-1].strip()
            if name.startswith("/") and ".so" in name and "lib-dynload" not in name:
                paths.add(os.path.dirname(name))
    # A bare /lib or /usr/lib would show the distribution's Python packages; list its libraries one by one instead.
    for base in _LIBRARY_DIRS:
        if base in paths:
            paths.remove(base)
            paths.update(os.path.join(base, name) for name in os.listdir(base) if ".so" in name)
    return sorted(path for path in paths if os.path.exists(path))


def without_hidden(readable: list[str], hidden: list[str]) -> list[str]:
    """`readable` with every directory that holds a hidden one replaced by its other entries (for Landlock)."""
    flat: list[str] = []
    for path in readable:
        inside = [h for h in hidden if h.startswith(path + "/")]
        if inside and os.path.isdir(path):
            flat += [os.path.join(path, name) for name in os.listdir(path) if os.path.join(path, name) not in inside]
        else:
            flat.append(path)
    return flat
