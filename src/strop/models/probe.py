"""What an endpoint can do, found out with a handful of very small requests before a run."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from strop.models.replies import Reply, read_reply
from strop.models.stops import cut_at_stop
from strop.models.transport import Refused, Transport
from strop.types import StropError

QUESTION = "Count from one to nine."
OPEN_QUESTION = "Invent an unusual name for a boat."
"""Asked to see whether draws differ."""
NO_HIDDEN_LIMITS = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""Switches off what servers apply unasked. -1 is what vLLM, SGLang and llama.cpp all read as no limit."""
STOPS = ["three", "3"]
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
    varies: bool
    """Draws with different seeds at temperature 1 differed; else the server samples greedily whatever it is asked."""
    top_k: bool
    """The fields of `NO_HIDDEN_LIMITS` are accepted."""
    context: int | None
    """Most tokens of prompt and completion together, where the server's list of models tells."""
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
    listed, names, context = _listed(transport, model)
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
        known = f" The server lists: {', '.join(name[:80] for name in names[:10])}." if names and not listed else ""
        raise StropError(f"Model {model!r} cannot be used. {refusals[0]}{known}")
    route, field = next(iter(working.items()))

    def accepts(**extra: Any) -> Reply | None:
        try:
            return _ask(transport, model, route, {field: 4} | extra)
        except Refused:
            return None

    with_logprobs = accepts(**logprobs_fields(route, 0))
    stopped = accepts(**{field: 24}, temperature=0, stop=STOPS)
    neutral = accepts(**NO_HIDDEN_LIMITS) is not None
    draws = [_draw(transport, model, route, field, seed, neutral) for seed in (1, 1, 2)]
    texts = {text for text in draws if text is not None}
    if len(texts) < 2:  # no seeds taken, or by chance the same twice
        texts |= {
            _draw(transport, model, route, field, seed, neutral) for seed in ((3, 4, 5) if texts else (None,) * 3)
        }
    return Capabilities(
        listed=listed,
        chat="chat/completions" in working,
        completions="completions" in working,
        n=_many(transport, model, route, field),
        logprobs=bool(with_logprobs and with_logprobs.logprobs),
        stop=stopped is not None and _has_stopped(stopped),
        seed=None not in draws and draws[0] == draws[1],
        varies=len(texts - {None}) > 1,
        top_k=neutral,
        context=context,
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


def _body(model: str, route: str, fields: dict[str, Any], ask: str = QUESTION) -> dict[str, Any]:
    prompt = {"prompt": ask} if route == "completions" else {"messages": [{"role": "user", "content": ask}]}
    return {"model": model} | prompt | fields


def _draw(transport: Transport, model: str, route: str, field: str, seed: int | None, neutral: bool) -> str | None:
    """One draw at temperature 1, or None when the server refuses a field."""
    fields = {field: 16, "temperature": 1.0} | (NO_HIDDEN_LIMITS if neutral else {}) | ({"seed": seed} if seed else {})
    try:
        return read_reply(
            transport.call(route, _body(model, route, fields, OPEN_QUESTION), accept=read_reply).body
        ).text
    except Refused:
        return None


def _has_stopped(reply: Reply) -> bool:
    """Whether generation ended at a stop string; some servers leave it, and the rest of its token, in the text."""
    cut = cut_at_stop(reply.text, STOPS)
    return reply.finish_reason == "stop" and len(reply.text) - len(cut) < 12


def _many(transport: Transport, model: str, route: str, field: str) -> bool:
    try:
        body = transport.call(route, _body(model, route, {field: 1, "n": 2, "temperature": 1.0})).body
    except Refused:
        return False
    choices = body.get("choices")
    return isinstance(choices, list) and len(choices) == 2


def _listed(transport: Transport, model: str) -> tuple[bool | None, list[str], int | None]:
    """Whether the model is in the server's list, the names there, and its context where it is told."""
    try:
        # transformers' own server fails here when there is no hub cache, and works all the same.
        body = transport.call("models", deadline=time.monotonic() + PATIENCE, final=(500,)).body
    except Refused as error:
        if error.status in (401, 403):
            raise
        return None, [], None
    entries = body.get("data")
    if not isinstance(entries, list):
        return None, [], None
    found = {str(entry.get("id"))[:200]: entry for entry in entries if isinstance(entry, dict)}
    return model in found, list(found), _context(found.get(model, {}))


def _context(entry: dict[str, Any]) -> int | None:
    """The context of a model in a list: vLLM and SGLang's field, OpenRouter's, or llama.cpp's."""
    meta = entry.get("meta")
    told = (entry.get("max_model_len"), entry.get("context_length"), meta.get("n_ctx") if isinstance(meta, dict) else 0)
    return next((size for size in told if type(size) is int and 0 < size < 1 << 40), None)
