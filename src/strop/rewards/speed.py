"""Rewards that pay for speed, and only after correctness."""

from __future__ import annotations

import math
from typing import Protocol

from strop.rewards.core import Case, Rule, verdict_part
from strop.rewards.cost import Comparison
from strop.rewards.outcome import CODERL_LEVELS, outcome_class
from strop.types import Task, Verdict


class Compares(Protocol):
    """`CostMeter`, or anything else that can tell how much faster a program is than its reference."""

    def compare(self, task: Task, program: str) -> Comparison | None: ...


def gated_speed(meter: Compares, name: str = "gated_speed") -> Rule:
    """A level for wrong programs; 0.5 + 0.5 * clip(log2(speed-up), -1, 1) for right ones: 0 to 1, 0.5 at equal speed.

    The form is ACECode's step reward (Yang et al. 2024, arXiv 2412.17264): a right program, however slow, stays above a
    wrong one. Its constants could not be read; the levels here are CodeRL's and the slope is Strop's choice. A
    difference within the noise counts as equal speed. `None` when the timing runs of a passing program did not all
    pass.
    """

    def measure(case: Case, verdict: Verdict) -> float | None:
        if not verdict.passed:
            return CODERL_LEVELS[outcome_class(case) or "failed"]
        compared = meter.compare(case.task, case.sample.code)
        if compared is None:
            return None
        return 0.5 + 0.5 * min(1.0, max(-1.0, math.log2(compared.speedup)))

    return verdict_part(name, measure)


def speed_tiers(meter: Compares, *, most: float = 2.0, name: str = "tiers") -> Rule:
    """-1 cannot run, -0.5 wrong, 0 right but not faster, up to `most` as log2 of the speed-up.

    The tiers are those of Duan et al. 2023 (arXiv 2312.05657): does not run < wrong < right < right and faster. Their
    values could not be read; these are Strop's.
    """

    def measure(case: Case, verdict: Verdict) -> float | None:
        if not verdict.passed:
            return -0.5 if outcome_class(case) == "failed" else -1.0
        compared = meter.compare(case.task, case.sample.code)
        return None if compared is None else min(most, max(0.0, math.log2(compared.speedup)))

    return verdict_part(name, measure)
