"""Reading an endpoint's JSON, which is untrusted: every field is checked, and a wrong one is a ValueError."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from strop.types import FinishReason

FINISH: dict[Any, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One choice of an answer."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int | None
    """None when the server sent no `usage`."""
    sampled_tokens: int | None
    logprobs: tuple[float, ...] | None
    top_logprobs: tuple[tuple[tuple[str, float], ...], ...] | None
    """Tokens' texts with their log-probabilities, most likely first; as many as the server sent."""
    stop_reason: str | None
    """The stop string that ended it, from servers that tell (vLLM, SGLang)."""


def read_reply(body: dict[str, Any]) -> Reply:
    """The first choice of a chat or completions answer. Raises ValueError saying which field is wrong."""
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError("no `choices`")
    choice = choices[0]
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    finish = FINISH.get(choice.get("finish_reason"))
    if finish is None:
        raise ValueError(f"finish_reason {str(choice.get('finish_reason'))[:40]!r}")
    if text is None and isinstance(message, dict) and (finish == "content_filter" or "refusal" in message):
        text, finish = message.get("refusal") or "", "content_filter"
    if text is None and isinstance(message, dict) and finish == "length":
        text = ""  # a reasoning model that never came to its answer
    if not isinstance(text, str):
        raise ValueError("no text in the first choice")
    usage = body.get("usage")
    prompt_tokens = sampled_tokens = None
    if isinstance(usage, dict):
        prompt_tokens, sampled_tokens = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    stop_reason = choice.get("stop_reason")
    return Reply(
        text,
        finish,
        prompt_tokens,
        sampled_tokens,
        _logprobs(choice.get("logprobs")),
        _alternatives(choice.get("logprobs")),
        stop_reason if isinstance(stop_reason, str) else None,
    )


def _count(usage: dict[str, Any], name: str) -> int | None:
    value = usage.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 40:
        raise ValueError(f"usage.{name} is {str(value)[:40]!r}")
    return value


def _logprobs(value: Any) -> tuple[float, ...] | None:
    """Chosen tokens' log-probabilities, in the chat form (`content`) or the completions form (`token_logprobs`)."""
    if not isinstance(value, dict):
        return None
    content, plain = value.get("content"), value.get("token_logprobs")
    if isinstance(content, list):
        return tuple(_number(entry.get("logprob") if isinstance(entry, dict) else None) for entry in content)
    return tuple(map(_number, plain)) if isinstance(plain, list) else None


def _alternatives(value: Any) -> tuple[tuple[tuple[str, float], ...], ...] | None:
    """The likeliest tokens at each place, in the chat form (a list of objects a place) or the completions form (one
    object a place)."""
    if not isinstance(value, dict):
        return None
    content, plain = value.get("content"), value.get("top_logprobs")
    places = []
    if isinstance(content, list):
        for entry in content:
            top = entry.get("top_logprobs") if isinstance(entry, dict) else None
            places.append([(item.get("token"), item.get("logprob")) for item in top or () if isinstance(item, dict)])
    elif isinstance(plain, list):
        places = [list(place.items()) if isinstance(place, dict) else [] for place in plain]
    if not any(places):
        return None
    return tuple(
        tuple(sorted(((str(token), _number(logprob)) for token, logprob in place), key=lambda pair: -pair[1]))
        for place in places
    )


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        raise ValueError("logprobs that are not numbers")
    return float(value)
