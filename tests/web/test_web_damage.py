"""Runs that are damaged, unfinished, elsewhere or not there: a clear answer, and never a failure of ours."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import pytest
import web_runs
from web_client import Elements, links, open_site, pages_of

from strop.run import Run
from strop.web.site import url


@pytest.mark.parametrize(
    "name",
    ["../real", "real/../real", "/etc", "..", "real/.", "./real", "real\x00", "nope", "", "a" * 5000, "link", "real//",
     "linked/real", "\ud800", "..%2freal", "nested", "file.txt", "....//real", "C:\\real", "~", "real\n"],
)  # fmt: skip
def test_no_name_leads_out_of_the_runs_folder(folder, tmp_path, name):
    outside = tmp_path / "outside"
    shutil.copytree(folder / "real", outside / "real")
    inside = tmp_path / "inside"
    shutil.copytree(folder / "real", inside / "real")
    (inside / "link").symlink_to(outside / "real")
    (inside / "linked").symlink_to(outside)
    (inside / "file.txt").write_text("x")
    (inside / "nested").mkdir()
    client = open_site(inside)
    assert [link for link in links(client.get("/").text) if link.startswith("/run?")] == ["/run?run=real"]
    for path in ("/run", "/samples", "/sample", "/curves", "/state", "/trees", "/arena/ranking"):
        answer = client.get(url(path, run=name))
        assert answer.status_code == 404, path
    if name:
        assert client.get(url("/compare", a=name)).status_code == 404
        assert client.get(url("/arena", run=name)).status_code == 404


def _write(run: Path, name: str, text: str | bytes) -> None:
    (run / name).write_bytes(text.encode() if isinstance(text, str) else text)


def _sql(run: Path, *statements: str) -> None:
    connection = sqlite3.connect(run / "run.sqlite")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def _manifest(run: Path, **changes) -> None:
    data = json.loads((run / "manifest.json").read_text())
    _write(run, "manifest.json", json.dumps({**data, **changes}))


ODD = {"seeds": 3, "machine": [], "created": {"x": 1}, "config": {"model": [1], "tasks": {"a": None}}}
DAMAGE = {
    "no manifest": lambda run: (run / "manifest.json").unlink(),
    "manifest is no JSON": lambda run: _write(run, "manifest.json", "{"),
    "manifest is a list": lambda run: _write(run, "manifest.json", "[]"),
    "manifest is binary": lambda run: _write(run, "manifest.json", b"\xff\xfe\x00"),
    "manifest is a folder": lambda run: ((run / "manifest.json").unlink(), (run / "manifest.json").mkdir()),
    "a result is deep": lambda run: _sql(run, f"UPDATE results SET value = '{'[' * 100_000}'"),
    "manifest is deep": lambda run: _write(run, "manifest.json", "[" * 100_000),
    "fields of other types": lambda run: _manifest(run, **ODD),
    "newer": lambda run: _manifest(run, format=99),
    "no database": lambda run: (run / "run.sqlite").unlink(),
    "database is empty": lambda run: _write(run, "run.sqlite", b""),
    "database is text": lambda run: _write(run, "run.sqlite", "not a database, " * 99),
    "database is cut": lambda run: _write(run, "run.sqlite", (run / "run.sqlite").read_bytes()[:9000]),
    "database is overwritten": lambda run: _write(
        run, "run.sqlite", (run / "run.sqlite").read_bytes()[:4096] + b"\xa5" * 60_000
    ),
    "no tables": lambda run: _sql(run, "DROP TABLE verdicts", "DROP TABLE spent", "DROP TABLE results"),
    "rows are no JSON": lambda run: _sql(
        run, "UPDATE verdicts SET data = 'x'", "UPDATE samples SET data = '[]'", "UPDATE results SET value = '{'"
    ),
    "rows of other types": lambda run: _sql(
        run, "UPDATE verdicts SET data = '{\"status\": 3}', status = 'sideways'",
        "UPDATE results SET value = '{\"basics/add\": 7, \"basics/cube\": {\"tags\": 5, \"prompt\": null}}'",
        "UPDATE metrics SET value = 1e308 * step WHERE step % 2", "UPDATE metrics SET value = NULL WHERE step % 3 = 0",
    ),
    "text is no UTF-8": lambda run: _sql(run, "UPDATE verdicts SET status = CAST(x'ff' AS TEXT)"),
    "odd reports": lambda run: (
        _write(run, "report.json", '{"claim": {"a": 1}}'), _write(run, "search.json", '{"conclusions": 3}')
    ),
    "odd votes": lambda run: _write(run, "arena.sqlite", "no votes, " * 99),
    "nothing in it": lambda run: _sql(run, *(f"DELETE FROM {table}" for table in ("samples", "verdicts", "stages"))),
}  # fmt: skip


@pytest.mark.parametrize("name", ["manifest.json", "run.sqlite", "report.json", "arena.sqlite", "run.lock"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_files_that_are_links_or_pipes_are_not_touched(folder, tmp_path, name, kind):
    """A run folder from elsewhere must not make the page read or write another file, or wait for ever."""
    shutil.copytree(folder / "real", tmp_path / "runs/bad")
    (tmp_path / "runs/bad" / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(tmp_path / "runs/bad" / name)
    else:
        (tmp_path / "elsewhere").write_text("{}")
        (tmp_path / "runs/bad" / name).symlink_to(tmp_path / "elsewhere")
    client = open_site(tmp_path / "runs")
    assert "is not a plain file" in client.get("/").text
    for address in pages_of("bad", "before", "basics/add"):
        if "real" not in address:
            assert client.get(address).status_code == 404
    if kind == "link":
        assert (tmp_path / "elsewhere").read_text() == "{}"


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_said_and_leaves_other_runs_alone(folder, tmp_path, how):
    shutil.copytree(folder / "real", tmp_path / "real")
    shutil.copytree(folder / "real", tmp_path / "bad")
    for file in (tmp_path / "bad").glob("run.sqlite-*"):
        file.unlink()
    DAMAGE[how](tmp_path / "bad")
    client = open_site(tmp_path)
    listed = client.get("/")
    assert listed.status_code == 200
    assert "/run?run=real" in listed.text
    for address in pages_of("bad", "before", "basics/add"):
        answer = client.get(address)
        assert answer.status_code in (200, 404, 422), address
        assert len(Elements(answer.text).text.strip()) > 10, address
    assert client.get("/run?run=real").status_code == 200


def test_damaged_searches(folder, tmp_path):
    shutil.copytree(folder / "search", tmp_path / "search")
    for value in ('{"task": 1, "nodes": 3}', '{"task": 1, "method": 2, "nodes": [{}]}', "[]", '{"nodes": []}', "7"):
        _sql(tmp_path / "search", f"UPDATE results SET value = '{value}'")
        client = open_site(tmp_path)
        listed = client.get("/trees?run=search")
        assert listed.status_code == 200
        for link in links(listed.text):
            if link.startswith("/tree?"):
                assert client.get(link).status_code in (200, 404, 422)


def test_a_run_that_is_being_written(folder, tmp_path):
    """Pages are whole at every moment, and say that the run goes on; the live page learns of every step."""
    path, stop, problems = tmp_path / "runs" / "live", threading.Event(), []
    path.parent.mkdir()
    client = open_site(path.parent)
    assert "no runs here yet" in client.get("/").text

    def write() -> None:
        with Run.open(path, command=web_runs.COMMAND, config=web_runs.CONFIG) as run:
            step = 0
            while not stop.is_set():
                step += 1
                run.save_samples("before", [web_runs.sample(f"t/{step % 9}", step // 9, "x = 1")])
                if step % 3:
                    run.save_verdicts("before", [(f"t/{step % 9}", step // 9, web_runs.verdict("passed"))])
                run.save_metrics("train-1", step, {"loss": 1 / step})
                time.sleep(0.005)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not (path / "manifest.json").exists():
            time.sleep(0.01)
        states, deadline = set(), time.monotonic() + 1.5
        while time.monotonic() < deadline:
            for address in pages_of("live", "before", "t/1"):
                answer = client.get(address)
                if answer.status_code not in (200, 404):
                    problems.append((address, answer.status_code))
            states.add(client.get("/state?run=live").json()["state"])
        assert client.get("/state?run=live").json()["written"] is True
        assert 'data-live="/state?run=live"' in client.get("/curves?run=live").text
        assert "going on" in client.get("/").text
        assert len(states) > 3
    finally:
        stop.set()
        writer.join()
    assert problems == []
    assert client.get("/state?run=live").json()["written"] is False
    assert "data-live" not in client.get("/curves?run=live").text
