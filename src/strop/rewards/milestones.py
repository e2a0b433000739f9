"""Partial credit for how far a program came, read from marks that Strop put into it.

Reinforcement learning for machine-learning engineering (Yang et al. 2025, arXiv 2509.01684) lets a frozen model insert
prints; here they are inserted by syntax tree, so that what earns credit is fixed. A mark holds a secret that the
program's author cannot know, so printing the words of a milestone earns nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping

from strop.rewards.core import Case, Rule, verdict_part
from strop.types import StropError, Verdict

STAGES: Mapping[str, str] = {
    "load": r"^(load|read|fetch|open)",
    "build": r"(Classifier|Regressor|Regression|Pipeline|pipeline|Model|SVC|SVR|KMeans)$",
    "train": r"^(fit|train|partial_fit|fit_transform|fit_predict)$",
    "predict": r"^(predict|predict_proba|score|transform|fit_predict)$",
}
"""Milestone -> pattern of the name called; `import` needs none. Strop's choice for scikit-learn programs."""


def instrument(code: str, secret: str, stages: Mapping[str, str] = STAGES) -> str:
    """`code` with a print of `secret` and a milestone's name after each statement that reaches it.

    A statement reaches a milestone when it is an import, or calls a name that matches its pattern. The prints come
    after the statement, so a statement that raises earns nothing. Code that does not parse is returned as it is.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    patterns = {name: re.compile(pattern) for name, pattern in stages.items()}
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                setattr(node, field, _marked(block, secret, patterns))
    return ast.unparse(ast.fix_missing_locations(tree))


def _marked(block: list[ast.stmt], secret: str, patterns: Mapping[str, re.Pattern[str]]) -> list[ast.stmt]:
    out: list[ast.stmt] = []
    for statement in block:
        out.append(statement)
        leaves = isinstance(statement, ast.Return | ast.Raise | ast.Break | ast.Continue)
        if leaves or (isinstance(statement, ast.ImportFrom) and statement.module == "__future__"):
            continue
        # `__builtins__` may be shadowed; a program that redefines print only loses its own credit.
        for name in _reached(statement, patterns):
            out += ast.parse(f"print({f'{secret} {name}'!r}, flush=True)").body
    return out


def _reached(statement: ast.stmt, patterns: Mapping[str, re.Pattern[str]]) -> list[str]:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return ["import"]
    if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr):
        return []
    names = {
        call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        for call in ast.walk(statement)
        if isinstance(call, ast.Call)
    }
    return [stage for stage, pattern in patterns.items() if any(pattern.search(name) for name in names)]


def milestones(
    secret_of: Callable[[Case], str],
    score_of: Callable[[Case], float | None],
    *,
    stages: tuple[str, ...] = ("import", *STAGES),
    value: float = 0.1,
    failure: float = -10.0,
    name: str = "milestones",
) -> Rule:
    """The task's own score for a valid result; otherwise `failure` + `value` for each milestone in the output.

    `score_of` gives None where there is no valid result. The program must have been run as `instrument` returned it,
    with `secret_of(case)`. Constants are the paper's as a third-party note gives them; that failure and milestones add
    up is Strop's reading. The judge keeps an excerpt of the output: marks beyond it are not seen.
    """
    if not stages:
        raise StropError("Milestones need at least one stage.")

    def measure(case: Case, verdict: Verdict) -> float:
        scored = score_of(case)
        if scored is not None:
            return scored
        secret = secret_of(case)
        if not secret:
            raise StropError(f"An empty secret for task {case.task.id}: any program could print its milestones.")
        lines = set(verdict.output.splitlines())
        return failure + value * sum(f"{secret} {stage}" in lines for stage in stages)

    return verdict_part(name, measure)
