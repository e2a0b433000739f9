"""SandboxFusion's conversation: field for field what its clients read, and its error forms."""

from __future__ import annotations

import concurrent.futures

import pytest


def run(server, code, **more):
    response = server.post("/run_code", {"code": code, "language": "python", **more})
    assert response.status_code == 200, response.text
    return response.json()


def test_the_answer_has_every_field_of_the_published_form(server):
    answer = run(server, "import sys\nprint(input())\nprint('note', file=sys.stderr)", stdin="hé\n", files={})
    result = answer.pop("run_result")
    assert answer == {
        "status": "Success", "message": "", "compile_result": None, "executor_pod_name": None, "files": {},
    }  # fmt: skip
    assert result.pop("execution_time") > 0
    assert result == {"status": "Finished", "return_code": 0, "stdout": "hé\n", "stderr": "note\n"}


@pytest.mark.parametrize(
    ("code", "return_code", "words"),
    [
        ("1/0", 1, 'File "main.py", line 1, in <module>'),
        ("def f(:", 1, "SyntaxError"),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('no')", 1, "no"),
        ("x = 'a' * 10**11", 1, "MemoryError"),
        ("import ctypes; ctypes.string_at(0)", -11, "SIGSEGV"),
        ("import os; os._exit(3)", 3, ""),
        ("import os; os._exit(0)", 0, "ended before"),
        ("open('/etc/passwd')", 1, "Error"),
        ("import socket; socket.create_connection(('127.0.0.1', 80))", 1, "Error"),
    ],
)
def test_programs_that_fail_say_how(server, code, return_code, words):
    answer = run(server, code)
    assert answer["status"] == "Failed"
    assert answer["run_result"]["status"] == "Finished"
    assert answer["run_result"]["return_code"] == return_code
    assert words in answer["run_result"]["stderr"]


def test_a_program_without_end_is_over_its_time(server):
    answer = run(server, "while True: pass", run_timeout=0.5)
    assert answer["status"] == "Failed"
    assert answer["run_result"]["status"] == "TimeLimitExceeded"
    assert answer["run_result"]["return_code"] is None


@pytest.mark.parametrize(
    ("code", "stdin", "stdout"),
    [
        ("print(open(0).read())", "a\nb", "a\nb\n"),
        ("import os\nos.write(1, os.read(0, 99).upper())", "fast", "FAST"),
        ("import sys\nfor line in sys.stdin: print(len(line))", "ab\nc", "3\n1\n"),
        ("import sys\nprint(len(sys.stdin.buffer.read()))", "x" * 300_000, "300000\n"),
        ("print(__name__, __file__)", None, "__main__ main.py\n"),
        ("import threading\nthreading.Thread(target=print, args=('late',)).start()", "", "late\n"),
        ("import atexit\natexit.register(print, 'bye')", "", "bye\n"),
        ("import numpy\nprint(numpy.arange(4).sum())", "", "6\n"),
    ],
)
def test_programs_see_the_streams_that_a_shell_gives_them(server, code, stdin, stdout):
    answer = run(server, code, stdin=stdin)
    assert (answer["status"], answer["run_result"]["stdout"]) == ("Success", stdout)


@pytest.mark.parametrize("size", [299, 300, 7000, 7200, 72_000, 200_000])
def test_output_of_any_length_comes_back_whole(server, size):
    answer = run(server, f"import sys\nsys.stdout.write(''.join(chr(97 + i % 26) for i in range({size})))")
    assert answer["run_result"]["stdout"] == "".join(chr(97 + i % 26) for i in range(size))


def test_output_is_cut_at_a_megabyte(server):
    answer = run(server, "print('y' * 3_000_000)")
    assert answer["run_result"]["stdout"] == "y" * (1 << 20)


def test_a_program_can_forge_its_own_output_only(server):
    forged = "import sys\nm = sys.modules['program']\nm.strop_piece = lambda k: '0 2 0\\n\\ud800a' if k == 0 else None"
    answer = run(server, forged)
    assert answer["run_result"]["stdout"] == "?a"
    answer = run(server, "import sys\nsys.modules['program'].strop_piece = lambda k: 'no' if k == 0 else None")
    assert answer["status"] == "Failed"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"language": "cpp"}, "cpp"),
        ({"files": {"a.txt": "YQ=="}}, "files"),
        ({"fetch_files": ["a"]}, "files"),
    ],
)
def test_what_is_missing_here_is_a_sandbox_error(server, body, words):
    answer = server.post("/run_code", {"code": "", "language": "python"} | body).json()
    assert answer["status"] == "SandboxError"
    assert words in answer["message"]
    assert answer["run_result"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"language": "python"}, "code"),
        ({"code": "", "language": "klingon"}, "language"),
        ({"code": 3, "language": "python"}, "code"),
        ({"code": "", "language": "python", "run_timeout": -1}, "run_timeout"),
        ({"code": "", "language": "python", "run_timeout": 1e9}, "run_timeout"),
        ({"code": "", "language": "python", "memory_limit_MB": 10**6}, "memory_limit_MB"),
    ],
)
def test_bad_requests_are_named_as_by_fastapi(server, body, field):
    response = server.post("/run_code", body)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", field]


def test_notebooks_are_refused_in_form(server):
    answer = server.post("/run_jupyter", {"cells": ["1"]}).json()
    assert (answer["status"], answer["cells"]) == ("SandboxError", [])
    assert server.client.get("/v1/ping").json() == "pong"


def test_many_at_once_get_each_their_own_answer(server):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: run(server, f"print({n} + int(input()))", stdin=f"{n}"), range(60)))
    assert [answer["run_result"]["stdout"] for answer in answers] == [f"{2 * n}\n" for n in range(60)]


# ---- data sets ---------------------------------------------------------------------------------


def submit(server, row, completion, kind=None, **config):
    body = {"dataset": "x", "id": 1, "completion": completion}
    return server.post("/submit", body | {"config": {"dataset_type": kind, "provided_data": row, **config}})


ONLINE_JUDGE = {
    "id": 1, "content": "Add.",
    "test": [{"input": {"stdin": f"{a} 2"}, "output": {"stdout": f"{a + 2}\n"}} for a in range(3)],
}  # fmt: skip
MBPP = {"id": 1, "content": "Add.", "labels": {"test_setup_code": ""}, "test": ["assert add(1, 2) == 3"]}
HUMANEVAL = {
    "task_id": "HumanEval/1", "prompt": "def add(a, b):\n    '''Add.'''\n", "entry_point": "add",
    "canonical_solution": "    return a + b\n", "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "row", "good", "bad"),
    [
        ("CommonOJDataset", ONLINE_JUDGE, "a, b = map(int, input().split())\nprint(a + b)", "print(3)"),
        ("MBPPDataset", MBPP, "def add(a, b):\n    return a + b", "def add(a, b):\n    return 4"),
        ("HumanEvalDataset", HUMANEVAL, "def add(a, b):\n    return a + b", "import os\nos._exit(0)"),
    ],
)
def test_submit_judges_rows_that_come_along(server, kind, row, good, bad):
    answer = submit(server, row, f"Here:\n```python\n{good}\n```", kind, language="python").json()
    assert answer["accepted"] is True
    assert all(test["passed"] and test["exec_info"]["status"] == "Success" for test in answer["tests"])
    assert answer["extracted_code"].strip() == good
    answer = submit(server, row, f"```python\n{bad}\n```", kind, language="python").json()
    assert answer["accepted"] is False
    assert answer["tests"][-1]["exec_info"]["status"] == "Failed"


def test_submit_and_prompts_for_a_set_of_the_server(server):
    from strop.tasks import load

    tasks = load("basics", split="all")
    assert server.client.get("/list_datasets").json() == ["basics"]
    asked = {"dataset": "basics", "config": {}}
    assert server.post("/list_ids", asked).json() == [task.id for task in tasks]
    prompts = server.post("/get_prompts", asked | {"offset": 1, "limit": 2}).json()
    assert prompts == [{"id": task.id, "prompt": task.prompt, "labels": {}} for task in tasks[1:3]]
    one = server.post("/get_prompt_by_id", asked | {"id": tasks[4].id}).json()
    assert one["prompt"] == tasks[4].prompt
    reply = f"```python\n{tasks[4].reference}\n```"
    answer = server.post("/submit", asked | {"id": tasks[4].id, "completion": reply}).json()
    assert answer["accepted"], answer


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "nothing", "config": {}}, "nothing"),
        ({"dataset": "basics", "config": {}, "id": "no-such"}, "no-such"),
        ({"dataset": "basics", "config": {"custom_extract_logic": "import os"}}, "custom_extract_logic"),
        ({"config": {"provided_data": {"a": 1}}}, "no known task format"),
        ({"config": {"provided_data": {"test": [{"input": 3}]}, "dataset_type": "CommonOJDataset"}}, "stdin"),
    ],
)
def test_submissions_that_cannot_be_judged_are_refused(server, change, words):
    body = {"dataset": "x", "id": "1", "completion": "", "config": {}} | change
    response = server.post("/submit", body)
    assert response.status_code == 400
    assert words in response.json()["detail"]
