"""What an endpoint can do, found out with a handful of very small requests before a run."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from strop.models.replies import Reply, read_reply
from strop.models.transport import Refused, Transport
from strop.types import StropError

QUESTION = "Count from one to nine."
PATIENCE = 15.0
"""Seconds until a server that gives no answer at all counts as absent; a run that has begun waits far longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an endpoint was seen to do. None: cannot be known."""

    listed: bool | None
    """Whether `GET /models` names the model; None where the server keeps no list."""
    chat: bool
    completions: bool
    n: bool
    """Several choices for one request. Strop asks one by one, each with its own seed; servers share the prompt."""
    logprobs: bool
    stop: bool
    seed: bool
    """Two draws with one seed were equal, and a draw with another seed was accepted. No promise under load."""
    usage: bool
    """Token counts are sent."""
    max_field: str
    """`max_tokens`, or `max_completion_tokens` where the server insists."""

    def lines(self) -> list[str]:
        """One line for each capability, for people."""
        words = {True: "yes", False: "no", None: "unknown"}
        return [f"{name}: {words.get(value, value)}" for name, value in asdict(self).items()]


def probe(transport: Transport, model: str) -> Capabilities:
    """Raises StropError when the server cannot be reached, refuses the key, or answers neither kind of prompt."""
    listed, names = _listed(transport, model)
    refusals = []
    working: dict[str, str] = {}  # route -> name of the field that limits tokens
    replies: dict[str, Reply] = {}
    for route in ("chat/completions", "completions"):
        for field in ("max_tokens", "max_completion_tokens"):
            try:
                replies[route] = _ask(transport, model, route, {field: 4})
                working[route] = field
                break
            except Refused as error:
                if error.status in (401, 403):
                    raise
                refusals.append(str(error))
                if "max_completion_tokens" not in str(error):
                    break
    if not working:
        known = f" The server lists: {', '.join(names[:10])}." if names and not listed else ""
        raise StropError(f"Model {model!r} cannot be used. {refusals[0]}{known}")
    route, field = next(iter(working.items()))

    def accepts(**extra: Any) -> Reply | None:
        try:
            return _ask(transport, model, route, {field: 4} | extra)
        except Refused:
            return None

    with_logprobs = accepts(**logprobs_fields(route, 0))
    stopped = accepts(**{field: 24}, temperature=0, stop=["three", "3"])
    draws = [accepts(**{field: 12}, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    return Capabilities(
        listed=listed,
        chat="chat/completions" in working,
        completions="completions" in working,
        n=_many(transport, model, route, field),
        logprobs=bool(with_logprobs and with_logprobs.logprobs),
        stop=stopped is not None and stopped.finish_reason == "stop" and "3" not in stopped.text,
        seed=None not in draws and draws[0].text == draws[1].text,  # type: ignore[union-attr]
        usage=replies[route].sampled_tokens is not None,
        max_field=field,
    )


def logprobs_fields(route: str, alternatives: int) -> dict[str, Any]:
    """The request fields that ask for log-probabilities on a route."""
    if route == "completions":
        return {"logprobs": alternatives}
    return {"logprobs": True} | ({"top_logprobs": alternatives} if alternatives else {})


def _ask(transport: Transport, model: str, route: str, fields: dict[str, Any]) -> Reply:
    return read_reply(transport.call(route, _body(model, route, fields), accept=read_reply).body)


def _body(model: str, route: str, fields: dict[str, Any]) -> dict[str, Any]:
    prompt = {"prompt": QUESTION} if route == "completions" else {"messages": [{"role": "user", "content": QUESTION}]}
    return {"model": model} | prompt | fields


def _many(transport: Transport, model: str, route: str, field: str) -> bool:
    try:
        body = transport.call(route, _body(model, route, {field: 1, "n": 2, "temperature": 1.0})).body
    except Refused:
        return False
    choices = body.get("choices")
    return isinstance(choices, list) and len(choices) == 2


def _listed(transport: Transport, model: str) -> tuple[bool | None, list[str]]:
    try:
        body = transport.call("models", deadline=time.monotonic() + PATIENCE).body
    except Refused as error:
        if error.status in (401, 403):
            raise
        return None, []
    entries = body.get("data")
    if not isinstance(entries, list):
        return None, []
    names = [str(entry.get("id"))[:80] for entry in entries if isinstance(entry, dict)]
    return model in names, names
