"""`strop data` on runs that really are on disk."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from strop import tasks as task_sets
from strop.cli.main import main
from strop.data.export import read_pairs
from strop.evals.solve import task_records
from strop.judge import Judge
from strop.run import Run
from strop.tasks.assertions import single_tests
from strop.tasks.mutate import mutants
from strop.tasks.protocols import get_protocol
from strop.types import Sample, Spent

TASKS = task_sets.load("basics", limit=4)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """Each task's reference and two mutants of it, judged, in an `eval` and a held-out stage."""
    folder = tmp_path_factory.mktemp("runs") / "eval"
    protocol = get_protocol("chat")
    samples = []
    for task in TASKS:
        for index, code in enumerate([task.reference, *mutants(task.reference, limit=2, seed=1)]):
            text = protocol.answer(task.public(), code)
            samples.append(
                Sample(task_id=task.id, index=index, text=text, code=code, finish_reason="stop", seed=index,
                       protocol="chat", spent=Spent())
            )  # fmt: skip
    by_id = {task.id: task for task in TASKS}
    with Judge(workers=1) as judge:
        verdicts = list(judge.stream(((s.task_id, s.index), by_id[s.task_id], s.code) for s in samples))
    with Run.open(folder, command="strop eval", config={"model": "by-hand", "tasks": "basics"}) as run:
        run.save_result("tasks", task_records(TASKS))
        for stage in ("eval", "before"):
            run.save_samples(stage, samples)
            run.save_verdicts(stage, [(*key, verdict) for key, verdict in verdicts])
    return folder


class Done:
    """What one command said, and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def strop(monkeypatch, capsys):
    """Run `strop data ...` in this process: the command line itself has its own tests."""

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["strop", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.mark.parametrize("method", ["plum", "dstc", "codedpo"])
def test_pairs_of_a_run_in_a_file(strop, run_folder, tmp_path, method):
    out = tmp_path / "pairs.jsonl"
    done = strop("pairs", "--run", run_folder, "--method", method, "--out", out, "--against", "basics", "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    pairs = read_pairs(out)
    assert summary["pairs"] == summary["rows"] == len(pairs) > 0
    assert summary["tasks with a pair"] + sum(summary["dropped tasks"].values()) == len(TASKS)
    assert summary["contamination"]["same id"]
    assert ("label quality" in summary) == (method == "dstc")
    by_id = {task.id: task for task in TASKS}
    with Judge(workers=1) as judge:
        for pair in pairs:
            programs = [pair.why["chosen_program"], pair.why["rejected_program"]]
            seen = [verdict.status for verdict in judge.run(by_id[pair.why["task_id"]], programs)]
            assert seen == [pair.why["chosen_status"], pair.why["rejected_status"]]
            if method == "plum":
                assert seen[0] == "passed" != seen[1]


def test_a_dry_run_judges_and_writes_nothing(strop, run_folder, tmp_path):
    out = tmp_path / "pairs.jsonl"
    done = strop("pairs", "--run", run_folder, "--method", "codedpo", "--out", out, "--dry-run", "--json")
    plan = json.loads(done.out)
    assert plan["programs"] == 3 * len(TASKS)
    assert plan["programs to run"] == sum(3 * len(single_tests(task)) for task in TASKS)
    assert not out.exists()


def test_words_for_people(strop, run_folder, tmp_path):
    done = strop("pairs", "--run", run_folder, "--method", "dstc", "--out", tmp_path / "p.parquet", "--stage", "eval")
    assert done.code == 0, done.err
    assert "95 % interval" in done.out
    assert "dropped tasks:" in done.out


def test_what_cannot_be_done_is_one_paragraph(strop, run_folder, tmp_path):
    out = tmp_path / "pairs.jsonl"
    taken = tmp_path / "taken.jsonl"
    taken.write_text("")
    cases = [
        (("--run", run_folder), "--out"),
        (("--run", run_folder, "--out", out, "--method", "best"), "plum, dstc"),
        (("--run", run_folder, "--out", out, "--stage", "before"), "teach the test"),
        (("--run", run_folder, "--out", out, "--stage", "after"), "has no samples in stage"),
        (("--run", run_folder, "--out", out, "--tests", "some"), "neither"),
        (("--run", run_folder, "--out", taken), "--force"),
        (("--run", run_folder, "--out", out, "--layout", "dpo"), "preference, unpaired"),
        (("--run", tmp_path, "--out", out), "manifest"),
    ]
    for arguments, words in cases:
        done = strop("pairs", *arguments)
        assert done.code == 2, (arguments, done.out)
        assert words in done.err
        assert "Traceback" not in done.err
    assert not out.exists()


def test_a_task_set_that_changed_is_refused(tmp_path):
    from strop.data.from_run import pools_of_run
    from strop.types import StropError

    changed = tmp_path / "tasks.jsonl"
    task_sets.dump(TASKS, changed)
    code = TASKS[0].reference
    sample = Sample(task_id=TASKS[0].id, index=0, text=code, code=code, finish_reason="stop", seed=0, protocol="chat",
                    spent=Spent())  # fmt: skip
    named = f"{changed}:{TASKS[0].split}"
    with Run.open(tmp_path / "run", command="strop eval", config={"model": "m", "tasks": named}) as run:
        run.save_result("tasks", task_records(TASKS))
        run.save_samples("eval", [sample])
    with Run.read(tmp_path / "run") as run:
        assert pools_of_run(run).dropped == {"samples without a verdict": 1}
        task_sets.dump([replace(TASKS[0], prompt="Another problem."), *TASKS[1:]], changed)
        with pytest.raises(StropError, match="has changed since"):
            pools_of_run(run)
        task_sets.dump(TASKS[1:], changed)
        with pytest.raises(StropError, match=r"not in .* any more"):
            pools_of_run(run)


def test_methods_are_listed(strop):
    listed = json.loads(strop("methods", "--json").out)
    assert {"plum", "dstc", "codedpo", "random"} <= set(listed)


def test_the_cost_of_writing_tests_is_known_before(strop, tmp_path):
    out = tmp_path / "tests.jsonl"
    plan = strop("tests", "--tasks", "basics", "--limit", "3", "-n", "2", "--out", out, "--dry-run", "--json")
    assert json.loads(plan.out)["replies"] == 6
    assert not out.exists()
    out.write_text("")
    refused = strop("tests", "--out", out)
    assert refused.code == 2
    assert "--force" in refused.err
