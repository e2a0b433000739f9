"""HTTP to an endpoint: attempts, pauses, time-outs, and errors a user can act on."""

from __future__ import annotations

import email.utils
import json
import os
import random
import re
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from strop.types import StropError

RETRIED = frozenset((408, 409, 425, 429, *range(500, 600))) - {501, 505}
MOST_BYTES = 32 * 2**20
"""Largest answer read; a larger one counts as broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """How to treat an endpoint. Times are in seconds."""

    concurrency: int = 16
    """Requests under way at once."""
    request_timeout: float = 300.0
    """Longest silence, and longest time from the start of an attempt to its last byte (checked at each arrival)."""
    total_timeout: float | None = None
    """For one call of `sample`, all requests and retries together."""
    retries: int = 6
    """Attempts after the first, for each request."""
    first_pause: float = 1.0
    """Before the first retry; doubles each time, times a random factor between 0.5 and 1.5."""
    longest_pause: float = 60.0
    """Largest pause of our own choosing; the server's `Retry-After` may be longer."""
    price_prompt: float = 0.0
    """US dollars per million prompt tokens."""
    price_sampled: float = 0.0
    """US dollars per million sampled tokens."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = {"concurrency": 1, "request_timeout": 1e-3, "total_timeout": 1e-3}.get(field.name, 0)
            if value is not None and not least <= value < float("inf"):
                raise StropError(f"Endpoint option {field.name}={value!r} must be a number of at least {least}.")


class Refused(StropError):
    """The server answered with a status that trying again will not change."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Broken(Exception):
    """An attempt that failed in a way worth another attempt."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class Stopped(Exception):
    """The caller lost interest while a request was waiting for its turn."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON object from the server, and what it took to get it."""

    body: dict[str, Any]
    attempts: int
    seconds: float


class Transport:
    """One server. Safe to use from several threads."""

    def __init__(self, url: str, options: EndpointOptions) -> None:
        import httpx2

        self._http = httpx2
        self.url, self.options = url, options
        self._key = (os.environ.get("STROP_API_KEY") or os.environ.get("OPENAI_API_KEY") or "").strip()
        if not self._key.isascii() or any(character.isspace() for character in self._key):
            raise StropError("The API key in STROP_API_KEY or OPENAI_API_KEY holds characters no header can carry.")
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(options.request_timeout, connect=min(20.0, options.request_timeout)),
            limits=httpx2.Limits(max_connections=options.concurrency),
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            follow_redirects=False,  # a redirect could carry the key to another host
        )
        self._resume_at = 0.0  # no attempt before this time, because the server asked for a pause

    def call(
        self,
        route: str,
        body: Mapping[str, Any] | None = None,
        *,
        deadline: float = float("inf"),
        stop: threading.Event | None = None,
        accept: Any = None,
        final: Collection[int] = (),
    ) -> Answer:
        """GET `route`, or POST `body` to it, until an answer comes that is a JSON object and passes `accept`.

        `accept(body)` raises ValueError for an answer that is malformed. `deadline` is a time of `time.monotonic`.
        Statuses in `final` are not tried again.
        Raises Refused for a final status, StropError when attempts or time run out, Stopped when `stop` is set.
        """
        stop = stop or threading.Event()
        started, attempts = time.monotonic(), 0
        while True:
            self._pause(self._resume_at, deadline, stop, "the server asked for a pause")
            attempts += 1
            try:
                answer = self._attempt(route, body, deadline, final)
                if accept is not None:
                    accept(answer)
                return Answer(answer, attempts, time.monotonic() - started)
            except (_Broken, ValueError) as error:
                reason = str(error) if isinstance(error, _Broken) else f"it sent an unreadable answer: {error}"
                asked = error.pause if isinstance(error, _Broken) else None
            if attempts > self.options.retries:
                raise StropError(self._text(f"{self.url} failed {attempts} times for one request; at last {reason}."))
            own = min(self.options.longest_pause, self.options.first_pause * 2 ** (attempts - 1))
            pause = own * random.uniform(0.5, 1.5)
            if asked is not None:
                self._resume_at = max(self._resume_at, time.monotonic() + asked)
                pause = max(asked, 0.0) + 0.1 * pause  # all waiting requests resume then, but not in one moment
            self._pause(time.monotonic() + pause, deadline, stop, reason)

    def close(self) -> None:
        self._client.close()

    def redact(self, text: str) -> str:
        """`text` without the key, nor anything that looks like one (servers like to quote it)."""
        if self._key:
            text = text.replace(self._key, "[key]")
        return re.sub(r"\b(sk|hf|key|Bearer)[-_ ][\w*.\-]{6,}", "[key]", text)

    def _pause(self, until: float, deadline: float, stop: threading.Event, reason: str) -> None:
        wait = until - time.monotonic()
        if time.monotonic() + max(wait, 0) > deadline:
            raise StropError(self._text(f"{self.url}: out of time (total_timeout) while waiting because {reason}."))
        if stop.is_set() or (wait > 0 and stop.wait(wait)):
            raise Stopped

    def _attempt(
        self, route: str, body: Mapping[str, Any] | None, deadline: float, final: Collection[int]
    ) -> dict[str, Any]:
        http, limit = self._http, self.options.request_timeout
        end = min(time.monotonic() + limit, deadline)
        try:
            with self._client.stream("GET" if body is None else "POST", f"{self.url}/{route}", json=body) as response:
                data = bytearray()
                for piece in response.iter_bytes():
                    data += piece
                    if len(data) > MOST_BYTES:
                        raise _Broken(f"it sent more than {MOST_BYTES >> 20} MB")
                    if time.monotonic() > end:
                        raise _Broken(f"its answer was not complete after {limit:g} s")
        except http.TimeoutException as error:
            raise _Broken(f"it did not answer within {limit:g} s ({type(error).__name__})") from error
        except (http.UnsupportedProtocol, http.InvalidURL) as error:
            raise StropError(self._text(f"{self.url} is not a usable address: {error}")) from error
        except http.ConnectError as error:
            raise _Broken(f"no connection could be made ({error or type(error).__name__})") from error
        except http.HTTPError as error:
            raise _Broken(f"the connection broke ({type(error).__name__}: {error})") from error
        text = data.decode("utf-8", "replace")
        if response.status_code != 200:
            again = response.status_code in RETRIED and response.status_code not in final
            self._raise_for(response.status_code, text, response.headers.get("retry-after"), route, body, again)
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise _Broken(f"it sent something that is not JSON: {text[:80]!r}") from error
        if not isinstance(answer, dict):
            raise _Broken(f"it sent JSON that is not an object: {text[:80]!r}")
        return answer

    def _raise_for(self, status: int, text: str, retry_after: str | None, route: str, body: Any, again: bool) -> None:
        said = _server_message(text)
        if again:
            raise _Broken(f"it answered {status} ({said})", _seconds(retry_after))
        if status in (401, 403):
            where = "the key in STROP_API_KEY or OPENAI_API_KEY" if self._key else "a request without a key"
            advice = "" if self._key else " Set STROP_API_KEY or OPENAI_API_KEY."
            message = f"{self.url} refused {where} (status {status}: {said}).{advice}"
        elif status == 404:
            model = f" or model {body['model']!r}" if body else ""
            message = f"{self.url} has no route /{route}{model} (status 404: {said}). Most addresses end in /v1."
        elif 300 <= status < 400:
            message = f"{self.url} redirects elsewhere (status {status}); give the final address."
        else:
            message = f"{self.url} rejected the request (status {status}: {said})."
        raise Refused(status, self._text(message))

    def _text(self, message: str) -> str:
        return self.redact(" ".join(message.split()))


def _server_message(text: str) -> str:
    """The server's own words, from OpenAI's or FastAPI's error shape, cut to one short line."""
    try:
        body = json.loads(text)
        error = body.get("error", body) if isinstance(body, dict) else body
        said = error.get("message") or error.get("detail") or error if isinstance(error, dict) else error
    except ValueError:
        said = re.sub(r"<[^>]*>", " ", text)
    return " ".join(str(said).split())[:300] or "no message"


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After` as seconds from now; it may hold a number or an HTTP date."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), 86400.0) if seconds == seconds else None
