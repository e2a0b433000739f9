"""Paper 43 scores a model's programs and its tests by each other. When does that beat counting passed tests?

Programs are real: those of a public preference set for HumanEval, read out of the answers. A program is right when it
passes every plain assertion of HumanEval that could be read as one call. The tests that a scorer sees are the same
calls, a share of them spoiled: a spoiled test asks for what some wrong program answers, so it is wrong and yet passed
by programs, as tests are that a model wrote. Each draw takes 15 programs with replacement, a given share of them
right. The figure is the AUC of a scorer's order against the truth, a task at a time.

Departures from the paper: programs come from a data set and tests from HumanEval, not both from one model; the paper
reports Spearman correlations of its own samples; nothing is trained here. Agreement (CodeT) is added, which the paper
does not compare with.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from strop.evals.label_quality import auc
from strop.evals.pass_matrix import SCORERS
from strop.judge import Judge
from strop.papers import plot
from strop.papers.data import data_file
from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.results import write_text
from strop.tasks import load
from strop.tasks.extract import extract_program
from strop.types import CallCheck, ScriptCheck, Spent, StropError, Task, Verdict

SHARES = (0.2, 0.4, 0.6, 0.8)
"""Shares of right programs among those drawn."""
FEWEST_CALLS = 4
"""Assertions that a task must have; with fewer there is nothing to order by."""
Answers = list[list[str | None]]
"""What each program answered on each call: a text equal for equal answers, `RIGHT` if it passed, None for an error."""
RIGHT = "="


def programs() -> dict[str, list[str]]:
    """Distinct programs by task id, in the order of the file, for tasks with enough plain assertions."""
    source = "github.com/swtheing/PF-PPO-RLHF, examples/scripts, preference_pair_new.jsonl"
    file = data_file("preferences/pf-ppo-pairs.jsonl", source)
    tasks = {task.prompt.strip(): task for task in load("humaneval") if len(calls(task)) >= FEWEST_CALLS}
    found: dict[str, list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if (task := tasks.get(row["instruction"].strip())) is None:
            continue
        for text in (row["pos"], row["neg"]):
            program = extract_program(text, task.entry_point, task.stub)
            if program and program not in found.setdefault(task.id, []):
                found[task.id].append(program)
    return {task_id: found[task_id] for task_id in sorted(found) if len(found[task_id]) > 2}


def calls(task: Task) -> list[CallCheck]:
    """The hidden assertions of the form `candidate(plain values) == plain value`, each once."""
    found: list[CallCheck] = []
    for check in task.hidden_checks:
        if not isinstance(check, ScriptCheck):
            continue
        for node in ast.walk(ast.parse(check.code)):
            if not isinstance(node, ast.Assert) or not isinstance(node.test, ast.Compare):
                continue
            left, right = node.test.left, node.test.comparators[-1]
            if not isinstance(left, ast.Call) or left.keywords or ast.unparse(left.func) != "candidate":
                continue
            if len(node.test.ops) != 1 or not isinstance(node.test.ops[0], ast.Eq):
                continue
            try:
                arguments = tuple(ast.literal_eval(argument) for argument in left.args)
                call = CallCheck(function=task.entry_point or "", args=arguments, expected=ast.literal_eval(right))
            except ValueError:  # not plain values
                continue
            if call not in found:
                found.append(call)
    return found


def bench(lab: Lab, units: tuple[str, ...]) -> dict[str, Answers]:
    """Every program's answers, each call judged alone and once; kept in the lab's folder task by task."""
    kept = lab.folder / "answers.json"
    answers: dict[str, Answers] = json.loads(kept.read_text()) if kept.exists() else {}
    tasks, texts = {task.id: task for task in load("humaneval")}, programs()
    missing = [unit for unit in units if unit not in answers]
    if not missing:
        return answers
    with Judge() as judge:
        for done, unit in enumerate(missing):
            lab.on_progress("judging", done, len(missing))
            asked = calls(tasks[unit])
            found: Answers = [[None] * len(asked) for _ in texts[unit]]
            jobs = [
                ((row, column), replace(tasks[unit], checks=(call,)), program)
                for row, program in enumerate(texts[unit])
                for column, call in enumerate(asked)
            ]
            for (row, column), verdict in judge.stream(jobs):
                found[row][column] = answer(verdict)
            lab.charge(Spent(programs=len(jobs)))
            write_text(kept, json.dumps({**answers, unit: found}))
            answers[unit] = found
    return answers


def answer(verdict: Verdict) -> str | None:
    """What a program answered on one call. Raises StropError where the judge itself failed: that is no answer."""
    if verdict.status == "judge_error":
        raise StropError(f"The judge failed on a call ({verdict.detail}); run the same command again.")
    if verdict.passed:
        return RIGHT
    actual = verdict.checks[0].actual if verdict.checks else None
    return actual if verdict.status == "failed" else None


def draw(answers: Answers, share: float, settings, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
    """A pass matrix of drawn programs on the calls, some of them spoiled, and which programs are right.

    Shapes (programs, tests) and (programs,). None when the task has no right or no wrong program. A call that no wrong
    program answers is not spoiled.
    """
    right = np.array([all(one == RIGHT for one in row) for row in answers])
    if right.all() or not right.any():
        return None
    count = settings["programs"]
    good = round(share * count)
    rows = np.concatenate([rng.choice(np.flatnonzero(right), good), rng.choice(np.flatnonzero(~right), count - good)])
    columns = []
    spoil = rng.permutation(len(answers[0]))[: round(settings["spoiled"] * len(answers[0]))]
    for column in range(len(answers[0])):
        wrong = sorted({row[column] for row in answers if row[column] not in (None, RIGHT)}, key=str)
        asked = rng.choice(np.array(wrong)) if column in spoil and wrong else RIGHT
        columns.append([answers[row][column] == asked for row in rows])
    return np.array(columns, dtype=float).T, right[rows].astype(float)


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    answers = lab.once(bench, lab, item.units)
    for unit in item.units:
        figures: dict[str, dict[str, float]] = {arm: {} for arm in item.arms}
        for share in SHARES:
            rng = np.random.default_rng([item.seed, round(100 * share), *unit.encode()])
            drawn = draw(answers[unit], share, lab.settings, rng)
            if drawn is None:
                continue
            matrix, right = drawn
            for arm in item.arms:
                value = auc(SCORERS[arm](matrix), right)
                if value is not None:
                    figures[arm][f"AUC at {share}"] = value
        for arm in item.arms:
            yield Outcome(arm, unit, item.seed, figures[arm])


def conclude(table: Table) -> list[Condition]:
    return [
        Condition.of(
            "with 3 of 5 programs right, mutual scores order programs better than counting",
            table.compare("AUC at 0.6", "mutual", "count"),
        ),
        Condition.of("with 4 of 5 right, too", table.compare("AUC at 0.8", "mutual", "count")),
        Condition.of(
            "with 3 of 5 right, counting orders them better than asking for all tests",
            table.compare("AUC at 0.6", "count", "all_pass"),
        ),
        Condition.of(
            "with 1 of 5 right, counting is better than mutual scores",
            table.compare("AUC at 0.2", "count", "mutual"),
            required=False,
        ),
        Condition.of(
            "with 4 of 5 right, agreement is better than mutual scores",
            table.compare("AUC at 0.8", "agreement", "mutual"),
            required=False,
        ),
    ]


def curves(table: Table) -> str:
    series = []
    for arm in table.arms:
        means = [(share, table.mean(f"AUC at {share}", arm)) for share in SHARES]
        series.append(
            {
                "label": arm.replace("_", " "),
                "points": [[share, mean.value] for share, mean in means],
                "intervals": [[mean.low, mean.high] for _, mean in means],
            }
        )
    return plot.curves(series, title="AUC of a program's score against the truth", x_label="share of right programs")


EXPERIMENT = Experiment(
    paper=43,
    name="codedpo",
    question="When tests are partly wrong, do mutual scores order programs better than counting passed tests?",
    arms=("mutual", "count", "agreement", "all_pass"),
    units=lambda: list(programs()),
    metrics={f"AUC at {share}": (0.0, 1.0) for share in (0.6, 0.2, 0.4, 0.8)},
    measure=measure,
    conclude=conclude,
    plot=curves,
    components=("strop.evals.pass_matrix", "strop.evals.label_quality"),
    planned=Size(units=40, seeds=20),
    quick=Size(units=15, seeds=5),
    cost=Spent(seconds=3, programs=120),
    cut=(),
    settings={"programs": 15, "spoiled": 0.3},
)
