"""Figures that stand alone: what they say, in which colours, and as which files."""

from __future__ import annotations

import itertools
import json
import re
import struct
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import synthetic
from typer.testing import CliRunner

from strop.report import charts, figures, plot, write
from strop.run import Run
from strop.types import StropError

ROWS = [
    ("before", SimpleNamespace(value=0.25, low=0.125, high=0.5)),
    ("<b>", SimpleNamespace(value=-1, low=None, high=None)),
]
LINES = [{"label": f"line {n}", "points": [[0, n], [1, n + 1]], "intervals": [[n - 1, n + 1], None]} for n in range(7)]

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
SIGHT = {
    "usual": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]])


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Ottosson's perceptual space; black to white is 1."""
    to_lms = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
              [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
    to_lab = [[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099],
              [0.0259040371, 0.7827717662, -0.808675766]]  # fmt: skip
    return np.array(to_lab) @ np.cbrt(np.array(to_lms) @ np.clip(rgb, 0, 1))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_eye_tells_the_series_apart(theme):
    colours = plot.palette(theme)
    for sight, matrix in SIGHT.items():
        seen = {kind: oklab(np.array(matrix) @ linear(colours[kind])) for kind in charts.KINDS}
        for one, other in itertools.combinations(seen, 2):
            # The colours that this palette replaced, blue and purple for a protanope, were 0.05 apart.
            assert np.linalg.norm(seen[one] - seen[other]) > 0.1, (sight, one, other)
    ground = XYZ[1] @ linear(colours["card"])
    for kind in charts.KINDS:  # WCAG 2.2, 1.4.11: graphics need a contrast of 3
        mark = XYZ[1] @ linear(colours[kind])
        assert (max(mark, ground) + 0.05) / (min(mark, ground) + 0.05) >= 3, kind


def test_a_figure_stands_alone_and_describes_itself():
    for svg in (
        plot.dots(ROWS, title="pass@1 & more", x_label="in %", mark=0.0),
        plot.curves(LINES, title="<loss>", x_label="step"),
    ):
        root = ElementTree.fromstring(svg)
        names = [element.tag.rpartition("}")[2] for element in root.iter()]
        assert names[:4] == ["svg", "title", "desc", "style"]
        assert "var(" not in svg, "colours are written out"
        assert "prefers-color-scheme: dark" in svg
        assert not re.search(r"(href|src|url\(|@import|on\w+=)", svg)
    svg = plot.dots(ROWS, title="pass@1", x_label="in %", percent=True)
    said = ElementTree.fromstring(svg).findtext("{http://www.w3.org/2000/svg}desc")
    assert said == "before: 0.25 (0.125 to 0.5); <b>: -1"
    assert svg.count('class="interval') == 1, "no interval is drawn where there is none"
    assert ">25.0<" in svg
    assert ">−100.0<" in svg
    assert ">in %<" in svg


def test_series_beyond_the_colours_are_dashed_and_too_many_refused():
    svg = plot.curves(LINES, title="t")
    assert 'class="line e"' in svg
    assert 'class="line a other"' in svg
    assert svg.count('class="interval') == 7
    with pytest.raises(ValueError, match="11 series"):
        plot.curves([LINES[0]] * 11, title="t")


def test_png_has_the_ground_and_the_colours_of_its_theme(tmp_path):
    pytest.importorskip("resvg_py")
    svg = plot.dots(ROWS, title="pass@1")
    for theme in ("light", "dark"):
        image = plot.png(svg, theme, scale=1.0)
        assert image[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", image[16:24]) == (plot.WIDTH, 130)
    assert plot.png(svg, "light") != plot.png(svg, "dark")
    assert plot.palette("dark")["card"] in plot.themed(svg, "dark")
    plot.save(svg, tmp_path / "deep/figure.png")
    assert (tmp_path / "deep/figure.png").read_bytes() == plot.png(svg, "light")
    with pytest.raises(StropError, match=r"\.svg or \.png"):
        plot.save(svg, tmp_path / "figure.pdf")


def test_png_without_resvg_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    with pytest.raises(StropError, match=r"strop\[figures\]"):
        plot.png(plot.dots(ROWS, title="t"))


def test_the_figures_of_a_run(tmp_path):
    from strop.cli.main import build

    with Run.open(tmp_path / "run", command="strop improve", config={"model": "m", "tasks": "t"}) as opened:
        synthetic.fill_improve(opened)
    run = tmp_path / "run"
    write(run)
    arguments = ["report", str(run), "--figures", str(tmp_path / "figures")]
    done = CliRunner().invoke(build(arguments), arguments)
    assert done.exit_code == 0, done.output
    data = json.loads((run / "report.json").read_text())
    change = (tmp_path / "figures/change.svg").read_text()
    for split in data["splits"]:
        assert split["label"] in change
        rate = split["rows"][-1]["estimate"]["value"]
        name = f"pass-at-1-{split['label'].lower().replace(' ', '-')}.svg"
        assert f">{100 * rate:.1f}<" in (tmp_path / "figures" / name).read_text()
    assert list((tmp_path / "figures").glob("curve-*.svg"))
    (run / "report.json").write_text('{"splits": 3}')
    with pytest.raises(StropError, match="Run `strop report` first"):
        figures.write(run, tmp_path)
