"""`strop judge` and `strop lint tasks` from end to end: real processes, real judge, real files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

STROP = [sys.executable, "-m", "strop.cli.main"]


def strop(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*STROP, *arguments], capture_output=True, text=True, timeout=250, **options)


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def human_eval_row(name: str, body: str, checks: str, prompt: str | None = None, number: int = 0) -> dict[str, Any]:
    prompt = prompt or f'def {name}(x):\n    """Task {name}."""\n'
    test = "def check(candidate):\n" + "".join(f"    {line}\n" for line in checks.splitlines())
    row = {"task_id": f"T/{name}", "prompt": prompt, "entry_point": name, "test": test}
    return row | {"canonical_solution": body}


TASKS = [
    human_eval_row("double", "    return 2 * x\n", "assert candidate(2) == 4\nassert candidate(-1) == -2"),
    human_eval_row("upper", "    return x.upper()\n", "assert candidate('a') == 'A'\nassert candidate('bC') == 'BC'"),
]


def test_repeated_runs_flag_programs_that_disagree(tmp_path: Path) -> None:
    code = "def double(x):\n    return 2 * x if hash('{}') % 2 else 0\n"
    programs = [{"task_id": "T/double", "solution": code.format(n)} for n in range(8)]
    files = ["--tasks", write(tmp_path / "t.jsonl", TASKS), "--completions", write(tmp_path / "c.jsonl", programs)]
    run = strop("judge", *files, "--out", str(tmp_path / "v.jsonl"), "--repeat", "3", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["flaky"] == sum("flaky" in row["flags"] for row in read(tmp_path / "v.jsonl")) > 0


def test_contract_resume_and_exit_codes(tmp_path: Path) -> None:
    tasks = write(tmp_path / "t.jsonl", TASKS)
    programs = [
        {"task_id": "T/double", "completion": "    return 2 * x\n"},
        {"task_id": "T/double", "completion": "    return 3 * x\n"},
        {"task_id": "T/upper", "solution": "def upper(x):\n    return x.upper()\n"},
        {"task_id": "T/upper", "solution": "def upper(x:\n"},
        {"task_id": "T/upper", "solution": "def upper(x): return x.upper()\n#\x00"},
        {"task_id": "T/upper", "solution": "def upper(x): raise KeyError(x)\n"},
        {"task_id": "T/upper", "solution": "import os\nos._exit(0)\n"},
        {"task_id": "T/double", "solution": "x = '" + "y" * 10_000_000 + "'\n"},
        {"task_id": "T/double", "solution": "\ud800\x7f\x01 binary"},
        {"task_id": "T/double", "solution": "def double(x):\n    while True: pass\n"},
    ]
    completions, out = write(tmp_path / "c.jsonl", programs), tmp_path / "v.jsonl"
    judge = ["judge", "--tasks", tasks, "--completions", completions, "--out", str(out), "--timeout", "1"]
    run = strop(*judge, "--json")
    assert run.returncode == 0, run.stderr
    rows = read(out)
    assert [row["index"] for row in rows] == list(range(10))
    assert [row["task_id"] for row in rows] == [row["task_id"] for row in programs]
    assert [row["passed"] for row in rows] == [True, False, True] + 7 * [False]
    statuses = [row["status"] for row in rows]
    assert statuses[:2] == ["passed", "failed"]
    assert statuses[3:6] == ["syntax_error", "syntax_error", "runtime_error"]
    assert statuses[9] == "timeout"
    assert "judge_error" not in statuses
    assert list(rows[0])[:8] == ["task_id", "index", "passed", "status", "fraction", "seconds", "memory_mb", "detail"]
    summary = json.loads(run.stdout)
    assert (summary["completions"], summary["passed"], summary["kept"]) == (10, 2, 0)

    before = out.read_bytes()
    again = strop(*judge, "--json")
    assert json.loads(again.stdout)["kept"] == 10
    assert out.read_bytes() == before


def test_standard_input_and_output(tmp_path: Path) -> None:
    tasks = write(tmp_path / "t.jsonl", TASKS)
    line = json.dumps({"task_id": "T/double", "completion": "    return 2 * x\n"})
    run = strop("judge", "--tasks", tasks, "--completions", "-", "--out", "-", input=f"{line}\n{line}\n")
    assert run.returncode == 0, run.stderr
    assert [json.loads(text)["passed"] for text in run.stdout.splitlines()] == [True, True]
    assert "2 completions: 2 passed" in run.stderr


@pytest.mark.parametrize(
    ("tasks", "completions", "message"),
    [
        (TASKS, ['{"task_id": "T/none", "completion": ""}'], r'line 1: field `task_id`: there is no task "T/none"'),
        (TASKS, ["{}"], "line 1: field `task_id` is missing"),
        (TASKS, ["nonsense"], "line 1: not valid JSON"),
        (TASKS, None, "cannot be opened"),
        ([{"task_id": "T/x", "prompt": "", "entry_point": "f"}], [], "line 1"),
        ([TASKS[0], TASKS[0]], [], "T/double"),
        (
            [{"id": "C", "prompt": "Print x.", "language": "cobol", "checks": [{"stdin": "", "stdout": "x"}]}],
            [],
            "cobol",
        ),
        (["\x00\x01\x02"], [], "line 1"),
    ],
)
def test_unusable_input_is_named_and_exits_2(tmp_path: Path, tasks: Any, completions: Any, message: str) -> None:
    paths = write(tmp_path / "t.jsonl", tasks), str(tmp_path / "c.jsonl")
    if completions is not None:
        write(tmp_path / "c.jsonl", completions)
    run = strop("judge", "--tasks", paths[0], "--completions", paths[1], "--out", str(tmp_path / "v.jsonl"))
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "v.jsonl").exists()


def test_ctrl_c_keeps_what_is_done_and_leaves_no_process(tmp_path: Path) -> None:
    tasks, out = write(tmp_path / "t.jsonl", TASKS), tmp_path / "v.jsonl"
    slow = "import time\ndef double(x):\n    time.sleep(0.3)\n    return 2 * x\n"
    rows = [{"task_id": "T/double", "solution": f"{slow}# {i}\n"} for i in range(60)]
    completions = write(tmp_path / "c.jsonl", rows)
    command = [*STROP, "judge", "--tasks", tasks, "--completions", completions, "--out", str(out)]
    process = subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (out.exists() and out.read_bytes().count(b"\n") >= 3) and time.monotonic() < end:
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    gone, alive = psutil.wait_procs(family, timeout=5)
    assert gone
    assert alive == []
    kept = read(out)
    assert 3 <= len(kept) < 60
    write(tmp_path / "c.jsonl", rows[:20])
    run = strop(*command[len(STROP) :], "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["kept"] == sum(row["index"] < 20 for row in kept)
    assert [row["index"] for row in read(out)] == list(range(20))


def test_doctor_names_the_ladder() -> None:
    run = strop("judge", "--doctor", "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert [level["name"] for level in report["levels"]] == ["userns", "root", "plain"]
    run = strop("judge", "--doctor")
    assert f"The judge uses: {report['best'] or 'nothing'}" in run.stdout


def test_lint_finds_every_kind_of_defect_and_nothing_else(tmp_path: Path) -> None:
    helper = 'def helper(x):\n    return x + 1\n\ndef second(x):\n    """Task second."""\n'
    rows = [
        *TASKS,
        human_eval_row("wrong", "    return 0\n", "assert candidate(2) == 4\nassert candidate(1) == 2"),
        human_eval_row("always", "    return True\n", "assert candidate(2) == True\nassert candidate(3) == True"),
        human_eval_row("weak", "    return x\n", "try:\n    candidate(1)\nexcept Exception:\n    pass"),
        human_eval_row(
            "second", "    return helper(x)\n", "assert candidate(2) == helper(2)\nassert candidate(5) == 6", helper
        ),
        human_eval_row("mirror", "    return -x\n", "assert candidate(2) == mirror(2)\nassert candidate(3) == -3"),
        human_eval_row(
            "slowly",
            "    import random\n    return x if random.random() < 0.5 else 0\n",
            "for i in range(1, 4):\n    assert candidate(i) == i",
        ),
        human_eval_row(
            "twice",
            "    return x * 2\n",
            "assert candidate('a') == 'aa'\nassert candidate(3) == 6",
            TASKS[0]["prompt"].replace("double", "twice"),
        ),
    ]
    run = strop("lint", "tasks", write(tmp_path / "t.jsonl", rows), "--json", "--repeat", "2")
    assert run.returncode == 1, run.stderr
    found = {(row["task_id"], row["kind"]): row for row in json.loads(run.stdout)}
    assert {key for key in found if key[0] in ("T/double", "T/upper", "T/twice")} == set()
    for key in (
        ("T/wrong", "reference-fails"),
        ("T/always", "accepts-constant"),
        ("T/weak", "accepts-raising"),
        ("T/second", "name-from-program"),
        ("T/mirror", "compares-with-itself"),
    ):
        assert key in found, key
    assert found["T/wrong", "reference-fails"]["line"] == 3
    assert ("T/slowly", "reference-fails") in found or ("T/slowly", "reference-flaky") in found

    echo = {"id": "S/echo", "prompt": "Print it back.", "checks": [{"stdin": "a\n", "stdout": "a\n"}]}
    run = strop("lint", "tasks", write(tmp_path / "s.jsonl", [echo]), "--json")
    kinds = {row["kind"] for row in json.loads(run.stdout)}
    assert kinds == {"accepts-constant", "accepts-echo", "no-reference"}

    run = strop("lint", "tasks", write(tmp_path / "good.jsonl", TASKS), "--no-load")
    assert run.returncode == 0, run.stdout
    assert "2 tasks: no defect" in run.stdout
    run = strop("lint", "tasks", str(tmp_path / "none.jsonl"))
    assert run.returncode == 2
