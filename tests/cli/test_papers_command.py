"""`strop papers` as a person types it."""

import json
import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-c", "import sys; sys.argv[0] = 'strop'; from strop.cli.main import main; main()", "papers"]


def strop(*words: str, cwd=None) -> subprocess.CompletedProcess:
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, cwd=cwd, env=environment)


def test_list_prints_the_cards_as_json():
    done = strop("list", "--json")
    papers = json.loads(done.stdout)
    assert [paper["number"] for paper in papers] == list(range(1, 93))
    assert {"name", "title", "state", "claims", "measured", "components", "slug"} <= papers[0].keys()
    by_state = json.loads(strop("list", "--json", "--state", "study").stdout)
    assert {paper["number"] for paper in by_state} == {6, 21, 79}


def test_show_and_search_find_a_paper_by_its_name():
    shown = strop("show", "codedpo")
    assert shown.returncode == 0
    assert "The paper's claims" in shown.stdout
    assert "0.77 to 0.86" in shown.stdout
    hits = json.loads(strop("search", "codedpo", "--json").stdout)
    assert hits[0]["slug"] == "43-codedpo"
    assert hits[0]["score"] > 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("show", "93"), 2, "There is no paper '93'"),
        (("run", "6"), 2, "has no experiment yet"),
        (("run", "91", "--set", "studies"), 2, "takes NAME=VALUE"),
        (("run", "91", "--set", "nothing=1"), 2, "has no setting 'nothing'"),
        (("run", "91", "--units", "99"), 2, "has 5 units"),
        (("merge", "absent.json"), 2, "absent.json does not exist"),
        (("search", "zzzqqq"), 1, "No card has any of these words"),
    ],
)
def test_mistakes_are_explained(tmp_path, words, code, said):
    done = strop(*words, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_states_the_cost_and_does_nothing(tmp_path):
    done = strop("run", "91", "--quick", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert "items" in done.stdout
    assert "Cost of the rest: about" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_quick_run_prints_findings_and_leaves_results_alone(tmp_path):
    done = strop("run", "91", "--quick", "--seeds", "1", "--set", "studies=2", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["paper"] == 91
    assert outcome["complete"] is False
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
