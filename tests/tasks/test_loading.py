"""Names, files, splits, filters and limits of `load`; formats of other projects; writing and reading back."""

from __future__ import annotations

import base64
import json
import pickle
import zlib

import pytest

from strop.tasks import dump, load, task_set_hash
from strop.types import CallCheck, ScriptCheck, StdioCheck, StropError

ROWS = [
    {"id": f"t{i}", "prompt": "p", "checks": ["f(1) == 2"], "tags": ["even" if i % 2 == 0 else "odd"]}
    for i in range(30)
]


def test_humaneval_is_the_package_s_164_tasks_and_its_helpers_are_trusted_set_up():
    tasks = {task.id: task for task in load("humaneval")}
    assert len(tasks) == 164
    assert tasks["HumanEval/38"].setup.startswith("def encode_cyclic")
    assert "def poly" in tasks["HumanEval/32"].setup
    assert [check.style for check in tasks["HumanEval/0"].hidden_checks] == ["check"]
    assert tasks["HumanEval/2"].visible_checks[0].function == "truncate_number"
    assert tasks["HumanEval/0"].public().reference is None


def test_every_visible_example_of_humaneval_holds_for_the_reference():
    tasks = load("humaneval-examples")
    assert sum(bool(task.visible_checks) for task in tasks) == 136
    for task in tasks:
        names: dict = {}
        exec(task.reference, names)
        for check in task.visible_checks:
            assert names[check.function](*check.args, **check.kwargs) == check.expected, (task.id, check.name)


def test_mbpp_from_a_file_has_its_published_splits(shared, monkeypatch):
    path = str(shared("mbpp/mbpp.jsonl"))
    sizes = {split: len(load(path, split=split)) for split in ("prompt", "test", "validation", "train")}
    assert sizes == {"prompt": 10, "test": 500, "validation": 90, "train": 374}
    monkeypatch.setenv("STROP_MBPP", path)
    assert len(load("mbpp")) == 500
    task = load("mbpp:train", ids=["MBPP/601"])[0]
    assert [check.visible for check in task.checks] == [True, False, False]
    assert "\r" not in task.reference
    assert len(load("mbpp-challenge:all")) == 974


@pytest.mark.parametrize(
    "name", ["visible-tests/humaneval.jsonl", "visible-tests/mbpp.jsonl", "visible-tests/apps_selected.json"]
)
def test_sets_of_other_projects_load_and_survive_a_round_trip(shared, tmp_path, name):
    tasks = load(str(shared(name)), limit=40)
    assert all(task.visible_checks for task in tasks)
    path = tmp_path / "copy.jsonl.gz"
    assert dump(tasks, path) == 40
    assert load(str(path)) == tasks


def test_the_embedded_sets_survive_a_round_trip(tmp_path):
    for name in ("basics", "humaneval"):
        tasks = load(name)
        dump(tasks, tmp_path / "x.jsonl")
        again = load(str(tmp_path / "x.jsonl"))
        assert again == tasks
        assert task_set_hash(reversed(again)) == task_set_hash(tasks)


def test_the_hash_tells_a_tuple_from_a_list(write):
    row = {"id": "a", "prompt": "p", "checks": ["f() == (1, 2)"]}
    other = {**row, "checks": ["f() == [1, 2]"]}
    assert task_set_hash(load(write([row], "a.jsonl"))) != task_set_hash(load(write([other], "b.jsonl")))


def test_limits_are_nested_and_keep_the_order(write):
    path = write(ROWS)
    names = [[task.id for task in load(path, limit=size)] for size in (5, 10, 30, 99)]
    assert set(names[0]) < set(names[1])
    assert names[1] == [row["id"] for row in ROWS if row["id"] in names[1]]
    assert names[2] == names[3] == [row["id"] for row in ROWS]
    assert {task.id for task in load(path, limit=5, seed=1)} != set(names[0])


def test_filters_and_their_errors(write):
    path = write(ROWS)
    assert len(load(path, tags=["odd"])) == 15
    assert [task.id for task in load(path, ids=["t3", "t1"])] == ["t1", "t3"]
    for arguments, said in [
        ({"tags": ["od"]}, "no tag 'od' \\(known: even, odd\\). Did you mean 'odd'"),
        ({"ids": ["t99"]}, "no id 't99'"),
        ({"split": "train"}, "no split 'train' \\(known: test\\)"),
        ({"limit": 0}, "limit must be at least 1"),
    ]:
        with pytest.raises(StropError, match=said):
            load(path, **arguments)
    with pytest.raises(StropError, match=r"Did you mean `humaneval`\?"):
        load("humanevl")
    with pytest.raises(StropError, match=r"there is no file 'x\.jsonl'"):
        load("mbpp:x.jsonl")
    assert {task.split for task in load("basics:near")} == {"held-out-near"}


def test_contest_problems_by_standard_input_and_by_call(write):
    stdio = {
        "id": 1,
        "question": "Add. Input 1 2 gives 3.",
        "input_output": json.dumps({"inputs": ["1 2\n", "9 9\n"], "outputs": ["3\n", "1.5\n"]}),
    }
    (task,) = load(write([stdio]))
    assert task.entry_point is None
    assert [(c.comparer, c.visible) for c in task.checks if isinstance(c, StdioCheck)] == [
        ("tokens", True),
        ("numeric", False),
    ]
    call = {
        **stdio,
        "starter_code": "class Solution:\n    def add(self, a, b):\n        pass\n",
        "input_output": {"fn_name": "add", "inputs": [[1, 2]], "outputs": [[3]]},
    }
    (task,) = load(write([call]))
    check = task.checks[0]
    assert task.entry_point == "Solution"
    assert isinstance(check, ScriptCheck)
    names: dict = {}
    exec(task.setup + "class Solution:\n    def add(self, a, b):\n        return a + b\n" + check.code, names)
    with pytest.raises(AssertionError):
        exec(task.setup + "class Solution:\n    def add(self, a, b):\n        return a - b\n" + check.code, {})


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_a_packed_private_test_is_read_but_never_run(write, capsys):
    cases = [{"input": "[1]\n2", "output": "3", "testtype": "functional"}]
    row = {"question_id": "q", "question_content": "q", "public_test_cases": "[]", "metadata": '{"func_name": "add"}'}
    good = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()
    (task,) = load(write([{**row, "private_test_cases": good}]))
    assert "add([1], 2)" in task.checks[0].code
    evil = base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()
    with pytest.raises(StropError, match="field private_test_cases: a pickle that does more than hold a text"):
        load(write([{**row, "private_test_cases": evil}]))
    assert "run" not in capsys.readouterr().out


def test_a_harbor_folder_without_a_container_and_two_that_need_one(tmp_path):
    files = {
        "task.toml": "[verifier]\ntimeout_sec = 30.0\n",
        "instruction.md": "Sort it.",
        "environment/Dockerfile": "FROM ubuntu:24.04\nWORKDIR /app\nCOPY in.txt .\n",
        "environment/in.txt": "b\na\n",
        "tests/test.sh": "sort /app/in.txt\n",
        "solution/solve.sh": "sort in.txt\n",
    }
    for name, text in files.items():
        path = tmp_path / "sort" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (task,) = load(str(tmp_path / "sort"))
    assert task.checks[0].goal["files"] == {"in.txt": "b\na\n"}
    assert (task.prompt, task.reference, task.limits.wall_seconds) == ("Sort it.", "sort in.txt\n", 30.0)
    (tmp_path / "sort/environment/Dockerfile").write_text("FROM ubuntu:24.04\nRUN apt-get install -y gcc\n")
    with pytest.raises(StropError, match=r"Dockerfile, line 2: .*needs a container"):
        load(str(tmp_path / "sort"))
    (tmp_path / "sort/environment/Dockerfile").write_text("FROM ubuntu\nCOPY ../../../etc/passwd .\n")
    with pytest.raises(StropError, match="not in the environment folder"):
        load(str(tmp_path / "sort"))


def test_shorthand_and_spelled_out_checks_mean_the_same(write):
    row = {"id": "a", "prompt": "p", "checks": ["f((1, 2), k=3) == {1}", {"call": "f((1, 2), k=3)", "expected": "{1}"}]}
    (task,) = load(write([row]))
    assert task.checks[0] == task.checks[1] == CallCheck(function="f", args=((1, 2),), kwargs={"k": 3}, expected={1})
    assert task.entry_point == "f"
