"""`manifest.json`: what was asked, with which versions and on which machine. Written once, compared on every resume."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from strop.run.rows import plain
from strop.run.secrets import Secrets
from strop.run.store import SCHEMA_VERSION
from strop.types import StropError

_PACKAGES = (
    "strop",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "gguf",
    "vllm",
    "numpy",
    "scipy",
)


def make_manifest(
    command: str, config: Mapping[str, Any], inputs: Mapping[str, Any], secrets: Secrets
) -> dict[str, Any]:
    """The manifest of a new run. Raises TypeError when config or inputs hold anything but plain data."""
    # Through JSON and back, so that a fresh manifest equals the same one read from disk.
    config, inputs = json.loads(json.dumps([secrets.hide(plain(config)), secrets.hide(plain(inputs))]))
    return {
        "format": SCHEMA_VERSION,
        "command": secrets.hide(command),
        "config": config,
        "inputs": inputs,
        "seeds": {key: value for key, value in _flat(config) if "seed" in key.rsplit(".", 1)[-1].lower()},
        "versions": versions(),
        "machine": machine(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Python and the installed packages that can change a result. Reads metadata only; imports none of them."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Platform, and the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"platform": platform.platform(), "processor": platform.machine(), "cores": cores}


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a run folder's manifest. Raises StropError when it is missing, damaged, foreign or from a newer Strop."""
    file = path / "manifest.json"
    if not path.exists():
        raise StropError(f"{path} does not exist; give the folder of a run, as named with --out when it was started.")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StropError(f"{path} is not the folder of a run: it holds no manifest.json.") from error
    except OSError as error:
        raise StropError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise StropError(f"{file} is damaged: {error}. Restore it from a copy, or start anew with --fresh.") from error
    if not isinstance(data, dict) or not isinstance(data.get("format"), int):
        raise StropError(
            f"{file} was not written by Strop (it has no 'format' number); choose another folder with --out."
        )
    if data["format"] > SCHEMA_VERSION:
        raise StropError(
            f"{file} was written by a newer Strop (format {data['format']}; this one reads up to {SCHEMA_VERSION}). "
            f"Upgrade Strop{_by(data)}."
        )
    for field, kind in (("command", str), ("config", dict), ("inputs", dict), ("versions", dict)):
        if not isinstance(data.get(field), kind):
            raise StropError(f"{file}: field '{field}' is missing or not a {kind.__name__}; restore it from a copy.")
    return data


def _by(data: dict[str, Any]) -> str:
    versions = data.get("versions")
    return f" to {versions['strop']} or later" if isinstance(versions, dict) and "strop" in versions else ""


def check_same(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise StropError naming every key in which the run on disk differs from the run now asked for."""
    lines = []
    if verb(old["command"]) != verb(new["command"]):
        lines.append(f"command was {verb(old['command'])}, now {verb(new['command'])}")
    for part in ("config", "inputs"):
        before, now = dict(_flat(old[part])), dict(_flat(new[part]))
        for key in sorted(before.keys() | now.keys()):
            was, is_now = _show(before, key), _show(now, key)
            if was != is_now:
                lines.append(f"{key if part == 'config' else part + '.' + key} was {was}, now {is_now}")
    if lines:
        raise StropError(
            f"{path} holds a run of something else: {'; '.join(lines)}. Resume it with the same arguments, choose "
            "another folder with --out, or set this one aside and begin anew with --fresh."
        )


def verb(command: str) -> str:
    """`eval` of `strop eval --model ...`, and of `eval`."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    names = [Path(word).name for word in words]
    for launcher in (["-m", "strop"], ["strop"]):
        for start in range(len(names) - len(launcher)):
            if names[start : start + len(launcher)] == launcher:
                return names[start + len(launcher)]
    return names[0] if names else ""


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _show(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], sort_keys=True, ensure_ascii=False) if key in values else "not set"
