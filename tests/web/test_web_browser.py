"""The page in Debian's Chromium: a person's way through it, keys, hostile text, both themes, phone and desk."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
import web_runs
from web_runs import HOSTILE_ID

from strop.run import Run
from strop.web import votes
from strop.web.app import create_app
from strop.web.server import LONGEST_HEAD, listen
from strop.web.site import Site, url

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MISSING = CHROMIUM is None or importlib.util.find_spec("playwright") is None

pytestmark = [
    pytest.mark.skipif(
        MISSING and not os.environ.get("CI"), reason="needs Chromium (`apt-get install chromium`) and playwright"
    ),
    pytest.mark.timeout(180),
]


@contextmanager
def served(folder: Path, **options):
    """The real server in a thread; gives its address."""
    door = listen(0)
    config = uvicorn.Config(
        create_app(Site(folder, **options)), log_level="warning", h11_max_incomplete_event_size=LONGEST_HEAD
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        door.close()


@pytest.fixture(scope="module")
def site(folder):
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def tab(chromium, width: int = 1280, dark: bool = False, **options):
    """A tab, and everything that it complained about: console, exceptions, failed and foreign requests."""
    scheme = "dark" if dark else "light"
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda r: said.append(r.url) if not r.url.startswith(("http://127.0.0.1:", "data:")) else None)
    try:
        yield page, said
    finally:
        context.close()


CHOICES = ["left", "right", "tie", "both bad", "left", "left", "right", "tie", "right", "both bad"]
KEYS = ["ArrowLeft", "ArrowRight", "t", "b", "ArrowLeft", "1", "2", "t", "ArrowRight", "b"]


def walk(page, site: str, folder: Path, name: str) -> None:
    """From the runs to a failing sample, its verdict, the comparison, a paper, ten votes by key, and the ranking."""
    page.goto(site)
    page.get_by_role("link", name=name).click()
    page.get_by_text("How samples ended").first.wait_for()
    page.get_by_role("link", name="Failing samples").click()
    page.locator(".items a").first.click()
    with Run.read(folder / name) as run:
        verdicts = run.verdicts("after-1")
    task_id, index = next(key for key, verdict in verdicts.items() if verdict.status == "failed")
    failure = next(check for check in verdicts[task_id, index].checks if not check.passed)
    why = page.locator("#verdict").inner_text()
    assert failure.name in why
    for value in (failure.message, failure.expected, failure.actual):
        assert (value or "") in why
    page.get_by_role("link", name=name, exact=True).click()
    page.get_by_role("link", name="Compare").last.click()
    assert "McNemar" in page.inner_text("main")
    page.get_by_role("link", name="Papers").click()
    page.get_by_role("link", name="CodeDPO", exact=True).click()
    assert "Measured here" in page.inner_text("main")
    assert page.evaluate("document.querySelector('.plate img').naturalWidth") > 100
    page.goto(site + url("/arena", run=name))
    page.keyboard.press("r")
    page.get_by_text("Both were run").wait_for()
    assert "Answers" in page.inner_text("main")
    for number, key in enumerate(KEYS):
        page.keyboard.press(key)
        page.get_by_text(f"Vote {number + 1} kept").wait_for()
    page.get_by_role("link", name="ranking").click()
    text = page.inner_text("main")
    assert "10 votes: 3 left, 3 right, 2 tie, 2 both bad." in text
    assert "Bradley-Terry" in text
    ballots = votes.read(folder / name)
    assert [ballot.choice for ballot in ballots] == CHOICES
    assert [ballot.played for ballot in ballots] == [True] + [False] * 9


def test_a_person_s_way(chromium, site, folder):
    with tab(chromium) as (page, said):
        walk(page, site, folder, "real")
        assert said == []


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(900)
def test_a_person_s_way_through_a_run_of_the_main_job(chromium, tmp_path):
    """The same after a small `strop improve`, with the embedded model and nothing made up."""
    sizes = ["--practice-tasks", "6", "--held-out-tasks", "8", "--guard-tasks", "0", "--epochs", "1"]
    command = [sys.executable, "-m", "strop.cli.main", "improve", *sizes, "--quiet", "--out", str(tmp_path / "main")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with served(tmp_path) as address, tab(chromium, 390) as (page, said):
        walk(page, address, tmp_path, "main")
        assert said == []


def test_voting_by_click_and_keys_turned_off(chromium, site, folder):
    before = len(votes.read(folder / "real"))
    with tab(chromium) as (page, said):
        page.goto(site + url("/arena", run="real"))
        page.get_by_label("Keys").uncheck()
        page.keyboard.press("t")
        page.wait_for_timeout(200)
        assert len(votes.read(folder / "real")) == before
        page.reload()
        assert not page.get_by_label("Keys").is_checked(), "the choice is remembered"
        page.get_by_role("button", name="Both bad").click()
        page.get_by_text("kept: both bad").wait_for()
        page.get_by_label("Keys").check()
        # In a program that scrolls, arrows scroll and do not vote.
        page.locator("#programs pre").first.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(200)
        assert len(votes.read(folder / "real")) == before + 1
        assert said == []


@pytest.mark.slow
def test_it_works_without_script(chromium, site, folder):
    before = len(votes.read(folder / "real"))
    with tab(chromium, java_script_enabled=False) as (page, _):
        page.goto(site + url("/arena", run="real"))
        page.get_by_role("button", name="Run both").click()
        assert "Both were run" in page.inner_text("main")
        page.get_by_role("button", name="Tie").click()
        assert "kept: tie" in page.inner_text("main")
    assert len(votes.read(folder / "real")) == before + 1


ADDRESSES = [
    "/", "/run?run=real", "/run?run=nested/hostile", "/samples?run=real",
    url("/sample", run="nested/hostile", stage="eval-a", task=HOSTILE_ID, n=0),
    url("/task", run="nested/hostile", id=HOSTILE_ID),
    "/curves?run=real", "/trees?run=search", "/compare?a=real", "/arena?run=nested/hostile", "/arena?run=real",
    "/arena/ranking?run=real", "/papers", "/paper?paper=43-codedpo", "/paper?paper=82-bigcodearena",
    "/tasks?set=basics", url("/task", set="basics", id="basics/is_prime"), "/run?run=none",
]  # fmt: skip

# As in the tests of the report: WCAG 2 contrast of every element that holds text itself.
CONTRAST = """() => {
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
    if (!node.getClientRects().length || node.closest("script, title, desc, .arrow, .mark")) continue;
    const style = getComputedStyle(node);
    const ink = rgb(node.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(node))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.add(`${node.tagName}.${node.className} ${node.textContent.slice(0, 20)}`);
  }
  return [...poor];
}"""


@pytest.mark.parametrize(("width", "dark"), [(390, True), pytest.param(1280, False, marks=pytest.mark.slow)])
def test_every_page_fits_is_quiet_and_readable(chromium, site, width, dark):
    with tab(chromium, width, dark) as (page, said):
        for address in ADDRESSES:
            page.goto(site + address)
            # The address of the page that is missing is a 404, which the console says.
            said[:] = [line for line in said if "404" not in line or address != "/run?run=none"]
            assert page.evaluate("document.documentElement.scrollWidth") <= width, address
            assert page.evaluate(CONTRAST) == [], address
            assert said == [], address
            assert page.evaluate("window.hit") is None, address
            ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
            assert len(ids) == len(set(ids)), address
            scrolling = """[...document.querySelectorAll('main *')].filter((e) => !e.closest('svg')
              && e.scrollWidth > e.clientWidth + 1 && e.tabIndex < 0
              && /auto|scroll/.test(getComputedStyle(e).overflowX)).map((e) => e.className)"""
            assert page.evaluate(scrolling) == [], address


def test_hostile_text_does_nothing_in_a_browser(chromium, site):
    with tab(chromium) as (page, said):
        for address in [one for one in ADDRESSES if "hostile" in one]:
            page.goto(site + address)
            page.wait_for_timeout(50)
            assert page.evaluate("window.hit") is None
            assert page.evaluate("document.querySelectorAll('main script, main img, main [onload]').length") == 0
        assert said == []
        # And if escaping ever failed, the policy still refuses what would run.
        refused = page.evaluate("""async () => {
          const tries = [
            () => { document.body.innerHTML += "<img src=x onerror='window.hit = 1'>"; },
            () => { const s = document.createElement("script"); s.append("window.hit = 2"); document.body.append(s); },
            () => { const b = document.createElement("b"); b.setAttribute("onclick", "window.hit = 3");
                    document.body.append(b); b.click(); },
            () => { const f = document.createElement("iframe"); f.src = "javascript:parent.hit = 4";
                    document.body.append(f); },
          ];
          for (const one of tries) { try { one(); } catch { /* refused at once */ } }
          const away = await fetch("https://strop.invalid/").then(() => "sent", () => "refused");
          return [away, window.hit === undefined];
        }""")
        assert refused == ["refused", True]


def test_a_printed_page_cannot_reach_this_one(chromium, tmp_path):
    """What two programs print as HTML is drawn, and is alone: no script, no form, no other address."""
    attack = (
        "<html><body><h1>drawn</h1><script>parent.hit = 1; top.location = 'https://strop.invalid/'</script>"
        "<img src='https://strop.invalid/x.png' onerror='parent.hit = 2'>"
        "<meta http-equiv=refresh content='0;url=/papers'>"
        "<form action='/arena/vote' method=post><button>go</button></form>"
        "<a href='/papers' target=_top>out</a></body></html>"
    )
    with Run.open(tmp_path / "run", command="strop eval", config={"model": "m", "tasks": "none"}) as run:
        for stage in ("eval-a", "eval-b"):
            run.save_samples(stage, [web_runs.sample("t/1", 0, f"print({attack!r})  # {stage}")])
    with served(tmp_path) as address, tab(chromium) as (page, said):
        refused = []
        page.on("requestfailed", lambda request: refused.append((request.url, request.failure)))
        page.goto(address + url("/arena", run="run"))
        page.get_by_role("button", name="Run both").click()
        page.locator("iframe").first.wait_for()
        page.locator("iframe").first.scroll_into_view_if_needed()
        page.wait_for_timeout(400)
        frames = [frame for frame in page.frames if "/arena/output" in frame.url]
        assert frames
        assert frames[0].locator("h1").inner_text() == "drawn"
        assert page.evaluate("window.hit") is None
        assert page.url.startswith(address + "/arena?")
        frames[0].locator("button").click()
        frames[0].locator("a").click()
        page.wait_for_timeout(200)
        assert page.url.startswith(address + "/arena?")
        asked = [line for line in said if line.startswith("https://strop.invalid")]
        assert asked == [where for where, why in refused if why == "csp"], "stopped before it left the browser"
    assert votes.read(tmp_path / "run") == []


def test_curves_follow_a_run(chromium, tmp_path):
    with Run.open(tmp_path / "run", command="strop train", config={"model": "m", "tasks": "t"}) as run:
        for step in (1, 2, 3):
            run.save_metrics("train-1", step, {"loss": 1 / step})
        with served(tmp_path) as address, tab(chromium) as (page, said):
            page.goto(address + url("/curves", run="run"))
            page.get_by_text("step 3.").wait_for()
            page.wait_for_timeout(500)  # it has asked for the state once
            run.save_metrics("train-1", 4, {"loss": 0.2})
            page.get_by_text("step 4.").wait_for(timeout=15_000)
            run.close()
            page.get_by_text("No process of this machine is writing").wait_for(timeout=15_000)
            assert said == []


@pytest.mark.slow
def test_a_tree_opens_the_program_behind_a_node(chromium, site):
    with tab(chromium) as (page, said):
        page.goto(site + "/trees?run=search")
        page.locator("tbody a").first.click()
        node = page.locator("svg.tree a").first
        node.focus()
        page.keyboard.press("Enter")
        shown = page.locator("article.node:target")
        assert "Program" in shown.inner_text()
        page.get_by_role("button", name="Larger").click()
        assert said == []


@pytest.mark.slow
def test_the_theme_is_remembered_between_pages(chromium, site):
    with tab(chromium) as (page, _):
        page.goto(site)
        page.get_by_role("button", name="Dark").click()
        page.get_by_role("link", name="Papers").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 20, 23)"


LATER = [pytest.param(*look, marks=pytest.mark.slow) for look in ((390, True), (1280, False), (1280, True))]


@pytest.mark.parametrize(("width", "dark"), [(390, False), *LATER])
def test_axe_finds_no_violation(chromium, site, width, dark):
    from axe_playwright_python.base import AXE_SCRIPT

    with tab(chromium, width, dark, bypass_csp=True) as (page, _):
        found = {}
        for address in ADDRESSES:
            page.goto(site + address)
            page.evaluate(AXE_SCRIPT)
            violations = page.evaluate("axe.run().then((r) => r.violations)")
            wrong = [f"{one['id']} ({one['impact']}): {one['nodes'][0]['html'][:160]}" for one in violations]
            if wrong:
                found[address] = wrong
        assert not found, "\n".join(f"{address}: {wrong}" for address, wrong in found.items())
