"""Models and folders that cannot be used: one paragraph, exit code 2, no traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


def refused(*arguments: str, **environment: str) -> str:
    """What `strop` says when it exits with code 2, on one line."""
    done = subprocess.run(
        [sys.executable, "-m", "strop.cli.main", *arguments],
        capture_output=True, text=True, timeout=240, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_a_tokenizer_without_chat_template_cannot_be_asked_in_a_chat(small_model, tmp_path):
    bare = shutil.copytree(small_model("llama"), tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    said = refused("eval", "--model", f"hf/{bare}", "--as", "chat", "--limit", "1", "--out", str(tmp_path / "run"))
    assert "chat template" in said
    assert "completion" in said


def test_an_architecture_that_transformers_does_not_know_is_named(small_model, tmp_path):
    odd = shutil.copytree(small_model("llama"), tmp_path / "odd")
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps(config | {"model_type": "abacus", "architectures": ["Abacus"]}))
    said = refused("eval", "--model", f"hf/{odd}", "--limit", "1", "--out", str(tmp_path / "run"))
    assert "abacus" in said


def test_a_damaged_gguf_file_is_named(tmp_path):
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF" + os.urandom(2000))
    assert "damaged.gguf" in refused("eval", "--model", f"gguf/{damaged}", "--out", str(tmp_path / "run"))


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.isdir("/proc/1"), reason="needs /proc")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    said = refused("eval", "--limit", "1", "--out", "/proc/1/strop-run")
    assert "/proc/1/strop-run" in said


@pytest.mark.parametrize(("status", "body"), [(401, b'{"error": {"message": "bad key"}}'), (200, b"<html>hello")])
def test_an_endpoint_that_refuses_or_talks_nonsense(status, body, tmp_path):
    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        place = f"http://127.0.0.1:{server.server_port}/v1"
        said = refused("eval", "--model", f"openai/m@{place}", "--limit", "1", "--out", str(tmp_path / "run"))
        assert place in said
        assert ("401" in said) == (status == 401)
    finally:
        server.shutdown()
        server.server_close()
