"""The page in a real browser: nothing runs but our script, nothing is fetched, nothing overflows, all can be read."""

from __future__ import annotations

import os
from pathlib import Path

import browser
import pytest
import synthetic

from strop import report
from strop.run import Run

pytestmark = [
    pytest.mark.skipif(
        browser.find() is None and not os.environ.get("CI"), reason="no Chromium; `apt-get install chromium` has one"
    ),
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of synthetic runs full of hostile text."""
    made = {}
    for name, fill, options in (
        ("improve", synthetic.fill_improve, {"rounds": 2, "samples": 4, "near": 40, "far": 12, "practice": 16}),
        ("eval", synthetic.fill_eval, {"samples": 3, "near": 40, "far": 12}),
    ):
        folder = tmp_path_factory.mktemp(name)
        config = {"model": "hf/an-organisation/a-model-with-a-long-name-1.5B", "tasks": "<b>tasks</b>", "k": [1, 2]}
        with Run.open(folder, command=f"strop {name} '</script>'", config=config) as run, run.atomic():
            fill(run, **options)
        made[name] = report.write(folder)
    return made


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory):
    opened = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


OVERLAPS = """(() => {
  const found = [];
  for (const svg of document.querySelectorAll("svg")) {
    const boxes = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
      if (p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 2 && q.top < p.bottom - 2)
        found.push(`${a} on ${b}`);
    }));
    for (const [a, p] of boxes) if (p.width && (p.left < 0 || p.right > innerWidth)) found.push(`${a} is cut`);
  }
  return found;
})()"""

# WCAG 2 contrast of every element that holds text itself, against the nearest ancestor's background.
CONTRAST = """(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const poor = new Set();
  for (const node of document.querySelectorAll("body *")) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
    if (!node.getClientRects().length || node.closest("script, style, title, desc, .arrow, .mark")) continue;
    const style = getComputedStyle(node);
    const ink = rgb(node.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const name = `${node.tagName}.${node.getAttribute("class")}`;
    if (ratio < 4.5) poor.add(`${name} ${ratio.toFixed(2)} ${node.textContent.slice(0, 20)}`);
  }
  return [...poor];
})()"""


@pytest.mark.parametrize("name", ["improve", "eval"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_page_is_whole_quiet_and_readable(chromium, pages, name: str, width: int, dark: bool) -> None:
    page = chromium.page(pages[name], width, dark=dark, phone=width < 600)
    assert page.run("document.documentElement.scrollWidth") <= width
    page.run("for (const item of document.querySelectorAll('details')) item.open = true")
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run(OVERLAPS) == []
    assert page.run(CONTRAST) == []
    background = page.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(19, 20, 23)") == dark
    assert page.requests() == [pages[name].as_uri()]
    assert page.said() == []


@pytest.mark.parametrize("name", ["improve", "eval"])
def test_hostile_text_stays_text(chromium, pages, name: str) -> None:
    page = chromium.page(pages[name], 1280)
    assert page.run("document.title").endswith(f"strop {name}")
    assert page.run("document.scripts.length") == 1
    assert (
        page.run("document.querySelectorAll('img, iframe, object, form, main b, main i[src], [onerror]').length") == 0
    )
    handlers = (
        "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => /^on|^style$/.test(a.name))"
    )
    assert page.run(f"{handlers}.map(a => a.name)") == []
    # The text is there, whole, and its hidden characters can be seen.
    text = page.run("document.querySelector('main').textContent")
    assert "</script></style></pre><script>document.title='owned'</script>" in text
    assert "{{ 7 * 7 }} {% raw %}" in text
    for shown in ("‹U+0000›", "‹U+001B›[31m", "‹U+202E›gnp.exe", "‹U+200B›", "‹U+D800›", "‹U+00AD›"):
        assert shown in text
    assert not any(character in text for character in "\x00\x1b\u202e\u2066\u200b\u00ad\ufeff")


def test_policy_stops_what_would_get_past_escaping(chromium, pages) -> None:
    """Each wall on its own: put active content into the page by script, and see that the policy keeps it dead."""
    page = chromium.page(pages["improve"], 1280)
    page.run("""(() => {
      const add = (tag, change) => {
        const node = document.createElement(tag); change(node); document.body.append(node); return node;
      };
      const attempts = [
        () => add("script", (node) => node.append("window.hit = 1")),
        () => add("button", (node) => node.setAttribute("onclick", "window.hit = 2")).click(),
        () => { document.body.innerHTML += "<img src=x onerror='window.hit = 3'>"; },
        () => add("link", (node) => { node.rel = "stylesheet"; node.href = "other.css"; }),
        () => add("iframe", (node) => { node.src = "javascript:parent.hit = 4"; }),
        () => add("img", (node) => { node.src = "https://strop.invalid/pixel.png"; }),
      ];
      for (const attempt of attempts) { try { attempt(); } catch { /* refused at once */ } }
    })()""")
    fetched = page.run("fetch('other.json').then(() => 'fetched', () => 'refused')")
    assert fetched == "refused"
    assert page.run("window.hit === undefined")
    assert not any("strop.invalid" in address or address.endswith(".css") for address in page.requests())
    assert len(page.said()) >= 3  # the browser reports what it refused


def test_theme_can_be_chosen_by_keyboard_and_is_remembered(chromium, pages) -> None:
    page = chromium.page(pages["improve"], 1280)
    page.press("Tab", 9)
    assert page.run("document.activeElement.textContent") == "Skip to the results"
    for _ in range(3):
        page.press("Tab", 9)
    assert page.run("document.activeElement.textContent") == "Dark"
    page.press("Enter", 13, "\r")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(19, 20, 23)"
    assert page.run("[...document.querySelectorAll('.toggle [aria-pressed=true]')].map(b => b.textContent)") == ["Dark"]
    again = chromium.page(pages["improve"], 1280)
    assert again.run("document.documentElement.dataset.theme") == "dark"
    again.run("localStorage.clear()")


def test_samples_can_be_filtered(chromium, pages) -> None:
    page = chromium.page(pages["eval"], 1280)
    shown = "[...document.querySelectorAll('details.task')].filter(t => !t.hidden)"
    everything = page.run(f"{shown}.length")
    assert everything == 53
    change = """(name, value) => { const field = document.querySelector(`[name=${name}]`);
      field.value = value; field.dispatchEvent(new Event("input", {bubbles: true})); }"""
    page.run(f"({change})('outcome', 'never')")
    never = page.run(f"{shown}.map(t => t.querySelector('.num').textContent.split('/')[0])")
    assert 0 < len(never) < everything
    assert set(never) == {"0"}
    page.run(f"({change})('words', 'sorting near')")
    assert all("sorting" in words for words in page.run(f"{shown}.map(t => t.dataset.words)"))
    assert page.run("document.querySelector('.filters output').textContent").endswith(f"of {everything} tasks")


@pytest.mark.parametrize("name", ["improve", "eval"])
def test_figures_have_words_and_ids_are_unique(chromium, pages, name: str) -> None:
    page = chromium.page(pages[name], 1280)
    assert (
        page.run("[...document.querySelectorAll('[id]')].map(e => e.id).filter((id, i, all) => all.indexOf(id) < i)")
        == []
    )
    unnamed = """[...document.querySelectorAll('svg[role=img]')].filter(svg => svg.getAttribute('aria-labelledby')
      .split(' ').some(id => !document.getElementById(id)?.textContent.trim())).length"""
    assert page.run("document.querySelectorAll('svg[role=img]').length") >= 3
    assert page.run(unnamed) == 0
    assert page.run(
        "[...document.querySelectorAll('svg:not([role=img])')].every(s => s.getAttribute('aria-hidden') === 'true')"
    )
    broken = (
        "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById(a.hash.slice(1))).length"
    )
    assert page.run(broken) == 0
    # What scrolls can be reached by keyboard.
    page.run("for (const item of document.querySelectorAll('details')) item.open = true")
    scrolling = """[...document.querySelectorAll('main *')].filter(e => !e.closest('svg')
      && e.scrollWidth > e.clientWidth + 1 && e.tabIndex < 0
      && /auto|scroll/.test(getComputedStyle(e).overflowX)).map(e => e.className)"""
    assert page.run(scrolling) == []
