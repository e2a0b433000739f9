"""What there is: the task sets known by name, and how large they are where their data is at hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

from strop.tasks.loading import data_path, load
from strop.types import StropError

ABOUT = {
    "basics": "first-weeks Python, written for Strop; splits by concept",
    "humaneval": "HumanEval, 164 functions (Chen et al. 2021)",
    "humaneval-examples": "HumanEval; every docstring example is a visible check",
    "mbpp": "MBPP, short functions (Austin et al. 2021); default split: test",
    "mbpp-challenge": "MBPP with its challenge tests",
    "apps": "APPS, contest problems (Hendrycks et al. 2021); default split: test",
}


def catalogue() -> list[dict[str, Any]]:
    """One entry a set: `name`, `about`, `tasks` (None when the data is not here), `splits`, `missing` (how to get it).

    Never asks the network.
    """
    entries = []
    for name, about in ABOUT.items():
        variable = {"mbpp": "STROP_MBPP", "apps": "STROP_APPS"}.get(name.partition("-")[0])
        splits: dict[str, int] = {}
        missing = ""
        try:
            if variable is None or data_path(variable) is not None:
                splits = dict(Counter(task.split for task in load(name, split="all")))
            else:
                missing = f"not here: set {variable} to a file, or let `datasets` fetch it"
        except StropError as error:
            missing = " ".join(str(error).split())[:200]
        size = sum(splits.values()) or None
        entries.append({"name": name, "about": about, "tasks": size, "splits": splits, "missing": missing})
    return entries
