"""Task files that are wrong in every way found so far: each defect is named with file, line and field."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.tasks import find_defects, load
from strop.tasks.reading import Defect, read_rows
from strop.types import StropError, Task

H = {"task_id": "H/0", "prompt": "def f():\n"}
GOOD = {"id": "a", "prompt": "p", "checks": ["f(1) == 2"]}


def only_defect(spec: str) -> str:
    defects = find_defects(spec)
    assert len(defects) == 1, defects
    with pytest.raises(StropError) as caught:
        load(spec)
    assert str(caught.value) == str(defects[0])
    return str(defects[0])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: not valid JSON"),
        ("[1]", "line 2: expected a JSON object, found a list"),
        ("null", "line 2: expected a JSON object, found null"),
        ('{"id": "b", "id": "c"}', "line 2, field id: the key occurs twice"),
        ('{"id": "b\0"}', "line 2: not valid JSON"),
        ("[" * 100_000 + "]" * 100_000, "line 2: nested too deeply"),
        ('{"id": ' + "9" * 5000 + "}", "line 2: not usable JSON"),
        ({"id": "b", "prompt": "p"}, "line 2, field checks: missing"),
        ({**GOOD, "id": 3}, "line 2, field id: Input should be a valid string"),
        ({**GOOD, "id": "b", "chekcs": []}, "line 2, field chekcs: unknown key"),
        ({**GOOD, "id": "b", "checks": []}, "line 2, field checks: "),
        ({**GOOD, "id": "b", "checks": ["f(1)"]}, "line 2, field checks[0].check: not of the form"),
        ({**GOOD, "id": "b", "checks": ["f(1)==1", {"call": "f(x)", "expected": "1"}]}, "field checks[1].call: "),
        ({**GOOD, "id": "b", "checks": [{"call": "f(1)", "expected": "x"}]}, "field checks[0].expected: not a Python"),
        ({**GOOD, "id": "b", "checks": [{"call": "f(1)"}]}, "field checks[0].expected: missing"),
        ({**GOOD, "id": "b", "checks": [{"visible": True}]}, "field checks[0]: a check is a text, or an object"),
        ({**GOOD, "id": "b", "checks": [7]}, "field checks[0]: a check is a text, or an object"),
        ({**GOOD, "id": "b", "checks": [{"script": "assert ("}]}, "field checks[0].script: not valid Python"),
        ({**GOOD, "id": "b", "checks": [{"script": "assert 1", "style": "nose"}]}, "field checks[0].style: "),
        ({**GOOD, "id": "b", "checks": [{"stdin": "", "stdout": "", "comparer": "x"}]}, "field checks[0].comparer: "),
        ({**GOOD, "id": "b", "limits": {"cpu_seconds": -1}}, "field limits.cpu_seconds: "),
        ({**GOOD, "id": "b", "limits": {"cpu": 1}}, "field limits.cpu: unknown key"),
        ({**GOOD, "id": "b", "tags": "easy"}, "line 2, field tags: "),
        ({**GOOD, "id": "b", "reference": "def f(:"}, "line 2, field reference: not valid Python"),
        (GOOD, "line 2, field id: 'a' is also the id of line 1"),
    ],
)
def test_a_bad_line_is_named(write, line, said):
    path = write([GOOD, line])
    message = only_defect(path)
    assert message.startswith(path + ", ")
    assert said in message
    assert len(message) < 600


def test_every_defect_is_found_not_only_the_first(write):
    path = write([{"id": "a"}, "{", GOOD, {**GOOD, "id": "b", "x": 1, "y": 2}])
    places = [(item.line, item.field) for item in find_defects(path)]
    assert places == [(1, "prompt"), (1, "checks"), (2, None), (4, "x"), (4, "y")]


def test_many_defects_are_summed_up(write):
    path = write(["{"] * 50)
    with pytest.raises(StropError, match="and 45 more defects"):
        load(path)


def test_whole_file_defects(write, tmp_path):
    assert "the file holds no rows" in only_defect(write(b"", "empty.jsonl"))
    assert "the file holds no rows" in only_defect(write(b"\n \n", "blank.jsonl"))
    assert "not UTF-8 text (byte 9 is 0xff)" in only_defect(write(b'{"id": "a\xff"}', "latin.jsonl"))
    assert "expected a JSON list of tasks" in only_defect(write(b"3", "number.json"))
    assert "no known task format (fields: a, b" in only_defect(write([{"a": 1, "b": 2}], "other.jsonl"))
    whole = gzip.compress(json.dumps(GOOD).encode() * 50)
    assert "cannot be read" in only_defect(write(whole[: len(whole) // 2], "cut.jsonl.gz"))
    assert "cannot be read" in only_defect(write(b"\x1f\x8bgarbage", "garbage.jsonl.gz"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(StropError, match=r"holds no \.toml files"):
        load(str(tmp_path / "folder"))


def test_a_line_that_is_too_long_stops_the_reading(write, monkeypatch):
    monkeypatch.setattr("strop.tasks.reading.MAX_LINE_BYTES", 1000)
    path = write([GOOD, {**GOOD, "id": "b", "prompt": "x" * 2000}])
    assert "line 2: the line is longer than" in only_defect(path)


def test_a_small_gzip_file_cannot_fill_the_memory(write, monkeypatch):
    monkeypatch.setattr("strop.tasks.reading.MAX_FILE_BYTES", 1_000_000)
    rows = b"".join(
        json.dumps({**GOOD, "id": str(i), "prompt": " " * 1000 + "p"}).encode() + b"\n" for i in range(2000)
    )
    assert "the file is longer than" in only_defect(write(gzip.compress(rows), "bomb.jsonl.gz"))


def test_marks_and_line_ends_that_other_systems_add_are_harmless(write):
    text = "\ufeff" + json.dumps(GOOD) + "\r\n\r\n" + json.dumps({**GOOD, "id": "b"}) + "\r\n"
    assert [task.id for task in load(write(text.encode(), "windows.jsonl"))] == ["a", "b"]
    assert [task.id for task in load(write(("\ufeff" + json.dumps([GOOD])).encode(), "list.json"))] == ["a"]
    assert [task.id for task in load(write(text.encode(), "lines.json"))] == ["a", "b"]


@pytest.mark.parametrize(
    ("form", "row", "said"),
    [
        ("humaneval", {**H, "entry_point": "f"}, "field test: missing"),
        (
            "humaneval",
            {**H, "entry_point": "f g", "test": "x"},
            "not a Python name",
        ),
        ("humaneval", {**H, "entry_point": "f", "test": "def check(c"}, "not valid Python"),
        ("humaneval", {**H, "entry_point": "f", "test": "x = 1"}, "does not define `check"),
        (
            "humaneval",
            {**H, "task_id": None, "entry_point": "f", "test": "x"},
            "field task_id: must be",
        ),
        ("mbpp", {"task_id": 1, "text": "t", "test_list": "assert 1"}, "field test_list: must be a list"),
        ("mbpp", {"task_id": 1, "text": "t", "test_list": []}, "field test_list: is empty"),
        ("mbpp", {"task_id": 1, "text": "t", "test_list": ["assert ("]}, "field test_list[0]: not valid Python"),
        ("mbpp", {"task_id": 1, "test_list": ["assert 1"]}, "field text or prompt: missing"),
        ("mbpp", {"task_id": 1, "text": "t", "test_list": ["assert f(1)"], "code": 3}, "field code: must be a text"),
        ("apps", {"question": "q", "input_output": "{"}, "field input_output: not valid JSON"),
        ("apps", {"question": "q", "input_output": {"inputs": ["1"], "outputs": []}}, "1 inputs but 0 outputs"),
        ("apps", {"question": "q", "input_output": {"inputs": [], "outputs": []}}, "holds no test"),
        ("apps", {"question": "", "input_output": "{}"}, "field question: must be a text"),
        ("apps", {"question": "q", "inputs": ["1"], "outputs": ["2"], "fn_name": "a b"}, "not a Python name"),
        ("apps", {"question": "q"}, "field input_output: missing"),
    ],
)
def test_defects_of_the_other_formats(write, form, row, said):
    assert said in only_defect(f"{form}:{write([row])}")


def test_rows_that_lack_the_fields_of_the_format_are_defects(write):
    good = {"task_id": 1, "text": "t", "test_list": ["assert f(1)"]}
    bad = {"task_id": 2, "test_list": ["assert g(1)"]}
    assert "line 2, field text or prompt: missing" in only_defect(write([good, bad]))


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300)
    | st.builds(lambda a, b: json.dumps(GOOD).encode()[:a] + b, st.integers(0, 60), st.binary(max_size=40))
)
def test_any_bytes_give_rows_or_defects(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("wild") / "wild.jsonl"
    path.write_bytes(data)
    items = list(read_rows(path))
    assert items
    assert all(isinstance(item, Defect) or isinstance(item.data, dict) for item in items)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
fields = ["id", "prompt", "checks", "test", "entry_point", "task_id", "test_list", "text", "code", "question", "tests"]
fields += ["input_output", "inputs", "outputs", "fn_name", "public_test_cases", "private_test_cases", "metadata"]
fields += ["public_tests", "description", "starter_code", "solutions", "difficulty", "given_tests", "limits", "meta"]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["strop", "humaneval", "mbpp", "apps"]), st.dictionaries(st.sampled_from(fields), json_values))
def test_any_row_gives_a_task_or_defects(form, row):
    from strop.tasks.formats import read_row
    from strop.tasks.reading import Row

    items = list(read_row(Row(1, row), "file", form))
    assert items
    assert all(isinstance(item, Defect | Task) for item in items)
