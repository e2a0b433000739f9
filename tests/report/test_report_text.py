"""Hostile text, wherever it is shown: characters, markup in every field, terminals."""

from __future__ import annotations

import io
import re
import unicodedata
from html.parser import HTMLParser

import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from strop.report import charts, terminal
from strop.report.data import collect
from strop.report.html import duration, render
from strop.report.text import excerpt, highlight, number, percent, points, visible
from strop.run import Run

anything = st.text(st.characters(), max_size=200)  # lone surrogates too


@given(anything)
def test_visible_text_hides_nothing_and_can_be_encoded(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    for character in shown:
        assert character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    plain = [character for character in text if visible(character) == character]
    assert re.sub(r"‹U\+[0-9A-F]{4,6}›", "", shown) == re.sub(r"‹U\+[0-9A-F]{4,6}›", "", "".join(plain))


@given(anything)
def test_highlighting_changes_no_character(text: str) -> None:
    markup = highlight(text)
    parser = _Text()
    parser.feed(str(markup))
    parser.close()
    assert "".join(parser.parts) == visible(text)
    assert set(parser.tags) <= {("span", (("class", style),)) for style in "csmkn"}


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.tags: list[tuple] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, tuple(attrs)))


def test_long_or_unknown_programs_are_escaped_without_colours() -> None:
    assert "<" not in str(highlight("<" * 30_000))
    assert str(highlight("<b>", language="no such language")) == "&lt;b&gt;"


def test_excerpt_says_what_is_missing() -> None:
    assert excerpt("abc", 3) == "abc"
    assert excerpt("abcdef", 3) == "abc\n… 3 more characters"


@pytest.fixture(scope="module")
def hostile_data(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Data in which every string, at every depth, carries markup, template syntax and control characters."""
    folder = tmp_path_factory.mktemp("hostile")
    config = {"model": "m", "tasks": "t", "learner": {"rate": 1}}
    with Run.open(folder, command="strop improve", config=config) as run:
        with run.atomic():
            synthetic.fill_improve(run, near=6, far=3, practice=3, samples=2)
        data = collect(run)
    kept = ("kind", "status", "verdict", "split")
    attack = "\"'><img src=x onerror=alert(1)></script>{{7*7}}\x00\x1b[2J\u202e\ud800[red]"

    def poison(value, key=""):
        if isinstance(value, dict):
            return {name: poison(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [poison(item, key) for item in value]
        return value + attack if isinstance(value, str) and key not in kept else value

    return poison(data)


def test_no_field_of_the_data_can_carry_markup(hostile_data: dict) -> None:
    page = render(hostile_data)
    page.encode("utf-8")
    parser = _Text()
    parser.feed(page)
    tags = {tag for tag, _ in parser.tags}
    assert "img" not in tags
    assert sum(tag == "script" for tag, _ in parser.tags) == 1
    names = {name for _, attributes in parser.tags for name, _ in attributes}
    assert not any(name.startswith("on") or name == "style" for name in names)
    text = "".join(parser.parts)
    assert text.count("<img src=x onerror=alert(1)>") > 50
    assert "{{7*7}}" in text
    assert not re.search("[\x00\x1b\u202e]", page)


def test_policy_names_the_hashes_of_what_the_page_holds(hostile_data: dict) -> None:
    import base64
    import hashlib

    page = render(hostile_data)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    for kind in ("style", "script"):
        (content,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)


@pytest.mark.parametrize("show", [terminal.print_improve, terminal.print_eval])
def test_terminal_shows_hostile_text_without_obeying_it(hostile_data: dict, show) -> None:
    from rich.console import Console

    data = dict(hostile_data)
    if show is terminal.print_eval:
        data |= {"protocols": [], "detailed_protocol": None}
        data["tags"] = [row | {"after": row["before"]} for row in data["tags"]]
    stream = io.StringIO()
    show(data, Console(file=stream, width=400, force_terminal=True, highlight=False))
    out = stream.getvalue()
    assert "‹U+001B›[2J" in out
    assert "[red]" in out
    # Only rich's own colours are left of escape sequences.
    assert not re.sub(r"\x1b\[[0-9;]*m", "", out).count("\x1b")


def test_numbers_as_text() -> None:
    assert [percent(0.4062), percent(None), percent(1.0, 0)] == ["40.6 %", "–", "100 %"]
    assert [points(0.1), points(-0.0312), points(-0.00001), points(None)] == ["+10.0", "−3.1", "0.0", "–"]
    assert [number(v) for v in (0, 12_500, 2_000_000, 0.0004, -0.5)] == ["0", "12.5k", "2M", "4e−4", "−0.5"]
    assert [duration(s) for s in (0.5, 41, 425, 7800)] == ["0.5 s", "41 s", "7 min 5 s", "2 h 10 min"]


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 9))
def test_ticks_are_few_round_and_inside(low: float, span: float, count: int) -> None:
    found = charts.ticks(low, low + span, count)
    assert len(found) <= 2 * count + 1
    assert found == sorted(found)
    slack = 1e-6 * max(span, abs(low))
    assert all(low - slack <= tick <= low + span + slack for tick in found)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_rate_axis_holds_all_its_marks(rates: list[float]) -> None:
    low, high = charts.rate_domain(rates)
    assert 0 <= low <= min(rates) + 1e-3
    assert max(rates) - 1e-3 <= high <= 1
    assert high - low >= 0.1 - 1e-9
