"""The cards: all there, valid, strict; found by name and by words."""

import tomllib

import pytest

from strop.papers.cards import COUNT, FOLDER, GROUPS, Card, cards, find, read_card
from strop.papers.catalogue import Entry
from strop.papers.find import filtered, search
from strop.types import StropError

ENTRIES = [Entry(slug, card, None, None, ()) for slug, card in cards().items()]


def test_every_paper_has_one_card():
    assert [card.number for card in cards().values()] == list(range(1, COUNT + 1))
    assert {card.group for card in cards().values()} == set(GROUPS)
    names = [card.name.lower() for card in cards().values()]
    assert len(set(names)) == COUNT


def test_texts_do_not_repeat_between_cards():
    for field in ("title", "line", "mechanism", "plan", "limits"):
        texts = [getattr(card, field) for card in cards().values()]
        assert len(set(texts)) == COUNT, field


def card_data() -> dict:
    return tomllib.loads((FOLDER / "43-codedpo.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"state": "shown"}, "state"),
        ({"measured": 0.9}, "measured"),
        ({"result": {"value": 0.9}}, "result"),
        ({"verdict": "shown"}, "verdict"),
        ({"number": 93}, "number"),
        ({"number": 42}, "number"),
        ({"group": "other"}, "group"),
        ({"known": "certain"}, "known"),
        ({"mechanism": "\n".join(["a line"] * 7)}, "mechanism"),
        ({"mechanism": "x" * 201}, "mechanism"),
        ({"mechanism": ""}, "mechanism"),
        ({"line": "two\nlines"}, "line"),
        ({"line": ""}, "line"),
        ({"claims": []}, "claims"),
        ({"claims": [{"text": "a", "metric": "", "direction": "up", "size": "", "known": "read"}]}, "direction"),
        ({"claims": [{"text": "a", "metric": "", "direction": "higher", "size": 4.2, "known": "read"}]}, "size"),
        (
            {"claims": [{"text": "a", "metric": "", "direction": "none", "size": "", "known": "read", "here": "9"}]},
            "here",
        ),
        ({"needs": {"extras": [], "gpu": "maybe", "endpoint": "no"}}, "gpu"),
    ],
)
def test_a_card_cannot_state_what_it_may_not(tmp_path, change, field):
    path = tmp_path / "43-codedpo.toml"
    path.write_text(as_toml(card_data() | change), encoding="utf-8")
    with pytest.raises(StropError) as caught:
        read_card(path)
    assert "43-codedpo.toml" in str(caught.value)
    assert field in str(caught.value)


def test_the_toml_writer_of_these_tests_is_faithful(tmp_path):
    path = tmp_path / "43-codedpo.toml"
    path.write_text(as_toml(card_data()), encoding="utf-8")
    assert read_card(path) == cards()["43-codedpo"] == Card.model_validate(card_data())


@pytest.mark.parametrize("name", ["43.toml", "codedpo.toml", "43_codedpo.toml", "43-CodeDPO.toml", "43-codedpo.json"])
def test_file_names_are_fixed(tmp_path, name):
    path = tmp_path / name
    path.write_text("", encoding="utf-8")
    with pytest.raises(StropError):
        read_card(path)


@pytest.mark.parametrize("text", ["", "number = ", "number = 43", "\x00", "[[claims]]\n" * 3])
def test_damaged_cards_are_one_clear_error(tmp_path, text):
    path = tmp_path / "43-codedpo.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StropError, match="43-codedpo"):
        read_card(path)


@pytest.mark.parametrize("name", ["43", "043", "codedpo", "CodeDPO", "43-codedpo", " codedpo ", "CODEDPO"])
def test_papers_are_found_by_number_and_name(name):
    assert find(name) == "43-codedpo"


def test_unknown_and_ambiguous_names_are_explained():
    with pytest.raises(StropError, match="no paper 'nothing'"):
        find("nothing")
    with pytest.raises(StropError, match="no paper '93'"):
        find("93")
    with pytest.raises(StropError, match="code"):
        find("code")
    with pytest.raises(StropError):
        find("")


def test_a_paper_is_the_first_hit_for_its_own_name():
    missed = [one.slug for one in ENTRIES if search(ENTRIES, one.card.name)[0][0].slug != one.slug]
    assert not missed


@pytest.mark.parametrize(
    ("query", "slug"),
    [
        ("duplicate files filter rules", "53-opencoder"),
        ("monte carlo tree search tokens caches", "57-pg-td"),
        ("speed reward correct first", "62-acecode"),
        ("backdoor trigger survives safety training", "49-sleeper-agents"),
        ("cyclic preferences skew-symmetric", "92-gpm"),
        ("fishing pool sustain agents", "36-govsim"),
    ],
)
def test_words_find_the_paper_among_the_first_three(query, slug):
    assert slug in [one.slug for one, _ in search(ENTRIES, query, 3)]


def test_search_copes_with_anything():
    assert search(ENTRIES, "") == []
    assert search(ENTRIES, "the of and") == []
    assert search(ENTRIES, "zzzzqqqq") == []
    assert search([], "reward") == []
    assert search(ENTRIES, "\x1b[31m ' OR 1=1 -- \u202e") is not None
    scores = [score for _, score in search(ENTRIES, "reward model", 20)]
    assert scores == sorted(scores, reverse=True)


def test_filters():
    audit = filtered(ENTRIES, group="audit")
    assert {one.card.group for one in audit} == {"audit"}
    assert {one.card.kind for one in filtered(ENTRIES, kind="survey")} == {"survey"}
    assert {one.slug[:2] for one in filtered(ENTRIES, state="study")} == {"06", "21", "79"}
    assert len(filtered(ENTRIES, state="planned")) == COUNT - 3


def as_toml(data: dict) -> str:
    """TOML of a card's fields, tables last."""
    import json

    def value(item) -> str:
        if isinstance(item, dict):
            return "{ " + ", ".join(f"{key} = {value(one)}" for key, one in item.items()) + " }"
        if isinstance(item, list):
            return "[" + ", ".join(map(value, item)) + "]"
        return json.dumps(item)

    return "".join(f"{key} = {value(item)}\n" for key, item in data.items())
