"""When two programs count as one."""

from __future__ import annotations

from strop.tasks.likeness import distinct, normal_form, renamed_form


def test_normal_form_ignores_docstrings_comments_and_layout_only():
    assert normal_form('def f(x):\n    "doc"\n    return x  # c') == normal_form("def f(x): return x")
    assert normal_form("def f(x): return x") != normal_form("def f(x): return -x")
    assert normal_form("def f(:") == "def f(:"


def test_renamed_form_ignores_the_programs_own_names_only():
    one = "import math\ndef f(x):\n    total = math.floor(len(x))\n    return total"
    other = "import math\ndef f(items):\n    n = math.floor(len(items))\n    return n"
    assert renamed_form(one, keep=("f",)) == renamed_form(other, keep=("f",))
    assert renamed_form(one) != renamed_form(one.replace("floor", "ceil"))
    assert renamed_form(one) != renamed_form(one.replace("len", "sum"))
    assert renamed_form("def f(a, b): return a - b") != renamed_form("def f(a, b): return b - a")
    assert renamed_form("def f(:") == "def f(:"


def test_hostile_programs_have_a_form():
    deep = "x = " + "+".join(["1"] * 20_000)
    for program in (deep, "(" * 5000, "\0", "\ud800", ""):
        assert normal_form(program) == normal_form(program)
        assert renamed_form(program) == renamed_form(program)


def test_distinct_keeps_the_first_of_each():
    assert distinct(["f( 1)", "g()", "f(1)  # again"]) == ("f( 1)", "g()")
