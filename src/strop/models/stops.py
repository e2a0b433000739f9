"""Stop strings, found while a completion is being written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """`text` up to its first stop string."""
    places = [place for one in stop if (place := text.find(one)) >= 0]
    return text[: min(places)] if places else text


class StopStrings:
    """Looks for any of `stop` at the end of a growing list of tokens.

    Only the last few tokens are decoded at each step: a stop string of b bytes that has just been completed lies within
    the last b + 1 tokens, because every token but an end mark adds at least one byte. Four more keep a character that
    is cut at the front of the window away from the match.
    """

    def __init__(self, stop: Sequence[str], decode: Decode) -> None:
        self._stop = tuple(stop)
        self._decode = decode
        self._window = max((len(text.encode()) for text in stop), default=0) + 5

    def reached(self, tokens: Sequence[int]) -> bool:
        """Whether the text of `tokens` now holds a stop string."""
        if not self._stop or not self._has(self._decode(tokens[-self._window :])):
            return False
        return len(tokens) <= self._window or self._has(self._decode(tokens))

    def _has(self, text: str) -> bool:
        return any(stop in text for stop in self._stop)
