"""Harbor task folders: `task.toml`, `instruction.md`, `tests/test.sh`, mostly also `environment/` and `solution/`.

Harbor runs an agent in a container and reads its verdict from `/logs/verifier/reward.txt`. Strop reads such a folder
unchanged where no container is needed: a plain Linux or Python base image, files copied in, nothing installed. All
other folders are refused, with the file and line that needs the container.

The task's one check is a hidden `GoalCheck` that carries the verifier's files as text, so the task stands alone:
`{"kind": "harbor", "workdir": "/app", "files": {"notes.txt": ...}, "tests": {"test.sh": ...}, "seconds": 120.0}`.
An environment places `files` in `workdir` before the agent starts, `tests` in `/tests` after it ended, runs
`bash /tests/test.sh` and reads the reward. From memory: the meaning of the keys in `task.toml`.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from strop.tasks.reading import Defect
from strop.types import GoalCheck, Limits, Task

MAX_FILE_BYTES = 8 * 2**20
_PLAIN_IMAGE = re.compile(
    r"(?:docker\.io/|library/)*(?:python:3|python$|ubuntu|debian|alpine|bash|busybox)", re.IGNORECASE
)
_HARMLESS = {"ENV", "LABEL", "ARG", "MAINTAINER", "CMD", "ENTRYPOINT", "SHELL", "STOPSIGNAL"}
_INSTALLS = re.compile(r"\b(apt-get|apt|apk|yum|dnf|pip3?|uv|uvx|npm|curl|wget|docker|conda)\b")


class _NeedsContainer(Exception):
    """File, line and reason."""


def read_harbor(path: Path) -> Iterator[Task | Defect]:
    """The task in a Harbor folder, or the defects that keep Strop from running it."""
    try:
        yield _task(path)
    except _NeedsContainer as error:
        file, line, reason = error.args
        yield Defect(
            str(path / file), line, None, f"{reason}, so this task needs a container, which Strop does not run"
        )
    except tomllib.TOMLDecodeError as error:
        yield Defect(str(path / "task.toml"), None, None, f"not valid TOML: {error}")
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        yield Defect(str(path), None, None, f"cannot be read: {error}")


def _task(path: Path) -> Task:
    for name in ("task.toml", "instruction.md", "tests/test.sh"):
        if not (path / name).is_file():
            raise ValueError(f"{name} is missing; a Harbor task needs task.toml, instruction.md and tests/test.sh")
    config = tomllib.loads((path / "task.toml").read_text(encoding="utf-8"))
    environment, verifier, metadata = (_table(config, key) for key in ("environment", "verifier", "metadata"))
    if environment.get("docker_image"):
        raise _NeedsContainer("task.toml", None, f"environment.docker_image is {environment['docker_image']!r}")
    if environment.get("gpus"):
        raise _NeedsContainer("task.toml", None, "environment.gpus asks for a GPU")
    for name in ("docker-compose.yaml", "docker-compose.yml"):
        if (path / "environment" / name).exists():
            raise _NeedsContainer(f"environment/{name}", None, "the environment has several services")
    workdir, files = _image(path)
    tests = _texts(path / "tests")
    for name, text in tests.items():
        for number, line in enumerate(text.split("\n"), 1):
            if name.endswith(".sh") and (match := _INSTALLS.search(line.partition("#")[0])):
                raise _NeedsContainer(f"tests/{name}", number, f"the verifier installs or fetches ({match[1]})")
    solution = path / "solution" / "solve.sh"
    seconds, memory = verifier.get("timeout_sec"), environment.get("memory_mb")
    tags = metadata.get("tags")
    return Task(
        id=path.resolve().name,
        prompt=(path / "instruction.md").read_text(encoding="utf-8"),
        checks=(GoalCheck(goal=_goal(workdir, files, tests, seconds), name="tests/test.sh"),),
        language="bash",
        reference=solution.read_text(encoding="utf-8") if solution.is_file() else None,
        tags=tuple(map(str, tags)) if isinstance(tags, list) else (),
        source="Harbor",
        limits=Limits(
            wall_seconds=float(seconds) if isinstance(seconds, int | float) else None,
            memory_mb=memory if isinstance(memory, int) else None,
        ),
    )


def _goal(workdir: str, files: dict[str, str], tests: dict[str, str], seconds: Any) -> dict[str, Any]:
    goal: dict[str, Any] = {"kind": "harbor", "workdir": workdir, "files": files, "tests": tests}
    return goal | ({"seconds": float(seconds)} if isinstance(seconds, int | float) else {})


def _table(config: dict[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"task.toml: {key} must be a table")
    return value


def _image(path: Path) -> tuple[str, dict[str, str]]:
    """Working directory and the files in it, from a Dockerfile that does no more than place files."""
    dockerfile = path / "environment" / "Dockerfile"
    workdir, files = "/app", {}
    if not dockerfile.is_file():
        return workdir, files
    text = re.sub(r"\\\n", "  ", dockerfile.read_text(encoding="utf-8"))
    for number, line in enumerate(text.split("\n"), 1):
        word, _, rest = line.strip().partition(" ")
        word, rest = word.upper(), rest.strip()
        if not word or word.startswith("#") or word in _HARMLESS:
            continue
        if word == "FROM" and _PLAIN_IMAGE.match(rest):
            continue
        if word == "WORKDIR":
            workdir = rest.rstrip("/") or "/"
            continue
        if word not in ("COPY", "ADD"):
            raise _NeedsContainer("environment/Dockerfile", number, f"the image is built with `{line.strip()[:80]}`")
        *sources, target = [part for part in shlex.split(rest) if not part.startswith("--")] or [""]
        for source in sources:
            files |= _copied(path / "environment", source, target, len(sources), workdir, number)
    return workdir, files


def _copied(root: Path, source: str, target: str, count: int, workdir: str, number: int) -> dict[str, str]:
    """Files of one COPY source by their path below the working directory."""
    origin = (root / source.lstrip("/")).resolve()
    place = PurePosixPath(workdir) / target
    if not origin.is_relative_to(root.resolve()) or not origin.exists():
        raise _NeedsContainer("environment/Dockerfile", number, f"{source!r} is not in the environment folder")
    into_folder = target.endswith(("/", ".")) or count > 1
    if origin.is_file():
        placed = {str(place / origin.name if into_folder else place): _text(origin)}
    else:
        placed = {str(place / name): text for name, text in _texts(origin).items()}
    prefix = workdir.rstrip("/") + "/"
    for name in placed:
        if not name.startswith(prefix) or ".." in PurePosixPath(name).parts:
            raise _NeedsContainer("environment/Dockerfile", number, f"{name!r} lies outside the working directory")
    return {name.removeprefix(prefix): text for name, text in placed.items()}


def _texts(folder: Path) -> dict[str, str]:
    files = sorted(item for item in folder.rglob("*") if item.is_file() and item.name != "Dockerfile")
    return {str(item.relative_to(folder)): _text(item) for item in files}


def _text(path: Path) -> str:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not text; Strop carries the files of a task as text") from None
