"""A real server process, and clients for it: httpx, and a bare socket for what no HTTP library would send."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2

DOUBLE = {"id": "double", "prompt": "Double it.", "entry_point": "f", "checks": ["f(2) == 4", "f(5) == 10"]}
GOOD, BAD = "def f(x):\n    return 2 * x\n", "def f(x):\n    return x\n"


class Server:
    """`strop judge --serve` on a free port of this machine."""

    def __init__(self, *options: str, host: str = "127.0.0.1", launch: str | None = None, **environment: str) -> None:
        verb = ["-m", "strop.cli.main", "judge", "--serve", f"{host}:0", "--workers", "1", *options]
        command = [sys.executable, *(["-c", launch] if launch else verb)]
        surroundings = {k: v for k, v in os.environ.items() if k != "STROP_JUDGE_TOKEN"} | environment
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings
        )
        ready, _, _ = select.select([self.process.stdout], [], [], 60)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.process.kill()
            raise AssertionError(f"the server did not start: {self.process.stderr.read()}")
        self.port = int(re.search(r":(\d+) at", line)[1])
        self.url = f"http://{host}:{self.port}"
        self.client = httpx2.Client(base_url=self.url, timeout=60)

    def post(self, path: str, body: object, **options) -> httpx2.Response:
        return self.client.post(path, json=body, **options)

    def judge(self, programs: list[str], **more) -> list[dict]:
        body = {"tasks": [DOUBLE], "programs": [{"task_id": "double", "solution": code} for code in programs], **more}
        return lines(self.post("/v1/judge", body))

    def raw(self, data: bytes, *, timeout: float = 10.0) -> bytes:
        """Everything the server says to these bytes until it hangs up or falls silent."""
        with socket.create_connection((self.url.split("//")[1].rpartition(":")[0], self.port), timeout) as connection:
            connection.sendall(data)
            return read_all(connection)

    def metric(self, name: str, **headers) -> float:
        text = self.client.get("/metrics", headers=headers).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lines(response: httpx2.Response) -> list[dict]:
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def read_all(connection: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(OSError):
        while part := connection.recv(1 << 16):
            data += part
    return data


def wait_until(true, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def memory_mb(pid: int) -> float:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def children(pid: int) -> list[int]:
    """Processes that any thread of `pid` started."""
    found = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(word) for word in listed.read_text().split()]
    return found
