"""The arena: blind, in random order, run in the sandbox, and every vote kept once."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import web_runs
from starlette.testclient import TestClient

from strop.evals.arena import bradley_terry_ratings
from strop.judge import Judge
from strop.run import Run
from strop.types import CallCheck, Limits, StdioCheck, StropError, Task
from strop.web import votes
from strop.web.app import create_app
from strop.web.play import bare_task, play
from strop.web.site import Site

FROM_PAGE = {"origin": "http://127.0.0.1:8640"}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two stages on 12 tasks; the second always passes."""
    for name, stages in (("run", ("before", "after-1")), ("other", ("eval",))):
        with Run.open(tmp_path / name, command=web_runs.COMMAND, config=web_runs.CONFIG) as run:
            run.save_result("tasks", {"basics/add": {"prompt": "Add.", "split": "test", "tags": [], "stub": ""}})
            for place, stage in enumerate(stages):
                status = "passed" if stage != "before" else "failed"
                tasks = ["basics/add", *(f"t/{n}" for n in range(11))]
                code = f"def add(a, b):\n    return a + b - {1 - place}  # {name} {stage}\n"
                run.save_samples(stage, [web_runs.sample(task, n, code + f"# {n}\n") for task in tasks for n in (0, 1)])
                run.save_verdicts(stage, [(task, n, web_runs.verdict(status)) for task in tasks for n in (0, 1)])
    return tmp_path


@pytest.fixture
def site(folder) -> Site:
    made = Site(folder)
    yield made
    made.stage.close()


@pytest.fixture
def client(site) -> TestClient:
    return TestClient(create_app(site), base_url="http://127.0.0.1:8640")


def fields(page: str) -> dict[str, str]:
    return {name: re.search(rf'name="{name}" value="([^"]+)"', page)[1] for name in ("pair", "token")}


def test_ten_votes_and_a_ranking(client, folder):
    """Somebody who always prefers the program that passes, without being told which it is."""
    page = client.get("/arena?run=run").text
    for number in range(10):
        assert f"{number} vote" in page or f"Vote {number} kept" in page
        left = page.split('aria-label="Right program"')[0]
        choice = "left" if "after-1" in left.split('aria-label="Left program"')[-1] else "right"
        answer = client.post("/arena/vote", data={**fields(page), "choice": choice}, headers=FROM_PAGE)
        page = answer.text
        assert "(passed)" in page, "after the vote it is told who wrote what, and how it did"
    ranking = client.get("/arena/ranking?run=run").text
    assert "10 votes" in ranking
    text = re.sub(r"<[^>]+>", " ", ranking)
    assert text.index("after-1") < text.index("before")
    assert "half a vote each way" in text, "ten wins of ten have no finite odds"
    assert re.search(r"100 % of votes\s+\(95 % interval 72 % to 100 %, 10 votes\)", text)
    ballots = votes.read(folder / "run")
    assert len(ballots) == 10
    best, worst = bradley_terry_ratings([ballot.vote for ballot in ballots])
    assert (best.player, best.won, worst.player, worst.lost) == ("after-1", 10, "before", 10)
    assert f"{best.value:.0f}" in text


def test_the_page_is_blind_and_sides_are_random(folder, site):
    client = TestClient(create_app(site), base_url="http://127.0.0.1:8640")
    # Programs of the fixture name their stage, so that tests can tell: the page around them must not.
    sides, tasks = Counter(), Counter()
    for _ in range(60):
        answer = client.get("/arena?run=run")
        pair = site.pairs.get(fields(answer.text)["pair"])
        around = re.sub(r"<pre.*?</pre>", "", answer.text, flags=re.S)
        for word in ("before", "after-1", "passed", "wrong result", "userns"):
            assert word not in around
        for side in (pair.left, pair.right):
            assert side.sample.code.strip().splitlines()[0] in re.sub(r"<[^>]+>", "", answer.text)
        sides[pair.left.player.name] += 1
        tasks[pair.task_id] += 1
    assert min(sides["before"], sides["after-1"]) >= 15  # 60 fair coins: less than one in 10,000
    assert len(tasks) >= 8


def test_two_runs_meet(client, site):
    page = client.get("/arena?run=run&against=other").text
    pair = site.pairs.get(fields(page)["pair"])
    assert {pair.left.player.name, pair.right.player.name} < {"run: before", "run: after-1", "other: eval"}
    assert pair.left.sample.code != pair.right.sample.code


def test_nothing_to_compare_is_said(client, folder):
    page = client.get("/arena?run=other").text
    assert "There is nothing to compare" in page
    assert client.get("/arena").status_code == 200
    assert client.get("/arena?run=run&against=gone").status_code == 404


def test_a_pair_is_voted_on_once(client, folder):
    page = client.get("/arena?run=run").text
    for choice in ("left", "right", "tie", "both bad"):
        client.post("/arena/vote", data={**fields(page), "choice": choice}, headers=FROM_PAGE)
    assert [ballot.choice for ballot in votes.read(folder / "run")] == ["left"]


def test_two_viewers_vote_at_once(folder):
    """Two servers on one folder, each with several threads: every vote is kept, none twice, and the file is whole."""
    failed = []

    def viewer(number: int) -> None:
        client = TestClient(create_app(Site(folder)), base_url="http://127.0.0.1:8640")
        page = client.get("/arena?run=run").text
        for turn in range(12):
            choice = ("left", "right", "tie", "both bad")[(turn + number) % 4]
            answer = client.post("/arena/vote", data={**fields(page), "choice": choice}, headers=FROM_PAGE)
            if answer.status_code != 200:
                failed.append(answer.status_code)
            page = answer.text

    threads = [threading.Thread(target=viewer, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    ballots = votes.read(folder / "run")
    assert len(ballots) == len({ballot.pair for ballot in ballots}) == 60
    assert Counter(ballot.choice for ballot in ballots) == dict.fromkeys(votes.CHOICES, 15)
    with sqlite3.connect(folder / "run" / votes.FILE) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_vote_that_cannot_be_kept(folder):
    client = TestClient(create_app(Site(folder)), base_url="http://127.0.0.1:8640")
    page = client.get("/arena?run=run").text
    (folder / "run" / votes.FILE).write_text("no votes, " * 999)
    answer = client.post("/arena/vote", data={**fields(page), "choice": "left"}, headers=FROM_PAGE)
    assert answer.status_code == 422
    assert "cannot be used" in answer.text


def test_a_ballot_knows_whether_it_agrees_with_the_verdicts():
    def ballot(choice: str, left: str, right: str) -> votes.Ballot:
        side = {"player": "p", "run": "r", "stage": "s", "number": 0}
        sides = {f"{name}_{key}": value for name in ("left", "right") for key, value in side.items()}
        return votes.Ballot(pair="x", task_id="t", left_status=left, right_status=right, played=False, choice=choice,
                            **sides)  # fmt: skip

    assert ballot("left", "passed", "failed").agrees is True
    assert ballot("right", "passed", "timeout").agrees is False
    assert ballot("right", "failed", "passed").agrees is True
    assert [ballot(choice, "passed", "failed").agrees for choice in ("tie", "both bad")] == [None, None]
    assert ballot("left", "passed", "passed").agrees is None
    with pytest.raises(StropError, match="A vote is one of"):
        votes.save(Path(), ballot("middle", "passed", "failed"))


# ---- running programs --------------------------------------------------------------------------


def test_run_both_shows_what_they_print_and_answer(client, site):
    page = client.get("/arena?run=run")
    pair = site.pairs.get(fields(page.text)["pair"])
    shown = client.post("/arena/run", data=fields(page.text), headers=FROM_PAGE)
    assert shown.status_code == 200
    assert "Both were run" in shown.text
    assert pair.played is not None
    again = client.post("/arena/run", data=fields(page.text), headers=FROM_PAGE)
    assert again.status_code == 200
    assert client.get("/arena/output?pair=gone&side=left").status_code == 404
    output = client.get(f"/arena/output?pair={pair.id}&side=left")
    assert output.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


def test_answers_that_differ_are_marked(client, site):
    page = ""
    while not page or site.pairs.get(fields(page)["pair"]).task_id != "basics/add":
        page = client.get("/arena?run=run").text
    shown = client.post("/arena/run", data=fields(page), headers=FROM_PAGE)
    played = site.pairs.get(fields(page)["pair"]).played
    differ = sum(a != b for a, b in zip(*(one.answers for one in played), strict=True))
    assert shown.text.count("unlike the other") == 2 * differ > 0


class Frames(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.frames: list[dict] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "iframe":
            self.frames.append(dict(attrs))


def test_printed_pages_are_shown_in_a_frame_that_may_do_nothing(tmp_path):
    html = "print('<html><script>parent.hit = 1</script><p>a page</p></html>')"
    with Run.open(tmp_path / "run", command="strop eval", config={"model": "m", "tasks": "none"}) as run:
        for stage, code in (("eval-a", html), ("eval-b", "print('plain <svg>')")):
            run.save_samples(stage, [web_runs.sample("t/1", 0, code)])
    site = Site(tmp_path)
    client = TestClient(create_app(site), base_url="http://127.0.0.1:8640")
    try:
        page = client.get("/arena?run=run").text
        shown = client.post("/arena/run", data=fields(page), headers=FROM_PAGE).text
    finally:
        site.stage.close()
    (frame,) = Frames(shown).frames
    assert frame["sandbox"] == ""
    assert "<script>parent" not in shown
    answer = client.get(frame["src"])
    assert "<script>parent.hit = 1</script>" in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script" not in policy.replace("sandbox", "")
    assert "frame-ancestors 'self'" in policy


@pytest.fixture(scope="module")
def bench():
    with Judge(workers=2, stop_at_first_failure=False) as judge:
        yield judge


def test_what_programs_do(bench):
    add = Task(id="t", prompt="", checks=(CallCheck(function="add", args=(1, 2), expected=3),))
    programs = [
        "def add(a, b):\n    return a + b\nprint('hello', '\\u00e9', '\\x1b[31m')\n",
        "import sys\nprint('to stderr', file=sys.stderr)\nraise ValueError('no')\n",
        "def add(a, b:\n",
        "print('y' * 200_000)\n",
        "if __name__ == '__main__':\n    print(input())\n",
        "import sys\nprint('before')\nsys.exit(3)\n",
    ]
    played = play(bench, add, programs, stdin="a line\n")
    assert played[0].printed == "hello é \x1b[31m\n"
    assert played[0].answers == (("add(1, 2)", "3"),)
    assert played[0].errors == played[0].ended == ""
    assert played[1].errors.startswith("to stderr\n")
    assert "ValueError: no" in played[1].errors
    assert "strop" not in played[1].errors, "the traceback is the program's alone"
    assert played[1].answers == (("add(1, 2)", None),)
    assert "SyntaxError" in played[2].errors
    assert played[3].printed == "y" * 60_000
    assert played[4].printed == "a line\n"
    assert (played[5].printed, played[5].errors.strip()) == ("before\n", "exit code 3")


def test_programs_read_their_task_s_own_input(bench):
    task = Task(
        id="t", prompt="", checks=(StdioCheck(stdin="4\n", stdout="8\n"), StdioCheck(stdin="5\n", stdout="10\n"))
    )
    (played,) = play(bench, task, ["print(2 * int(input()))"])
    assert played.printed == "8\n"
    assert played.answers == (("standard input '4\\n'", "8\n"), ("standard input '5\\n'", "10\n"))


def test_hostile_programs_end_and_change_nothing_here(bench, tmp_path):
    mark = tmp_path / "mark"
    programs = [
        "while True:\n    pass\n",
        "import os\nos._exit(0)\n",
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos.kill(os.getpid(), signal.SIGKILL)\n",
        f"open({str(mark)!r}, 'w').write('x')\n",
        "import os\nwhile True:\n    os.fork()\n",
        "x = []\nwhile True:\n    x.append('y' * 10_000_000)\n",
        "import sys, builtins\nbuiltins.exec = None\nsys.modules.clear()\nprint('still here')\n",
        "_strop_text = 'forged'\nimport __main__\ndef strop_chunk(k):\n    return 7\n",
        "import json\njson.dumps = lambda *a, **k: 12345\n",
        "\x00\x00",
        "print('\\ud800')\n",
        "",
        "print('deep')\n" + "(" * 5000 + ")" * 5000,
    ]
    played = play(bench, replace(bare_task("t"), limits=Limits(cpu_seconds=0.4, wall_seconds=2)), programs)
    assert len(played) == len(programs)
    assert "limit" in played[0].ended
    assert all(isinstance(one.printed, str) and isinstance(one.errors, str) for one in played)
    assert not mark.exists()
    (after,) = play(bench, bare_task("t"), ["print('fine')"])
    assert after.printed == "fine\n"
