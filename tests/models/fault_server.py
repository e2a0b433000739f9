"""An OpenAI-compatible server that misbehaves as told, on real sockets.

`behave(number, path, body)` returns what the request gets, by the number of the request from 0: `answer(...)` fields,
or one of the faults in `FAULTS`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = (
    "408",
    "409",
    "429",
    "500",
    "502",
    "503",
    "reset",
    "half",
    "garbage",
    "not_object",
    "no_choices",
    "wrong_types",
    "stall",
    "drop",
)


def chat_answer(text: str, finish: str = "stop", usage: Any = True, **choice: Any) -> dict[str, Any]:
    counts = {"prompt_tokens": 7, "completion_tokens": len(text.split()), "total_tokens": 7 + len(text.split())}
    body = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish} | choice]
    }
    return body | ({"usage": counts} if usage is True else {} if usage is None else {"usage": usage})


def echo(number: int, path: str, body: dict[str, Any] | None) -> Any:
    """A well-behaved server: it answers with the prompt and the seed."""
    if body is None:
        return {"data": [{"id": "m"}]}
    asked = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
    if body.get("stop") == ["three", "3"]:
        return chat_answer("one two ")
    text = f"{asked} {body.get('seed')}"
    reply = chat_answer(text)
    if "prompt" in body:
        reply["choices"] = [{"index": 0, "text": text, "finish_reason": "stop"}]
    if body.get("logprobs") not in (None, False):
        top = [{"token": token, "logprob": logprob} for token, logprob in (("y", -1.5), ("x", -0.5), ("z", -2.5))]
        entry = {"token": "x", "logprob": -0.5, "top_logprobs": top[: body.get("top_logprobs", 0)]}
        reply["choices"][0]["logprobs"] = {"content": [entry for _ in text.split()]}
    return reply | {"choices": reply["choices"] * body.get("n", 1)}


class FaultServer:
    def __init__(self) -> None:
        self.behave: Callable[[int, str, dict[str, Any] | None], Any] = echo
        self.seen: list[tuple[str, dict[str, Any] | None, dict[str, str], float]] = []
        self.stall = 1.5
        """Seconds of silence of the fault of this name."""
        self.running = self.most_running = 0
        self.lock = threading.Lock()
        self.url = ""


@contextlib.contextmanager
def fault_server() -> Iterator[FaultServer]:
    state = FaultServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: Any) -> None: ...

        def do_GET(self) -> None:
            self._serve(None)

        def do_POST(self) -> None:
            self._serve(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def _serve(self, body: dict[str, Any] | None) -> None:
            with state.lock:
                number = len(state.seen)
                state.seen.append((self.path, body, dict(self.headers), time.monotonic()))
                state.running += 1
                state.most_running = max(state.most_running, state.running)
            try:
                self._answer(state.behave(number, self.path, body))
            except OSError:
                self.close_connection = True
            finally:
                with state.lock:
                    state.running -= 1

        def _answer(self, what: Any) -> None:
            if isinstance(what, tuple):  # (status, headers, text)
                return self._send(*what)
            if isinstance(what, dict):
                return self._send(200, {}, json.dumps(what))
            if what.isdigit():
                return self._send(int(what), {}, '{"error": {"message": "try later"}}')
            if what == "reset":  # RST instead of an answer
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            elif what == "drop":
                self.connection.shutdown(socket.SHUT_RDWR)
            elif what == "half":  # announces more than it sends
                self.wfile.write(b'HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{"choices": [{"mess')
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
            elif what == "stall":
                time.sleep(state.stall)
            elif what == "trickle":
                self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n")
                for _ in range(40):
                    self.wfile.write(b" ")
                    time.sleep(0.1)
            elif what == "flood":
                self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
                while True:
                    self.wfile.write(b" " * 2**20)
            else:
                bodies = {
                    "garbage": "<html>oops</html>",
                    "not_object": "[1, 2]",
                    "no_choices": '{"object": "error"}',
                    "wrong_types": '{"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]}',
                }
                self._send(200, {}, bodies[what])
            self.close_connection = True
            return None

        def _send(self, status: int, headers: dict[str, str], text: str) -> None:
            data = text.encode()
            self.send_response(status)
            for name, value in (
                {"content-length": str(len(data)), "content-type": "application/json"} | headers
            ).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # with the usual 5, connections under load wait a second for a second try

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
