"""Readers of mangled replies: they take what is there, and never raise."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strop.search import parsing
from strop.search.prompting import fill, template, variants

NOISE = st.text(alphabet=string.printable + "“”é\u200b\x00`<>[]{}", max_size=200)
MANGLED = st.lists(
    st.one_of(
        NOISE,
        st.sampled_from(
            ["1. Sort it.", "2) Count", "Score: 4/5", "score = **3**", "True", "PASS", "FAIL.", "<thought>",
             "</thought>",
             "```module", "```", "def f(x):", "assert f(1) == 2", "BLOCK-0: correct", "[BLOCK-1] incorrect: x",
             '{"block": "BLOCK-2", "correct": false}', "<think>", "</think>", "- a point"]
        ),
    ),
    max_size=12,
).map("\n".join)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(MANGLED)
@example("9" * 5000)
@example("1." * 3000)
@example("assert " + "(" * 3000)
def test_readers_never_raise_and_stay_in_range(text):
    points = parsing.items(text, 4)
    assert points is None or (0 < len(points) <= 4 and all(points))
    value = parsing.score(text, 0, 5)
    assert value is None or 0 <= value <= 5
    assert parsing.decision(text, "True", "False") in (True, False, None)
    tests = parsing.written_tests(text, "f", 3)
    assert tests is None or (0 < len(tests) <= 3 and all(check.function == "f" for check in tests))
    opinions = parsing.block_opinions(text, 3)
    assert opinions is None or set(opinions) <= {0, 1, 2}
    parsing.tagged(text, "thought")
    parsing.module_names(text)
    parsing.parses(text)


FORMS = ["{n}. {t}", "{n}) {t}", "**{n}. {t}**", "### {n}. {t}", "Strategy {n}: {t}", " {n} . {t}"]
POINT = st.text(alphabet=string.ascii_letters + " ", min_size=1).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(st.lists(POINT, min_size=1, max_size=5), st.sampled_from(FORMS))
def test_numbered_lists_in_every_dress(points, form):
    text = "Here you are:\n" + "\n".join(form.format(n=n, t=t) for n, t in enumerate(points, 1))
    assert parsing.items(text, 10) == [point.strip() for point in points]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Score: 4", 4),
        ("**Score:** 3/5", 3),
        ("I give 2 of 5 for 10 tests.\nscore 1", 1),
        ("4", 4),
        ("It scores 3.", 3),
        ("7", None),
        ("4.5", None),
        ("none", None),
        ("", None),
        ("The score is between 0 and 5.\nScore: 0", 0),
    ],
)
def test_scores(text, value):
    assert parsing.score(text, 0, 5) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("True", True),
        ("It is not True that ... \nFalse.", False),
        ("false", False),
        ("**True**", True),
        ("Untrue", None),
        ("<think>False</think>True", True),
        ("", None),
        ("True or False? True", True),
    ],
)
def test_decisions(text, value):
    assert parsing.decision(text, "True", "False") is value


def test_written_tests_hold_plain_calls_only():
    text = (
        "```python\nassert f(1) == 2\n  assert f([1, 2]) == (3,), 'message'\n- `assert f(0) == 0`\n"
        "assert f(__import__('os').getcwd()) == 1\nassert g(1) == 1\nassert f(1) == 2\n"
        "assert f(x) == 1\nassert f(5) is None\n"
    )
    found = parsing.written_tests(text, "f", 10)
    assert [(check.args, check.expected) for check in found] == [((1,), 2), (([1, 2],), (3,)), ((0,), 0), ((5,), None)]
    assert parsing.written_tests(text, "h", 10) is None


def test_block_opinions():
    text = (
        "BLOCK-0: correct. Sets up.\n**[BLOCK-1]** is incorrect: adds one\n"
        '{"block": "BLOCK-2", "correct": true}\nBLOCK-9: wrong'
    )
    opinions = parsing.block_opinions(text, 4)
    assert {number: fine for number, (fine, _) in opinions.items()} == {0: True, 1: False, 2: True}
    assert "adds one" in opinions[1][1]


# ---- templates ---------------------------------------------------------------------------------

FIELDS = {
    name: f"<<{name}>>"
    for name in ("problem", "tests", "code", "feedback", "reflection", "strategy", "count", "remark", "function",
                 "hint", "trace", "opinion", "plan", "report", "modules", "history")
}  # fmt: skip


def template_names() -> list[str]:
    from importlib.resources import files

    return sorted(p.name.removesuffix(".txt") for p in files("strop.search").joinpath("prompts").iterdir())


@pytest.mark.parametrize("name", template_names())
def test_every_prompt_file_renders_and_leaves_hostile_text_alone(name):
    used = set(template(name).get_identifiers())
    assert used <= set(FIELDS), "a prompt asks for something that nobody fills in"
    text = fill(name, **FIELDS)
    assert "$" not in text
    assert all(f"<<{field}>>" in text for field in used)
    hostile = fill(name, **dict.fromkeys(FIELDS, "$problem ${code} $$ \x00"))
    assert "$problem ${code} $$ \x00" in hostile


def test_variants_are_whole_prompts():
    assert len(variants("tree_of_code")) == 4
    for variant in variants("tree_of_code"):
        assert set(variant.get_identifiers()) == {"problem", "history"}
