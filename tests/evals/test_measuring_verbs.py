"""`strop audit diversity` and `strop tasks self-invoking` on a run and a set that are on disk."""

from __future__ import annotations

import json
import sys

import pytest

from strop import tasks as task_sets
from strop.cli.main import main
from strop.run import Run
from strop.types import Sample, Spent, Verdict

LOOP = "def f(xs):\n    total = 0\n    for x in xs:\n        total += x\n    return total\n"
FOLD = "def f(xs):\n    return sum(xs)\n"
RECURSION = "def f(xs):\n    return xs[0] + f(xs[1:]) if xs else 0\n"


@pytest.fixture
def strop(monkeypatch, capsys):
    """Run `strop ...` in this process."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["strop", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


def made(folder, programs):
    """A run with these (program, status) of each task."""
    rows = [(task, index, *row) for task, all_of in programs.items() for index, row in enumerate(all_of)]
    samples = [
        Sample(task_id=task, index=index, text=code, code=code, finish_reason="stop", seed=0, protocol="chat",
               spent=Spent())
        for task, index, code, _ in rows
    ]  # fmt: skip
    verdicts = [(task, index, Verdict(status=status, fraction=0.0)) for task, index, _, status in rows]
    with Run.open(folder, command="strop eval", config={}) as run:
        run.save_samples("eval", samples)
        run.save_verdicts("eval", verdicts)
    return folder


def test_diversity_of_a_run_and_of_two(strop, tmp_path):
    one = made(
        tmp_path / "one",
        {
            "a": [(LOOP, "passed"), (FOLD, "passed"), (RECURSION, "passed"), (RECURSION, "failed")],
            "b": [(LOOP, "failed")],
            "c": [(LOOP, "judge_error")],
        },
    )
    code, out, _ = strop("audit", "diversity", "--run", one, "-k", "2", "--json")
    assert code == 0
    (report,) = json.loads(out)["runs"]
    assert report["without_correct"] == 1, "a judge error is no try"
    assert report["effective"]["value"] == pytest.approx(1.8899, abs=1e-4), "a fold is the loop that it does"
    other = made(tmp_path / "other", {"a": [(LOOP, "passed")] * 5})
    code, out, _ = strop("audit", "diversity", "--run", one, "--against", other)
    assert code == 0
    assert "equal numbers" in out
    nothing = made(tmp_path / "nothing", {"a": [(LOOP, "failed")]})
    code, _, err = strop("audit", "diversity", "--run", nothing)
    assert code == 2
    assert "no problem has a correct program" in err


def test_a_harder_set_from_any_set(strop, tmp_path):
    out = tmp_path / "harder.jsonl"
    code, said, _ = strop("tasks", "self-invoking", "basics", out, "--limit", "6", "--inputs", "2")
    assert code == 0
    harder = task_sets.load(str(out))
    assert f"{len(harder)} tasks" in said
    assert all(task.entry_point.endswith("_each") for task in harder)
    assert strop("tasks", "self-invoking", "basics", out)[0] == 2, "a file is not replaced unasked"
    code, _, err = strop("tasks", "self-invoking", "basics", tmp_path / "x.jsonl", "--limit", "2", "--inputs", "99")
    assert code == 2
    assert "99 call checks" in err
