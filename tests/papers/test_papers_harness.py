"""Running experiments: cost first, resume after a kill, merge, stale code, honest files."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from paper_toys import DONE, TOY, toy, with_code

from strop.papers import harness, results
from strop.papers.experiment import Outcome, Size
from strop.types import Spent, StropError


@pytest.fixture(autouse=True)
def own_code(monkeypatch):
    with_code(monkeypatch)


def planned(tmp_path, experiment=TOY, **options):
    return harness.plan(experiment, file=tmp_path / "results" / "23-toy.json", runs=tmp_path / "runs", **options)


def test_the_cost_is_stated_before_and_after_measuring(tmp_path):
    plan = planned(tmp_path)
    assert "36 items, 0 of them done" in str(plan)
    assert "about 18 s, 72 programs (a guess)" in str(plan)
    assert not DONE
    harness.execute(planned(tmp_path, size=Size(units=12, seeds=1)))
    again = planned(tmp_path)
    assert "36 items, 12 of them done" in str(again)
    assert "from items measured" in str(again)
    assert not (tmp_path / "runs").exists() or len(DONE) == 12


def test_a_quick_run_is_not_guessed_at_the_cost_of_full_settings(tmp_path):
    dear = replace(TOY, cost=Spent(seconds=600, programs=20))
    plan = planned(tmp_path, dear, quick=True)
    assert "about 3 min" in str(plan)
    assert 0 < plan.cost.programs < 20 * len(plan.left)
    assert planned(tmp_path, dear).cost.seconds == 36 * 600


def test_results_follow_from_outcomes(tmp_path):
    outcome = harness.execute(planned(tmp_path), command="strop papers run 23")
    assert outcome.verdict == "shown"
    assert outcome.complete
    assert outcome.conditions[0].value == pytest.approx(0.2, abs=0.01)
    assert {row.arm: round(row.value, 3) for row in outcome.estimates}["tree"] > 0.5
    assert outcome.spent["programs"] == 72
    assert outcome.sessions[0].command == "strop papers run 23"
    assert results.read(tmp_path / "results" / "23-toy.json") == outcome
    assert results.differences(outcome, TOY) == []
    assert "<svg" in (tmp_path / "results" / "23-toy.svg").read_text()


def test_progress_counts_items_that_were_done_before(tmp_path):
    harness.execute(planned(tmp_path, size=Size(units=12, seeds=1)))
    seen = []
    harness.execute(planned(tmp_path), on_progress=lambda *step: seen.append(step[1:]))
    assert seen[0] == (12, 36)
    assert seen[-1] == (36, 36)


def test_an_interrupted_run_keeps_what_is_done_and_goes_on(tmp_path):
    def stop_at_five(lab, item):
        if len(DONE) == 5:
            raise KeyboardInterrupt
        yield from TOY.measure(lab, item)

    with pytest.raises(KeyboardInterrupt):
        harness.execute(planned(tmp_path, toy(measure=stop_at_five)))
    partial = results.read(tmp_path / "results" / "23-toy.json")
    assert not partial.complete
    assert len(partial.table()) == 10
    DONE.clear()
    whole = harness.execute(planned(tmp_path))
    assert len(DONE) == 31
    assert whole.complete
    other = harness.execute(harness.plan(TOY, file=tmp_path / "other.json", runs=tmp_path / "elsewhere"))
    assert (whole.outcomes, whole.conditions) == (other.outcomes, other.conditions)


def test_more_seeds_add_to_the_file_even_without_the_run_folder(tmp_path):
    harness.execute(planned(tmp_path))
    DONE.clear()
    elsewhere = harness.plan(
        TOY, size=Size(units=12, seeds=5), file=tmp_path / "results" / "23-toy.json", runs=tmp_path / "machine two"
    )
    grown = harness.execute(elsewhere)
    assert {item.seed for item in DONE} == {3, 4}
    assert grown.seeds == [0, 1, 2, 3, 4]
    assert len(grown.sessions) == 2
    assert grown.spent["programs"] == 120


def test_files_of_several_machines_are_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "load", lambda paper: TOY)
    parts = []
    for name, seeds in (("one", 1), ("two", 3)):
        plan = harness.plan(TOY, size=Size(units=12, seeds=seeds), file=tmp_path / f"{name}.json", runs=tmp_path / name)
        parts.append(harness.execute(plan))
    whole = harness.merge([tmp_path / "one.json", tmp_path / "two.json"], tmp_path / "both.json")
    assert whole.complete
    assert whole.outcomes == parts[1].outcomes
    assert whole.conditions == parts[1].conditions
    assert [one.items for one in whole.sessions] == [12, 36]
    assert harness.merge([tmp_path / "one.json"], tmp_path / "both.json") == whole
    with_code(monkeypatch, ("version-two", {"strop.toy": "two"}))
    with pytest.raises(StropError, match=r"both\.json was made by other code \(strop\.toy changed\)"):
        harness.merge([tmp_path / "one.json"], tmp_path / "both.json")


def test_a_metric_that_does_not_apply_is_not_missing_work(tmp_path):
    def half(lab, item):
        for one in TOY.measure(lab, item):
            yield one if int(one.unit) % 2 else replace(one, values={})

    experiment = toy(measure=half)
    outcome = harness.execute(planned(tmp_path, experiment))
    assert outcome.complete
    assert outcome.absent == []
    assert outcome.conditions[0].units == 6
    fresh = harness.plan(experiment, file=tmp_path / "results" / "23-toy.json", runs=tmp_path / "gone")
    assert not fresh.left


def test_fewer_seeds_take_nothing_away(tmp_path):
    whole = harness.execute(planned(tmp_path))
    again = harness.execute(planned(tmp_path, size=Size(units=2, seeds=1)))
    assert again.outcomes == whole.outcomes
    assert again.complete


def test_results_of_other_code_give_way_only_to_complete_ones(tmp_path, monkeypatch):
    old = harness.execute(planned(tmp_path))
    with_code(monkeypatch, ("version-two", {"strop.toy": "two"}))
    plan = planned(tmp_path, size=Size(units=3, seeds=1))
    assert "strop.toy changed" in str(plan)
    assert len(plan.left) == 3
    harness.execute(plan)
    assert results.read(tmp_path / "results" / "23-toy.json") == old
    new = harness.execute(planned(tmp_path))
    assert new.code.version == "version-two"
    assert results.read(tmp_path / "results" / "23-toy.json") == new


def test_quick_runs_and_other_settings_stay_out_of_results(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "results_folder", lambda: tmp_path / "results")
    quick = harness.plan(TOY, quick=True, runs=tmp_path / "runs")
    harness.execute(quick)
    other = harness.plan(TOY, settings={"gain": 0.0}, size=Size(units=4, seeds=2), runs=tmp_path / "runs")
    assert harness.execute(other).verdict == "not shown at this scale"
    assert not (tmp_path / "results").exists()
    assert quick.file != other.file
    with pytest.raises(StropError, match="no setting 'gian'"):
        harness.plan(TOY, settings={"gian": 1}, runs=tmp_path / "runs")


def test_an_incomplete_file_says_so(tmp_path):
    early = harness.execute(planned(tmp_path, size=Size(units=4, seeds=2)))
    assert not early.complete
    assert harness.words(early)[-1] == "So far: shown."


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (lambda lab, item: iter(()), "one outcome for each arm"),
        (lambda lab, item: [Outcome(arm, item.units[0], 99, {"solved": 0.1}) for arm in item.arms], "one outcome"),
    ],
)
def test_an_experiment_that_leaves_outcomes_out_is_told(tmp_path, bad, said):
    with pytest.raises(StropError, match=said):
        harness.execute(planned(tmp_path, toy(measure=bad)))
    assert not (tmp_path / "results").exists()


def test_impossible_figures_are_refused_before_they_are_kept(tmp_path):
    def wild(lab, item):
        return [Outcome(arm, item.units[0], item.seed, {"solved": 7.0}) for arm in item.arms]

    with pytest.raises(ValueError, match="outside"):
        harness.execute(planned(tmp_path, toy(measure=wild)))
    assert not (tmp_path / "results").exists()


def test_sizes_beyond_the_data_are_refused(tmp_path):
    with pytest.raises(StropError, match="has 20 units; 21 were asked for"):
        planned(tmp_path, size=Size(units=21, seeds=1))
    with pytest.raises(StropError, match="at least one unit"):
        Size(units=0, seeds=1)
    with pytest.raises(StropError, match="names a unit twice"):
        planned(tmp_path, toy(units=lambda: ["a"] * 12))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "strop-paper/1"}', "null", '{"extra": 1}'])
def test_damaged_results_are_one_clear_error(tmp_path, text):
    file = tmp_path / "results" / "23-toy.json"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(StropError, match=r"23-toy\.json"):
        planned(tmp_path)


def test_things_are_opened_once_and_closed(tmp_path):
    log = []

    class Thing:
        def __init__(self, name):
            log.append(f"open {name}")

        def close(self):
            log.append("close")

    def measure(lab, item):
        assert lab.once(Thing, "judge") is lab.once(Thing, "judge")
        yield from TOY.measure(lab, item)

    harness.execute(planned(tmp_path, toy(measure=measure), size=Size(units=3, seeds=1)))
    assert log == ["open judge", "close"]


def test_arms_can_be_cut_apart(tmp_path):
    plan = planned(tmp_path, toy(cut=("arm",)), size=Size(units=3, seeds=2))
    assert [(item.arms, len(item.units), item.seed) for item in plan.items] == [
        (("resample",), 3, 0),
        (("tree",), 3, 0),
        (("resample",), 3, 1),
        (("tree",), 3, 1),
    ]
    assert len(planned(tmp_path, toy(cut=()), size=Size(units=3, seeds=2)).items) == 2


def test_a_killed_run_resumes_to_what_an_uninterrupted_one_gives(tmp_path):
    """The real thing: SIGKILL in the middle of `strop papers run`, twice."""
    options = ["--quick", "--seeds", "4", "--set", "studies=4", "--json"]

    def command(out):
        code = "import sys; sys.argv[0] = 'strop'; from strop.cli.main import main; main()"
        return [sys.executable, "-c", code, "papers", "run", "91", *options, "--out", str(out)]

    def kept():
        return sum(1 for path in tmp_path.glob("a/runs/papers/*/run.sqlite"))

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for _ in range(2):
        process = subprocess.Popen(command(tmp_path / "a" / "91.json"), cwd=tmp_path / "a", stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and not kept() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.15)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = [subprocess.run(command(tmp_path / at / "91.json"), cwd=tmp_path / at, capture_output=True) for at in "ab"]
    assert [one.returncode for one in done] == [0, 0], done[0].stderr
    first, second = (json.loads((tmp_path / at / "91.json").read_text()) for at in "ab")
    assert first["outcomes"] == second["outcomes"]
    assert first["conditions"] == second["conditions"]
    assert first["sessions"][0]["items"] == 20


def test_files_are_written_whole(tmp_path, monkeypatch):
    outcome = harness.execute(planned(tmp_path))
    file = tmp_path / "results" / "23-toy.json"

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StropError, match="No space left"):
        results.write(file, replace_seconds(outcome))
    assert json.loads(file.read_text())["seconds"] == outcome.seconds


def replace_seconds(outcome):
    return outcome.model_copy(update={"seconds": 99.0})


def test_replace_keeps_experiments_frozen():
    with pytest.raises(AttributeError):
        TOY.planned = Size(units=1, seeds=1)  # type: ignore[misc]
    assert replace(TOY, name="other").slug == "23-other"
