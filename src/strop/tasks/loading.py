"""From a name or a path to tasks: `load` and the filters it applies."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from strop.tasks.formats import FORMATS, detect, read_file
from strop.tasks.reading import Defect, Row, raise_defects, read_rows
from strop.types import StropError, Task

SETS = ("basics", "humaneval", "humaneval-examples", "mbpp", "mbpp-challenge", "apps")
"""Task sets known by name."""

DEFAULT_SPLITS = {"mbpp": "test", "mbpp-challenge": "test", "apps": "test"}
"""Sets whose published scores are over one split use that split unless another, or `all`, is named."""

SPLIT_ALIASES = {"near": "held-out-near", "far": "held-out-far"}


def load(
    spec: str,
    *,
    split: str | None = None,
    tags: Sequence[str] = (),
    ids: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
) -> list[Task]:
    """The tasks that `spec` names, filtered, in the order of the set.

    `spec` is one of
    - a set, one of `SETS`;
    - a file: JSON Lines or a JSON list, `.gz` or not, in Strop's, HumanEval's, MBPP's or the APPS/CodeContests/
      LiveCodeBench format, recognised by its fields; `humaneval:FILE` (or `mbpp:`, `apps:`, `strop:`) overrides that;
    - a `.toml` concept file or a folder of them (`strop.tasks.concepts`), or a Harbor task folder;
    and may end in `:split`.

    `split` is a split's name or `all`; `near` and `far` stand for `held-out-near` and `held-out-far`. Default: all,
    but `test` for MBPP and APPS. `tags` keeps tasks with at least one of them, `ids` keeps the named ones.

    `limit` keeps the tasks with the smallest SHA-256 of `seed` and id: a spread over the whole set that is the same
    everywhere, and `limit=10` is a part of `limit=20`.

    Raises StropError for an unknown set, split, tag or id (naming the known ones), for every defect of the file (with
    file, line and field), and when nothing is left.
    """
    if limit is not None and limit < 1:
        raise StropError(f"limit must be at least 1, not {limit}")
    source, named_split = resolve(spec)
    if split is not None and named_split is not None and split != named_split:
        raise StropError(f"`{spec}` names the split {named_split!r}, but the split {split!r} was asked for")
    tasks, defects = read_everything(spec)
    raise_defects(defects)
    wanted = split or named_split or DEFAULT_SPLITS.get(source)
    return select(tasks, spec, split=wanted, tags=tags, ids=ids, limit=limit, seed=seed)


def read_everything(spec: str) -> tuple[list[Task], list[Defect]]:
    """The good tasks of all splits, and everything wrong with the file, in the order of its lines."""
    tasks: list[Task] = []
    defects: list[Defect] = []
    for item in read_source(resolve(spec)[0]):
        if isinstance(item, Defect):
            defects.append(item)
        else:
            tasks.append(item)
    return tasks, sorted(defects, key=lambda defect: (defect.file, defect.line or 0))


def find_defects(spec: str) -> list[Defect]:
    """Everything wrong with a task file, not only the first thing."""
    return read_everything(spec)[1]


def resolve(spec: str) -> tuple[str, str | None]:
    """What to read and the split named in `spec`: `mbpp:train` -> (`mbpp`, `train`), `a.jsonl` -> (`a.jsonl`, None)."""
    if "\0" in spec or not spec.strip():
        raise StropError(f"{spec!r} is not the name of a task set or file")
    if _readable(spec):
        return spec, None
    source, _, split = spec.rpartition(":")
    looks_like_path = "/" in split or "." in split
    if _readable(source) and not looks_like_path:
        return source, split
    prefix, _, path = spec.partition(":")
    if prefix in FORMATS and path:
        raise StropError(f"{spec}: there is no file {path!r}")
    guess = difflib.get_close_matches(prefix, SETS, 1)
    hint = f" Did you mean `{guess[0]}`?" if guess else ""
    raise StropError(f"{spec}: neither a file nor a known task set (known: {', '.join(SETS)}).{hint}")


def _readable(source: str) -> bool:
    """True for a set, an existing path, and `FORMAT:PATH` with an existing path."""
    prefix, _, path = source.partition(":")
    try:
        return source in SETS or bool(source and Path(source).exists()) or (prefix in FORMATS and Path(path).is_file())
    except OSError:  # a name too long for the file system
        return False


def format_of(spec: str) -> str:
    """What `load` takes `spec` for, in words: `task set humaneval`, `file in mbpp format`, ..."""
    source, _ = resolve(spec)
    if source in SETS:
        return f"task set {source}"
    prefix, colon, _ = source.partition(":")
    if colon and prefix in FORMATS and not Path(source).exists():
        return f"file in {prefix} format, as asked"
    path = Path(source)
    if path.is_dir():
        return "Harbor task folder" if _is_harbor(path) else "folder of concept files"
    if path.suffix == ".toml":
        return "concept file"
    first = next((row for row in read_rows(path) if isinstance(row, Row)), None)
    form = detect(first.data) if first else None
    return f"file in {form} format, by its fields" if form else "file in no known format"


def read_source(source: str) -> Iterator[Task | Defect]:
    """Tasks and defects of what `resolve` found."""
    from strop.tasks.concepts import BASICS, load_concepts

    if source == "basics":
        yield from load_concepts(BASICS, "basics")
    elif source.startswith("humaneval") and source in SETS:
        from strop.tasks.humaneval import read_packaged

        yield from read_packaged(all_examples=source == "humaneval-examples")
    elif source in SETS:
        from strop.tasks.hub import read_benchmark

        yield from read_benchmark(source)
    else:
        prefix, colon, path = source.partition(":")
        form = prefix if colon and prefix in FORMATS and not Path(source).exists() else None
        yield from _read_path(Path(path if form else source), form)


def _is_harbor(path: Path) -> bool:
    return (path / "task.toml").exists() or (path / "instruction.md").exists()


def _read_path(path: Path, form: str | None) -> Iterator[Task | Defect]:
    if path.is_dir():
        if _is_harbor(path):
            from strop.tasks.harbor import read_harbor

            yield from read_harbor(path)
            return
        from strop.tasks.concepts import load_concepts

        yield from load_concepts(path, path.resolve().name)
    elif path.suffix == ".toml":
        from strop.tasks.concepts import load_concepts

        yield from load_concepts(path, path.stem)
    else:
        yield from read_file(path, form)


def select(
    tasks: list[Task],
    spec: str,
    *,
    split: str | None = None,
    tags: Sequence[str] = (),
    ids: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
) -> list[Task]:
    """The filters of `load`, for tasks that are already in memory; `spec` is named in errors."""
    if isinstance(tags, str) or isinstance(ids, str):
        raise StropError("tags and ids are lists of texts, not one text")
    if split is not None and split != "all":
        known = {task.split for task in tasks}
        split = split if split in known else SPLIT_ALIASES.get(split, split)
        _must_know(spec, "split", [split], known)
        tasks = [task for task in tasks if task.split == split]
    if tags:
        _must_know(spec, "tag", tags, {tag for task in tasks for tag in task.tags})
        tasks = [task for task in tasks if set(tags) & set(task.tags)]
    if ids:
        _must_know(spec, "id", ids, [task.id for task in tasks])
        tasks = [task for task in tasks if task.id in set(ids)]
    if not tasks:
        raise StropError(f"{spec}: no task is left after the filters")
    if limit is not None and limit < len(tasks):
        keys = {
            task.id: hashlib.sha256(f"{seed}\x1f{task.id}".encode("utf-8", "surrogatepass")).digest() for task in tasks
        }
        kept = set(sorted(keys, key=keys.__getitem__)[:limit])
        tasks = [task for task in tasks if task.id in kept]
    return tasks


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{name}".encode("utf-8", "surrogatepass")).digest()


def _must_know(spec: str, what: str, wanted: Sequence[str], known: Iterable[str]) -> None:
    names = sorted(set(known))
    for name in wanted:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            shown = ", ".join(names[:40]) + (f", ... ({len(names)} in all)" if len(names) > 40 else "")
            raise StropError(f"{spec}: no {what} {name!r} (known: {shown or 'none'}).{hint}")


def data_path(variable: str) -> Path | None:
    """The file that an environment variable names, or None when it is not set. Raises StropError when it is missing."""
    value = os.environ.get(variable)
    if not value:
        return None
    if not Path(value).exists():
        raise StropError(f"{variable} names {value!r}, which does not exist")
    return Path(value)
