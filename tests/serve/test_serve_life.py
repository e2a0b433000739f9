"""How the server starts, where it refuses to listen, what it says of itself, and how it ends."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import sys
import time

import httpx2
import pytest
from serve_client import DOUBLE, GOOD, Server, children, lines, wait_until

from strop.serve.server import listen, split_address
from strop.types import StropError


def refused(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "strop.cli.main", "judge", *arguments], capture_output=True, text=True, timeout=60,
        env={k: v for k, v in os.environ.items() if k != "STROP_JUDGE_TOKEN"} | environment,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--serve", "0.0.0.0:0"], {}, "STROP_JUDGE_TOKEN"),
        (["--serve", "127.0.0.1:0", "--completions", "c.jsonl"], {}, "--completions"),
        (["--serve", "127.0.0.1:0"], {"STROP_JUDGE_TOKEN": "short"}, "16"),
        (["--serve", "127.0.0.1:0", "--token-file", "/no/such/file"], {}, "/no/such/file"),
        (["--serve", "127.0.0.1:0", "--tasks", "no-such-set"], {}, "no-such-set"),
    ],
)
def test_what_cannot_be_served_is_said(arguments, environment, words):
    assert words in refused(*arguments, **environment)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nonsense", "HOST:PORT"),
        ("127.0.0.1:99999", "HOST:PORT"),
        ("no-such-host.invalid:1", "no-such-host.invalid"),
        ("[::]:0", "token"),
    ],
)
def test_addresses_that_cannot_be_used(address, words):
    with pytest.raises(StropError, match=words):
        listen(*split_address(address), has_token=False)


@pytest.mark.parametrize("address", ["0", "127.0.0.1:0", "localhost:0", "[::1]:0", "127.8.8.8:0"])
def test_addresses_of_this_machine_alone_need_no_token(address):
    listen(*split_address(address), has_token=False).close()


def test_a_port_in_use_is_said(server):
    assert "cannot listen" in refused("--serve", f"127.0.0.1:{server.port}")


def test_it_describes_itself(server):
    document = server.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert {"/run_code", "/submit", "/get_prompts", "/v1/judge", "/health", "/metrics"} <= set(document["paths"])
    health = server.client.get("/health").json()
    assert health["status"] == "ok"
    assert health["isolation"] in ("userns", "root", "plain")
    server.judge([GOOD, "x"])
    assert server.metric('strop_programs_total{endpoint="/v1/judge",status="passed"}') >= 1
    assert server.metric("strop_queue_limit") == 200
    assert server.client.get("/nothing").status_code == 404
    assert server.client.get("/run_code").status_code == 405


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_what_was_begun_is_finished_when_it_is_told_to_stop(number):
    with Server() as one, concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = "import time\ntime.sleep(0.15)\n" + GOOD
        programs = [{"task_id": "double", "solution": slow}] * 12
        begun = pool.submit(one.post, "/v1/judge", {"tasks": [DOUBLE], "programs": programs})
        wait_until(lambda: one.metric("strop_queue_programs") > 0)
        workers = children(one.process.pid)
        one.process.send_signal(number)
        time.sleep(0.5)
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"{one.url}/health", timeout=5)
        assert lines(begun.result())[-1] == {"done": 12, "statuses": {"passed": 12}}
        assert one.process.wait(30) == 0
        assert one.process.stderr.read() == ""
    assert workers
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))


def test_a_killed_server_leaves_no_process_behind():
    with Server() as one:
        one.judge([GOOD])
        left = children(one.process.pid)
        one.process.kill()
        one.process.wait()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in left))
