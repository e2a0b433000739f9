"""Each protocol against the harness it stands for, and that a protocol reads back what it says to answer."""

from __future__ import annotations

import json

import pytest

from strop.tasks import load
from strop.tasks.evalplus_rules import INSTRUCTION, RESPONSE, STOP, sanitise
from strop.tasks.protocols import PROTOCOLS, get_protocol
from strop.types import StropError


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_a_protocol_reads_the_reference_out_of_its_own_answer(name):
    protocol = PROTOCOLS[name]
    for task in [*load("basics", limit=25), *load("humaneval", limit=25)]:
        found = protocol.extract(task, protocol.answer(task, task.reference))
        names: dict = {}
        exec(found, names)
        assert callable(names[task.entry_point]), (task.id, found)


def test_the_sanitiser_agrees_with_evalplus(shared):
    """Apart from comments: evalplus keeps one that ends a function's last line, which says nothing to Python."""
    evalplus = pytest.importorskip("evalplus.sanitize")
    for line in shared("model-samples/humaneval--starcoder.jsonl").read_text().splitlines()[:160:10]:
        row = json.loads(line)
        for text in (f"Here:\n```python\n{row['solution']}\n```\nIt's done!", row["solution"] + "\nprint(1)\nx = 3"):
            theirs = evalplus.sanitize(text, row["entry_point"])
            assert _bare(sanitise(text, row["entry_point"])) == _bare(theirs), row["task_id"]


def test_evalplus_s_words_are_its_own():
    utility = pytest.importorskip("evalplus.provider.utility")
    source = pytest.importorskip("inspect").getsource(pytest.importorskip("evalplus.codegen"))
    assert INSTRUCTION in source
    assert RESPONSE in source
    assert set(STOP) == {*utility.EOS, "\n```\n"}


def test_an_unknown_protocol_names_the_known_ones():
    with pytest.raises(StropError, match="completion, chat"):
        get_protocol("chta")


def test_nothing_hidden_reaches_a_prompt():
    for task in load("basics", limit=20):
        for protocol in PROTOCOLS.values():
            assert protocol.render(task) == protocol.render(task.public())


def _bare(code: str) -> list[str]:
    return [word for line in code.split("\n") for word in line.partition("#")[0].split()]
