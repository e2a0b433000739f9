"""Strop's own endpoint: verdicts as they come, limits of the queue, and what becomes of a judge that breaks."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import time

import httpx2
import pytest
from serve_client import BAD, DOUBLE, GOOD, Server, children, lines, wait_until


def test_every_program_gets_its_verdict_and_the_end_is_marked(server):
    *verdicts, end = server.judge([GOOD, BAD, "def f(:", "import os; os._exit(0)"] * 5)
    assert end == {"done": 20, "statuses": {"passed": 5, "failed": 5, "syntax_error": 5, "runtime_error": 5}}
    assert sorted(row["index"] for row in verdicts) == list(range(20))
    by_index = {row["index"]: row for row in verdicts}
    assert [by_index[i]["status"] for i in range(4)] == ["passed", "failed", "syntax_error", "runtime_error"]
    assert set(by_index[0]) == {
        "task_id", "index", "passed", "status", "fraction", "seconds", "memory_mb", "detail", "wall_seconds",
        "isolation", "flags", "forgeable",
    }  # fmt: skip


def test_verdicts_agree_with_the_judge_in_this_process(server):
    from strop import judge
    from strop.tasks import load

    tasks = load("basics", split="all")[:12]
    programs = [code for task in tasks for code in (task.reference, "def nothing(): pass\n")]
    rows = [{"task_id": task.id, "solution": code} for task, code in zip([t for t in tasks for _ in "12"], programs)]
    *verdicts, _ = lines(server.post("/v1/judge", {"task_set": "basics", "programs": rows}))
    there = {row["index"]: (row["status"], row["fraction"]) for row in verdicts}
    here = [judge.run(task, programs[2 * i : 2 * i + 2], workers=1) for i, task in enumerate(tasks)]
    judge.close()
    flat = [verdict for pair in here for verdict in pair]
    assert [there[i] for i in range(len(flat))] == [(v.status, round(v.fraction, 6)) for v in flat]


def test_verdicts_come_while_others_still_run(server):
    slow = "import time\ndef f(x):\n    time.sleep(1.2)\n    return 2 * x\n"
    rows = [{"task_id": "double", "solution": code} for code in (GOOD, slow)]
    started, times = time.monotonic(), []
    with server.client.stream("POST", "/v1/judge", json={"tasks": [DOUBLE], "programs": rows}) as response:
        for _ in response.iter_lines():
            times.append(time.monotonic() - started)
    assert len(times) == 3
    assert times[0] < times[1] - 1


def test_details_and_all_checks_on_request(server):
    *_, verdict, _ = server.judge(["def f(x):\n    return 10\n"], details=True, stop_at_first_failure=False)
    assert [check["passed"] for check in verdict["checks"]] == [False, True]
    assert verdict["checks"][0]["actual"] == "10"
    assert verdict["fraction"] == 0.5


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"tasks": [DOUBLE], "programs": []}, "programs"),
        ({"tasks": [DOUBLE], "programs": [{"task_id": "double"}]}, "solution"),
        ({"tasks": [DOUBLE], "programs": [{"task_id": "other", "solution": ""}]}, "other"),
        ({"tasks": [{"id": "a"}], "programs": [{"task_id": "a", "solution": ""}]}, "no known task format"),
        ({"tasks": [DOUBLE, DOUBLE], "programs": [{"task_id": "double", "solution": ""}]}, "two tasks"),
        ({"tasks": [DOUBLE | {"checks": [3]}], "programs": [{"task_id": "double", "solution": ""}]}, "checks"),
        ({"tasks": [DOUBLE | {"language": "cobol"}], "programs": [{"task_id": "double", "solution": ""}]}, "cobol"),
        (
            {"tasks": [DOUBLE | {"limits": {"cpu_seconds": 1e6}}], "programs": [{"task_id": "double", "solution": ""}]},
            "limits",
        ),
        ({"tasks": [DOUBLE], "programs": [{"task_id": "double", "solution": ""}], "extra": 1}, "extra"),
    ],
)
def test_what_cannot_be_judged_is_named(server, body, words):
    response = server.post("/v1/judge", body)
    assert response.status_code == 422
    assert words in response.text
    assert server.metric("strop_queue_programs") == 0


def test_unknown_task_set_is_404(server):
    response = server.post("/v1/judge", {"task_set": "no", "programs": [{"task_id": "a", "solution": ""}]})
    assert response.status_code == 404
    assert "basics" in response.text


def test_programs_that_never_fit_are_413_and_a_full_queue_is_429(server):
    assert server.post("/v1/judge", batch([GOOD] * 201)).status_code == 413
    slow = "import time\ntime.sleep(0.2)\n"
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        long = pool.submit(lambda: lines(server.post("/v1/judge", batch([slow + GOOD] * 6 + [GOOD] * 150))))
        wait_until(lambda: server.metric("strop_queue_programs") > 100)
        refused = server.post("/v1/judge", batch([GOOD] * 100))
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert server.post("/run_code", {"code": "print(1)", "language": "python"}).status_code == 200
        assert long.result()[-1]["done"] == 156
    assert server.metric("strop_queue_programs") == 0


def test_a_client_that_leaves_frees_its_place(server):
    body = batch(["import time\ntime.sleep(0.2)\n" + GOOD] * 100)
    with server.client.stream("POST", "/v1/judge", json=body) as response:
        next(response.iter_lines())
    wait_until(lambda: server.metric("strop_queue_programs") == 0)
    time.sleep(0.5)  # those that had started may end
    judged = server.metric("strop_programs_total")
    time.sleep(0.8)
    assert server.metric("strop_programs_total") == judged, "programs that nobody waits for are still judged"
    assert server.judge([GOOD])[-1]["done"] == 1


def batch(programs):
    return {"tasks": [DOUBLE], "programs": [{"task_id": "double", "solution": code} for code in programs]}


def hammer(url, clients, each, kill=lambda: None):
    """Every client sends its programs in four requests; the outcome of each program is known beforehand."""
    codes = [GOOD, BAD]

    def one(number):
        wrong = 0
        with httpx2.Client(base_url=url, timeout=300) as client:
            for part in range(4):
                programs = [codes[(number + i) % 2] + f"# {number} {part} {i}\n" for i in range(each // 4)]
                *verdicts, end = lines(client.post("/v1/judge", json=batch(programs)))
                assert end["done"] == len(programs) == len({row["index"] for row in verdicts})
                wrong += sum(row["passed"] != ((number + row["index"]) % 2 == 0) for row in verdicts)
        return wrong

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        work = [pool.submit(one, number) for number in range(clients)]
        kill()
        return [item.result() for item in work]


def kill_workers(server, count):
    """Kill judge workers (children of the server) while they work."""

    def kill():
        for _ in range(count):
            before = server.metric("strop_programs_total")
            wait_until(lambda before=before: server.metric("strop_programs_total") > before + 5)
            os.kill(children(server.process.pid)[0], signal.SIGKILL)

    return kill


def test_a_killed_worker_loses_nothing():
    with Server() as server:
        assert hammer(server.url, 4, 80, kill_workers(server, 2)) == [0] * 4


@pytest.mark.slow
def test_eight_clients_two_thousand_programs_each_and_killed_workers():
    with Server("--workers", "2") as server:
        started = time.monotonic()
        assert hammer(server.url, 8, 2000, kill_workers(server, 3)) == [0] * 8
        seconds = time.monotonic() - started
        print(json.dumps({"programs": 16000, "seconds": round(seconds, 1), "per_second": round(16000 / seconds)}))
        assert server.metric("strop_queue_programs") == 0
