"""Model arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from strop.models import parse_spec
from strop.types import StropError


def test_the_forms(tmp_path):
    assert parse_spec("smollm2").kind == "smollm2"
    assert parse_spec("smollm2+a/b").adapter == Path("a/b")
    assert parse_spec("hf/org/name").target == "org/name"
    assert parse_spec("hf/org/name+adapter").base == "hf/org/name"
    assert parse_spec("gguf/x.gguf+y").adapter == Path("y")
    endpoint = parse_spec("openai/org/name@http://localhost:1/v1/")
    assert (endpoint.target, endpoint.url) == ("org/name", "http://localhost:1/v1")


def test_a_plus_sign_in_an_existing_path_is_no_adapter(tmp_path):
    folder = tmp_path / "c++"
    folder.mkdir()
    assert parse_spec(f"hf/{folder}").adapter is None
    assert parse_spec(f"hf/{folder}+lora").target == str(folder)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("gpt-4", "A model is"),
        ("", "A model is"),
        ("hf/", "A model is"),
        ("model.gguf", "gguf/model.gguf"),
        ("openai/name", "openai/NAME@URL"),
        ("openai/name@localhost:8000", "http"),
        ("openai/name@http://user:secret@host/v1", "STROP_API_KEY"),
        ("smollm2+", "adapter folder"),
    ],
)
def test_unknown_forms_are_refused(text, part):
    with pytest.raises(StropError, match=part.replace("+", r"\+")) as caught:
        parse_spec(text)
    assert "secret" not in str(caught.value)
