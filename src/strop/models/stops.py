"""Where a completion ends before its end token: at a stop string, or behind its first code block."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from strop.types import SamplingParams

Decode = Callable[[Sequence[int]], str]


_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^`\n]*)$", re.MULTILINE)


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """`text` up to its first stop string."""
    places = [place for one in stop if (place := text.find(one)) >= 0]
    return text[: min(places)] if places else text


def cut(text: str, params: SamplingParams) -> str:
    """`text` up to its first stop string, or up to and with its first code block where `params` asks for that."""
    end = end_of_block(text) if params.stop_after_block else None
    return cut_at_stop(text[:end], params.stop)


def end_of_block(text: str) -> int | None:
    """Where the first Markdown code block of a text ends: behind its closing fence, a line of its own.

    None while no block is closed. The closing fence has at least as many marks as the opening one.
    """
    opened = ""
    for fence in _FENCE.finditer(text):
        if not opened:
            opened = fence[1]
        elif fence[1].startswith(opened) and not fence[2].strip():
            return fence.end(1)
    return None


class Stops:
    """Looks for what `params` stops at in a growing list of tokens.

    Only the last few tokens are decoded at each step: a stop string of b bytes that has just been completed lies within
    the last b + 1 tokens, because every token but an end mark adds at least one byte. Four more keep a character that
    is cut at the front of the window away from the match.
    """

    def __init__(self, params: SamplingParams, decode: Decode) -> None:
        self._params, self._decode = params, decode
        self._signs = (*params.stop, *(("```", "~~~") if params.stop_after_block else ()))
        self._window = max((len(text.encode()) for text in self._signs), default=0) + 5

    def reached(self, tokens: Sequence[int]) -> bool:
        """Whether the text of `tokens` now holds a stop string, or a whole code block."""
        if not self._signs:
            return False
        tail = self._decode(tokens[-self._window :])
        if not any(sign in tail for sign in self._signs):
            return False
        text = self._decode(tokens)
        return any(stop in text for stop in self._params.stop) or (
            self._params.stop_after_block and end_of_block(text) is not None
        )
