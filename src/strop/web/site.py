"""What every page shares: the runs folder, templates, addresses, and figures kept while a run stays the same."""

from __future__ import annotations

import hashlib
import os
import random
import re
import secrets
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

from strop.papers.results import results_folder
from strop.report import charts, html
from strop.report.data import STATUS_ORDER, STATUS_WORDS
from strop.report.text import excerpt, visible
from strop.run import Run, browse
from strop.types import StropError, Task
from strop.web.pairs import Pairs
from strop.web.play import Stage

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.responses import Response

T = TypeVar("T")
PAGE = 50
"""Rows of a list on one page."""
DEPTH = 4
"""Levels of folders below the runs folder in which runs are looked for."""
MOST_RUNS = 5_000
FILES = ("manifest.json", "run.sqlite", "run.sqlite-wal", "run.sqlite-shm", "run.lock", "report.json", "search.json",
         "arena.sqlite", "arena.sqlite-journal")  # fmt: skip
"""Everything that is opened in a run's folder."""
MOST_START = 10**9


class NotThere(Exception):
    """What an address names does not exist."""


class Site:
    """One served folder. Safe for several threads."""

    def __init__(
        self,
        root: Path,
        *,
        own_tasks: Mapping[str, list[Task]] | None = None,
        results: Path | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`own_tasks`: the user's task sets by the name of their file. `results`: where results files of papers lie.

        Raises StropError when `root` is not a folder.
        """
        if not root.is_dir():
            raise StropError(f"{root} is not a folder; give the folder that holds your runs.")
        self.root = root.resolve()
        self.own_tasks = dict(own_tasks or {})
        self.results = results or results_folder()
        self.token = secrets.token_urlsafe(24)
        self.random = rng or random.SystemRandom()
        self.stage, self.pairs = Stage(), Pairs()
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    # ---- answers

    def page(self, template: str, http_status: int = 200, **values: Any) -> Response:
        """A page from one of the templates; every value is made visible and escaped there."""
        from starlette.responses import HTMLResponse

        values = {"here": "", "live": "", "token": self.token, **values}
        return HTMLResponse(_environment().get_template(template).render(values), http_status)

    # ---- runs

    def run_names(self) -> list[str]:
        """Every folder that holds a run, newest first, as a path from the runs folder; `.` for that folder itself."""
        found: list[tuple[float, str]] = []
        folders = [(self.root, ".", 0)]
        while folders and len(found) < MOST_RUNS:
            folder, name, depth = folders.pop()
            try:
                entries = list(os.scandir(folder))
            except OSError:
                continue
            names = {entry.name for entry in entries}
            if names & {"manifest.json", "run.sqlite"}:
                found.append((_changed(folder), name))
                continue
            if depth < DEPTH:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                        below = entry.name if name == "." else f"{name}/{entry.name}"
                        folders.append((Path(entry.path), below, depth + 1))
        return [name for _, name in sorted(found, key=lambda pair: (-pair[0], pair[1]))]

    def folder(self, name: str) -> Path:
        """The folder of a run. Raises NotThere for a name that leads out of the runs folder, or to no run."""
        parts = name.split("/")
        outside = any(not part or part in (".", "..") or "\0" in part for part in parts) and name != "."
        try:
            if not outside:
                path = self.root if name == "." else self.root.joinpath(*parts)
                real = path.resolve(strict=True)
                if real.is_relative_to(self.root) and any(
                    (path / file).is_file() for file in ("manifest.json", "run.sqlite")
                ):
                    _check_plain(path, name)
                    return path
        except (OSError, ValueError, RuntimeError):
            pass
        raise NotThere(f"There is no run '{excerpt(name, 200)}' in the folder that is served.")

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """`make()`, remembered under `key` among the last few."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > 24:
                self._kept.popitem(last=False)
        return made

    def records(self, name: str, run: Run) -> dict[str, dict[str, Any]]:
        """Task records that the run keeps, by id; read once, since the first ones stay."""
        file = self.folder(name) / "manifest.json"
        key = ("records", name, file.stat().st_mtime_ns, file.stat().st_ino)
        with self._lock:
            if key in self._kept:
                return self._kept[key]
        found = run.result("tasks")
        if not isinstance(found, dict):
            return {}  # not written yet, perhaps: ask again next time
        return self.kept(key, lambda: {task: _record(record) for task, record in found.items()})

    def tally(self, name: str, run: Run) -> browse.Tally:
        """How the run's samples ended; counted again when the database changed."""
        return self.kept(("tally", name, browse.signature(self.folder(name))), lambda: browse.tally(run))


@dataclass(frozen=True, slots=True)
class About:
    """What a run's manifest says, as text: manifests can be damaged, or somebody else's."""

    name: str
    verb: str
    model: str
    tasks: str
    created: str
    command: str
    facts: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        return f"{self.model} on {self.tasks}"


def about(name: str, manifest: Mapping[str, Any]) -> About:
    """The readable form of a manifest, whatever its fields hold."""
    from strop.run.manifest import verb

    config = _mapping(manifest.get("config"))
    rows: list[tuple[str, Any]] = [("Run", name)]
    rows += [(str(key).replace("_", " "), value) for key, value in config.items()]
    rows += [(str(key).replace("_", " "), value) for key, value in _mapping(manifest.get("inputs")).items()]
    for field in ("versions", "machine"):
        pairs = ", ".join(f"{key} {value}" for key, value in _mapping(manifest.get(field)).items())
        rows.append((field, pairs))
    command = str(manifest.get("command", ""))
    return About(
        name=name,
        verb=verb(command) or "run",
        model=str(config.get("model", "model")),
        tasks=str(config.get("tasks", "tasks")),
        created=_when(manifest.get("created")),
        command=command,
        facts=tuple((key, excerpt(str(value), 400)) for key, value in rows if value not in (None, "", [], {})),
    )


def _record(record: Any) -> dict[str, Any]:
    """The fields of a task record that pages use, with the types that they count on."""
    record = _mapping(record)
    tags = record.get("tags")
    return {name: str(record.get(name, "")) for name in ("prompt", "split", "stub")} | {
        "tags": [str(tag) for tag in tags] if isinstance(tags, list) else []
    }


def texts(data: Any, name: str) -> list[str]:
    """The list of texts that a JSON file of a run has under `name`; empty when it has none."""
    value = _mapping(data).get(name)
    return [str(item) for item in value] if isinstance(value, list) else []


def _when(value: Any) -> str:
    try:
        return datetime.fromisoformat(value).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (TypeError, ValueError, OverflowError):
        return "at an unknown time"


def _check_plain(folder: Path, name: str) -> None:
    """Raise NotThere when a file of a run is a link, a pipe or a device: a run folder from elsewhere must not choose
    what is read or written here."""
    for file in FILES:
        try:
            mode = os.lstat(folder / file).st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(mode):
            raise NotThere(f"The run '{excerpt(name, 200)}' is not shown: {file} in it is not a plain file.")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _changed(folder: Path) -> float:
    times = []
    for name in ("manifest.json", "run.sqlite", "run.sqlite-wal"):
        try:
            times.append((folder / name).stat().st_mtime)
        except OSError:
            continue
    return max(times, default=0.0)


# ---- addresses ---------------------------------------------------------------------------------


def url(path: str, **query: Any) -> str:
    """An address of this site; names go into the query, where any text is safe. None leaves a part out."""
    given = {name.rstrip("_"): str(value) for name, value in query.items() if value is not None and value != ""}
    return path + ("?" + urlencode(given, quote_via=quote, safe="", errors="surrogatepass") if given else "")


def number_of(query: QueryParams, name: str) -> int:
    """A whole number of at least 0 from the query; anything else is 0."""
    text = query.get(name, "")
    return min(int(text), MOST_START) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def pages(path: str, total: int, start: int, **query: Any) -> dict[str, Any]:
    """What the list's foot needs: first and last row, total, and the addresses of the pages beside it."""
    return {
        "first": min(start + 1, total),
        "last": min(start + PAGE, total),
        "total": total,
        "before": url(path, **query, start=max(start - PAGE, 0) or None) if start else None,
        "after": url(path, **query, start=start + PAGE) if start + PAGE < total else None,
    }


# ---- looks -------------------------------------------------------------------------------------


@cache
def _environment() -> Any:
    made = html.environment("strop.web")
    made.globals.update(
        charts=charts,
        url=url,
        excerpt=excerpt,
        broken=_broken,
        duration=html.duration,
        status_words={**STATUS_WORDS, browse.UNJUDGED: "not judged"},
        used_statuses=STATUS_ORDER,
        style_url=url("/strop.css", v=_version(style_sheet())),
        script_url=url("/strop.js", v=_version(script())),
    )
    return made


def _broken(name: str, most: int) -> Markup:
    """A name that may be broken where its words end, and not within them."""
    return Markup(re.sub(r"([/_.:-]+)", r"\1<wbr>", str(escape(visible(excerpt(name, most))))))


def compile_templates() -> None:
    """Compile every template, so that no first page waits for it."""
    for name in _environment().list_templates(extensions=["j2"]):
        _environment().get_template(name)


@cache
def style_sheet() -> str:
    """The reports' style sheets, and what only this site needs."""
    return html.asset("report.css") + html.asset("search.css") + _own("view.css")


@cache
def script() -> str:
    """The reports' scripts, and what only this site needs."""
    return html.asset("report.js") + html.asset("search.js") + _own("view.js")


def _own(name: str) -> str:
    return files("strop.web").joinpath("static", name).read_text(encoding="utf-8")


def _version(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
