"""The page of a comparison: trees of any shape, hostile text inert, nothing from elsewhere."""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser

import pytest

from strop.report.search import PAGE_CHARACTERS, render, search_table
from strop.report.tree import places, tree
from strop.search.summary import pareto_front

HOSTILE = "</script><img src=x onerror=alert(1)>‮\x00 {{ 7 * 7 }}"


def node(number: int, parent: int | None, **changes) -> dict:
    return {
        "number": number, "parent": parent, "role": "solver", "label": "", "depth": 1, "prompt": "p", "text": "t",
        "code": f"x = {number}", "finish_reason": "stop", "logprob": -0.5, "status": "failed", "fraction": 0.5,
        "checks": [], "value": 0.5, "words": [], "fate": "expanded", "sampled_tokens": 3,
    } | changes  # fmt: skip


def row(name: str, value: float, tokens: float) -> dict:
    spent = {"programs": 4.0, "model_calls": 5.0, "sampled_tokens": tokens, "seconds": 1.0}
    return {
        "method": name, "pass_at_1": {"value": value, "low": max(0, value - 0.2), "high": min(1, value + 0.2), "n": 9},
        "found": value, "per_search": spent, "per_solved": spent if value else None, "searches": 9, "notes": {name: 2},
        "format_failures": {"program": {"replies": 9, "failed": 1}}, "format_failure_rate": 1 / 9,
        "anytime": [[1, 0.0], [2, value]],
        "difference": {"value": 0.1, "p_holm": 0.5},
    }  # fmt: skip


def data(*rows: dict) -> dict:
    return {
        "settings": {"model": HOSTILE, "tasks": "basics", "budget": "programs=4", "seeds": [0]},
        "tasks": 9, "tasks_planned": 9, "seeds": [0],
        "conclusions": [HOSTILE], "methods": list(rows), "pareto": pareto_front(rows),
        "effort": {"wall_seconds": 3.0, "model_seconds": 2.0, "judge_seconds": 0.5, "judge_alone_seconds": 0.2,
                   "drawn": 4, "reused": 1, "overhead": 0.1, "utilisation": 0.9},
    }  # fmt: skip


def trace(nodes: list[dict], answer: int | None = 0) -> dict:
    return {
        "task": "t/1", "method": "codetree", "seed": 0, "answer": answer, "nodes": nodes, "words": [], "notes": [],
        "spent": {"sampled_tokens": 9},
    }  # fmt: skip


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_hostile_text_is_inert_and_visible():
    words = [{"role": HOSTILE, "prompt": HOSTILE, "reply": HOSTILE, "understood": False}]
    checks = [{"name": HOSTILE, "status": "failed", "message": HOSTILE, "actual": HOSTILE, "expected": HOSTILE}]
    bad = node(
        0, None, role=HOSTILE, label=HOSTILE, prompt=HOSTILE, text=HOSTILE, code=HOSTILE, words=words, checks=checks
    )
    page = render(
        data(row(HOSTILE, 0.5, 10), row("b", 0.2, 5)), [trace([bad]) | {"task": HOSTILE, "notes": [HOSTILE]}], HOSTILE
    )
    tags = Elements(page).tags
    assert [tag for tag, _ in tags if tag in ("img", "iframe", "object", "form")] == []
    assert sum(tag == "script" for tag, _ in tags) == 1
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    assert "‮" not in page
    assert "\x00" not in page
    assert "‹U+202E›" in page
    assert "{{ 7 * 7 }}" in page.replace("&#34;", '"'), "template text must stay text"
    links = [a.get("href", "") for tag, a in tags if tag == "a"]
    assert all(link.startswith("#") for link in links)
    assert "http" not in re.sub(r"<pre.*?</pre>", "", page, flags=re.S).replace("http-equiv", "")


@pytest.mark.parametrize("shape", ["none", "one", "chain", "star", "random", "broken"])
def test_trees_of_any_shape(shape):
    generator = random.Random(3)
    parents = {
        "none": [], "one": [None], "chain": [None, *range(4999)], "star": [None] + [0] * 499,
        "random": [None if i < 3 else generator.randrange(i) for i in range(500)],
        "broken": [5, 1, None, -3, 2, 99],
    }[shape]  # fmt: skip
    at = places(parents)
    assert len(at) == len(set(at)) == len(parents), "two nodes in one place"
    for child, parent in enumerate(parents):
        if parent is not None and 0 <= parent < child:
            assert at[child][0] == at[parent][0] + 1
    picture = tree([node(i, p) for i, p in enumerate(parents)], 0, "t1", "a tree")
    assert picture.count("<a ") == len(parents)


def test_siblings_keep_their_order_and_parents_stand_between():
    assert places([None, 0, 0, 1, 1]) == [(0, 1.25), (1, 0.5), (1, 2), (2, 0), (2, 1)]


def test_a_page_of_five_hundred_nodes_and_of_too_many():
    nodes = [node(i, None if not i else (i - 1) // 2, code="x = 1\n" * 5) for i in range(500)]
    page = render(data(row("a", 0.5, 10)), [trace(nodes)], "strop search")
    assert len(page) < 2_500_000
    assert page.count('<article class="node"') == 500
    large = [trace([node(0, None, code="y" * (PAGE_CHARACTERS // 3))]) for _ in range(5)]
    assert "3 further searches" in render(data(row("a", 0.5, 10)), large, "strop search")


def test_every_link_of_a_tree_has_its_node():
    page = render(data(row("a", 0.5, 10)), [trace([node(0, None), node(1, 0)]), trace([node(0, None)])], "strop search")
    tags = Elements(page).tags
    anchors = {attributes["id"] for _, attributes in tags if "id" in attributes}
    assert {a["href"][1:] for tag, a in tags if tag == "a"} <= anchors


def test_the_pareto_front_holds_what_nothing_beats():
    rows = [row("worse", 0.2, 20), row("cheap", 0.2, 10), row("good", 0.6, 30), row("bad", 0.5, 40)]
    assert pareto_front(rows) == [{"method": "cheap", "point": [10, 0.2]}, {"method": "good", "point": [30, 0.6]}]
    assert pareto_front([{"method": "x", "pass_at_1": None}]) == []


def test_the_table_of_a_run_without_results():
    found = data(row("a", 0.0, 10), {"method": "b", "pass_at_1": None})
    table = search_table(found)
    parts = [search_table(found, [part]) for part in ("rates", "costs")]
    assert [c.header for part in parts for c in part.columns[1:]] == [c.header for c in table.columns[1:]]
    assert table.row_count == 2
