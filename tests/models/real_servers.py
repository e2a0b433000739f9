"""Real OpenAI-compatible servers on this machine, for tests: transformers' own and llama.cpp's."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2

PATIENCE = 120.0
"""Seconds that a server may take to load its model on a busy machine."""

LLAMA_CPP = """
import sys, time
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.model_alias, params.port = sys.argv[1], {sys.argv[2]}, int(sys.argv[3])
params.n_ctx, params.n_parallel = 2048, 2
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
while True:
    time.sleep(60)
"""


@contextlib.contextmanager
def transformers_server(folder: Path, log: Path) -> Iterator[str]:
    """`transformers serve` with the model in `folder`, float32 on the CPU; yields the address."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--device", "cpu"]
    command += ["--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    with _running(command, f"http://127.0.0.1:{port}", log) as address:
        yield f"{address}/v1"


@contextlib.contextmanager
def llama_cpp_server(weights: Path, name: str, log: Path) -> Iterator[str]:
    """llama.cpp's server, from the wheels of xllamacpp; yields the address."""
    port = free_port()
    command = [sys.executable, "-c", LLAMA_CPP, str(weights), name, str(port)]
    with _running(command, f"http://127.0.0.1:{port}", log) as address:
        yield f"{address}/v1"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextlib.contextmanager
def _running(command: Sequence[str], address: str, log: Path) -> Iterator[str]:
    # One thread: two that wait for each other on a busy machine are slower by far.
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        _wait(process, f"{address}/health", log)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(health, timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")


def sampled_like_asked(folder: Path) -> None:
    """Make transformers' server obey temperature, top-p and top-k, which it reads from the model's folder first."""
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_sample": True, "top_k": 0}))
