"""What to watch while a policy learns: is it collapsing, cut short, or cheating?"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from strop.tasks.likeness import normal_form
from strop.types import CallCheck, Sample, ScriptCheck, Task, Verdict


def watch(tasks: Mapping[str, Task], drawn: Sequence[tuple[Sample, Verdict]]) -> dict[str, float]:
    """Monitors of one step's samples. Judge errors are left out of everything but their own rate.

    `pass_rate`; `mean_length` of all answers and `mean_length_finished` of those not cut off (cut-off junk must not
    look like thinking), `truncated`; `no_program`; `duplicates`: share of answers whose syntax tree another answer to
    the same task has; `visible_pass_hidden_fail`: among programs that pass every visible check, the share that fail a
    hidden one (a judge that stops at the first failure may not have come to the visible ones; those programs are not
    among them); `special_cased`: share of programs that `special_cases` flags.
    """
    judged = [(sample, verdict) for sample, verdict in drawn if verdict.status != "judge_error"]
    out = {"judge_errors": _share(len(drawn) - len(judged), len(drawn))}
    if not judged:
        return out
    lengths = [sample.spent.sampled_tokens for sample, _ in judged]
    finished = [sample.spent.sampled_tokens for sample, _ in judged if sample.finish_reason != "length"]
    out |= {
        "pass_rate": _share(sum(verdict.passed for _, verdict in judged), len(judged)),
        "mean_length": sum(lengths) / len(lengths),
        "truncated": _share(len(judged) - len(finished), len(judged)),
        "no_program": _share(sum(not sample.code.strip() for sample, _ in judged), len(judged)),
        "duplicates": duplicates([sample for sample, _ in judged]),
        "special_cased": _share(
            sum(special_cases(sample.code, tasks[sample.task_id]) for sample, _ in judged), len(judged)
        ),
    }
    if finished:
        out["mean_length_finished"] = sum(finished) / len(finished)
    looks_right = [verdict for _, verdict in judged if _passes_visible(verdict)]
    if looks_right:
        out["visible_pass_hidden_fail"] = _share(sum(not verdict.passed for verdict in looks_right), len(looks_right))
    return out


def _share(count: int, total: int) -> float:
    return count / total if total else 0.0


def duplicates(samples: Sequence[Sample]) -> float:
    """Share of answers whose program has the same syntax tree as another answer to the same task."""
    groups: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        groups[sample.task_id].append(normal_form(sample.code))
    repeated = sum(len(forms) - len(set(forms)) for forms in groups.values())
    return _share(repeated, len(samples))


def _passes_visible(verdict: Verdict) -> bool:
    visible = [check for check in verdict.checks if check.visible]
    return bool(visible) and all(check.passed for check in visible)


# ---- answers written for the tests -------------------------------------------------------------


def special_cases(code: str, task: Task) -> bool:
    """Whether a program answers the task's own tests case by case.

    Flagged when it tells at least two of the known (inputs, expected) pairs apart by equality with constants (`if`,
    `match`, a dictionary of answers) and at least half of all. One or two base cases of a recursion are no sign, and a
    reference solution that does the same (a task about a table) clears the task. It sees constants that are written
    out, not computed ones: a lower bound.
    """
    pairs = _known_pairs(task)
    if len(pairs) < 2 or not code.strip():
        return False
    found = len(pairs & _answered(code))
    if found < 2 or 2 * found < len(pairs):
        return False
    return task.reference is None or len(pairs & _answered(task.reference)) < found


def _known_pairs(task: Task) -> set[tuple[str, str]]:
    """(inputs, expected) of every check that says both, in a canonical text form."""
    pairs = set()
    for check in task.checks:
        if isinstance(check, CallCheck) and not check.kwargs:
            pairs.add((_key(check.args), repr(check.expected)))
        elif isinstance(check, ScriptCheck):
            pairs |= set(_asserted(check.code))
    return pairs


def _key(args: Sequence[Any]) -> str:
    return repr(args[0]) if len(args) == 1 else repr(tuple(args))


def _asserted(script: str) -> Iterator[tuple[str, str]]:
    """Pairs from comparisons `f(constants) == constant` anywhere in a script."""
    for node in _nodes(script):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq):
            for call, value in ((node.left, node.comparators[0]), (node.comparators[0], node.left)):
                if isinstance(call, ast.Call) and not call.keywords:
                    args = [_constant(arg) for arg in call.args]
                    expected = _constant(value)
                    if expected and all(args):
                        yield _key([arg[0] for arg in args if arg]), repr(expected[0])


def _answered(code: str) -> set[tuple[str, str]]:
    """(constant compared with, constant answered) wherever a program branches on equality with constants."""
    pairs = set()
    for node in _nodes(code):
        if isinstance(node, ast.If | ast.IfExp):
            answer = _answer(node.body)
            for key in _compared(node.test) if answer else ():
                pairs.add((key, answer))
        elif isinstance(node, ast.match_case) and (answer := _answer(node.body)):
            pairs |= {(key, answer) for key in _matched(node.pattern)}
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values):
                if key is not None and (k := _constant(key)) and (v := _constant(value)):
                    pairs.add((repr(k[0]), repr(v[0])))
    return pairs


def _answer(body: Any) -> str | None:
    """The constant that a branch answers with: an expression, or a block that returns, prints or assigns it."""
    statement = body[-1] if isinstance(body, list) else body
    if isinstance(statement, ast.Return | ast.Assign) and statement.value is not None:
        statement = statement.value
    found = _constant(statement) if isinstance(statement, ast.expr) else None
    return repr(found[0]) if found else None


def _compared(test: ast.expr) -> list[str]:
    """Constants that a condition compares for equality; several names compared with `and` make one tuple."""
    if isinstance(test, ast.BoolOp):
        parts = [_compared(value) for value in test.values]
        if isinstance(test.op, ast.Or):
            return [key for part in parts for key in part]
        return [f"({', '.join(part[0] for part in parts)})"] if all(len(part) == 1 for part in parts) else []
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return []
    sides = [found for side in (test.left, test.comparators[0]) if (found := _constant(side))]
    if len(sides) != 1:
        return []
    if isinstance(test.ops[0], ast.Eq):
        return [repr(sides[0][0])]
    several = isinstance(test.ops[0], ast.In) and isinstance(sides[0][0], list | tuple | set)
    return [repr(item) for item in sides[0][0]] if several else []


def _matched(pattern: ast.pattern) -> list[str]:
    if isinstance(pattern, ast.MatchOr):
        return [key for one in pattern.patterns for key in _matched(one)]
    if isinstance(pattern, ast.MatchSequence):
        parts = [_matched(one) for one in pattern.patterns]
        return [f"({', '.join(part[0] for part in parts)})"] if all(len(part) == 1 for part in parts) else []
    if isinstance(pattern, ast.MatchSingleton):
        return [repr(pattern.value)]
    found = _constant(pattern.value) if isinstance(pattern, ast.MatchValue) else None
    return [repr(found[0])] if found else []


def _constant(node: ast.expr) -> tuple[Any] | None:
    """The value of a literal in a tuple of one, so that None is a value too; None when it is not a literal."""
    try:
        return (ast.literal_eval(node),)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _nodes(code: str) -> list[ast.AST]:
    try:
        return list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
