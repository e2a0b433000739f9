"""Rewards for what happened when the program ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from strop.rewards.core import Case, Rule, part, verdict_part
from strop.types import Status, StropError, Verdict

Outcome: TypeAlias = Literal["syntax", "runtime", "failed", "passed"]
"""CodeRL's four classes, worst first."""

OUTCOMES: tuple[Outcome, ...] = ("syntax", "runtime", "failed", "passed")

CODERL_LEVELS: Mapping[Outcome, float] = {"syntax": -1.0, "runtime": -0.6, "failed": -0.3, "passed": 1.0}
"""As `get_reward_from_error_type` in the authors' code (Le et al. 2022, arXiv 2207.01780)."""

ANSWER_AND_FORMAT: Mapping[tuple[bool, bool], float] = {
    (True, True): 1.0,
    (True, False): 0.5,
    (False, True): -0.5,
    (False, False): -1.0,
}
"""(right, in the form asked for). The rigid reward of SimpleRL-Zoo's code (Zeng et al. 2025, arXiv 2503.18892), which
there held weak instruction followers back; their default is `binary`."""

_CLASS_OF: Mapping[Status, Outcome] = {
    "passed": "passed",
    "failed": "failed",
    "syntax_error": "syntax",
    # Whatever ended the program before its checks were answered is an error at run time.
    "runtime_error": "runtime",
    "timeout": "runtime",
    "out_of_memory": "runtime",
    "forbidden": "runtime",
}


def outcome_class(case: Case) -> Outcome | None:
    """The case's class; an answer without any program counts as `syntax`. None where the judge failed."""
    if case.verdict is None or case.verdict.status == "judge_error":
        return None
    return "syntax" if not case.sample.code.strip() else _CLASS_OF[case.verdict.status]


def outcome(levels: Mapping[Outcome, float] = CODERL_LEVELS, name: str = "outcome") -> Rule:
    """One level for each of the four outcomes. Raises StropError when a level is missing."""
    missing = [known for known in OUTCOMES if known not in levels]
    if missing:
        raise StropError(f"The outcome levels lack {', '.join(missing)}; they need {', '.join(OUTCOMES)}.")
    return part(name, lambda case: None if (kind := outcome_class(case)) is None else levels[kind])


def binary(name: str = "passed") -> Rule:
    """1 when every check passes, else 0."""
    return verdict_part(name, lambda case, verdict: float(verdict.passed))


def pass_fraction(name: str = "fraction") -> Rule:
    """Share of checks passed, 0 to 1.

    The judge must run every check: `Judge(stop_at_first_failure=False)`. It counts many cheap checks as much as one
    hard one, so a program that hard-codes the easy cases is paid for it; see the test-special-casing monitor.
    """
    return verdict_part(name, lambda case, verdict: verdict.fraction)


def answer_and_format(levels: Mapping[tuple[bool, bool], float] = ANSWER_AND_FORMAT, name: str = "answer") -> Rule:
    """A level for (passed, answered in a code block)."""

    def measure(case: Case, verdict: Verdict) -> float:
        in_form = bool(case.sample.code.strip()) and (
            "```" in case.sample.text or case.sample.finish_reason == "stop_string"
        )
        return levels[verdict.passed, in_form]

    return verdict_part(name, measure)
