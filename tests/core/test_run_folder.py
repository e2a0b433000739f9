import json
import math
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_nouns import COMMAND, CONFIG, INPUTS, sample, verdict

from strop.run import Metric, Run
from strop.types import Spent, StropError


def reopen(run, **changes):
    run.close()
    return Run.open(run.path, **({"command": COMMAND, "config": CONFIG, "inputs": INPUTS} | changes))


# ---- what is kept ----


def test_everything_comes_back_equal_after_reopening(run):
    samples = [sample("b", 1), sample("b", 0), sample("a", 10), sample("a", 2, token_ids=None, logprobs=())]
    run.save_samples("before", samples)
    run.save_verdicts("before", [("b", 1, verdict()), ("a", 2, verdict("timeout", checks=()))])
    run.save_metrics("train", 2, {"loss": 0.5, "grad": math.inf})
    run.save_metrics("train", 1, {"loss": 1, "lr": math.nan})
    run.charge("before", "k1", Spent(programs=3, seconds=0.5, money=0.25))
    run.event("note", {"text": "hello"})
    run.save_result("key", {"list": (1, 2), "path": Path("a/b")})
    with reopen(run) as again, Run.read(run.path) as reader:
        for opened in (again, reader):
            assert opened.samples("before") == sorted(samples, key=lambda s: (s.task_id, s.index))
            assert opened.verdicts("before") == {("a", 2): verdict("timeout", checks=()), ("b", 1): verdict()}
            assert list(opened.verdicts("before")) == [("a", 2), ("b", 1)]
            assert [metric[:3] for metric in opened.metrics("train")] == [
                ("train", 1, "loss"), ("train", 1, "lr"), ("train", 2, "grad"), ("train", 2, "loss"),
            ]  # fmt: skip
            assert math.isnan(opened.metrics()[1].value)
            assert opened.metrics()[2] == Metric("train", 2, "grad", math.inf)
            assert opened.spent() == opened.spent("before") == Spent(programs=3, seconds=0.5, money=0.25)
            assert opened.spent("train") == Spent()
            assert [event[1:] for event in opened.events()] == [("note", {"text": "hello"})]
            assert opened.result("key") == {"list": [1, 2], "path": "a/b"}
            assert opened.result("other") is None
            assert opened.stages() == ["before", "train"]
            assert opened.samples("train") == []


wild = st.text(st.characters(codec=None), max_size=30)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=wild, code=wild, ids=st.none() | st.lists(st.integers(-(2**63), 2**63 - 1)).map(tuple),
       logprobs=st.none() | st.lists(st.floats(allow_nan=False)).map(tuple), seconds=st.floats(0, 1e9))  # fmt: skip
def test_any_text_and_numbers_survive(run, text, code, ids, logprobs, seconds):
    stage = f"s{len(run.stages())}"
    kept = sample("t", 0, text, code=code, token_ids=ids, logprobs=logprobs, spent=Spent(seconds=seconds))
    judged = verdict(output=text, detail=code, seconds=seconds)
    run.save_samples(stage, [kept])
    run.save_verdicts(stage, [("t", 0, judged)])
    assert run.samples(stage) == [kept]
    assert run.verdicts(stage) == {("t", 0): judged}


def test_saving_again_changes_nothing_and_costs_nothing(run):
    run.save_samples("s", [sample(text="first")])
    run.save_samples("s", [sample(text="second"), sample(index=1)])
    assert [s.text for s in run.samples("s")] == ["first", "def f(): return 1"]
    for cost in (1, 5):
        run.charge("s", "same", Spent(programs=cost))
    assert run.spent() == Spent(programs=1)
    run.save_result("k", [1])
    run.save_result("k", [2])
    assert run.result("k") == [1]
    run.save_metrics("s", 3, {"loss": 1.0})
    run.save_metrics("s", 3, {"loss": 2.0})
    assert run.metrics() == [Metric("s", 3, "loss", 2.0)]


def test_a_judge_error_gives_way_to_a_verdict_and_a_verdict_to_nothing(run):
    for status in ("judge_error", "judge_error", "failed", "passed", "judge_error"):
        run.save_verdicts("s", [("t", 0, verdict(status))])
        kept = run.verdicts("s")[("t", 0)].status
        assert kept == ("judge_error" if status == "judge_error" and kept != "failed" else "failed")


def test_atomic_keeps_all_or_nothing(run):
    def fail():
        with run.atomic():
            run.save_samples("s", [sample()])
            run.charge("s", "k", Spent(programs=10))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert run.samples("s") == []
    assert run.spent() == Spent()
    assert run.stages() == []
    with run.atomic():
        run.charge("s", "outer", Spent(programs=1))
        with pytest.raises(KeyError):
            fail()
        run.charge("s", "last", Spent(programs=1))
    assert run.spent() == Spent(programs=2)
    assert run.samples("s") == []


def test_impossible_values_are_refused_and_leave_nothing(run):
    with pytest.raises(ValueError, match="finite"):
        run.charge("s", "k", Spent(seconds=math.nan))
    with pytest.raises(ValueError, match="None"):
        run.save_result("k", None)
    with pytest.raises(TypeError, match="object"):
        run.save_result("k", object())
    with pytest.raises(StropError, match="64 bits"):
        run.charge("s", "k", Spent(prompt_tokens=10**30))
    with pytest.raises(StropError, match="64-bit"):
        run.save_samples("s", [sample(), sample(index=1, token_ids=(10**30,))])
    with pytest.raises(StropError, match="Unicode"):
        run.save_samples("s", [sample(), sample("\ud800")])
    assert run.stages() == []
    assert run.samples("s") == []


def test_threads_share_a_run(run):
    def work(number):
        for i in range(20):
            with run.atomic():
                run.save_samples("s", [sample(f"t{number}", i)])
                run.charge("s", f"{number}/{i}", Spent(programs=1))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(run.samples("s")) == run.spent().programs == 80


# ---- manifest and resume ----


def test_manifest_says_what_is_needed_to_repeat_the_run(run):
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest == run.manifest
    assert manifest["command"] == COMMAND
    assert manifest["config"] == CONFIG
    assert manifest["inputs"] == INPUTS
    assert manifest["seeds"] == {"seed": 0}
    assert manifest["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"strop", "numpy"} <= manifest["versions"].keys()
    assert manifest["machine"]["cores"] >= 1
    assert manifest["format"] == 1


def test_opening_a_run_imports_no_heavy_library(tmp_path):
    code = (
        "import sys; from strop.run import Run; "
        f"Run.open({str(tmp_path / 'r')!r}, command='eval', config={{}}).close(); "
        "print([m for m in ('torch', 'transformers', 'pyarrow', 'numpy', 'scipy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_resume_must_ask_for_the_same_and_is_told_every_difference(run):
    config = {**CONFIG, "n": 8, "sampling": {"temperature": 0.2}, "limit": 10}
    with pytest.raises(StropError) as told:
        reopen(run, config=config, inputs={**INPUTS, "model": "sha256:cc"}, command="strop search")
    words = str(told.value)
    for part in (
        str(run.path),
        "command was eval, now search",
        "n was 4, now 8",
        "sampling.temperature was 0.8, now 0.2",
        "limit was not set, now 10",
        'inputs.model was "sha256:aa", now "sha256:cc"',
        "--out",
        "--fresh",
    ):
        assert part in words
    assert "tasks was" not in words
    assert "\n" not in words
    reopen(run, command="/usr/bin/python -m strop eval --n 4 --other-order").close()


def test_fresh_sets_the_old_run_aside(run):
    run.save_samples("s", [sample()])
    with reopen(run, config={"n": 1}, fresh=True) as new:
        assert new.stages() == []
        assert new.manifest["config"] == {"n": 1}
    with Run.read(run.path.with_name("run.1")) as old:
        assert old.samples("s") == [sample()]
    with Run.open(run.path.with_name("other"), command="eval", config={}, fresh=True) as first:
        assert not first.path.with_name("other.1").exists()


def test_other_versions_are_noted_on_resume(run):
    file = run.path / "manifest.json"
    file.write_text(file.read_text().replace(f'"numpy": "{run.manifest["versions"]["numpy"]}"', '"numpy": "0.1"'))
    with reopen(run) as again:
        (when, kind, data), = again.events()  # fmt: skip
        assert kind == "resumed"
        assert when > 0
        assert data["started_with"]["numpy"] == "0.1"


def test_report_files_are_written_whole(run):
    run.write("report.html", "<p>é \ud800</p>")
    assert (run.path / "report.html").read_text(encoding="utf-8") == "<p>é \\ud800</p>"
    assert not list(run.path.glob("*.part"))


# ---- who may write ----


def test_only_one_writer_and_the_other_is_named(run):
    code = (
        f"from strop.run import Run; Run.open({str(run.path)!r}, command='eval', config={CONFIG!r}, inputs={INPUTS!r})"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"is being written by process {os.getpid()}" in other.stderr
    with pytest.raises(StropError, match="this same process"):
        Run.open(run.path, command=COMMAND, config=CONFIG, inputs=INPUTS)
    with Run.read(run.path) as reader:
        run.save_samples("s", [sample()])
        assert reader.samples("s") == [sample()]
        with pytest.raises(RuntimeError, match=r"Run\.read"):
            reader.save_samples("s", [sample()])
        with pytest.raises(RuntimeError, match=r"Run\.read"), reader.atomic():
            pass
    reopen(run).close()
    with pytest.raises(RuntimeError, match="closed"):
        run.samples("s")


def test_a_forked_child_neither_uses_the_run_nor_keeps_it_locked(run):
    run.save_samples("s", [sample()])
    ready, tell = os.pipe()
    hold, release = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(release)
        try:
            run.samples("s")
        except RuntimeError:
            os.write(tell, b"refused")
        os.read(hold, 1)
        os._exit(0)
    assert os.read(ready, 10) == b"refused"
    reopen(run).close()  # while the child is still alive
    os.close(release)
    assert os.waitpid(child, 0)[1] == 0


# ---- what cannot be read ----


def error(action, *arguments, **keywords):
    with pytest.raises(StropError) as told:
        action(*arguments, **keywords)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_paths_that_are_no_run_are_explained(tmp_path, run):
    (tmp_path / "file").write_text("x")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "manifest.json").write_text('{"name": "browser extension"}')
    assert "does not exist" in error(Run.read, tmp_path / "none")
    assert "holds no manifest.json" in error(Run.read, tmp_path)
    assert "holds no manifest.json" in error(Run.read, tmp_path / "file")
    assert "not written by Strop" in error(Run.read, tmp_path / "foreign")
    for fresh in (False, True):
        assert "not written by Strop" in error(
            Run.open, tmp_path / "foreign", command="eval", config={}, fresh=fresh
        )  # and nothing of it is moved or overwritten
        assert "browser" in (tmp_path / "foreign" / "manifest.json").read_text()
    assert "cannot be written: File exists" in error(Run.open, tmp_path / "file", command="eval", config={})
    assert "cannot be written: Not a dir" in error(Run.open, tmp_path / "file" / "x", command="eval", config={})


def test_newer_formats_are_explained(run):
    run.close()
    with sqlite3.connect(run.path / "run.sqlite") as database:
        database.execute("PRAGMA user_version=7")
    assert "format 7; this one reads up to 1" in error(Run.read, run.path)
    file = run.path / "manifest.json"
    file.write_text(json.dumps(run.manifest | {"format": 9}))
    assert "format 9; this one reads up to 1" in error(reopen, run)


@pytest.mark.parametrize("text", ["", "{", '{"format": 1}', "[]", "\xff"])
def test_damaged_manifests_are_explained(run, text):
    run.close()
    (run.path / "manifest.json").write_bytes(text.encode("latin-1"))
    assert "manifest.json" in error(Run.read, run.path)
    assert "manifest.json" in error(reopen, run)


def test_damaged_databases_are_explained(run):
    for i in range(200):
        run.save_samples("s", [sample(index=i, text="x" * 500)])
    run.close()
    file = run.path / "run.sqlite"
    whole = file.read_bytes()
    file.write_bytes(whole[:40_000] + os.urandom(40_000) + whole[80_000:])
    with Run.read(run.path) as reader:
        assert "damaged" in error(reader.samples, "s")
    for content in (b"", b"not a database, long enough to have a header" * 9):
        file.write_bytes(content)
        assert "damaged" in error(Run.read, run.path)
        assert "damaged" in error(reopen, run)
    file.unlink()
    assert "run.sqlite is missing" in error(reopen, run)
    assert not file.exists()  # an emptied run must not pass for a new one


def test_a_row_that_cannot_be_read_is_explained(run):
    run.save_samples("s", [sample()])
    run.save_verdicts("s", [("t", 0, verdict())])
    for table in ("samples", "verdicts"):
        with sqlite3.connect(run.path / "run.sqlite") as database:
            database.execute(f"UPDATE {table} SET data = '{{\"text\": 1}}'")
        assert f"a row of {table} cannot be read" in error(getattr(run, table), "s")


def test_results_without_their_manifest_are_not_taken_over(run):
    run.save_result("k", 1)
    (run.path / "manifest.json").unlink()
    assert "no manifest.json" in error(reopen, run)
