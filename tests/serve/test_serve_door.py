"""Who gets in and what is kept out: tokens, sizes, smuggled heads, slow and idle connections, garbage."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import resource
import socket
import string
import time

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_client import GOOD, Server, memory_mb, read_all, wait_until

TOKEN = "correct-horse-battery-staple"
HEAD = b"POST /run_code HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
BODY = b'{"code":"print(1)","language":"python"}'


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server that other machines can reach, with a token in a file."""
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN + "\n")
    with Server("--token-file", str(file), host="0.0.0.0") as one:
        yield one


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


# ---- tokens ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/run_code", "/v1/judge", "/submit", "/openrlhf", "/verify", "/no-such-path"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("x"),
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        bearer(TOKEN.upper()),
        {"Authorization": TOKEN},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode()},
        {"X-Token": TOKEN},
    ],
)
def test_without_the_token_nothing_is_answered(guarded, path, headers):
    response = guarded.post(path, {"code": "print(1)", "language": "python"}, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert response.json() == {"detail": "A valid token is needed."}


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json", "/list_datasets", "/health/../metrics", "//health"])
def test_reading_needs_the_token_too(guarded, path):
    assert guarded.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()).startswith(
        b"HTTP/1.1 401"
    )


def test_with_the_token_all_is(guarded):
    ask = {"code": "print(1)", "language": "python"}
    assert guarded.post("/run_code", ask, headers=bearer(TOKEN)).json()["status"] == "Success"
    with httpx2.Client() as client:  # as a client takes it from a URL: all that a trainer needs to change
        url = guarded.url.replace("http://", f"http://strop:{TOKEN}@")
        assert client.post(f"{url}/run_code", json=ask, timeout=30).json()["status"] == "Success"
    assert guarded.client.get("/health").status_code == 200
    assert guarded.client.get("/v1/ping").json() == "pong"


def test_a_token_is_compared_in_constant_time(guarded):
    """As many equal bytes as there may be, the refusal takes as long: medians of interleaved requests."""
    near, far = TOKEN[:-1] + "!", "!" * len(TOKEN)
    times = {near: [], far: []}
    with httpx2.Client(base_url=guarded.url) as client:
        for _ in range(150):
            for token, found in times.items():
                started = time.perf_counter()
                assert client.get("/metrics", headers=bearer(token)).status_code == 401
                found.append(time.perf_counter() - started)
    first, second = (sorted(found)[len(found) // 2] for found in times.values())
    assert abs(first - second) < 0.5 * min(first, second)


def test_web_pages_are_kept_out_of_an_open_server(server):
    response = server.post("/run_code", {"code": "", "language": "python"}, headers={"Origin": "http://evil.example"})
    assert response.status_code == 403


# ---- sizes -------------------------------------------------------------------------------------


def test_a_body_that_says_it_is_too_large_is_not_read(server):
    before = memory_mb(server.process.pid)
    answer = server.raw(HEAD + b"Content-Length: 99999999999\r\n\r\n" + b"x" * 100_000, timeout=5)
    assert answer.startswith(b"HTTP/1.1 413")
    assert memory_mb(server.process.pid) < before + 20


def test_a_chunked_body_is_cut_off_when_it_is_too_large(server):
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(1200):  # more than the limit
                connection.sendall(chunk)
        assert read_all(connection).startswith(b"HTTP/1.1 413")
    assert server.judge([GOOD])[-1]["done"] == 1


def test_long_heads_are_refused(server):
    assert server.raw(b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200_000).startswith(b"HTTP/1.1 400")
    many = b"".join(b"X%d: y\r\n" % i for i in range(20_000))
    assert server.raw(b"GET /health HTTP/1.1\r\nHost: a\r\n" + many + b"\r\n").startswith(b"HTTP/1.1 400")


# ---- smuggling ---------------------------------------------------------------------------------

HIDDEN = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 38\r\n\r\n",
        b"Content-Length: 0, 38\r\n\r\n",
        b"Content-Length: +0\r\n\r\n",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 0x5\r\n\r\n",
        b"Content-Length : 0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"Host: b\r\nContent-Length: 0\r\n\r\n",
        b"X: a\x00b\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_head_with_two_meanings_ends_the_connection(server, head):
    answer = server.raw(HEAD + head + HIDDEN)
    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 501", b"HTTP/1.1 413")
    assert answer.count(b"HTTP/1.1 ") == 1, "what was hidden behind the head was answered"
    assert b"strop_queue" not in answer


def test_honest_pipelining_is_answered_in_order(server):
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    answer = server.raw(request + request.replace(b"Host: a", b"Host: a\r\nConnection: close"))
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.count(b'"stdout":"1\\n"') == 2


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/run_code/../../x", "/\x7f", "/%00"]
)
def test_no_path_leads_to_files(server, path):
    answer = server.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert answer[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 400")
    assert b"root:" not in answer


# ---- slow and many -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient():
    """A server with short deadlines and few places, in this process's own child."""
    code = (
        "import sys\nfrom strop.serve.server import serve\nfrom strop.serve.desk import Settings\n"
        "serve('127.0.0.1:0', Settings(workers=1, head_seconds=1, body_seconds=1, connections=64))"
    )
    with Server(launch=code) as one:
        yield one


def drip(server, data, pause=0.2, seconds=8.0):
    """Send byte by byte; seconds until the server hangs up, and what it said."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        with contextlib.suppress(OSError):
            for place in range(len(data)):
                connection.sendall(data[place : place + 1])
                connection.settimeout(pause)
                with contextlib.suppress(TimeoutError):
                    connection.recv(1, socket.MSG_PEEK)
                    break  # it answered or hung up
                if time.monotonic() - started > seconds:
                    break
        connection.settimeout(5)
        return time.monotonic() - started, read_all(connection)


def test_a_head_that_drips_in_is_not_waited_for(impatient):
    seconds, answer = drip(impatient, HEAD)
    assert seconds < 4
    assert answer == b""


def test_a_second_head_that_drips_in_is_not_waited_for_either(impatient):
    with socket.create_connection(("127.0.0.1", impatient.port), 10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        started = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 8:
                connection.sendall(b"G")
                time.sleep(0.2)
        assert time.monotonic() - started < 4


def test_a_body_that_drips_in_is_not_waited_for(impatient):
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", impatient.port), 10) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - started < 6


@pytest.mark.slow
def test_a_client_that_does_not_read_is_let_go(impatient):
    programs = [{"task_id": "d", "solution": "def f(x): return 'y' * 200\n"}] * 9000
    checks = [f"f({n}) == 'n'" for n in range(12)]
    body = json.dumps({"tasks": [{"id": "d", "prompt": "p", "checks": checks}], "programs": programs, "details": True,
                       "stop_at_first_failure": False}).encode()  # fmt: skip
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", impatient.port))
        connection.sendall(HEAD.replace(b"/run_code", b"/v1/judge") + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: impatient.metric("strop_queue_programs") > 0)
        wait_until(lambda: impatient.metric("strop_queue_programs") == 0)
    assert impatient.metric("strop_programs_total") < 9000


def test_idle_connections_do_not_keep_a_client_out(impatient):
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, soft - 200)
    before = memory_mb(impatient.process.pid)
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                connection.connect(("127.0.0.1", impatient.port))
        started = time.monotonic()
        with httpx2.Client(base_url=impatient.url) as client:
            answer = client.post("/run_code", json={"code": "print(1)", "language": "python"}, timeout=30)
        assert answer.json()["status"] == "Success"
        assert time.monotonic() - started < 20
        assert memory_mb(impatient.process.pid) < before + 64
    assert impatient.process.poll() is None


# ---- garbage -----------------------------------------------------------------------------------

PATHS = ["/run_code", "/run_jupyter", "/v1/judge", "/submit", "/get_prompts", "/get_prompt_by_id", "/list_ids",
         "/openrlhf", "/verify"]  # fmt: skip
DEEP = b"[" * 100_000 + b"]" * 100_000
NESTED = b'{"tasks": [{"id": "a", "prompt": "p", "checks": ' + b"[" * 900 + b"]" * 900 + b'}], "programs": [{}]}'


GARBAGE = [b"", b"{", b"\xff\xfe", b"null", b"[]", b"3", b'"a"', DEEP, NESTED, b"9" * 10_000, b"NaN", b"\x00" * 100,
           b'{"programs": [{"task_id": "a", "solution": "\\ud800"}]}']  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_garbage_is_refused(server, path):
    for body in GARBAGE:
        response = server.client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert 400 <= response.status_code < 500, body[:80]
        assert "detail" in response.json()


def test_text_that_utf8_cannot_carry_is_a_program_that_does_not_compile(server):
    body = b'{"code": "print(\'\\ud800\')", "language": "python", "stdin": "\\udfff"}'
    response = server.client.post("/run_code", content=body, headers={"Content-Type": "application/json"})
    assert response.json()["status"] in ("Failed", "Success")


NAMES = ["code", "language", "stdin", "tasks", "programs", "task_id", "solution", "checks", "id", "prompt", "dataset",
         "config", "provided_data", "completion", "query", "prompts", "labels", "response", "output", "inputs",
         "verifier_metadata", "unit_tests", "outputs", "limits", "entry_point", "test", "test_list"]  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner),
    max_leaves=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(PATHS), body=st.dictionaries(st.sampled_from(NAMES), json_values, max_size=6))
def test_no_json_makes_it_fail(server, path, body):
    text = json.dumps(body)
    response = server.client.post(path, content=text, headers={"Content-Type": "application/json"})
    assert response.status_code < 500, (text, response.text)


def test_random_bytes_do_not_harm(server):
    dice = random.Random(4)
    for _ in range(60):
        text = "".join(dice.choices(string.printable, k=50)).encode()
        kinds = [dice.randbytes(dice.randrange(1, 400)), HEAD + dice.randbytes(100), HEAD[: dice.randrange(90)] + text]
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            connection.sendall(dice.choice(kinds))
    assert server.judge([GOOD])[-1]["done"] == 1
