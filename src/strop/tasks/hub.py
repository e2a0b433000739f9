"""MBPP and APPS by name: from a file the user keeps, or from the Hugging Face hub through the package `datasets`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strop.tasks.formats import read_file, read_row
from strop.tasks.loading import data_path
from strop.tasks.reading import Defect, Row
from strop.types import StropError, Task

_VARIABLES = {"mbpp": "STROP_MBPP", "apps": "STROP_APPS"}
_HUB = {"mbpp": "google-research-datasets/mbpp", "apps": "codeparrot/apps"}


def read_benchmark(name: str) -> Iterator[Task | Defect]:
    """Tasks of `mbpp`, `mbpp-challenge` or `apps`: the file in `STROP_MBPP` or `STROP_APPS` first, else the hub."""
    base = name.partition("-")[0]
    path = data_path(_VARIABLES[base])
    items = _from_path(path, base) if path else _from_hub(base)
    if name == "mbpp-challenge":
        from strop.tasks.mbpp import with_challenge

        items = (with_challenge(item) if isinstance(item, Task) else item for item in items)
    yield from items


def _from_path(path: Path, base: str) -> Iterator[Task | Defect]:
    """A file, or a folder with one file a split (`train.jsonl`, `test.jsonl`), as on the hub."""
    if not path.is_dir():
        yield from read_file(path, base)
        return
    files = sorted(item for item in path.iterdir() if ".json" in item.suffixes)
    if not files:
        raise StropError(f"{_VARIABLES[base]} names {str(path)!r}, a folder without .json or .jsonl files")
    for file in files:
        yield from read_file(file, base)


def _from_hub(base: str) -> Iterator[Task | Defect]:
    remedy = f"Name a file instead: `{base}:FILE.jsonl`, or set {_VARIABLES[base]} to one."
    try:
        import datasets
    except ImportError:
        raise StropError(
            f"The {base} tasks are not part of Strop, and the package `datasets` that would fetch them "
            f"(`pip install strop[train]`) is not installed. {remedy}"
        ) from None
    try:
        if base == "mbpp":
            loaded: Any = datasets.load_dataset(_HUB[base], "full")
        else:
            names = {split: f"hf://datasets/{_HUB[base]}/{split}.jsonl" for split in ("train", "test")}
            loaded = datasets.load_dataset("json", data_files=names)
    except Exception as error:  # the hub client raises many kinds: no network, gone, gated, damaged cache
        reason = " ".join(str(error).split())[:300]
        raise StropError(f"{_HUB[base]} could not be fetched ({type(error).__name__}: {reason}). {remedy}") from None
    for split, rows in loaded.items():
        for number, row in enumerate(rows, 1):
            # Through JSON, so that hub rows meet the same rules as lines of a file.
            yield from read_row(Row(number, json.loads(json.dumps(row, default=str))), f"{_HUB[base]}:{split}", base)
