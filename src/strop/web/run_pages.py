"""Pages about runs: the list, one run, its samples, one sample, training curves and search trees."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from strop.report import html, programs, training
from strop.report.data import STATUS_WORDS
from strop.report.text import excerpt
from strop.run import Run, browse
from strop.types import StropError, Verdict
from strop.web import figures
from strop.web.site import PAGE, About, NotThere, Site, about, number_of, pages, texts, url

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

CODE_SHOWN = 60_000
"""Characters of a program on its page; the rest can be downloaded."""
NEWEST = 3
"""Runs that are counted when the server starts."""
TREE_FIELDS = ("task", "method", "seed", "answer", "spent.sampled_tokens")


def runs(site: Site, request: Request) -> Response:
    """Every run of the folder, newest first."""
    names, start = site.run_names(), number_of(request.query_params, "start")
    rows = [_row(site, name) for name in names[start : start + PAGE]]
    return site.page("runs.html.j2", here="runs", rows=rows, root=str(site.root), foot=pages("/", len(names), start))


def _row(site: Site, name: str) -> dict[str, Any]:
    from strop.run.manifest import read_manifest

    row: dict[str, Any] = {"name": site.root.name if name == "." else name, "address": name, "error": "", "claim": ""}
    try:
        folder = site.folder(name)
        row["about"] = about(name, read_manifest(folder))
        row["written"] = browse.is_written(folder)
        report = browse.text_of(folder, "report.json") or browse.text_of(folder, "search.json")
        if isinstance(report, dict):
            said = report.get("claim") or " ".join(texts(report, "conclusions"))
            row["claim"] = excerpt(str(said), 400)
    except (StropError, NotThere) as error:
        row["error"] = str(error)
    return row


def run(site: Site, request: Request) -> Response:
    """One run: headline, how samples ended, every task, cost and curves."""
    query = request.query_params
    name = query.get("run", "")
    folder = site.folder(name)
    with Run.read(folder) as opened:
        tally, records = site.tally(name, opened), site.records(name, opened)
        cards = _headline(site, name, opened)
        said = about(name, opened.manifest)
        curves = _curves(opened)
        searches = browse.charge_count(opened, "search")
        spent = [training.spent_row(stage, opened.spent(stage)) for stage in opened.stages()]
        total = training.spent_row("total", opened.spent())
    words, order, start = query.get("words", ""), query.get("order", ""), number_of(query, "start")
    stages, rows = figures.matrix(tally, records, words, order)
    rows_shown = rows[start : start + PAGE]
    # A stage that none of these tasks is in (practice, guards) would be a column of dashes.
    used = [place for place in range(len(stages)) if any(row["cells"][place] for row in rows_shown)]
    statuses = figures.statuses(tally)
    report = browse.text_of(folder, "search.json")
    return site.page(
        "run.html.j2",
        here="runs",
        about=said,
        written=browse.is_written(folder),
        cards=cards,
        statuses=statuses,
        shown_statuses=_used(statuses),
        stages=[stages[place] for place in used],
        tasks=[{"id": row["id"], "cells": [row["cells"][place] for place in used]} for row in rows_shown],
        words=words,
        order=order,
        orders=figures.ORDERS,
        foot=pages("/run", len(rows), start, run=name, words=words, order=order),
        spent=spent,
        total=total,
        curves=curves,
        searches=searches,
        conclusions=texts(report, "conclusions"),
        measured=figures.measured(tally),
        samples=sum(row["samples"] for row in statuses),
    )


def _headline(site: Site, name: str, opened: Run) -> list[dict[str, Any]]:
    """The result cards of a run, kept until its database changes."""
    tally, records = site.tally(name, opened), site.records(name, opened)
    key = ("headline", name, browse.signature(site.folder(name)), len(records))
    return site.kept(key, lambda: figures.headline(tally, records))


def warm(site: Site) -> None:
    """Count the newest runs, so that the first look at one does not wait for its bootstrap."""
    for name in site.run_names()[:NEWEST]:
        with suppress(Exception), Run.read(site.folder(name)) as opened:  # its own page will say what is wrong with it
            _headline(site, name, opened)


def _used(rows: list[dict[str, Any]]) -> list[str]:
    return [status for status in figures.STATUS_ORDER if any(row["counts"].get(status) for row in rows)]


def _curves(opened: Run) -> list[dict[str, Any]]:
    """Learning curves with a colour for each round."""
    return html.coloured(training.curves(opened.metrics()))


def curves(site: Site, request: Request) -> Response:
    """Training curves; the page's script loads it again when the run has written more."""
    name = request.query_params.get("run", "")
    folder = site.folder(name)
    with Run.read(folder) as opened:
        said, found = about(name, opened.manifest), _curves(opened)
        last = max(((m.stage, m.step) for m in opened.metrics()), default=None)
    live = url("/state", run=name) if browse.is_written(folder) else ""
    return site.page("curves.html.j2", here="runs", about=said, curves=found, last=last, live=live)


def state(site: Site, request: Request) -> Response:
    """What changes when a run writes, for the script of a live page."""
    from starlette.responses import JSONResponse

    folder = site.folder(request.query_params.get("run", ""))
    return JSONResponse({"state": str(browse.signature(folder)), "written": browse.is_written(folder)})


# ---- samples -----------------------------------------------------------------------------------


def samples(site: Site, request: Request) -> Response:
    """Samples of a stage, by task and status."""
    query = request.query_params
    name, stage, task_id, status = (query.get(key, "") for key in ("run", "stage", "task", "status"))
    start = number_of(query, "start")
    folder = site.folder(name)
    with Run.read(folder) as opened:
        tally = site.tally(name, opened)
        if not tally:
            raise NotThere("This run has no samples yet.")
        stage = stage or [*tally, *figures.measured(tally)][-1]
        if stage not in tally:
            raise NotThere(f"This run has no stage '{excerpt(stage, 100)}'.")
        rows = browse.rows(opened, stage, task_id=task_id or None, status=status or None, start=start, limit=PAGE)
        said = about(name, opened.manifest)
    among = [tally[stage][task_id]] if task_id in tally[stage] else [] if task_id else list(tally[stage].values())
    total = sum(ended[status] if status else ended.total() for ended in among)
    where = {"run": name, "stage": stage, "task": task_id, "status": status}
    return site.page(
        "samples.html.j2", here="runs", about=said, rows=rows, stages=list(tally), stage=stage, task=task_id,
        status=status, foot=pages("/samples", total, start, **where),
    )  # fmt: skip


def _one(site: Site, request: Request) -> tuple[Any, ...]:
    query = request.query_params
    name, stage, task_id = (query.get(key, "") for key in ("run", "stage", "task"))
    opened = Run.read(site.folder(name))
    found = browse.one(opened, stage, task_id, number_of(query, "n"))
    if found is None:
        opened.close()
        raise NotThere("This run has no such sample.")
    return name, stage, opened, *found


def sample(site: Site, request: Request) -> Response:
    """One sample: prompt, program, verdict, every check, and what the program printed."""
    name, stage, opened, drawn, verdict = _one(site, request)
    status = request.query_params.get("status", "")
    with opened:
        records = site.records(name, opened)
        said = about(name, opened.manifest)
        beside = browse.beside(opened, stage, drawn.task_id, drawn.index, status or None)
    return site.page(
        "sample.html.j2", here="runs", about=said, stage=stage, sample=drawn, verdict=verdict, status=status,
        code=excerpt(drawn.code, CODE_SHOWN), cut=len(drawn.code) > CODE_SHOWN,
        text=excerpt(drawn.text, CODE_SHOWN), prompt=programs.prompt(records, drawn.task_id),
        tags=records.get(drawn.task_id, {}).get("tags", []), failure=_first_failure(verdict), beside=beside,
    )  # fmt: skip


def _first_failure(verdict: Verdict | None) -> Any:
    return next((check for check in verdict.checks if not check.passed), None) if verdict else None


def raw(site: Site, request: Request) -> Response:
    """A whole program as a text file."""
    from starlette.responses import Response

    _, _, opened, drawn, _ = _one(site, request)
    opened.close()
    body = drawn.code.encode("utf-8", "backslashreplace")
    headers = {"content-disposition": 'attachment; filename="program.txt"', "content-security-policy": "sandbox"}
    return Response(body, media_type="text/plain; charset=utf-8", headers=headers)


# ---- compare -----------------------------------------------------------------------------------


def compare(site: Site, request: Request) -> Response:
    """Two stages, of one run or two: paired difference, McNemar, every task."""
    query = request.query_params
    names = [query.get("a", ""), query.get("b", "")]
    every = site.run_names()
    if not names[0]:
        return site.page("compare.html.j2", here="compare", runs=every, sides=None, found=None, foot=None)
    names[1] = names[1] or names[0]
    start, sides, counts, firsts = number_of(query, "start"), [], [], []
    for place, name in enumerate(names):
        with Run.read(site.folder(name)) as opened:
            tally = site.tally(name, opened)
            stages = figures.measured(tally) or list(tally)
            if not stages:
                raise NotThere(f"The run '{excerpt(name, 100)}' has no samples yet.")
            default = stages[-1] if place or names[0] != names[1] else stages[0]
            stage = query.get("as" if place == 0 else "bs", "") or default
            if stage not in tally:
                raise NotThere(f"The run '{excerpt(name, 100)}' has no samples under stage '{excerpt(stage, 100)}'.")
            said = about(name, opened.manifest)
            inputs = opened.manifest["inputs"].get("task_set_hash")
            sides.append({"about": said, "stage": stage, "stages": list(tally), "tasks": inputs})
            counts.append(figures.counts_of(tally, stage))
            key = ("firsts", name, stage, browse.signature(site.folder(name)))
            firsts.append(site.kept(key, partial(browse.first_outcomes, opened, stage, counts[-1])))
    keys = tuple((name, side["stage"], browse.signature(site.folder(name))) for name, side in zip(names, sides))
    found = site.kept(("compare", *keys), lambda: figures.compared(counts[0], counts[1], firsts))
    where = {"a": names[0], "as": sides[0]["stage"], "b": names[1], "bs": sides[1]["stage"]}
    return site.page(
        "compare.html.j2", here="compare", runs=every, sides=sides, found=found,
        rows=found["rows"][start : start + PAGE] if found else [],
        other_tasks=sides[0]["tasks"] != sides[1]["tasks"],
        foot=pages("/compare", len(found["rows"]) if found else 0, start, **where),
    )  # fmt: skip


# ---- searches ----------------------------------------------------------------------------------


def trees(site: Site, request: Request) -> Response:
    """The searches of a run that have ended."""
    name, start = request.query_params.get("run", ""), number_of(request.query_params, "start")
    with Run.read(site.folder(name)) as opened:
        said = about(name, opened.manifest)
        total = browse.charge_count(opened, "search")
        rows = browse.result_rows(opened, "search", TREE_FIELDS, start, PAGE)
    return site.page("trees.html.j2", here="runs", about=said, rows=rows, foot=pages("/trees", total, start, run=name))


def tree(site: Site, request: Request) -> Response:
    """One search: its tree, and every program in it."""
    from jinja2 import UndefinedError

    from strop.report.search import SHOWN_PROMPT
    from strop.report.tree import tree as drawn

    name = request.query_params.get("run", "")
    with Run.read(site.folder(name)) as opened:
        said: About = about(name, opened.manifest)
        trace = opened.result(request.query_params.get("key", ""))
    if not isinstance(trace, dict) or "nodes" not in trace:
        raise NotThere("This run has no such search.")
    try:
        there = {node["status"] for node in trace["nodes"]}
        used = [(status, words) for status, words in STATUS_WORDS.items() if status in there]
        return site.page(
            "tree.html.j2", here="runs", about=said, trace=trace, tree=drawn, shown_prompt=SHOWN_PROMPT, used=used
        )
    except (UndefinedError, TypeError, KeyError, ValueError, IndexError) as error:
        raise StropError(f"This search cannot be shown: its record in {name} is damaged ({error}).") from error
