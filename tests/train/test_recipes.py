"""`strop improve` with pairs: what the recipes make of practice samples, learned by a random model."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from learner_cases import programs, samples, task

from strop import tasks as task_sets
from strop.evals.solve import task_records
from strop.judge import Judge
from strop.run import Run
from strop.tasks.protocols import get_protocol
from strop.train.improve import ImproveSettings, Plan, improve, usual_learning_rate
from strop.train.lora import LearnerSettings
from strop.types import StropError

PRACTICE = [task(number) for number in range(1, 5)]
HELD_OUT = [task(number, "test") for number in range(5, 7)]


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1, cache=500) as bench:
        yield bench


def practise(run, judge, programs_of=programs):
    """Put judged practice samples into a run, as a model would have left them."""
    drawn = samples(PRACTICE, programs_of)
    by_id = {one.id: one for one in PRACTICE}
    run.save_samples("practice-1", drawn)
    jobs = (((one.task_id, one.index), by_id[one.task_id], one.code) for one in drawn)
    run.save_verdicts("practice-1", [(*key, verdict) for key, verdict in judge.stream(jobs)])


def improved(folder, judge, base, recipe, programs_of=programs, **options):
    from strop import models

    settings = ImproveSettings(
        model=base, recipe=recipe, practice_samples=len(programs_of(1)), held_out_samples=1, max_tokens=8,
        guard_tasks=0, protocol="completion",
        learner=LearnerSettings(epochs=1, batch_size=4, lora_rank=2, learning_rate=usual_learning_rate(recipe)),
        **options,
    )  # fmt: skip
    plan = Plan(practice=PRACTICE, held_out=HELD_OUT, division="by hand", protocol=get_protocol("completion"))
    with Run.open(folder, command="strop improve", config=dataclasses.asdict(settings)) as run:
        if not run.samples("practice-1"):
            practise(run, judge, programs_of)
        adapter = improve(run, settings, plan, models.load(base), judge)
        data = run.result("train-1-data")
        return adapter, data, run.result("train-1-labels"), run


@pytest.mark.timeout(600)
@pytest.mark.parametrize("recipe", ["dpo", "plum", "plum-kto", "dstc", "codedpo"])
def test_each_recipe_learns_from_its_own_pairs(recipe, small_model, judge, tmp_path):
    base = f"hf/{small_model('llama')}"
    adapter, data, labels, _ = improved(tmp_path / "run", judge, base, recipe)
    assert (adapter / "adapter_model.safetensors").is_file()
    assert data
    if recipe == "plum-kto":
        assert labels["wanted"] == 8
        assert labels["unwanted"] == 8, "programs that do not parse are left out"
        assert {row["label"] for row in data} == {True, False}
        return
    for row in data:
        why = row["why"]
        assert why["task_id"] in {one.id for one in PRACTICE}
        method = {"dpo": "verdict"}.get(recipe, recipe)
        assert (why["method"], why["chosen_status"], why["rejected_status"] != "passed") == (method, "passed", True)
    if recipe == "dstc":
        assert all("assert add(" in row["chosen"] for row in data)
        assert not any("add(2)" in row["chosen"] + row["rejected"] for row in data), "a hidden test was trained on"
        assert labels["label quality"]["overall"]
    assert labels["pairs"] == len(data)
    assert labels["tasks with a pair"] == len(PRACTICE)
    assert "contamination" in labels
    before = json.dumps(data)
    again = improved(tmp_path / "run", judge, base, recipe)
    assert json.dumps(again[1]) == before


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (slice(0, 2), "all programs pass: 4"),
        (slice(2, 4), "no program passes: 4"),
        (slice(0, 1), "all programs pass: 4"),
    ],
)
def test_practice_that_gives_no_pair_ends_with_the_reason(kept, reason, small_model, judge, tmp_path):
    base = f"hf/{small_model('llama')}"
    with pytest.raises(StropError, match=reason):
        improved(tmp_path / "run", judge, base, "plum", lambda number: programs(number)[kept])
    with Run.read(tmp_path / "run") as run:
        assert len(run.samples("practice-1")) > 0, "what was practised is kept"


@pytest.mark.timeout(600)
def test_written_tests_decide_where_they_are_given(small_model, judge, tmp_path):
    """A contradiction, a test that is no data and one that is wrong: labels follow the rest, and say how good it is."""
    file = tmp_path / "tests.jsonl"
    rows = [
        {"task_id": one.id, "tests": [f"assert add(1) == {1 + n}", "assert add(3) == 0", "assert add(3) == 1",
                                      f"assert add(5) == {n}", "assert print(add(1))"]}
        for n, one in enumerate(PRACTICE, 1)
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = f"hf/{small_model('llama')}"
    _, data, labels, _ = improved(tmp_path / "run", judge, base, "codedpo", tests=str(file))
    # Each task has two tests left: a right one, and one that only the constant program passes.
    assert {row["why"]["tests"] for row in data} == {2}
    assert labels["label quality"]["share_right"]["value"] == pytest.approx(0.4)


def test_the_command_line_names_recipes_and_refuses_what_has_no_meaning(tmp_path):
    def strop(*words):
        return subprocess.run(
            [sys.executable, "-m", "strop.cli.main", "improve", *words], capture_output=True, text=True, timeout=120
        )

    wrong = strop("--recipe", "best", "--dry-run")
    assert wrong.returncode == 2
    assert "plum-kto" in wrong.stderr
    assert strop("--recipe", "rft", "--tests", "all", "--dry-run").returncode == 2
    done = strop("--recipe", "codedpo", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "codedpo" in done.stdout
    assert "pairs x" in done.stdout


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("recipe", ["plum", "dstc", "codedpo"])
def test_recipes_on_the_embedded_model(recipe, tmp_path):
    words = [
        "improve", "--tasks", "basics", "--recipe", recipe, "--practice-tasks", "16", "--practice-samples", "6",
        "--held-out-tasks", "4", "--held-out-samples", "2", "--epochs", "1", "--guard-tasks", "2", "--seed", "3",
        "--out", str(tmp_path / "run"), "-q",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "strop.cli.main", *words], capture_output=True, text=True, timeout=1700
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with Run.read(tmp_path / "run") as run:
        assert run.result("train-1-labels")["pairs"] == len(run.result("train-1-data")) > 0
        assert len(run.verdicts("after-1")) == 8
        assert run.result("tasks") == task_records(
            [one for one in task_sets.load("basics", split="all") if one.id in run.result("tasks")]
        )
