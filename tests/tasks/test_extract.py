"""Programs read out of replies: rule by rule, on replies of real models, and on anything at all."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.tasks.extract import extract_program, fenced_blocks
from strop.tasks.literals import parse

STUB = (
    'from typing import List\n\n\ndef helper(x):\n    return x + 1\n\n\ndef f(x: List[int]) -> int:\n    """Do it."""\n'
)
FRONT = "from typing import List\ndef helper(x):\n    return x + 1\n\n\n"
BODY = "def f(x):\n    return 7\n"


def program(text: str, entry_point: str | None = "f", stub: str = "") -> str:
    return extract_program(text, entry_point, stub)


@pytest.mark.parametrize(
    "reply",
    [
        "```python\ndef f(x):\n    return 7\n```",
        "Sure! Here is it:\n\n```python\ndef f(x):\n    return 7\n```\n\nThis returns seven, doesn't it?",
        "```py\ndef f(x):\n    return 7\n```",
        "```Python3\ndef f(x):\n    return 7\n```",
        "```\ndef f(x):\n    return 7\n```",
        "~~~~python\ndef f(x):\n    return 7\n~~~~",
        "```python\ndef f(x):\n    return 7\n",
        "```python\r\ndef f(x):\r\n    return 7\r\n```",
        "\ufeff```python\ndef f(x):\n    return 7\n```",
        "The answer: ```python\ndef f(x):\n    return 7\n```",
        "1. Like this:\n\n   ```python\n   def f(x):\n       return 7\n   ```\n",
        "```bash\npip install f\n```\n```\nimport g\n```\n```python\ndef f(x):\n    return 7\n```",
        "```text\ndef f(x):\n    return 0\n```\n```python\ndef f(x):\n    return 7\n```",
        "```python\ndef f(x):\n    return 7\n```\nor shorter\n```python\ndef f(x): return 8\n```",
        "```markdown\n```python\ndef f(x):\n    return 7\n```\n```",
        "```python\ndef g():\n    pass\n```python\ndef f(x):\n    return 7\n```",
        "<think>```python\ndef f(x):\n    return 0\n```</think>```python\ndef f(x):\n    return 7\n```",
        "hm, def f(x): return 0\n</think>\n\n```python\ndef f(x):\n    return 7\n```",
        "```python\n>>> def f(x):\n...     return 7\n...\n>>> f(1)\n7\n```",
        "The function is\n\ndef f(x):\n    return 7\n\nand it returns seven.",
        "import this carefully:\ndef f(x):\n    return 7\n",
        "def f(x):\n    return 7\n\nprint(f(1))\nassert f(1) == 7\nf(2)\n",
        "def f(x):\n    return 7\n\nif __name__ == '__main__':\n    import doctest\n    doctest.testmod()\n",
        "n = int(input())\ndef f(x):\n    return 7\n\nr = f(n)\nprint(r)\nfor i in range(3):\n    print(f(i))\n",
        "def f(x):\n    return 7\n\n>>> f(1)\n7\n",
        "def f(x):\n    return 7\n# Test cases\nprint(f(1)",
        "# Example first\nprint(f(1))\ndef f(x):\n    return 7\n\n# Example usage:\nprint(f(1))\n# Output: 7\n",
        "def f(x):\n    '''Do it.'''\n\n\ndef f(x):\n    return 7\n",
        "def f(x):\n    pass\ndef f(x):\n    return 7\n",
        "def f(x):\n    return 7\n\ndef f(x):\n    return (",
    ],
)
def test_the_program_is_found(reply):
    assert program(reply) == BODY


def test_of_two_real_definitions_the_last_one_counts_as_in_python():
    names: dict = {}
    exec(program("```python\ndef f(x):\n    return 1\n\ndef f(x):\n    return 7\n```"), names)
    assert names["f"](0) == 7


def test_constants_helpers_and_settings_that_the_function_needs_are_kept():
    reply = (
        "```python\nimport sys\nsys.setrecursionlimit(10**6)\nBASE = 3\nLIMIT = BASE * 2\nUNUSED = input()\n\n"
        "def twice(x):\n    return 2 * x\n\ndef f(x):\n    return twice(LIMIT)\n\nCACHE = {}\nprint(f(1))\n```"
    )
    found = program(reply)
    assert "UNUSED" not in found
    assert "CACHE" not in found
    assert "print" not in found
    names: dict = {}
    exec(found, names)
    assert names["f"](0) == 12
    assert "setrecursionlimit" in found


def test_a_function_cut_off_by_the_token_limit_keeps_what_parses():
    assert program("```python\ndef f(x):\n    if x:\n        return 1\n    for i in ran") == (
        "def f(x):\n    if x:\n        return 1\n"
    )
    # Nothing of a body is left: the text is returned as it is, for the judge to call a syntax error.
    assert program("```python\ndef f(x):\n    return (1,") == "def f(x):\n    return (1,\n"


@pytest.mark.parametrize(
    "reply",
    [
        "    return 7\n",
        "return 7",
        "y = 7\n    return y",
        "```python\n    return 7\n```",
        "\n    return 7\n\nprint(f(1))",
    ],
)
def test_a_body_continues_the_stub(reply):
    found = program(reply, stub=STUB)
    assert found.startswith(STUB.rstrip())
    names: dict = {}
    exec(found, names)
    assert names["f"](1) == 7
    assert "print" not in found


def test_imports_and_helpers_of_the_stub_come_back():
    assert program(BODY, stub=STUB) == FRONT + BODY
    own = "def helper(x):\n    return x + 2\n\n\n" + BODY
    assert program(own, stub=STUB) == "from typing import List\n\n\n" + own


@pytest.mark.parametrize(
    "reply", ["I cannot do that.", "", "   \n", "<think>def f(x): return 7", "Yes", "```\n```", "f", "\0", "7"]
)
def test_no_program_is_an_empty_text(reply):
    assert program(reply, stub=STUB) == ""


def test_smart_quotes_and_tabs_are_what_the_model_wrote():
    assert program("def f(x):\n\treturn “7”\n") == "def f(x):\n\treturn “7”\n"


def test_classes_and_decorated_functions():
    reply = "from functools import cache\n\n@cache\ndef f(x):\n    return 7\n\nclass F:\n    pass\n\nF().go()\n"
    assert program(reply).endswith("@cache\ndef f(x):\n    return 7\n\nclass F:\n    pass\n")
    assert program("```python\nclass F:\n    def go(self):\n        return 1\n\nx = F()\nx.go()\n```", "F") == (
        "class F:\n    def go(self):\n        return 1\n"
    )


def test_whole_programs_keep_their_prints():
    reply = "Read, then print.\n```python\nn = int(input())\nprint(n * 2)\n```\nExample:\n```\n3\n```"
    assert program(reply, None) == "n = int(input())\nprint(n * 2)\n"
    assert program("n = int(input())\nprint(n)", None) == "n = int(input())\nprint(n)\n"
    assert program("It cannot be done.", None) == ""


def test_fences_are_read_as_markdown_does():
    blocks = fenced_blocks("````md\n~~~\nx\n~~~\n````\n```json\n{}\n```\n```python\nrest")
    assert [(block.tag, block.text, block.closed) for block in blocks] == [
        ("md", "~~~\nx\n~~~", True),
        ("json", "{}", True),
        ("python", "rest", False),
    ]


# ---- real replies ------------------------------------------------------------------------------

REPLIES = [json.loads(line) for line in (Path(__file__).parent / "data" / "replies.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: f"{reply['task']}-{reply['protocol']}")
def test_replies_of_a_real_model(reply):
    """What was read out of each recorded reply when a person last looked at it."""
    from strop.tasks.protocols import get_protocol

    protocol = get_protocol(reply["protocol"])
    assert protocol.extract(_task(reply), reply["text"]) == reply["program"]


def _task(reply):
    from strop.types import ScriptCheck, Task

    return Task(
        id=reply["task"],
        prompt=reply["prompt"],
        stub=reply["stub"],
        entry_point=reply["entry_point"],
        checks=(ScriptCheck(code="assert True"),),
    )


# ---- anything ----------------------------------------------------------------------------------

pieces = st.sampled_from(
    [
        *["```python\n", "```\n", "```", "~~~\n", "def f(x):\n", "    return 7\n", "\treturn\n", "print(f(1))\n"],
        *[">>> f(1)\n", "<think>", "</think>", "class F:\n", "import os\n", "Here is: ", "\r\n", "\n\n", "'''"],
        *["(", ")", "\\\n", "if __name__ == '__main__':\n", "@cache\n", "else:\n", "x = 1\n", "# note\n", "\0"],
        *["\ud800", "…", "\x0c", "λ = 1\n", '"""', "x.go()\n", "f = 3\n", "from x import *\n", "del f\n"],
    ]
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(pieces, max_size=14).map("".join) | st.text(max_size=60),
    st.sampled_from(["f", "F", None]),
    st.sampled_from(["", STUB, "def f(x):\n", "not python ("]),
)
def test_any_reply_gives_a_text_and_never_an_exception(text, entry_point, stub):
    found = extract_program(text, entry_point, stub)
    assert found == "" or found.endswith("\n")
    tree = parse(found)
    if entry_point == "f" and "```" not in text and "think" not in text and text.startswith(BODY):
        assert isinstance(tree, ast.Module)


@settings(max_examples=60, deadline=None)
@given(st.lists(pieces, max_size=6).map("".join), st.lists(pieces, max_size=6).map("".join))
def test_a_clean_first_block_is_found_whatever_follows(before, after):
    """Prose without fences or tags in front, anything behind: the first block with the entry point wins."""
    if any(mark in before + after for mark in ("`", "~", "think>")):
        before, after = before.translate({96: None, 126: None}), after.translate({96: None, 126: None})
        before, after = before.replace("think>", ""), after.replace("think>", "")
    found = extract_program(f"{before}\n```python\n{BODY}```\n{after}", "f")
    assert found == BODY


@pytest.mark.parametrize(
    "text",
    [
        "```python\n" + "def f(x):\n    return (\n" * 3000,
        "```python\n" * 20_000,
        "<think>" * 20_000,
        "def f(x):\n" * 5000,
        "x = (\n" * 20_000,
        "(" * 200_000,
        " " * 300_000 + "def f(x): return 1",
        "a = 1\n" * 30_000 + "def f(x):\n    return 1\n)",
    ],
    ids=["open", "fences", "thoughts", "headers", "brackets", "nesting", "blank", "long"],
)
def test_hostile_replies_end_soon(text):
    import time

    started = time.process_time()
    extract_program(text, "f", STUB)
    assert time.process_time() - started < 60
