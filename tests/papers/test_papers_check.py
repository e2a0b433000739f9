"""`check` finds what was tampered with, and code versions notice what matters."""

import json
import shutil
from pathlib import Path

import pytest
from paper_toys import TOY, with_code

from strop.papers import harness, results
from strop.papers.cards import FOLDER
from strop.papers.catalogue import catalogue, check, entry
from strop.papers.code import bare, code_version, module_of, resolve
from strop.papers.experiment import Size
from strop.papers.page import page
from strop.papers.terminal import check_lines, show
from strop.types import StropError

SLUG = "23-codetree"


@pytest.fixture
def measured(tmp_path, monkeypatch) -> Path:
    """A results folder with paper 23 measured by a toy, which is then its only experiment."""
    from dataclasses import replace

    toy = replace(TOY, name="codetree")
    with_code(monkeypatch)
    monkeypatch.setattr(harness, "load", lambda paper: toy if paper == 23 else None)
    harness.execute(harness.plan(toy, file=tmp_path / "results" / f"{SLUG}.json", runs=tmp_path / "runs"))
    return tmp_path / "results"


def problems(folder: Path) -> list[str]:
    return check(folder).problems


def test_an_honest_file_passes_and_gives_the_state(measured):
    found = check(measured)
    assert found.ok
    assert found.counts["shown"] == 1
    assert sum(found.counts.values()) == 92
    one = entry(SLUG, measured)
    assert one.state == "shown"
    assert any("Does the tree solve more?" in line for line in show(one))
    assert "Nothing is broken or stale." in check_lines(found)[-1]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["verdict"], "contradicted", "verdict does not follow"),
        (["conditions", 0, "verdict"], "not shown at this scale", "conditions do not follow"),
        (["conditions", 0, "value"], 0.9, "conditions do not follow"),
        (["conditions", 0, "bound"], -1.0, "conditions do not follow"),
        (["conditions", 0, "text"], "something grander", "conditions do not follow"),
        (["estimates", 1, "value"], 0.99, "estimates do not follow"),
        (["outcomes", "solved", "tree", 0, 0], 0.99, "do not follow"),
        (["outcomes", "solved", "tree", 0], [], "one row a unit"),
        (["outcomes", "solved", "tree", 0, 0], 7.0, "outside"),
        (["settings", "gain"], 3.0, "other settings"),
        (["quick"], True, "quick run"),
        (["paper"], 24, "of paper 24"),
        (["state"], "shown", "Extra inputs"),
        (["plot"], "gone.svg", "is missing"),
        (["units"], "all", "units"),
    ],
)
def test_tampering_is_found(measured, path, value, said):
    file = measured / f"{SLUG}.json"
    data = json.loads(file.read_text())
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file.write_text(json.dumps(data))
    found = problems(measured)
    assert found, f"{path} was changed unnoticed"
    assert said in " ".join(found)
    assert all(SLUG in text for text in found)


def test_other_code_makes_results_stale_not_wrong(measured, monkeypatch):
    with_code(monkeypatch, ("version-two", {"strop.toy": "two"}))
    found = check(measured)
    assert not found.problems
    assert not found.ok
    assert found.stale == {SLUG: ["strop.toy"]}
    assert any("stale" in line for line in check_lines(found))
    assert any("Stale: strop.toy" in line for line in show(entry(SLUG, measured)))


def test_partial_results_run_and_are_not_shown(measured):
    file = measured / f"{SLUG}.json"
    file.unlink()
    toy = harness.load(23)
    plan = harness.plan(toy, size=Size(units=6, seeds=2), file=file, runs=measured / "runs")
    assert harness.execute(plan).verdict == "shown"
    assert entry(SLUG, measured).state == "runs"


def test_strays_and_gaps_are_found(measured, tmp_path):
    shutil.copy(measured / f"{SLUG}.json", measured / "77-nothing.json")
    assert "77-nothing.json belongs to no card" in problems(measured)
    copy = tmp_path / "cards"
    shutil.copytree(FOLDER, copy)
    (copy / "43-codedpo.toml").rename(copy / "43-other-name.toml")
    (copy / "44-mint.toml").unlink()
    (copy / "notes.txt").write_text("")
    said = " ".join(check(measured, copy).problems)
    assert "paper 44 has no card" in said
    assert "notes.txt" in said


def test_components_that_do_not_import_are_found(measured, tmp_path):
    copy = tmp_path / "cards"
    shutil.copytree(FOLDER, copy)
    path = copy / "91-lbm.toml"
    path.write_text(path.read_text().replace("strop.stats.holm", "strop.stats.hulm"))
    assert any("no 'hulm'" in text for text in check(measured, copy).problems)


def test_the_catalogue_of_this_checkout_is_whole():
    """Cards, components and results files as they are committed. Stale results are allowed here: `check` names them."""
    assert check().problems == []


def test_the_page_is_what_the_generator_writes():
    file = Path(__file__).resolve().parents[2] / "docs" / "papers.md"
    assert file.read_text(encoding="utf-8") == page(catalogue()), "run `make docs`"


# ---- code versions -----------------------------------------------------------------------------

SOURCE = '''"""A module."""

import math  # why


def area(r):
    """Of a circle."""
    # pi r squared
    return math.pi * r**2


class Thing:
    """Something."""

    word = "# not a comment"
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', '"""Another text,\nin two lines."""'),
        ("  # why", ""),
        ('    """Of a circle."""\n', ""),
        ("# pi r squared", "# the area"),
        ("\n\n\ndef", "\n\ndef"),
        ('    """Something."""', '    """Something else: "quoted"."""'),
    ],
)
def test_comments_and_docstrings_do_not_make_results_stale(old, new):
    assert SOURCE.count(old) == 1
    assert bare(SOURCE.replace(old, new)) == bare(SOURCE)


@pytest.mark.parametrize(("old", "new"), [("r**2", "r**3"), ("# not a comment", "# really not"), ("area", "size")])
def test_code_does(old, new):
    assert bare(SOURCE.replace(old, new)) != bare(SOURCE)


def test_versions_name_modules_not_functions():
    version, modules = code_version(["strop.stats.holm", "strop.stats.compare", "strop.papers.experiments.p91_lbm"])
    assert list(modules) == ["strop.papers.experiments.p91_lbm", "strop.stats"]
    assert code_version(["strop.stats"])[1]["strop.stats"] == modules["strop.stats"]
    assert version != code_version(["strop.stats"])[0]
    assert code_version(["strop.judge"])[1].keys() == {"strop.judge"}


def test_dotted_names_resolve_or_say_what_is_missing():
    from strop.stats import Estimate

    assert resolve("strop.stats.Estimate") is Estimate
    assert resolve("strop.stats.Estimate.words") is Estimate.words
    assert module_of("strop.papers.code.bare") == "strop.papers.code"
    for name in ("os.path", "strop.stats.nothing", "strop.nothing.at.all", "nothing", "", "strop..stats"):
        with pytest.raises(StropError):
            resolve(name)


def test_every_results_file_belongs_to_an_experiment_of_its_paper():
    for one in catalogue():
        if one.results is not None:
            assert one.experiment is not None
            assert results.differences(one.results, one.experiment) == [] or one.stale
