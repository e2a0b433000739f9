"""Figures of results files: those in the repository are what the present code draws from their outcomes."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from strop.cli.main import build
from strop.papers import harness
from strop.papers.catalogue import catalogue
from strop.papers.results import results_folder

DRAWN = [one for one in catalogue() if one.results and one.results.plot]


@pytest.mark.parametrize("one", DRAWN, ids=lambda one: one.slug)
def test_a_figure_follows_from_its_outcomes(one):
    svg = (results_folder() / one.results.plot).read_text(encoding="utf-8")
    assert svg == harness.figure(one.results), f"strop papers show {one.card.number} --figure results/{one.slug}.svg"
    assert ElementTree.fromstring(svg).findtext("{http://www.w3.org/2000/svg}desc")


def test_show_writes_the_figure(tmp_path):
    for arguments, code in (
        (["papers", "show", "43", "--figure", str(tmp_path / "new/f.svg")], 0),
        (["papers", "show", "43", "--figure", str(tmp_path / "f.pdf")], 1),
        (["papers", "show", "82", "--figure", str(tmp_path / "g.svg")], 1),
    ):
        done = CliRunner().invoke(build(arguments), arguments)
        assert done.exit_code == code, done.output
    assert (tmp_path / "new/f.svg").read_text() == (results_folder() / "43-codedpo.svg").read_text()
    assert not (tmp_path / "g.svg").exists()
