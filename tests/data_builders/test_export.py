"""Files that TRL reads, and that Strop reads back."""

from __future__ import annotations

import json

import pytest
from pool_helpers import Plain, pool

from strop.data import LAYOUTS, build, write_pairs
from strop.data.dstc import dstc
from strop.data.export import labelled_rows, pair_rows, read_pairs
from strop.data.plum import unpaired
from strop.types import Message, Preference, StropError

TEXT = build([pool("110 111 100 000")], dstc(), Plain(), method="dstc").pairs
CHAT = (
    Preference(
        prompt=(Message("system", "s"), Message("user", "u")), chosen="good é\ud800", rejected="bad", margin=0.5
    ),
    Preference(prompt=(Message("user", "u"), Message("assistant", "```python\n")), chosen="x\n```", rejected="y\n```"),
)


@pytest.mark.parametrize("pairs", [TEXT, CHAT[1:]])
def test_jsonl_comes_back(tmp_path, pairs):
    file = tmp_path / "deep" / "pairs.jsonl"
    assert write_pairs(pairs, file) == len(pairs)
    (back,) = read_pairs(file)
    assert dict(back.why) == dict(pairs[0].why)
    assert back.margin == pairs[0].margin
    if isinstance(back.prompt, str):
        assert back == pairs[0]
    else:  # TRL's form: the begun reply belongs to the answer
        assert back.prompt == pairs[0].prompt[:-1]
        assert back.chosen == "```python\nx\n```"


def test_layouts():
    first = next(pair_rows(CHAT))
    assert first["prompt"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert first["chosen"] == [{"role": "assistant", "content": "good é\ud800"}]
    assert "margin" not in first  # TRL's reward trainer would add it to its loss
    assert first["score_gap"] == 0.5
    labels = [row["label"] for row in pair_rows(CHAT, "unpaired")]
    assert labels == [True, False] * 2
    assert [row["completion"] for row in pair_rows(TEXT, "prompt-completion")] == [TEXT[0].chosen]
    assert {row["label"] for row in labelled_rows(unpaired([pool("1 0")], Plain()))} == {True, False}
    with pytest.raises(StropError, match="preference, unpaired"):
        list(pair_rows(TEXT, "dpo"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pairs", [TEXT, CHAT])
def test_parquet_holds_the_same_rows(tmp_path, pairs, layout):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "pairs.parquet"
    count = write_pairs(pairs, file, layout)
    rows = pyarrow.read_table(file).to_pylist()
    assert len(rows) == count
    expected = json.loads(json.dumps(list(pair_rows(pairs, layout))).replace("\\ud800", "\\ufffd"))
    assert rows == expected


@pytest.mark.slow  # importing TRL takes longer than all other tests here
def test_trl_takes_the_files_as_they_are(tmp_path, tokenizer):
    pytest.importorskip("trl")
    from datasets import load_dataset
    from trl.data_utils import is_conversational, maybe_apply_chat_template

    for pairs, talks in ((TEXT, False), (CHAT[1:], True)):
        for layout in LAYOUTS:
            file = tmp_path / f"{layout}-{talks}.jsonl"
            write_pairs(pairs, file, layout)
            row = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))[0]
            assert is_conversational(row) == talks
            said = maybe_apply_chat_template(row, tokenizer)
            answer = said["chosen" if layout == "preference" else "completion"]
            assert answer.startswith("```python\nx" if talks else "def f")


def test_what_cannot_be_written_or_read_is_said(tmp_path):
    with pytest.raises(StropError, match="no pairs"):
        write_pairs([], tmp_path / "none.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(StropError, match="Cannot write"):
        write_pairs(TEXT, tmp_path / "file" / "pairs.jsonl")
    bad = tmp_path / "bad.jsonl"
    bad.write_text(
        '{"prompt": "p", "chosen": "c"}\n{"prompt": [], "chosen": "c", "rejected": "r"}\n'
        '{"prompt": "p", "chosen": "c", "rejected": "r", "evidence": "[]"}\n'
    )
    with pytest.raises(StropError, match=r"line 1, field rejected[\s\S]*line 2, field prompt[\s\S]*line 3, field evid"):
        read_pairs(bad)
