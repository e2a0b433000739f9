"""What the judge itself does for other languages: comparing values, writing calls, reading prototypes, refusing."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.judge import Judge, languages
from strop.judge.languages import bash, c, language, lua, r, sql
from strop.judge.languages.values import plain, same
from strop.types import CallCheck, ScriptCheck, StropError, Task

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_every_plain_value_equals_itself(value):
    assert same(plain(value), value)


@pytest.mark.parametrize(
    ("actual", "expected", "loose", "equal"),
    [
        (2, 2.0, False, True),
        ([1, 2], (1, 2), False, True),
        (True, 1, False, False),
        (1, True, False, False),
        (1, True, True, True),
        (2, True, True, False),
        ({"1": "a"}, {1: "a"}, False, True),
        ([3, 1, 1], {1, 3}, False, False),
        ([3, 1], {1, 3}, False, True),
        ("1", 1, True, False),
        (None, [], True, False),
        (float("nan"), 1.0, True, False),
        ([[1], [2]], [[1], [3]], False, False),
        ({}, [], False, False),
    ],
)
def test_equality_is_that_of_json(actual, expected, loose, equal):
    assert same(actual, expected, loose=loose) is equal


def test_rules_for_rows():
    rows = [[1, "a"], [2, None], [1, "a"]]
    assert sql.same_rows(rows, [[2, None], [1, "a"], [1, "a"]], "multiset")
    assert not sql.same_rows(rows, [[2, None], [1, "a"]], "multiset")
    assert sql.same_rows(rows, [[2, None], [1, "a"]], "set")
    assert not sql.same_rows(rows, [[2, None], [1, "a"], [1, "a"]], "rows")
    assert sql.same_rows([[0.1 + 0.2]], [[0.3]], "rows", 1e-9)
    assert not sql.same_rows("rows", [[1]], "rows")


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=3))
def test_words_of_bash_stay_what_they_are(words):
    line = " ".join(map(bash.quoted, words))
    assert "\n" not in line
    script = f'words=({line}); printf "%s\\0" "${{words[@]}}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, env={"LC_ALL": "C.UTF-8"}, timeout=30)
    assert done.stdout.decode().split("\0")[:-1] == words


@given(values)
def test_literals_are_one_line_of_ascii(value):
    for module in (lua, r):
        try:
            text = module.literal(plain(value))
        except ValueError:
            continue
        assert text.isascii()
        assert "\n" not in text


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("int f(int a);", "int f(int a);"),
        ("static inline char *f(const char s[], int n)\n{", "char * f(const char *s, int n);"),
        ("/* int f(void) { */ long f(int x[10]) {", "long f(int *x);"),
        ("int main(void) { return f(3); }", None),
        ("int g(int f) { return f; }", None),
    ],
)
def test_prototypes(source, found):
    assert c.prototype("f", source) == found


def test_hostile_text_does_not_stall_the_search_for_a_prototype():
    for text in ("int " * 50_000 + "f(", "f(" * 50_000, "/*" * 50_000, "a" * 100_000 + " f(int a"):
        assert c.prototype("f", text) is None


def test_what_cannot_be_judged_is_refused_before_it_runs(monkeypatch):
    check = CallCheck(function="f", expected=1)
    with pytest.raises(StropError, match="cobol"):
        languages.demand(Task(id="t", prompt="", language="cobol", checks=(check,)))
    with pytest.raises(StropError, match="scripts of assertions"):
        languages.demand(Task(id="t", prompt="", language="bash", checks=(ScriptCheck(code="assert f() == 1"),)))
    languages.toolchain.cache_clear()
    monkeypatch.setattr(language.shutil, "which", lambda name: None)
    with pytest.raises(StropError, match=r"no lua5.4 or lua or lua5.3 was found.*apt-get install lua5.4"):
        languages.demand(Task(id="t", prompt="", language="lua", checks=(check,)))
    monkeypatch.undo()
    languages.toolchain.cache_clear()


def test_broken_checks_are_nobodys_fault():
    try:
        judge = Judge(workers=1, require="root", preload=())
    except StropError as error:
        pytest.skip(str(error))
    checks = (
        CallCheck(function="f; rm -rf /", expected=1),
        CallCheck(function="f", args=(object(),), expected=1),
        CallCheck(function="f", kwargs={"a": 1}, expected=1),
    )
    with judge:
        for check in checks:
            task = Task(id="t", prompt="", language="bash", checks=(check,))
            assert judge.run(task, ["f() { echo 1; }"])[0].status == "judge_error"
