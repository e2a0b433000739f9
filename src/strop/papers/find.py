"""Search over the cards: BM25 on their words, with filters on group, kind, state and year."""

from __future__ import annotations

import re
from collections.abc import Sequence

from strop.papers.catalogue import Entry


def filtered(
    entries: Sequence[Entry],
    *,
    group: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    year: int | None = None,
) -> list[Entry]:
    """The entries that fit every filter that is given. `state` also matches its beginning, such as `not shown`."""
    return [
        one
        for one in entries
        if (group is None or one.card.group == group)
        and (kind is None or one.card.kind == kind)
        and (state is None or one.state.startswith(state))
        and (year is None or one.card.year == year)
    ]


def search(entries: Sequence[Entry], query: str, limit: int = 10) -> list[tuple[Entry, float]]:
    """Entries that share a word with the query, best first, with their BM25 score (Lucene's form; k1 1.5, b 0.75).

    Names count four times and the one line twice, because a reader who types a name wants that paper first.
    """
    from bm25s import BM25

    words = _words(query)
    if not entries or not words:
        return []
    index = BM25(method="lucene")
    index.index([_text(one) for one in entries], show_progress=False)
    scores = index.get_scores(words)
    ranked = sorted(range(len(entries)), key=lambda place: (-scores[place], entries[place].card.number))
    return [(entries[place], float(scores[place])) for place in ranked[:limit] if scores[place] > 0]


def _text(one: Entry) -> list[str]:
    card = one.card
    claims = [part for claim in card.claims for part in (claim.text, claim.metric)]
    fields = [*[card.name] * 4, card.title, *[card.line] * 2, card.mechanism, card.plan, card.kind, card.group, *claims]
    return _words(" ".join([*fields, *(name.replace(".", " ") for name in one.components)]))


def _words(text: str) -> list[str]:
    """Lower-case words without the commonest ones; a plural counts as its singular."""
    from bm25s.stopwords import STOPWORDS_EN

    words = re.findall(r"[a-z0-9]+", text.lower())
    return [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in words if word not in STOPWORDS_EN]
