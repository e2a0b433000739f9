"""Rewards and monitors of a reinforcement learning run, in the data, on the page and in the terminal."""

from __future__ import annotations

import io

import pytest
import synthetic
from rich.console import Console

from strop import report
from strop.report import data as report_data
from strop.report import terminal
from strop.run import Run

STEPS = 10


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rl")
    config = {"model": "smollm2", "tasks": "basics"}
    with Run.open(folder, command="strop train rl", config=config) as run, run.atomic():
        synthetic.fill_improve(run, rounds=1, samples=2, near=6, far=4, practice=6)
        for step in range(1, STEPS + 1):
            values = {
                "reward": step / 10, "reward/outcome": step / 20, "pass_rate": 0.25, "informative_groups": 3.0,
                "special_cased": 0.0 if step < 9 else 0.5, "zeta": 1.0, "aardvark": float(step),
            }  # fmt: skip
            run.save_metrics("train-1", step, values)
    page = report.write(folder)
    with Run.read(folder) as run:
        return report_data.collect(run), page.read_text()


def test_first_steps_against_last(written):
    data, _ = written
    assert data["monitors"]["steps"] == 2  # a fifth of ten
    rows = {row["name"]: row for row in data["monitors"]["rows"]}
    assert list(rows)[:4] == ["reward", "reward/outcome", "pass_rate", "special_cased"]
    assert (rows["reward"]["first"], rows["reward"]["last"]) == (pytest.approx(0.15), pytest.approx(0.95))
    assert (rows["reward"]["least"], rows["reward"]["greatest"]) == (0.1, 1.0)
    assert (rows["special_cased"]["first"], rows["special_cased"]["last"]) == (0.0, 0.5)
    assert "zeta" not in rows


def test_what_is_watched_comes_first_among_the_curves(written):
    names = [curve["name"] for curve in written[0]["curves"]]
    assert names.index("pass_rate") < names.index("special_cased") < names.index("aardvark")


def test_page_and_terminal_show_them(written):
    data, page = written
    assert "Rewards and monitors" in page
    assert "reward: outcome" in page
    console = Console(file=io.StringIO(), width=100)
    terminal.print_improve(data, console)
    lines = console.file.getvalue().splitlines()
    assert next(line for line in lines if line.strip().startswith("special cased")).split()[-2:] == ["0", "0.5"]


def test_other_runs_have_none(tmp_path):
    with Run.open(tmp_path, command="strop improve", config={}) as run, run.atomic():
        synthetic.fill_improve(run, rounds=1, samples=2, near=6, far=4, practice=6)
    report.write(tmp_path)
    with Run.read(tmp_path) as run:
        assert report_data.collect(run)["monitors"] is None
