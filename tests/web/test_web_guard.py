"""The walls around the page: who may ask, who may send, and that nobody else can reach it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
import web_runs
from starlette.testclient import TestClient

from strop.run import Run
from strop.types import StropError
from strop.web.app import create_app
from strop.web.guard import MOST_BODY
from strop.web.server import PORT, listen
from strop.web.site import Site


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    with Run.open(root / "run", command=web_runs.COMMAND, config=web_runs.CONFIG) as run:
        for stage in ("before", "after-1"):
            run.save_samples(stage, [web_runs.sample("t/1", 0, f"x = '{stage}'")])
            run.save_verdicts(stage, [("t/1", 0, web_runs.verdict())])
    return root


@pytest.fixture
def site(folder) -> Site:
    return Site(folder)


@pytest.fixture
def client(site) -> TestClient:
    return TestClient(create_app(site), base_url="http://127.0.0.1:8640", follow_redirects=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8640", "localhost", "LOCALHOST:9", "[::1]:8640", "[::1]"])
def test_names_of_this_machine_are_answered(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8640", "127.0.0.1.evil.example", "localhost.evil.example:8640", "",
     "evil.example#127.0.0.1", "127.0.0.1@evil.example", "192.168.1.7:8640", "0.0.0.0:8640", "localhost:80:80",
     "[::1", "127.0.0.1:evil", "localhost, evil.example", "::1"],
)  # fmt: skip
def test_other_names_are_refused_before_anything_is_read(client, host):
    """DNS rebinding: a foreign site's name that now points here still says its name in the Host header."""
    for path in ("/", "/strop.js", "/run?run=run"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 421
        assert "t/1" not in answer.text


def test_every_answer_carries_the_headers(client):
    for path in (
        "/",
        "/run?run=run",
        "/nope",
        "/run?run=nope",
        "/strop.css",
        "/strop.js",
        "/plot.svg?paper=43-codedpo",
    ):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-eval" not in policy
        if path != "/plot.svg?paper=43-codedpo":
            assert "unsafe-inline" not in policy
            assert "require-trusted-types-for 'script'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


def _pair(client: TestClient) -> tuple[str, str]:
    page = client.get(client.get("/arena?run=run").headers["location"]).text
    return tuple(re.search(rf'name="{name}" value="([^"]+)"', page)[1] for name in ("pair", "token"))


GOOD = {"origin": "http://127.0.0.1:8640", "sec-fetch-site": "same-origin"}


def test_a_vote_from_the_page_itself_is_kept(client, folder):
    from strop.web import votes

    pair, token = _pair(client)
    answer = client.post("/arena/vote", data={"pair": pair, "token": token, "choice": "left"}, headers=GOOD)
    assert answer.status_code == 303
    assert pair in [ballot.pair for ballot in votes.read(folder / "run")]


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9999"},
     {"origin": "https://127.0.0.1:8640"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
     {"origin": "http://127.0.0.1:8640.evil.example"}, {"sec-fetch-site": "none"}],
)  # fmt: skip
def test_forms_of_other_sites_are_refused(client, folder, headers):
    from strop.web import votes

    pair, token = _pair(client)
    data = {"pair": pair, "token": token, "choice": "left"}
    answer = client.post("/arena/vote", data=data, headers=headers)
    assert answer.status_code == 403
    assert pair not in [ballot.pair for ballot in votes.read(folder / "run")]


def test_forms_without_the_token_and_other_bodies_are_refused(client):
    pair, token = _pair(client)
    for data in ({"pair": pair, "choice": "left"}, {"pair": pair, "choice": "left", "token": token[:-1]}, {"x": "1"}):
        assert client.post("/arena/vote", data=data, headers=GOOD).status_code == 403
    sent = {"json": {"pair": pair, "token": token, "choice": "left"}}
    assert client.post("/arena/vote", **sent, headers=GOOD).status_code == 415
    assert client.post("/arena/vote", content="x", headers={**GOOD, "content-type": "text/plain"}).status_code == 415
    large = {"pair": pair, "token": token, "choice": "left", "stdin": "x" * MOST_BODY}
    assert client.post("/arena/vote", data=large, headers=GOOD).status_code == 413
    many = "&".join(f"a{n}=1" for n in range(100))
    kind = {**GOOD, "content-type": "application/x-www-form-urlencoded"}
    assert client.post("/arena/vote", content=many, headers=kind).status_code == 413
    odd = {"pair": pair, "token": token, "choice": "nobody"}
    assert client.post("/arena/vote", data=odd, headers=GOOD).status_code == 422
    gone = {"pair": "gone", "token": token, "choice": "left"}
    assert client.post("/arena/vote", data=gone, headers=GOOD).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_refused(client, method):
    assert client.request(method, "/").status_code == 405
    assert client.request(method, "/arena/vote").status_code == 405


def test_looking_cannot_vote_and_voting_cannot_look(client):
    assert client.get("/arena/vote").status_code == 405
    assert client.get("/arena/run").status_code == 405
    assert client.post("/run", headers={**GOOD, "content-type": "application/x-www-form-urlencoded"}).status_code == 405


def test_a_defect_of_ours_is_a_page_without_details(folder, monkeypatch):
    from strop.web import app

    def broken(site, request):
        raise RuntimeError("secret <b>detail</b>")

    monkeypatch.setitem(app.PAGES, "/papers", broken)
    client = TestClient(create_app(Site(folder)), base_url="http://localhost", raise_server_exceptions=False)
    answer = client.get("/papers")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


# ---- the process -------------------------------------------------------------------------------


def test_a_port_that_is_taken(folder):
    with listen(0) as door:
        taken = door.getsockname()[1]
        assert door.getsockname()[0] == "127.0.0.1"
        with pytest.raises(StropError, match=f"Port {taken} of 127.0.0.1 cannot be used"):
            listen(taken)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", PORT))
            other.listen()
        except OSError:
            pass  # somebody else has it, which is the same case
        with listen(None) as free:
            assert free.getsockname()[1] != PORT


def test_a_folder_that_is_none(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "strop.cli.main", "view", str(tmp_path / "none")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "is not a folder" in done.stderr


def test_the_command_listens_on_loopback_alone_and_ends_with_ctrl_c(folder):
    command = [sys.executable, "-m", "strop.cli.main", "view", str(folder), "--port", "0", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONUNBUFFERED": "1"})  # fmt: skip
    try:
        assert process.stdout
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert address, line
        assert httpx2.get(address[0], timeout=20).status_code == 200
        # A head that is longer than other servers allow: names of tasks stand in addresses.
        assert httpx2.get(address[0] + "sample?run=run&task=" + "x" * 60_000, timeout=20).status_code == 404
        # Every listening socket of the process, from the kernel's table.
        inodes = {os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")}
        listening = []
        for table in ("tcp", "tcp6"):
            rows = [row.split() for row in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]]
            listening += [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
        assert [where.split(":")[0] for where in listening] == ["0100007F"]
    finally:
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        process.wait(15)
    assert time.monotonic() - started < 10
    assert process.returncode == 0
    assert "Traceback" not in (process.stderr.read() if process.stderr else "")
