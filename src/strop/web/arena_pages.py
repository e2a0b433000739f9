"""The arena: two programs for one task side by side, blind and in random order; run them, vote, see the ranking.

Runs and votes are forms that any browser can send; the page's script only adds keys.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from strop import stats
from strop.evals import arena
from strop.report import programs
from strop.run import Run
from strop.types import StropError
from strop.web import figures, votes
from strop.web.guard import OUTPUT_POLICY
from strop.web.library_pages import task_set
from strop.web.pairs import Pair, Player, draw
from strop.web.play import bare_task, play
from strop.web.site import NotThere, Site, about, url

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PROGRAM_SHOWN = 20_000
FIT = "<!doctype html><style>html, body { height: 100%; margin: 0 } svg { width: 100%; height: 100% }</style>"
"""Before a printed SVG, so that all of it is in its frame."""


def show(site: Site, request: Request) -> Response:
    """A pair to vote on; without one in the address, a new one is drawn."""
    from starlette.responses import RedirectResponse

    query = request.query_params
    name, against = query.get("run", ""), query.get("against", "")
    if not name:
        return site.page("arena_start.html.j2", here="arena", runs=site.run_names(), problem="", run="", against="")
    pair = site.pairs.get(query.get("pair", ""))
    if pair is None or (pair.home, pair.against) != (name, against):
        pair = _draw(site, name, against)
        if pair is None:
            return site.page(
                "arena_start.html.j2", here="arena", runs=site.run_names(), run=name, against=against,
                problem="There is nothing to compare: the arena needs two stages, of this run or of two runs, with "
                "different programs for the same task.",
            )  # fmt: skip
        return RedirectResponse(url("/arena", run=name, against=against, pair=pair.id, last=query.get("last")), 303)
    ballots = votes.read(site.folder(name))
    last = next((ballot for ballot in ballots if ballot.pair == query.get("last", "")), None)
    with Run.read(site.folder(name)) as opened:
        records, said = site.records(name, opened), about(name, opened.manifest)
    if against and pair.task_id not in records:
        with Run.read(site.folder(against)) as other:
            records = site.records(against, other)
    return site.page(
        "arena.html.j2", here="arena", about=said, pair=pair, last=last, votes=len(ballots), against=against,
        prompt=programs.prompt(records, pair.task_id), shown=PROGRAM_SHOWN, unlike=_unlike(pair),
        sides=[("left", pair.left, pair.played[0] if pair.played else None),
               ("right", pair.right, pair.played[1] if pair.played else None)],
    )  # fmt: skip


def _unlike(pair: Pair) -> list[int]:
    """Places of the answers in which the two programs differ."""
    if not pair.played:
        return []
    return [place for place, both in enumerate(zip(*(one.answers for one in pair.played))) if both[0] != both[1]]


def _draw(site: Site, name: str, against: str) -> Pair | None:
    names = [name, *([against] if against and against != name else [])]
    with ExitStack() as stack:
        runs = {one: stack.enter_context(Run.read(site.folder(one))) for one in names}
        players = []
        for one, opened in runs.items():
            tally = site.tally(one, opened)
            for stage in figures.measured(tally):
                tasks = {task_id: ended.total() for task_id, ended in tally[stage].items()}
                label = stage if len(names) == 1 else f"{one}: {stage}"
                players.append(Player(label, one, stage, tasks))
        pair = draw(players, runs, name, against, site.random)
    return site.pairs.keep(pair) if pair else None


def run_pair(site: Site, request: Request, form: dict[str, str]) -> Response:
    """Run both programs of a pair in the judge's sandbox, once; then show the pair again."""
    from starlette.responses import RedirectResponse

    pair = _pair(site, form)
    with pair.lock:  # two viewers, or a double click: one run
        if pair.played is None:
            pair.played = play(
                site.stage.judge(), _task(site, pair), [pair.left.sample.code, pair.right.sample.code],
                form.get("stdin", "")[:8000],
            )  # fmt: skip
    return RedirectResponse(_address(pair) + "#programs", 303)


def _task(site: Site, pair: Pair) -> Any:
    with Run.read(site.folder(pair.home)) as opened:
        spec = about(pair.home, opened.manifest).tasks
    found = next((task for task in task_set(site, spec) or () if task.id == pair.task_id), None)
    return found or bare_task(pair.task_id)


def output(site: Site, request: Request) -> Response:
    """What one program printed, as a page of its own that may do nothing; shown in a frame."""
    from starlette.responses import Response

    pair, side = site.pairs.get(request.query_params.get("pair", "")), request.query_params.get("side", "")
    if pair is None or pair.played is None or side not in ("left", "right"):
        raise NotThere("This output is gone.")
    played = pair.played[side == "right"]
    body = (FIT if played.picture else "").encode() + played.printed.encode("utf-8", "replace")
    headers = {"content-security-policy": OUTPUT_POLICY}
    return Response(body, media_type="text/html; charset=utf-8", headers=headers)


def vote(site: Site, request: Request, form: dict[str, str]) -> Response:
    """Keep a vote in the run's folder, and go on to the next pair."""
    from starlette.responses import RedirectResponse

    pair, choice = _pair(site, form), form.get("choice", "")
    if choice not in votes.CHOICES:
        raise StropError(f"A vote is one of {', '.join(votes.CHOICES)}.")
    sides = {}
    for name, side in (("left", pair.left), ("right", pair.right)):
        status = side.verdict.status if side.verdict else "unjudged"
        of = {"player": side.player.name, "run": side.player.run, "stage": side.player.stage}
        of |= {"number": side.sample.index, "status": status}
        sides |= {f"{name}_{key}": value for key, value in of.items()}
    ballot = votes.Ballot(pair=pair.id, task_id=pair.task_id, choice=choice, played=pair.played is not None, **sides)
    votes.save(site.folder(pair.home), ballot)
    return RedirectResponse(url("/arena", run=pair.home, against=pair.against, last=pair.id), 303)


def _pair(site: Site, form: dict[str, str]) -> Pair:
    pair = site.pairs.get(form.get("pair", ""))
    if pair is None:
        raise NotThere("This pair is gone; the page was open for long, or `strop view` was started again.")
    return pair


def _address(pair: Pair) -> str:
    return url("/arena", run=pair.home, against=pair.against, pair=pair.id)


def ranking(site: Site, request: Request) -> Response:
    """Who wins: Bradley-Terry and Elo with intervals, and how often votes agree with verdicts."""
    name = request.query_params.get("run", "")
    folder = site.folder(name)
    ballots = votes.read(folder)
    cast = [ballot.vote for ballot in ballots]
    rated, problem = None, ""
    if cast:
        try:
            rated = site.kept(("ranking", name, len(cast), hash(tuple(cast))), lambda: _ratings(cast))
        except ValueError as error:
            problem = f"{error}."
    agreed = [ballot.agrees for ballot in ballots if ballot.agrees is not None]
    with Run.read(folder) as opened:
        said = about(name, opened.manifest)
    return site.page(
        "ranking.html.j2", here="arena", about=said, ballots=ballots, rated=rated, problem=problem,
        agreed=asdict(stats.wilson(sum(agreed), len(agreed))) if agreed else None,
        choices={choice: sum(ballot.choice == choice for ballot in ballots) for choice in votes.CHOICES},
    )  # fmt: skip


def _ratings(cast: list[arena.Vote]) -> dict[str, Any]:
    elo = {rating.player: rating for rating in arena.elo_ratings(cast)}
    rows = [(rating, elo[rating.player]) for rating in arena.bradley_terry_ratings(cast)]
    ends = [end for pair in rows for one in pair for end in (one.low, one.high)]
    margin = 0.05 * (max(ends) - min(ends)) or 20.0
    return {"rows": rows, "domain": (min(ends) - margin, max(ends) + margin), "smoothed": arena.is_smoothed(cast)}
