"""What the report says, against the samples and verdicts that it was made from."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import synthetic

from strop import report, stats
from strop.report import without_times
from strop.run import Run
from strop.types import Sample, Spent, StropError, Verdict


def make(folder: Path, fill, command: str = "strop improve", config: dict | None = None, **options) -> dict:
    config = {"model": "smollm2", "tasks": "basics"} | (config or {})
    with Run.open(folder, command=command, config=config) as run, run.atomic():
        fill(run, **options)
    report.write(folder)
    return json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def improved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("improve")
    return folder, make(folder, synthetic.fill_improve, rounds=2, samples=4, near=24, far=10, practice=12)


def sample(task_id: str, index: int, code: str = "x = 1") -> Sample:
    return Sample(
        task_id=task_id, index=index, text=code, code=code, finish_reason="stop", seed=0, protocol="chat",
        spent=Spent(sampled_tokens=10, model_calls=1),
    )  # fmt: skip


def fill_by_hand(run: Run, stages: dict[str, dict[str, str]]) -> None:
    """Stages of tasks with one letter a sample: p passed, f failed, j judge error, - not judged."""
    statuses = {"p": "passed", "f": "failed", "j": "judge_error"}
    ids = sorted({task_id for tasks in stages.values() for task_id in tasks})
    run.save_result("tasks", {task_id: {"prompt": "?", "split": "test", "tags": [], "stub": ""} for task_id in ids})
    for stage, tasks in stages.items():
        for task_id, letters in tasks.items():
            run.save_samples(stage, [sample(task_id, n, f"{letter} = {n}") for n, letter in enumerate(letters)])
            verdicts = [
                (task_id, n, Verdict(status=statuses[letter], fraction=float(letter == "p")))
                for n, letter in enumerate(letters)
                if letter != "-"
            ]
            run.save_verdicts(stage, verdicts)


def test_headline_is_what_the_statistics_say_of_the_stored_verdicts(improved: tuple[Path, dict]) -> None:
    folder, data = improved
    with Run.read(folder) as run:
        records = run.result("tasks")
        rates = {}
        for stage in ("before", "after-1", "after-2"):
            passed: dict[str, list[bool]] = {}
            for (task_id, _), verdict in run.verdicts(stage).items():
                passed.setdefault(task_id, []).append(verdict.status == "passed")
            rates[stage] = {task_id: sum(each) / len(each) for task_id, each in passed.items()}
    assert [split["split"] for split in data["splits"]] == ["held-out-near", "held-out-far"]
    for split in data["splits"]:
        ids = sorted(task_id for task_id in rates["before"] if records[task_id]["split"] == split["split"])
        assert split["tasks"] == len(ids)
        change = stats.compare(*([rates[stage][task_id] for task_id in ids] for stage in ("before", "after-2")))
        found = split["difference"]
        assert found["value"] == pytest.approx(split["after"]["value"] - split["before"]["value"])
        assert (found["value"], found["low"], found["high"], found["p"], found["detectable"]) == pytest.approx(
            (change.value, change.low, change.high, change.p, change.detectable)
        )
        assert found["words"].replace("−", "-").lower() == change.words().lower()
        assert [row["label"] for row in split["rows"]] == ["before", "round 1", "round 2"]
        for row in split["rows"]:
            mean = sum(rates[row["stage"]][task_id] for task_id in ids) / len(ids)
            assert row["estimate"]["value"] == pytest.approx(mean)
    assert [task["change"] for task in data["tasks"]] == sorted((t["change"] for t in data["tasks"]), reverse=True)
    for task in data["tasks"]:
        assert task["change"] == pytest.approx(rates["after-2"][task["id"]] - rates["before"][task["id"]])
    assert data["statuses"][0]["counts"]["passed"] == sum(task["before"]["passed"] for task in data["tasks"])


def test_two_runs_alike_but_for_times_give_the_same_report(tmp_path: Path) -> None:
    first = make(tmp_path / "a", synthetic.fill_improve, near=8, far=4, practice=4)
    second = make(tmp_path / "b", synthetic.fill_improve, near=8, far=4, practice=4)
    assert without_times(first) == without_times(second)
    slower = json.loads(json.dumps(second).replace('"seconds": 0.01', '"seconds": 0.02').replace("11.5", "12.5"))
    assert slower != second
    assert without_times(slower) == without_times(second)
    other = make(tmp_path / "c", synthetic.fill_improve, near=8, far=4, practice=4, seed=1)
    assert without_times(other) != without_times(first)


def test_order_of_writing_does_not_matter(tmp_path: Path) -> None:
    """A resumed run stores the same samples in another order."""

    def shuffled(run: Run) -> None:
        rows = [synthetic.sample_and_verdict(random.Random(n), f"t/{n % 7}", n // 7, 0.5) for n in range(28)]
        random.Random(len(run.path.name)).shuffle(rows)
        run.save_result("tasks", {f"t/{n}": {"prompt": "", "split": "", "tags": ["a"], "stub": ""} for n in range(7)})
        for drawn, verdict in rows:
            run.save_samples("eval", [drawn])
            run.save_verdicts("eval", [(drawn.task_id, drawn.index, verdict)])

    first, second = (make(tmp_path / name, shuffled) for name in ("one", "three"))
    assert without_times(first) == without_times(second)


def test_judge_errors_and_missing_verdicts_are_left_out_and_told(tmp_path: Path) -> None:
    data = make(tmp_path, lambda run: fill_by_hand(run, {"eval": {"a": "ppjf", "b": "f-ff", "c": "jjjj"}}))
    (split,) = data["splits"]
    assert split["after"]["value"] == pytest.approx((2 / 3 + 0) / 2)
    assert split["tasks"] == 2
    assert any("5 samples got no verdict because the judge failed" in note for note in data["notes"])
    assert any("1 samples are not judged yet" in note for note in data["notes"])


def test_pairs_are_chosen_by_rule(tmp_path: Path) -> None:
    before = {"gain": "ffff", "more": "fppp", "loss": "pppp", "never": "ffff", "same": "pfpf", "judge": "jfff"}
    after = {"gain": "fppp", "more": "pppp", "loss": "ppff", "never": "ffff", "same": "fpfp", "judge": "fffj"}
    data = make(tmp_path, lambda run: fill_by_hand(run, {"before": before, "after-1": after}))
    shown = [(pair["id"], pair["why"], pair["before"]["index"], pair["after"]["index"]) for pair in data["pairs"]]
    assert shown == [
        ("gain", "largest gain", 0, 1),
        ("more", "largest gain", 0, 0),
        ("loss", "largest loss", 0, 2),
        ("judge", "failed throughout", 1, 0),
        ("never", "failed throughout", 0, 0),
    ]
    for pair in data["pairs"]:
        assert pair["before"]["verdict"]["status"] == ("passed" if pair["why"] == "largest loss" else "failed")


def test_unfinished_run_shows_what_there_is(tmp_path: Path) -> None:
    data = make(tmp_path / "one", lambda run: fill_by_hand(run, {"before": {"a": "pf", "b": "ff"}}))
    (split,) = data["splits"]
    assert split["difference"] is None
    assert "before training only" in data["claim"]
    assert data["pairs"] == []
    stages = {"before": {"a": "pf", "b": "ff", "c": "pp"}, "after-1": {"a": "pp", "b": "-"}}
    half = make(tmp_path / "two", lambda run: fill_by_hand(run, stages))
    assert half["splits"][0]["difference"]["value"] == 0.5
    assert half["splits"][0]["difference"]["low"] is None  # one shared task: no interval
    assert [task["change"] for task in half["tasks"]] == [0.5, None, None]


def test_run_without_samples_is_an_error_that_names_it(tmp_path: Path) -> None:
    Run.open(tmp_path / "empty", command="strop eval", config={}).close()
    with pytest.raises(StropError, match=r"empty holds no measured samples"):
        report.write(tmp_path / "empty")
    with pytest.raises(StropError, match="does not exist"):
        report.write(tmp_path / "nowhere")
    assert not (tmp_path / "empty" / "report.html").exists()


def test_every_sample_judge_error_is_told_not_crashed(tmp_path: Path) -> None:
    with pytest.raises(StropError, match="no sample got a verdict"):
        make(tmp_path, lambda run: fill_by_hand(run, {"eval": {"a": "jj", "b": "--"}}))


def test_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, lambda run: fill_by_hand(run, {"eval": {"a": "pf", "b": "fp"}}))
    old = (tmp_path / "report.html").read_text()
    (tmp_path / "report.html.part").mkdir()
    with pytest.raises(StropError, match="Cannot write the report"):
        report.write(tmp_path)
    assert (tmp_path / "report.html").read_text() == old


def test_several_protocols_are_compared_in_pairs(tmp_path: Path) -> None:
    stages = ("eval-chat", "eval-completion")
    data = make(tmp_path, synthetic.fill_eval, config={"k": [1]}, stages=stages, samples=2, near=20, far=6)
    rows = {row["protocol"]: row for row in data["protocols"]}
    best = max(rows.values(), key=lambda row: row["estimate"]["value"])
    other = min(rows.values(), key=lambda row: row["estimate"]["value"])
    assert data["detailed_protocol"] == best["protocol"]
    assert best["difference"] is None
    gap = other["estimate"]["value"] - best["estimate"]["value"]
    assert other["difference"]["value"] == pytest.approx(gap)
    assert data["splits"][0]["after"] == best["estimate"]


def test_pass_at_k_and_samples_of_an_eval(tmp_path: Path) -> None:
    data = make(tmp_path, synthetic.fill_eval, config={"k": [1, 3, 9]}, samples=6, near=20, far=6)
    everything, *_ = data["splits"]
    assert [row["label"] for row in everything["rows"]] == ["pass@1", "pass@3"]  # 9 needs more samples than there are
    counts = [(task["after"]["judged"], task["after"]["passed"]) for task in data["tasks"]]
    expected = stats.pass_at_k(*zip(*counts, strict=True), 3).mean()
    assert everything["rows"][1]["estimate"]["value"] == pytest.approx(expected)
    assert {len(task["samples"]) for task in data["tasks"]} == {4}
    assert "first 4 samples of each task" in data["samples_note"]


def test_command_renders_again_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from strop.cli.report import report as command

    data = make(tmp_path, synthetic.fill_improve, near=6, far=3, practice=3)
    (tmp_path / "report.html").unlink()
    command(tmp_path, as_json=False)
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    command(tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out) == data
