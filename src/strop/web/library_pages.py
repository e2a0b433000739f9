"""Pages about what does not change while one looks: papers with their results, and task sets."""

from __future__ import annotations

from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from strop.papers import find
from strop.papers.cards import GROUPS, cards
from strop.papers.catalogue import STATES, Entry, entry
from strop.papers.terminal import BASIS, claim_words, machines
from strop.run import Run
from strop.tasks import load
from strop.tasks.loading import SETS, data_path
from strop.types import CallCheck, Check, ScriptCheck, StdioCheck, StropError, Task
from strop.web.site import PAGE, NotThere, Site, about, number_of, pages

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

# ---- papers ------------------------------------------------------------------------------------


def papers(site: Site, request: Request) -> Response:
    """The catalogue, filtered and searched."""
    query = request.query_params
    words, group, state = (query.get(name, "") for name in ("words", "group", "state"))
    found, broken = _entries(site)
    if words.strip():
        found = [one for one, _ in find.search(found, words, len(found))]
    counts = {name: sum(one.state == name for one in _entries(site)[0]) for name in STATES}
    rows = [one for one in found if (not group or one.card.group == group) and (not state or one.state == state)]
    return site.page(
        "papers.html.j2", here="papers", rows=rows, broken=broken, words=words, group=group, state=state,
        groups=GROUPS, counts=counts,
    )  # fmt: skip


def warm(site: Site) -> None:
    """Read the catalogue, hash its code, index its words, and read the embedded tasks, before somebody asks."""
    find.search(_entries(site)[0], "warm", 1)
    task_set(site, "basics")


def _entries(site: Site) -> tuple[list[Entry], list[str]]:
    """Every paper that can be read, and what is wrong with the others; read again when a results file changes."""
    folder = site.results
    stamps = tuple(sorted((path.name, path.stat().st_mtime_ns) for path in folder.glob("*.json")))

    def read() -> tuple[list[Entry], list[str]]:
        found, broken = [], []
        for slug in cards():
            try:
                found.append(entry(slug, site.results))
            except StropError as error:
                broken.append(f"{slug}: {error}")
        return found, broken

    return site.kept(("papers", stamps), read)


def paper(site: Site, request: Request) -> Response:
    """A card: mechanism, the paper's claims beside what was measured here, and its figure."""
    slug = _slug(request)
    one = entry(slug, site.results)
    plot = bool(one.results and one.results.plot and (site.results / f"{slug}.svg").is_file())
    return site.page(
        "paper.html.j2", here="papers", one=one, card=one.card, group=GROUPS[one.card.group], basis=BASIS, plot=plot,
        claims=[(claim, claim_words(claim)) for claim in one.card.claims],
        machines=machines(one) if one.results else "",
    )  # fmt: skip


def plot(site: Site, request: Request) -> Response:
    """The figure of a paper's experiment, as an image: SVG or PNG, as the address ends."""
    from starlette.responses import Response

    from strop.report.plot import png
    from strop.web.guard import IMAGE_POLICY

    try:
        body = (site.results / f"{_slug(request)}.svg").read_bytes()
    except OSError as error:
        raise NotThere("This paper has no figure.") from error
    kind = "image/svg+xml"
    if request.url.path.endswith(".png"):
        body, kind = png(body.decode("utf-8", "replace")), "image/png"
    return Response(body, media_type=kind, headers={"content-security-policy": IMAGE_POLICY})


def _slug(request: Request) -> str:
    slug = request.query_params.get("paper", "")
    if slug not in cards():  # never a path: only names of cards go on
        raise NotThere("There is no such paper.")
    return slug


# ---- tasks -------------------------------------------------------------------------------------


def tasks(site: Site, request: Request) -> Response:
    """A task set that is at hand, or the tasks of a run."""
    query = request.query_params
    name, words, start = query.get("set", ""), query.get("words", ""), number_of(query, "start")
    if not name:
        return site.page("tasks.html.j2", here="tasks", sets=sets(site), name="", rows=[], words="", foot=None)
    found = task_set(site, name)
    if found is None:
        raise NotThere("This task set is not one of those at hand.")
    wanted = words.lower().split()
    rows = [
        task
        for task in found
        if all(word in f"{task.id} {' '.join(task.tags)} {task.split} {task.prompt}".lower() for word in wanted)
    ]
    return site.page(
        "tasks.html.j2", here="tasks", sets=sets(site), name=name, words=words, rows=rows[start : start + PAGE],
        foot=pages("/tasks", len(rows), start, set=name, words=words),
    )  # fmt: skip


def task(site: Site, request: Request) -> Response:
    """One task: prompt, checks, reference; or what a run keeps of it, with its samples."""
    query = request.query_params
    name, task_id, run_name = (query.get(key, "") for key in ("set", "id", "run"))
    ended: list[Any] = []
    record: dict[str, Any] = {}
    said = None
    if run_name:
        with Run.read(site.folder(run_name)) as opened:
            said = about(run_name, opened.manifest)
            tally, record = site.tally(run_name, opened), site.records(run_name, opened).get(task_id, {})
        ended = [(stage, tasks[task_id]) for stage, tasks in tally.items() if task_id in tasks]
        name = said.tasks
    found = next((one for one in task_set(site, name) or () if one.id == task_id), None)
    if found is None and not record and not ended:
        raise NotThere("There is no such task.")
    return site.page(
        "task.html.j2", here="tasks" if said is None else "runs", name=name, id=task_id, task=found, record=record,
        about=said, ended=ended, checks=[check_text(check) for check in found.checks[:200]] if found else [],
        language=found.language if found else "python",
    )  # fmt: skip


def sets(site: Site) -> list[str]:
    """Names of the task sets that can be read without asking the network."""
    return [*(name for name in SETS if _is_here(name)), *site.own_tasks]


def _is_here(name: str) -> bool:
    variable = {"mbpp": "STROP_MBPP", "apps": "STROP_APPS"}.get(name.partition("-")[0])
    try:
        return variable is None or data_path(variable) is not None
    except StropError:
        return False


def task_set(site: Site, spec: str) -> list[Task] | None:
    """The tasks that `spec` names, all splits; None when they are not at hand.

    `spec` may come from a run's manifest: a set of Strop's whose data is on this machine, or a file that was given when
    the page was started, known by its name. No other file is opened: a run folder from elsewhere must not choose what
    is read here.
    """
    name = spec.partition(":")[0]
    if name in SETS:
        return _loaded(name) if _is_here(name) else None
    own = [one for one in site.own_tasks if one == spec or PurePath(one).name == PurePath(name).name]
    return site.own_tasks[own[0]] if own else None


@lru_cache(maxsize=4)
def _loaded(name: str) -> list[Task]:
    return load(name, split="all")


def check_text(check: Check) -> tuple[str, bool, str]:
    """Name, whether methods may see it, and what it asks, as text."""
    from strop.tasks.literals import write_call, write_literal

    if isinstance(check, CallCheck):
        try:
            text = f"{write_call(check)} == {write_literal(check.expected)}"
        except ValueError:
            text = f"{check.function}(…)"
    elif isinstance(check, StdioCheck):
        text = f"standard input:\n{check.stdin}\nstandard output ({check.comparer}):\n{check.stdout}"
    elif isinstance(check, ScriptCheck):
        text = check.code
    else:
        text = str(check)
    return check.name, check.visible, text
