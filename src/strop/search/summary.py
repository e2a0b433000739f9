"""What a comparison of search methods says: one table, paired differences, curves, and a conclusion in plain words.

All figures are over the tasks that every method has finished (`compare.finished`: the first ones in order, so that a
stopped comparison is a smaller honest one). A task's score for a method is the share
of seeds with which the chosen program passes all checks, so differences are paired by task (and by seed, with several).
Where the judge itself failed, the task is left out and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from strop import stats
from strop.search.compare import SearchSettings, finished, grade_key, traces
from strop.search.searches import Effort
from strop.types import Spent, Task

if TYPE_CHECKING:
    from strop.run import Run
    from strop.search.methods import MethodSpec

SCHEMA = "strop-search/1"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One finished search, graded."""

    trace: dict[str, Any]
    solved: bool
    found: bool
    """Some program that it wrote passes all checks, chosen or not."""
    passed_by: tuple[bool, ...]
    """For k = 1, 2, ...: whether the best by visible checks of the first k programs passes all checks."""


def summarise(
    run: Run, settings: SearchSettings, tasks: Sequence[Task], methods: Sequence[MethodSpec], effort: Effort
) -> dict[str, Any]:
    """Everything that the table, the results file and the report show, as plain JSON."""
    outcomes, unclear = _outcomes(run, settings, tasks, methods)
    names = [method.name for method in methods]
    done, seeds = finished(outcomes.keys() | unclear, tasks, methods, settings.seeds)
    whole = [task.id for task in done if all((name, task.id, seed) in outcomes for name in names for seed in seeds)]
    rows = [_row(name, [[outcomes[name, task, seed] for task in whole] for seed in seeds]) for name in names]
    if len(rows) > 1 and whole:
        _add_differences(rows)
    data = {
        "schema": SCHEMA,
        "settings": asdict(settings),
        "sources": {method.name: method.source for method in methods},
        "tasks": len(whole),
        "task_ids": whole,
        "tasks_planned": len(tasks),
        "seeds": list(seeds),
        "tasks_without_visible_checks": sum(not task.visible_checks for task in tasks if task.id in set(whole)),
        "unclear": len(unclear),
        "methods": rows,
        "pareto": pareto_front(rows),
        "effort": asdict(effort) | {"overhead": effort.overhead, "utilisation": effort.utilisation},
    }
    return data | {"conclusions": _conclusions(data)}


def _outcomes(
    run: Run, settings: SearchSettings, tasks: Sequence[Task], methods: Sequence[MethodSpec]
) -> tuple[dict[tuple[str, str, int], Outcome], set[tuple[str, str, int]]]:
    """Graded searches by (method, task, seed), and those that could not be graded because the judge failed."""
    found, unclear = {}, set()
    for trace in traces(run, tasks, methods, settings.seeds):
        grades = [_passes(run, trace["task"], node["code"]) for node in trace["nodes"]]
        chosen = grades[trace["answer"]] if trace["answer"] is not None else False
        if chosen is None:
            unclear.add((trace["method"], trace["task"], trace["seed"]))
            continue
        outcome = Outcome(trace, chosen, any(grades), _curve(trace["nodes"], grades))
        found[trace["method"], trace["task"], trace["seed"]] = outcome
    return found, unclear


def _passes(run: Run, task_id: str, code: str) -> bool | None:
    if not code.strip():
        return False
    grade = run.result(grade_key(task_id, code))
    return None if grade is None else grade["status"] == "passed"


def _curve(nodes: Sequence[Mapping[str, Any]], grades: Sequence[bool | None]) -> tuple[bool, ...]:
    """Whether the best of the first k programs by visible checks, then earliest, is right; for k = 1, 2, ..."""
    best, curve = None, []
    for place, node in enumerate(nodes):
        share = -1.0 if node["fraction"] is None else node["fraction"]
        if best is None or share > best[0]:
            best = (share, place)
        curve.append(bool(grades[best[1]]))
    return tuple(curve)


def _row(name: str, grid: list[list[Outcome]]) -> dict[str, Any]:
    """One method's figures. `grid`: outcomes by seed and task."""
    flat = [outcome for row in grid for outcome in row]
    if not flat:
        return {"method": name, "pass_at_1": None}
    scores = np.array([[float(outcome.solved) for outcome in row] for row in grid])
    spent = sum((Spent(**outcome.trace["spent"]) for outcome in flat), Spent())
    solved, searches = sum(outcome.solved for outcome in flat), len(flat)
    formats = sum((Counter(outcome.trace["formats"]) for outcome in flat), Counter())
    longest = max(len(outcome.passed_by) for outcome in flat)
    return {
        "method": name,
        "pass_at_1": asdict(stats.estimate(scores.mean(axis=0))),
        "scores": scores.tolist(),
        "solved": solved,
        "searches": searches,
        "found": sum(outcome.found for outcome in flat) / searches,
        "per_search": {name: value / searches for name, value in asdict(spent).items()},
        "most": {"programs": max(outcome.trace["spent"]["programs"] for outcome in flat)},
        "per_solved": {name: value / solved for name, value in asdict(spent).items()} if solved else None,
        "format_failures": {
            role: {"replies": count, "failed": formats[f"{role}!"]}
            for role, count in sorted(formats.items())
            if not role.endswith("!")
        },
        "format_failure_rate": _failure_rate(formats),
        "ended_by": dict(Counter(outcome.trace["ended_by"] or "the method" for outcome in flat)),
        "notes": dict(Counter(note for outcome in flat for note in outcome.trace["notes"])),
        "facts": _mean_facts(flat),
        "anytime": [[k + 1, float(np.mean([_at(outcome.passed_by, k) for outcome in flat]))] for k in range(longest)],
    }


def _failure_rate(formats: Counter[str]) -> float | None:
    """Share of all replies that did not have the form asked for; None without replies."""
    failed = sum(count for role, count in formats.items() if role.endswith("!"))
    replies = sum(count for role, count in formats.items() if not role.endswith("!"))
    return failed / replies if replies else None


def _at(curve: Sequence[bool], k: int) -> bool:
    """The curve at k; a search that ended earlier keeps its last state."""
    return bool(curve[min(k, len(curve) - 1)]) if curve else False


def _mean_facts(outcomes: Sequence[Outcome]) -> dict[str, float]:
    names = sorted({name for outcome in outcomes for name in outcome.trace["facts"]})
    return {
        name: float(np.mean([o.trace["facts"][name] for o in outcomes if name in o.trace["facts"]])) for name in names
    }


def _add_differences(rows: list[dict[str, Any]]) -> None:
    """Paired differences of every method against the first, with Holm-adjusted p over all of them."""
    base = np.array(rows[0]["scores"])
    found = []
    for row in rows[1:]:
        scores = np.array(row["scores"])
        if len(scores) > 1 and scores.shape[1] > 1:
            found.append(stats.compare_seeds(base, scores))
        else:
            found.append(stats.compare(base.mean(axis=0), scores.mean(axis=0)))
    adjusted = stats.holm([difference.p for difference in found])
    for row, difference, p in zip(rows[1:], found, adjusted):
        detectable = difference.detectable if np.isfinite(difference.detectable) else None
        row["difference"] = asdict(difference) | {"detectable": detectable, "p_holm": float(p)}
        row["verdict"] = _verdict(difference, float(p))


def _verdict(difference: stats.Difference, p: float) -> str:
    """As `stats.Difference.verdict`, with the adjusted p."""
    outside, small = difference.low > 0 or difference.high < 0, p < stats.TAIL * 2
    if outside and small:
        return "higher" if difference.value > 0 else "lower"
    return "borderline" if outside or small else "not distinguishable"


def pareto_front(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Methods that no other beats in both sampled tokens a search and share solved, cheapest first."""
    measured = [row for row in rows if row["pass_at_1"]]
    spots = [(row["per_search"]["sampled_tokens"], row["pass_at_1"]["value"], row["method"]) for row in measured]
    front: list[dict[str, Any]] = []
    for tokens, value, name in sorted(spots, key=lambda spot: (spot[0], -spot[1])):
        if not front or value > front[-1]["point"][1]:
            front.append({"method": name, "point": [tokens, value]})
    return front


# ---- in words ----------------------------------------------------------------------------------


def _conclusions(data: Mapping[str, Any]) -> list[str]:
    rows = data["methods"]
    if not data["tasks"]:
        return ["No task has been finished by every method yet; run the same command again."]
    base = rows[0]
    budget = data["settings"]["budget"]
    lines = [_sentence(row, base["method"], row["difference"], budget) for row in rows[1:]]
    planned = data["tasks_planned"], len(data["settings"]["seeds"])
    if (data["tasks"], len(data["seeds"])) != planned:
        lines.append(
            f"So far: {data['tasks']} of {planned[0]} tasks and {len(data['seeds'])} of {planned[1]} seeds. The tasks "
            "are the first of a random order, not those that ended first."
        )
    if data["tasks_without_visible_checks"]:
        lines.append(
            f"Without visible checks: {_tasks(data['tasks_without_visible_checks'])} of {data['tasks']}; there methods "
            "choose without tests, each as its notes say."
        )
    for row in rows:
        bad = {
            role: c
            for role, c in row["format_failures"].items()
            if c["replies"] >= 5 and c["failed"] > c["replies"] / 4
        }
        if bad:
            told = ", ".join(f"{c['failed']} of {c['replies']} {role}" for role, c in bad.items())
            lines.append(f"{row['method']}: many replies did not have the form asked for ({told}).")
    if data["unclear"]:
        lines.append(f"{data['unclear']} searches could not be graded because the judge itself failed; run again.")
    return lines


def _tasks(count: int) -> str:
    return f"{count} task" if count == 1 else f"{count} tasks"


def _sentence(row: Mapping[str, Any], base: str, difference: Mapping[str, Any], budget: str) -> str:
    figures = (
        f"{100 * difference['value']:+.1f} points (95 % interval {100 * difference['low']:+.1f} to "
        f"{100 * difference['high']:+.1f}, p = {difference['p_holm']:.3f} after Holm) over {_tasks(difference['n'])}"
    )
    over = f"{row['method']} against {base} at {budget}"
    if row["verdict"] in ("higher", "lower"):
        return f"{over}: {row['verdict']}, {figures}."
    if row["verdict"] == "borderline":
        return f"{over}: borderline, {figures}; the interval and the test disagree, so nothing is concluded."
    seen = difference["detectable"]
    if seen is None or seen > 1:
        told = "With so few tasks no difference, however large, would be found reliably."
    else:
        told = f"A true difference of {100 * seen:.1f} points or more would be found in 4 of 5 such comparisons."
    return f"{over}: not distinguishable, {figures}. {told}"
