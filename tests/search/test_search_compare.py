"""From methods and tasks to a table: grading, differences, curves, resume, and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scripted import CRASH, GOOD, WRONG, Scripted, block, task

from strop.models.cache import DrawCache
from strop.run import Run
from strop.search import compare
from strop.search.compare import SearchSettings, read_effort, run_searches, traces
from strop.search.methods import get_method
from strop.search.prompting import form_for
from strop.search.summary import _curve, summarise
from strop.tasks.protocols import PROTOCOLS
from strop.types import StropError

OVERFIT = "def double(x):\n    return 6 if x == 3 else 4\n"
TASKS = [task(id=f"t/{n}", prompt=f"Write double(x), number {n}.") for n in range(6)]
FORM = form_for(PROTOCOLS["chat"], chat=True, local=False)


def by_task(text: str, before: int) -> str:
    """Task 0 is always right, task 1 never, others after one or two tries; task 5 fools the visible tests first."""
    number = int(text.split("number ")[1][0])
    programs = [[GOOD], [WRONG, CRASH], [WRONG, GOOD], [WRONG, WRONG, GOOD], [CRASH, GOOD], [OVERFIT, GOOD]][number]
    return block(programs[min(before, len(programs) - 1)])


def run_all(folder, judge, model, methods, seeds=(0,), tasks=TASKS, budget="programs=4"):
    settings = SearchSettings(methods=tuple(methods), model="smollm2", budget=budget, seeds=tuple(seeds))
    specs = [get_method(name) for name in methods]
    with Run.open(folder, command="search", config={"methods": list(methods)}) as run:
        cache = DrawCache(folder / "draws.sqlite")
        try:
            run_searches(run, settings, model, tasks, specs, judge, FORM, draws=cache)
        finally:
            cache.close()
        return summarise(run, settings, tasks, specs, read_effort(run)), list(traces(run, tasks, specs, seeds))


def by_number(data, row):
    """The first seed's scores in the order of the tasks' ids."""
    return [score for _, score in sorted(zip(data["task_ids"], row["scores"][0]))]


def test_a_comparison(judge, tmp_path):
    data, found = run_all(
        tmp_path / "run", judge, Scripted(by_task), ["best-of-n:n=1:stop=yes", "best-of-n", "self-debug"]
    )
    one, best, debug = data["methods"]
    assert data["tasks"] == 6
    assert by_number(data, one) == [1, 0, 0, 0, 0, 0]
    assert by_number(data, best) == [1, 0, 1, 1, 1, 0], "task 5: the first program passes the visible tests"
    assert best["found"] == pytest.approx(5 / 6)
    assert best["per_search"]["programs"] == 4
    assert best["most"]["programs"] == 4
    assert best["per_solved"]["programs"] == pytest.approx(6 * 4 / 4)
    assert [share for _, share in best["anytime"]] == pytest.approx([1 / 6, 3 / 6, 4 / 6, 4 / 6])
    assert debug["difference"]["n"] == 6
    assert best["difference"]["value"] == pytest.approx(0.5)
    assert best["difference"]["p_holm"] >= best["difference"]["p"]
    assert any("at programs=4" in line for line in data["conclusions"])
    assert "not distinguishable" in " ".join(data["conclusions"]) or "borderline" in " ".join(data["conclusions"])
    json.dumps(data, allow_nan=False)
    assert len(found) == 18
    assert all("10" not in json.dumps(trace["nodes"][0]["checks"]) for trace in found), "hidden checks stay out"


def test_the_report_is_rendered_again_from_what_the_run_kept(judge, tmp_path):
    from strop import report
    from strop.report.search import write_page

    data, found = run_all(tmp_path / "run", judge, Scripted(by_task), ["direct", "codetree"])
    page = write_page(tmp_path / "run", data, found, "search")
    first = page.read_text()
    page.unlink()
    assert report.write(tmp_path / "run").read_text() == first
    (tmp_path / "run" / "search.json").write_text("{}")
    with pytest.raises(StropError, match=r"search\.json cannot be read"):
        report.write(tmp_path / "run")


def test_several_seeds_are_paired(judge, tmp_path):
    data, _ = run_all(tmp_path / "run", judge, Scripted(by_task), ["direct", "best-of-n"], seeds=(0, 1, 2))
    best = data["methods"][1]
    assert len(best["scores"]) == 3
    assert best["difference"]["seeds"] == 3
    assert best["searches"] == 18


def test_curves_follow_the_best_by_visible_checks():
    nodes = [{"fraction": 0.5}, {"fraction": 0.5}, {"fraction": 1.0}, {"fraction": None}]
    assert _curve(nodes, [False, True, True, True]) == (False, False, True, True)
    assert _curve([], []) == ()


class Stops(Scripted):
    """Stops as Ctrl-C does, in the middle of a batch."""

    left = 10**6

    def sample(self, requests, params):
        for answer in super().sample(requests, params):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            yield answer


METHODS = ["direct", "best-of-n", "self-debug", "codetree", "tree-of-code", "codechain"]


def without_times(data):
    """What must not depend on how often a run was stopped."""
    data = json.loads(json.dumps(data))
    data.pop("effort")
    for row in data["methods"]:
        for part in ("per_search", "per_solved"):
            if row[part]:
                row[part].pop("seconds")
    return data


@pytest.mark.parametrize("every", [3, 17])
def test_stopped_again_and_again_it_ends_as_if_nothing_had_happened(judge, tmp_path, every):
    """Replies depend on the prompt and the seed alone, as a real model's do."""

    def reply(text: str, before: int) -> str:
        if "number " not in text:
            return "True"
        return by_task(text, len(text) % 3)

    whole, _ = run_all(tmp_path / "whole", judge, Scripted(reply, batch_size=4), METHODS)
    model = Stops(reply, batch_size=4)
    model.fingerprint = "one model"
    stops = 0
    while True:
        model.left = every
        try:
            data, _ = run_all(tmp_path / "broken", judge, model, METHODS)
            break
        except KeyboardInterrupt:
            stops += 1
            assert stops < 500, "it never ends"
    assert stops >= 3
    assert without_times(data) == without_times(whole)
    distinct = {(text, seed if params.temperature else 0, params) for text, params, seed in model.asked}
    assert len(model.asked) <= len(distinct) + stops, "a reply that had been drawn was drawn again"


KILLED = """
import hashlib, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from scripted import Scripted
from test_search_compare import METHODS, run_all, steady
from strop.judge import Judge

class Slow(Scripted):
    def sample(self, requests, params):
        for answer in super().sample(requests, params):
            time.sleep(0.004)
            text, _, seed = self.asked[-1]
            with Path({log!r}).open("a") as file:
                file.write(f"{{text!r}} {{params}} {{seed if params.temperature else 0}}\\n")
            yield answer

with Judge(workers=1, stop_at_first_failure=False) as judge:
    model = Slow(steady, batch_size=4)
    model.fingerprint = "one model"
    run_all(Path({folder!r}), judge, model, METHODS)
"""


def steady(text: str, before: int) -> str:
    """Replies that depend on the prompt alone, as a real model's do on prompt and seed."""
    return by_task(text, len(text) % 3) if "number " in text else "True"


def test_killed_at_any_moment_it_ends_as_if_nothing_had_happened(judge, tmp_path):
    import random
    import signal

    whole, _ = run_all(tmp_path / "whole", judge, Scripted(steady, batch_size=4), METHODS)
    log = tmp_path / "log"
    log.touch()
    folder, rng, kills = tmp_path / "killed", random.Random(3), 0
    source = KILLED.format(tests=str(Path(__file__).parent), log=str(log), folder=str(folder))
    while True:
        before = log.stat().st_size
        process = subprocess.Popen([sys.executable, "-c", source])
        while process.poll() is None and log.stat().st_size == before:
            time.sleep(0.01)
        if kills < 3:
            time.sleep(0.15 * rng.random())
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
        if process.wait(120) == 0:
            break
    assert kills >= 2
    data, _ = run_all(folder, judge, Scripted(steady, batch_size=4), METHODS)  # finished: nothing is drawn
    assert without_times(data) == without_times(whole)
    drawn = log.read_text().splitlines()
    assert len(drawn) - len(set(drawn)) <= kills, "more than the reply in flight was drawn again"


def test_a_comparison_out_of_time_is_a_smaller_one(judge, tmp_path):
    """The first tasks of the order count, whichever ended; the rest is done by the same call, later."""
    methods = ["direct", "self-debug"]
    settings = SearchSettings(methods=tuple(methods), budget="programs=4")
    specs = [get_method(name) for name in methods]

    class Slow(Scripted):
        def sample(self, requests, params):
            for answer in super().sample(requests, params):
                time.sleep(0.01)
                yield answer

    model, sizes = Slow(by_task, batch_size=2), []
    ordered = [task.id for task in compare.in_order(TASKS)]
    assert ordered != [task.id for task in TASKS]
    while not sizes or sizes[-1] < len(TASKS):
        assert len(sizes) < 200, "it never ends"
        with Run.open(tmp_path / "run", command="search", config={}) as run:
            cache = DrawCache(tmp_path / "draws.sqlite")
            until = time.monotonic() + 0.05
            run_searches(run, settings, model, TASKS, specs, judge, FORM, draws=cache, until=until)
            cache.close()
            data = summarise(run, settings, TASKS, specs, read_effort(run))
        assert data["task_ids"] == ordered[: data["tasks"]]
        assert any(line.startswith("So far") for line in data["conclusions"]) == (0 < data["tasks"] < len(TASKS))
        sizes.append(data["tasks"])
    assert sizes == sorted(sizes)
    assert len(sizes) > 2
    distinct = {(text, params, seed if params.temperature else 0) for text, params, seed in model.asked}
    assert len(model.asked) == len(distinct), "a reply that had been drawn was drawn again"


def test_only_whole_seeds_count():
    specs = [get_method("direct"), get_method("self-debug")]
    first, second = (task.id for task in compare.in_order(TASKS)[:2])
    done = {(spec.name, task, 0) for spec in specs for task in (first, second)}
    assert [t.id for t in compare.finished(done, TASKS, specs, (0, 1))[0]] == [first, second]
    assert compare.finished(done, TASKS, specs, (0, 1))[1] == (0,)
    assert compare.finished(done - {("direct", first, 0)}, TASKS, specs, (0, 1)) == ([], ())
    done |= {(spec.name, task, 1) for spec in specs for task in (first, second)}
    assert compare.finished(done, TASKS, specs, (0, 1))[1] == (0, 1)


def test_a_program_whose_judge_failed_is_asked_again_and_not_counted(judge, tmp_path, monkeypatch):
    class Failing:
        """A judge that fails on hidden checks, once."""

        def stream(self, jobs, **options):
            for key, verdict in judge.stream(jobs, **options):
                from dataclasses import replace

                yield key, replace(verdict, status="judge_error") if isinstance(key, str) else verdict

    data, _ = run_all(tmp_path / "run", Failing(), Scripted(by_task), ["direct"])
    assert data["tasks"] == 0
    assert data["unclear"] == 6
    assert data["methods"][0]["pass_at_1"] is None
    data, _ = run_all(tmp_path / "run", judge, Scripted(by_task), ["direct"])
    assert data["tasks"] == 6
    assert data["unclear"] == 0


def test_a_zero_budget_solves_nothing_and_says_so(judge, tmp_path):
    data, _ = run_all(tmp_path / "run", judge, Scripted(by_task), ["best-of-n", "codetree"], budget="programs=0")
    assert [row["pass_at_1"]["value"] for row in data["methods"]] == [0, 0]
    assert data["methods"][0]["per_solved"] is None


@pytest.mark.parametrize("budget", ["", "money=3"])
def test_a_budget_that_ends_nothing_is_refused(judge, tmp_path, budget):
    with pytest.raises(StropError, match="does not end a search"):
        run_all(tmp_path / "run", judge, Scripted(by_task), ["hierarchical"], budget=budget)


def test_tasks_without_visible_checks_are_named_in_the_conclusions(judge, tmp_path):
    tasks = [task(visible=False, id=f"n/{n}", prompt=f"Write double(x), number {n}.") for n in range(2)]
    data, _ = run_all(tmp_path / "run", judge, Scripted(by_task), ["direct", "best-of-n"], tasks=tasks)
    assert data["tasks_without_visible_checks"] == 2
    assert any("Without visible checks: 2 tasks of 2" in line for line in data["conclusions"])
    assert data["methods"][1]["notes"] == {"no visible checks: chose by log-probability": 2}


# ---- command line ------------------------------------------------------------------------------


def strop(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "strop.cli.main", "search", *arguments],
        capture_output=True,
        text=True,
        timeout=250,
        **options,
    )


def test_dry_run_and_list_and_errors(tmp_path):
    plan = strop("--compare", "direct,best-of-n,pg-td", "--limit", "4", "--seeds", "2", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "4 tasks x 3 methods x 2 seeds = 24 searches" in plan.stdout
    assert "at most 192 programs" in plan.stdout
    listed = strop("--method", "list")
    assert "codetree:" in listed.stdout
    assert "policy=dfs" in listed.stdout
    for arguments, words in [
        (["--method", "codetre"], "Did you mean codetree"),
        (["--budget", "programms=3"], "programms"),
        (["--tasks", "nothing-like-it"], "neither a file nor a known task set"),
    ]:
        done = strop(*arguments, "--dry-run")
        assert done.returncode == 2
        assert words in done.stderr


def refuses(text: str, before: int) -> str:
    """Another model, which never writes a program."""
    return "I cannot."


@pytest.fixture
def command(monkeypatch, tmp_path):
    """`strop search ...` in this process with a scripted model: everything but the weights."""
    from typer.testing import CliRunner

    from strop import models
    from strop.cli.main import build

    def reply(text: str, before: int) -> str:
        return "True" if "holds only" in text else "def nothing():\n    pass\n"

    model = Scripted(reply)
    monkeypatch.setattr(models, "load", lambda spec, **options: model if spec == "smollm2" else Scripted(refuses))

    def run(*arguments):
        words = ["search", "--tasks", "basics", "--limit", "2", "--workers", "1", "-q", "--out", str(tmp_path / "run")]
        words += arguments
        return CliRunner().invoke(build(words), words), model, tmp_path / "run"

    return run


def test_the_command_writes_results_page_and_traces_and_resumes(command):
    arguments = ("--compare", "direct,best-of-n,codetree", "--budget", "programs=2", "--seeds", "2")
    done, model, folder = command(*arguments)
    assert done.exit_code == 0, done.output
    assert "best-of-n against direct at programs=2: not distinguishable" in done.output
    assert "the search itself" in done.output
    data = json.loads((folder / "search.json").read_text())
    assert [row["searches"] for row in data["methods"]] == [4, 4, 4]
    assert "codetree" in (folder / "search.html").read_text()
    asked = len(model.asked)
    done, model, _ = command(*arguments, "--json")
    assert len(model.asked) == asked, "a finished run drew again"
    assert json.loads(done.output)["methods"] == data["methods"]
    done, _, _ = command("--compare", "direct", "--budget", "programs=3")
    assert "a run of something else: budget" in str(done.exception)


def test_several_models_are_rows_of_one_table(command):
    models = ("--model", "smollm2", "--model", "openai/other@http://127.0.0.1:9/v1")
    done, _, folder = command("--compare", "direct,best-of-n", "--budget", "programs=2", *models, "--minutes", "5")
    assert done.exit_code == 0, done.output
    data = json.loads((folder / "search.json").read_text())
    names = [row["method"] for row in data["methods"]]
    assert names == [f"{method} with {model}" for model in models[1::2] for method in ("direct", "best-of-n")]
    assert [row["searches"] for row in data["methods"]] == [2] * 4
    assert [row["format_failure_rate"] for row in data["methods"]] == [0, 0, 1, 1]
    assert data["settings"]["model"] == ", ".join(models[1::2])


def test_a_user_method_that_fails_names_itself(judge):
    with pytest.raises(StropError, match="no function"):
        get_method(f"{compare.__file__}:nothing_here")
