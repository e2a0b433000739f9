"""Reward for predicting what a program prints, errors included (CodeBoost, Wang et al. 2025, arXiv 2508.05242)."""

from __future__ import annotations

import re
from collections import Counter

from strop.rewards.core import Case, Rule
from strop.types import Reward, StropError

_BLOCK = {name: re.compile(rf"<{name}>(.*?)</{name}>", re.DOTALL) for name in ("stdout", "stderr")}


def output_score(
    text: str, stdout: str, stderr: str, *, stderr_weight: float = 0.5, format_weight: float = 0.1
) -> Reward:
    """Score an answer of the form `<stdout>...</stdout><stderr>...</stderr>` against what a program really printed.

    format = share of the two blocks present; accuracy = mean of (stdout equal up to one newline at each end, 0 or 1)
    and (`stderr_weight` * multiset IoU of the lines of stderr); total = format_weight * format + (1 - format_weight) *
    accuracy, and 0 without any block. Defaults are those of the authors' code, where a perfect answer scores 0.775;
    `stderr_weight=1` makes it 1. The last block of a name counts (the authors take the alphabetically last).
    """
    blocks = {name: found[-1] for name, pattern in _BLOCK.items() if (found := pattern.findall(text))}
    form = len(blocks) / 2
    equal = float("stdout" in blocks and _trimmed(blocks["stdout"]) == _trimmed(stdout))
    overlap = _overlap(blocks["stderr"], stderr) if "stderr" in blocks else 0.0
    accuracy = (equal + stderr_weight * overlap) / 2
    total = format_weight * form + (1 - format_weight) * accuracy if blocks else 0.0
    return Reward(total=total, parts={"format": form, "stdout": equal, "stderr": overlap})


def predicted_output(*, stderr_weight: float = 0.5, format_weight: float = 0.1) -> Rule:
    """`output_score` against the texts in `task.meta["stdout"]` and `task.meta["stderr"]` (absent: empty)."""

    def one(case: Case) -> Reward:
        if "stdout" not in case.task.meta:
            raise StropError(f"Task {case.task.id} has no meta.stdout, so a predicted output cannot be scored.")
        return output_score(
            case.sample.text,
            str(case.task.meta["stdout"]),
            str(case.task.meta.get("stderr", "")),
            stderr_weight=stderr_weight,
            format_weight=format_weight,
        )

    return lambda cases: [one(case) for case in cases]


def _trimmed(text: str) -> str:
    return text.removeprefix("\n").removesuffix("\n")


def _overlap(predicted: str, actual: str) -> float:
    """Intersection over union of the two multisets of lines; 1 when both are empty."""
    mine, theirs = Counter(predicted.strip().splitlines()), Counter(actual.strip().splitlines())
    union = (mine | theirs).total()
    return (mine & theirs).total() / union if union else 1.0
