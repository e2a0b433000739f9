"""A tree of 500 programs in a real browser, at the width of a phone and of a desk."""

from __future__ import annotations

import os
import random

import browser
import pytest

from strop.report.search import render

pytestmark = [
    pytest.mark.skipif(
        browser.find() is None and not os.environ.get("CI"), reason="no Chromium; `apt-get install chromium` has one"
    ),
    pytest.mark.timeout(120),
]
COUNT, ANSWER, SHOWN = 500, 321, 498


@pytest.fixture(scope="module")
def parents():
    rng = random.Random(4)
    return [None if n < 3 else rng.randrange(max(0, n - 60), n) for n in range(COUNT)]


@pytest.fixture(scope="module")
def page_file(parents, tmp_path_factory):
    nodes = [
        {
            "number": n, "parent": parent, "role": "debugger", "label": "An idea.", "depth": 1, "prompt": "p",
            "text": "t", "code": f"def f(x):\n    return x + {n}\n", "finish_reason": "stop", "logprob": -0.5,
            "status": ("passed", "failed", "timeout")[n % 3], "fraction": 0.5, "checks": [], "value": 0.5,
            "words": [], "fate": ("expanded", "aborted")[n % 2], "sampled_tokens": 3,
        }
        for n, parent in enumerate(parents)
    ]  # fmt: skip
    trace = {
        "task": "t/1", "method": "codetree", "seed": 0, "answer": ANSWER, "nodes": nodes, "words": [], "notes": [],
        "spent": {"sampled_tokens": 9},
    }  # fmt: skip
    effort = dict.fromkeys(
        ["wall_seconds", "model_seconds", "judge_seconds", "judge_alone_seconds", "drawn", "reused", "overhead",
         "utilisation"], 0.5,
    )  # fmt: skip
    data = {
        "settings": {"model": "m", "tasks": "t", "budget": "programs=500", "seeds": [0]}, "tasks": 1,
        "tasks_planned": 1, "seeds": [0], "conclusions": [], "methods": [], "pareto": [], "effort": effort,
    }  # fmt: skip
    file = tmp_path_factory.mktemp("tree") / "search.html"
    file.write_text(render(data, [trace], "strop search"), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    opened = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


INSIDE = """(() => {
  const area = document.querySelector(".canvas").getBoundingClientRect();
  const dot = document.querySelector("SELECTOR").getBoundingClientRect();
  return dot.left >= area.left && dot.right <= area.right && dot.top >= area.top && dot.bottom <= area.bottom;
})()"""
WAY = "[...document.querySelectorAll('svg.tree .way')].map(one => Number(one.dataset.to))"


@pytest.mark.parametrize("width", [390, 1280])
def test_five_hundred_programs_can_be_walked(chromium, page_file, parents, width):
    page = chromium.page(page_file, width, phone=width < 600)
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("document.querySelectorAll('svg.tree a').length") == COUNT
    assert page.run(INSIDE.replace("SELECTOR", "svg.tree .chosen")), "it opens where the answer is"
    assert page.run("document.querySelector('.chosen').getBoundingClientRect().width") > 20, "large enough to touch"

    page.run(f"location.hash = '#t1-{SHOWN}'; new Promise(done => setTimeout(done, 50))")
    way, node = set(), SHOWN
    while parents[node] is not None:
        way.add(node)
        node = parents[node]
    assert set(page.run(WAY)) == way
    assert page.run(INSIDE.replace("SELECTOR", "svg.tree .at")), "the tree follows"
    assert page.run(f"getComputedStyle(document.getElementById('t1-{SHOWN}')).display") == "grid"
    page.run(f"document.querySelector('#t1-{SHOWN} header a').click(); new Promise(done => setTimeout(done, 50))")
    assert page.run("location.hash") == f"#t1-{parents[SHOWN]}"
    assert set(page.run(WAY)) == way - {SHOWN}

    page.run("document.querySelector('[data-zoom=fit]').click()")
    seen = "document.querySelector('svg.tree').viewBox.baseVal"
    assert page.run(f"{seen}.height") > 3000, "all of it"
    page.run("document.querySelector('[data-zoom=answer]').click()")
    assert page.run(INSIDE.replace("SELECTOR", "svg.tree .chosen"))
    # Going somewhere without a click is remarked on by the browser, and is this test's doing.
    assert [one for one in page.said() if "NavigationEntryMarkedSkippable" not in one] == []
