"""The embedded set keeps its promises: format, splits, references that pass, and a page that tells the truth."""

import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from strop.tasks import load
from strop.types import CallCheck, ScriptCheck

PAGE = Path(__file__).parents[2] / "docs" / "basics.md"

# Runs in an interpreter of its own, with nothing of Strop in it: a second opinion beside the judge's.
RUN_REFERENCES = """
import json, math, sys

def near(actual, expected, tolerance):
    if isinstance(expected, float):
        return math.isclose(actual, expected, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(expected, (list, tuple)):
        return len(actual) == len(expected) and all(near(*pair, tolerance) for pair in zip(actual, expected))
    if isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(near(actual[k], expected[k], tolerance) for k in expected)
    return actual == expected

failures = []
for task in json.load(sys.stdin):
    for check in task["checks"]:
        names = {}
        exec(task["reference"], names)
        try:
            if "script" in check:
                exec(check["script"], names)
            else:
                actual = names[check["function"]](*eval(check["args"]), **eval(check["kwargs"]))
                expected = eval(check["expected"])
                tolerance = check["tolerance"]
                assert actual == expected if tolerance is None else near(actual, expected, tolerance)
                assert type(actual) is type(expected)
        except Exception as error:
            failures.append([task["id"], check, repr(error)])
print(json.dumps(failures))
"""


@pytest.fixture(scope="module")
def tasks():
    return load("basics")


def plain(check):
    if isinstance(check, ScriptCheck):
        return {"script": check.code}
    assert isinstance(check, CallCheck)
    kwargs = dict(check.kwargs)
    fields = {"args": check.args, "kwargs": kwargs, "expected": check.expected}
    return {name: repr(value) for name, value in fields.items()} | {
        "function": check.function,
        "tolerance": check.tolerance,
    }


def words(prompt):
    return set(re.findall(r"\w+", prompt.partition("\n\nSignature:")[0].lower()))


def test_every_task_has_examples_and_enough_hidden_checks(tasks):
    for task in tasks:
        assert 1 <= len(task.visible_checks) <= 2, task.id
        assert len(task.hidden_checks) >= 8, task.id
        checks = [json.dumps(plain(check)) for check in task.checks]
        assert len(set(checks)) == len(checks), f"{task.id} repeats a check"


def test_concepts_are_either_seen_or_far(tasks):
    splits = {}
    for task in tasks:
        splits.setdefault(task.tags[0], Counter())[task.split] += 1
    assert len(splits) >= 30
    for concept, counts in splits.items():
        assert set(counts) in ({"train", "held-out-near"}, {"held-out-far"}), concept


def test_names_are_unique(tasks):
    assert len({task.id for task in tasks}) == len(tasks) >= 300


def test_no_held_out_prompt_resembles_a_training_prompt(tasks):
    train = [task for task in tasks if task.split == "train"]
    held_out = [task for task in tasks if task.split != "train"]
    for one, other in itertools.product(held_out, train):
        a, b = words(one.prompt), words(other.prompt)
        assert len(a & b) / len(a | b) < 0.75, (one.id, other.id)


def test_every_reference_passes_its_checks_outside_the_judge(tasks):
    rows = [{"id": t.id, "reference": t.reference, "checks": [plain(c) for c in t.checks]} for t in tasks]
    done = subprocess.run(
        [sys.executable, "-I", "-c", RUN_REFERENCES], input=json.dumps(rows), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_the_page_shows_the_counts_that_its_command_prints(tasks):
    page = PAGE.read_text(encoding="utf-8")
    command, table = re.search(r"python - <<'END'\n(.*?)\nEND\n```\n\n(\|.*?\|)\n\n", page, re.DOTALL).groups()
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == table
