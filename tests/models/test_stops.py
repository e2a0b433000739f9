"""Where a reply ends: stop strings, and the end of its first code block."""

from __future__ import annotations

import pytest

from strop.models.stops import Stops, cut, end_of_block
from strop.types import SamplingParams

BLOCK = SamplingParams(stop_after_block=True)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Sure:\n```python\nx = 1\n```\nIt works.", "Sure:\n```python\nx = 1\n```"),
        ("```\na\n```\n```\nb\n```", "```\na\n```"),
        ("````\n```\ninside\n```\n````\nmore", "````\n```\ninside\n```\n````"),
        ("~~~py\nx\n~~~ \nmore", "~~~py\nx\n~~~"),
        ("```python\nx = '```'\ny\n  ```", "```python\nx = '```'\ny\n  ```"),
        ("Use ```x = 1``` here.\n```\nx\n```!\n", None),
        ("```python\nx = 1\n", None),
        ("```python\nx = 1\n```python\n", None),
        ("no code", None),
        ("", None),
    ],
)
def test_the_first_closed_block_ends_a_reply(text, kept):
    assert (end_of_block(text) is None) == (kept is None)
    assert cut(text, BLOCK) == (text if kept is None else kept)
    assert cut(text, SamplingParams()) == text


def test_a_stop_string_before_the_block_comes_first():
    params = SamplingParams(stop=("x = 2",), stop_after_block=True)
    assert cut("```\nx = 1\nx = 2\n```\n", params) == "```\nx = 1\n"
    assert cut("```\nx = 1\n```\nx = 2", params) == "```\nx = 1\n```"


def test_it_is_seen_at_the_token_that_completes_it():
    text = "Here is the code, and more words than a window holds:\n```python\nx = 1\n```\nDone."
    stops = Stops(BLOCK, lambda tokens: "".join(map(chr, tokens)))
    places = [end for end in range(1, len(text) + 1) if stops.reached([ord(c) for c in text[:end]])]
    assert places[0] == end_of_block(text)
