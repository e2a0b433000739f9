"""Check strings and literals: what is read, what is refused, and that writing and reading are inverse."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.tasks.literals import parse, parse_call, parse_check, parse_literal, write_call, write_literal
from strop.types import CallCheck, ScriptCheck

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.builds(range, st.integers(-99, 99), st.integers(-99, 99), st.integers(1, 9))
)
hashable = st.none() | st.booleans() | st.integers() | st.text() | st.tuples(st.integers(), st.text())
values = st.recursive(
    scalars | st.sets(hashable) | st.frozensets(hashable),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.tuples(inner, inner) | st.dictionaries(hashable, inner),
    max_leaves=12,
)


def same(left, right) -> bool:
    """Equal, and of equal types at every depth (so 1 is not True and 2 is not 2.0)."""
    return left == right and write_literal(left) == write_literal(right)


@settings(max_examples=100, deadline=None)
@given(values)
def test_a_written_value_is_read_back_with_its_types(value):
    assert same(parse_literal(write_literal(value)), value)


@given(st.lists(values, max_size=3), st.dictionaries(st.sampled_from(["key", "n", "ä"]), values, max_size=2))
@settings(max_examples=50, deadline=None)
def test_a_written_call_is_read_back(args, kwargs):
    check = CallCheck(function="f", args=tuple(args), kwargs=kwargs)
    assert parse_call(write_call(check)) == ("f", tuple(args), kwargs)


def test_values_without_python_literals():
    assert math.isnan(parse_literal('float("nan")'))
    assert parse_literal('[float("-inf")]') == [-math.inf]
    assert parse_literal("datetime.date(2024, 2, 29)") == datetime.date(2024, 2, 29)
    assert parse_literal("Decimal('1.50')") == Decimal("1.50")
    assert parse_literal("Fraction(1, 3)") == Fraction(1, 3)
    assert parse_literal("frozenset({1})") == frozenset({1})
    assert parse_literal("set()") == set()
    assert parse_literal("-1 + 2j") == -1 + 2j


@pytest.mark.parametrize(
    "text",
    [
        *["f(1)", "x", "[1, x]", "__import__('os')", "open('x')", "{**{}}", "1 if 1 else 2", "lambda: 1", "", "1; 2"],
        *["1 2", "{[1]: 2}", "{[1]}", "float('x')", "Fraction(1, 0)", "datetime.date(2024, 13, 1)", "range(1, 2, 0)"],
        *["os.system('x')", "'", "\0", "1)+(1", "f'{1}'", "*[1]"],
    ],
)
def test_what_is_not_a_literal_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_literal(text)


@pytest.mark.parametrize("text", ["(" * 500 + ")" * 500, "9" * 10_000, "1" * 2_000_000], ids=["deep", "digits", "long"])
def test_literals_beyond_the_limits_are_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_literal(text)


def test_a_sum_too_long_for_the_parser_is_a_syntax_error():
    assert isinstance(parse("1" + "+1" * 200_000), SyntaxError)
    assert isinstance(parse("-" * 200_000 + "1"), SyntaxError)
    assert isinstance(parse("[" * 100_000), SyntaxError)


def test_reading_an_odd_escape_warns_nobody(recwarn):
    assert not isinstance(parse("'\\d'"), SyntaxError)
    assert not recwarn.list


def test_a_call_with_its_value():
    check = parse_check("median([3, 1, 2], key=None) == {1: (2,)}", visible=True, name="a")
    assert check == CallCheck(
        function="median", args=([3, 1, 2],), kwargs={"key": None}, expected={1: (2,)}, visible=True, name="a"
    )


def test_tolerance_belongs_to_the_check_and_not_to_a_text_that_looks_like_one():
    assert parse_check("f(0.1) == 0.3 ~ 1e-9").tolerance == 1e-9
    plain = parse_check("f() == 'about ~ 5'")
    assert (plain.expected, plain.tolerance) == ("about ~ 5", None)
    with pytest.raises(ValueError, match="call == literal"):
        parse_check("g(1)[0] == 2 ~ 0.1")


def test_is_none_is_a_call_check_and_is_not_one_is_not():
    assert parse_check("f(0) is None") == CallCheck(function="f", args=(0,), expected=None)
    assert isinstance(parse_check("f(0) is not None"), ScriptCheck)


def test_other_comparisons_and_statements_become_scripts():
    assert parse_check("Stack().size() == 0") == ScriptCheck(code="assert Stack().size() == 0\n")
    assert parse_check("s = Stack()\ns.push(1)\nassert s.pop() == 1\n").code.endswith("assert s.pop() == 1\n")


@pytest.mark.parametrize("text", ["f(1)", "f(1) = 2", "x = f(1)", "f(1) == ", "", "1 +", "s = 1\nassert s ~ 1"])
def test_texts_that_check_nothing_are_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_check(text)


@pytest.mark.parametrize("value", [object(), [print], float, {1: {2: object()}}, datetime.datetime.now(datetime.UTC)])
def test_values_without_a_text_form_are_refused(value):
    with pytest.raises(ValueError, match="literal"):
        write_literal(value)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("f(x)=[]{},'\"~ 1e-9\n\\:assert #\0"), max_size=40))
def test_any_text_is_read_or_refused_with_a_value_error(text):
    for function in (parse_check, parse_call, parse_literal):
        try:
            function(text)
        except ValueError:
            pass
