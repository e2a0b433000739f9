"""Completions in, verdicts out, with a scripted judge: what is read, kept, refused and written.

End-to-end runs with the real judge are in `test_cli_judge.py`.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.judge.completions import read_completions, whole_program
from strop.judge.files import judge_file
from strop.judge.verdict_file import completion_key, task_key
from strop.types import CallCheck, StropError, Task, Verdict

ADD = Task(
    id="T/add",
    prompt='def add(a, b):\n    """Sum."""\n',
    stub='def add(a, b):\n    """Sum."""\n',
    entry_point="add",
    checks=(CallCheck(function="add", args=(1, 2), expected=3),),
)
SUB = Task(id="T/sub", prompt="Subtract b from a.", entry_point="sub", checks=(CallCheck(function="sub", args=(1, 2)),))
TASKS = {task.id: task for task in (ADD, SUB)}


class Scripted:
    """Passes programs that contain `good`; `last_first` hands verdicts back in reverse order."""

    def __init__(self, last_first: bool = False, stop_after: int | None = None, status: str | None = None):
        self.ran: list[str] = []
        self.last_first, self.stop_after, self.status = last_first, stop_after, status

    def stream(self, jobs: Iterable[tuple[Any, Task, str]]) -> Iterator[tuple[Any, Verdict]]:
        for key, _, program in reversed(list(jobs)) if self.last_first else jobs:
            if self.stop_after is not None and len(self.ran) == self.stop_after:
                raise KeyboardInterrupt
            self.ran.append(program)
            status = self.status or ("passed" if "good" in program else "failed")
            yield key, Verdict(status=status, fraction=float(status == "passed"), isolation="test")  # type: ignore[arg-type]


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_known_field_name_gives_a_program(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.jsonl",
        [
            {"task_id": "T/add", "completion": "    return a + b"},
            "",
            {"task_id": "T/sub", "completion": "def sub(a, b): return a - b"},
            {"task_id": "T/add", "solution": "whole", "completion": "ignored"},
            {"instance_id": "T/add", "model_patch": "--- a\n", "model_name_or_path": "m"},
            {"task_id": "T/add", "text": "```...```", "code": "only this"},
        ],
    )
    lines = list(read_completions(path, TASKS))
    assert [line.index for line in lines] == [0, 2, 3, 4, 5]
    programs = [line.program for line in lines]
    assert programs[0] == ADD.prompt + "    return a + b"
    assert programs[1:] == ["def sub(a, b): return a - b", "whole", "--- a\n", "only this"]


def test_gzip_is_recognised_by_content(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(gzip.compress(b'{"task_id": "T/add", "solution": "x"}\n'))
    assert [line.program for line in read_completions(str(path), TASKS)] == ["x"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StropError, match=r"c\.jsonl, line \d: cannot be read"):
        list(read_completions(str(path), TASKS))


def test_prompt_is_continued_only_when_it_is_code() -> None:
    code = Task(id="x", prompt='import re\n\ndef f(x):\n    """Doc."""\n', checks=())
    method = Task(id="x", prompt="class A:\n    def f(self):\n", checks=())
    prose = Task(id="x", prompt="Import duty: def. of the rate", checks=())
    assert whole_program(code, "    return x") == code.prompt + "    return x"
    assert whole_program(method, "        return 1") == method.prompt + "        return 1"
    assert whole_program(prose, "def f(x): return x") == "def f(x): return x"


BAD_LINES = {
    "not json": ("{", "line 2: not valid JSON"),
    "array": ("[1]", "line 2: expected a JSON object, found list"),
    "no id": ('{"completion": "x"}', "line 2: field `task_id` is missing"),
    "id type": ('{"task_id": 1.5, "completion": "x"}', "line 2: field `task_id` must be a string, found float"),
    "unknown task": ('{"task_id": "T/none", "completion": "x"}', 'line 2: field `task_id`: there is no task "T/none"'),
    "no program": ('{"task_id": "T/add"}', "line 2: no program"),
    "program type": ('{"task_id": "T/add", "solution": 3}', "line 2: field `solution` must be a string, found int"),
    "list": ('{"task_id": "T/add", "completion": ["a"]}', "write one completion a line"),
    "deep": ("[" * 200_000, "line 2: (JSON nested too deeply|not valid JSON)"),
    "long integer": ('{"task_id": ' + "9" * 5000 + "}", "line 2: not valid JSON"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_lines_are_refused_before_anything_runs(tmp_path: Path, case: str) -> None:
    line, message = BAD_LINES[case]
    path = write(tmp_path / "c.jsonl", [{"task_id": "T/add", "solution": "good"}, line])
    judge = Scripted()
    with pytest.raises(StropError, match=message):
        judge_file(TASKS.values(), path, str(tmp_path / "v.jsonl"), judge)
    assert judge.ran == []
    assert not (tmp_path / "v.jsonl").exists()


@given(st.binary(max_size=200).filter(lambda garbage: b"\n" not in garbage))
@settings(max_examples=200, deadline=None)
def test_garbage_is_an_error_or_a_completion_never_a_crash(garbage: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(garbage)
        file.flush()
        if garbage.strip():
            with pytest.raises(StropError, match="line 1"):
                list(read_completions(file.name, TASKS))
        else:
            assert list(read_completions(file.name, TASKS)) == []


def test_verdict_line_has_the_fields_of_the_contract(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [{"task_id": "T/add", "solution": "good \x00\ud800"}])
    summary = judge_file(TASKS.values(), path, str(tmp_path / "v.jsonl"), Scripted())
    (row,) = read(tmp_path / "v.jsonl")
    assert list(row)[:8] == ["task_id", "index", "passed", "status", "fraction", "seconds", "memory_mb", "detail"]
    assert (row["task_id"], row["index"], row["passed"], row["status"]) == ("T/add", 0, True, "passed")
    assert summary.tasks_without_completion == 1


def test_many_completions_are_in_order_whatever_the_judge_does(tmp_path: Path) -> None:
    rows = [{"task_id": "T/add", "solution": "good" if i % 3 else "bad"} for i in range(50)]
    path = write(tmp_path / "c.jsonl", rows)
    summary = judge_file(TASKS.values(), path, str(tmp_path / "v.jsonl"), Scripted(last_first=True))
    verdicts = read(tmp_path / "v.jsonl")
    assert [row["index"] for row in verdicts] == list(range(50))
    assert [row["passed"] for row in verdicts] == [bool(i % 3) for i in range(50)]
    assert summary.statuses == {"passed": 33, "failed": 17}


def test_resume_keeps_what_is_the_same_and_judges_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "v.jsonl"
    rows = [{"task_id": "T/add", "solution": f"good {i}"} for i in range(10)]
    path = write(tmp_path / "c.jsonl", rows)
    with pytest.raises(KeyboardInterrupt):
        judge_file(TASKS.values(), path, str(out), Scripted(stop_after=6))
    assert len(read(out)) == 6
    with open(out, "a") as file:
        file.write('{"task_id": "T/add", "index": 6, "pas')  # killed while writing
    rows[2]["solution"] = "changed"
    write(tmp_path / "c.jsonl", rows)
    judge = Scripted()
    summary = judge_file(TASKS.values(), path, str(out), judge)
    assert judge.ran == ["changed", "good 6", "good 7", "good 8", "good 9"]
    assert summary.kept == 5
    assert [(row["index"], row["passed"]) for row in read(out)] == [(i, i != 2) for i in range(10)]
    before = out.read_bytes()
    again = Scripted()
    assert judge_file(TASKS.values(), path, str(out), again).kept == 10
    assert again.ran == []
    assert out.read_bytes() == before


def test_judge_errors_are_retried_and_shorter_files_leave_no_stale_line(tmp_path: Path) -> None:
    out = tmp_path / "v.jsonl"
    path = write(tmp_path / "c.jsonl", [{"task_id": "T/add", "solution": f"good {i}"} for i in range(4)])
    first = judge_file(TASKS.values(), path, str(out), Scripted(status="judge_error"))
    assert first.judge_errors == 4
    write(tmp_path / "c.jsonl", [{"task_id": "T/add", "solution": f"good {i}"} for i in range(2)])
    judge = Scripted()
    second = judge_file(TASKS.values(), path, str(out), judge)
    assert (judge.ran, second.judge_errors) == (["good 0", "good 1"], 0)
    assert [row["status"] for row in read(out)] == ["passed", "passed"]


def test_settings_and_tasks_are_part_of_what_is_the_same(tmp_path: Path) -> None:
    out = str(tmp_path / "v.jsonl")
    path = write(tmp_path / "c.jsonl", [{"task_id": "T/add", "solution": "good"}])
    for wanted, kwargs in ((1, {}), (0, {}), (1, {"settings": 3}), (0, {"settings": 3})):
        judge = Scripted()
        judge_file(TASKS.values(), path, out, judge, **kwargs)
        assert len(judge.ran) == wanted


@pytest.mark.parametrize(
    "text", ["my only notes\n", "no newline", '{"task_id": "T/add", "completion": "x"}\n', "\x00\xff"]
)
def test_a_file_that_holds_no_verdicts_is_never_overwritten(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "c.jsonl", [{"task_id": "T/add", "solution": "good"}])
    other = tmp_path / "other.txt"
    other.write_bytes(text.encode("latin1"))
    with pytest.raises(StropError, match=r"other\.txt, line 1: not a verdict line"):
        judge_file(TASKS.values(), path, str(other), Scripted())
    assert other.read_bytes() == text.encode("latin1")
    with pytest.raises(StropError, match="completions file itself"):
        judge_file(TASKS.values(), path, path, Scripted())


def test_standard_input_and_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(gzip.compress(b'{"task_id": "T/add", "solution": "good"}\n' * 3)))  # type: ignore[arg-type]

    monkeypatch.setattr("sys.stdin", Stdin)
    summary = judge_file(TASKS.values(), "-", "-", Scripted())
    assert summary.statuses == {"passed": 3}
    assert [json.loads(line)["index"] for line in capsys.readouterr().out.splitlines()] == [0, 1, 2]


def test_duplicate_and_missing_tasks(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [{"task_id": "T/add", "solution": "good"}])
    with pytest.raises(StropError, match='"T/add" names two tasks'):
        judge_file([ADD, ADD], path, "-", Scripted())
    with pytest.raises(StropError, match="no task"):
        judge_file([], path, "-", Scripted())


def test_keys_depend_on_content_alone() -> None:
    def task(value: Any) -> Task:
        return Task(id="k", prompt="", checks=(CallCheck(function="f", args=(value,), expected={(1, "a"): {2, "b"}}),))

    assert task_key(task({"a", "b", "c"})) == task_key(task({"c", "b", "a"}))
    assert task_key(task({1: 2, "x": 3})) == task_key(task({"x": 3, 1: 2}))
    different = [1, 1.0, True, "1", (1,), [1], {1}, {1: 1}, None, b"1"]
    assert len({task_key(task(value)) for value in different}) == len(different)
    assert len(completion_key(task_key(ADD), "\ud800\x00")) == 16
