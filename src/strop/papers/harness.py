"""Run an experiment: state its cost, work through its items, keep each as it ends, write the results file.

Items are kept in a run folder (`strop.run`), so Ctrl-C, a kill or a crash loses the item in flight at most, and the
same command goes on where it stopped. Outcomes that the results file already holds are not measured again, so a file
grows over several runs and machines, as long as the code version and the settings are the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from strop.papers import plot, results
from strop.papers.code import code_version
from strop.papers.experiment import Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.results import Results, Session
from strop.run import Run
from strop.types import Spent, StropError, content_hash

SAVE_EVERY = 60.0
"""Seconds between results files while a run goes on; items themselves are kept at once."""
QUICK_SECONDS = 180.0
"""What quick sizes and settings are chosen to stay below, on two cores."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do: its items, those that are left, and what these will cost, roughly."""

    experiment: Experiment
    quick: bool
    settings: Mapping[str, Any]
    units: tuple[str, ...]
    seeds: tuple[int, ...]
    items: tuple[Item, ...]
    full: tuple[Item, ...]
    """The items whose outcomes make a file complete: those of the planned size, or of the quick one."""
    left: tuple[Item, ...]
    cost: Spent
    measured: bool
    """Whether the cost comes from items that were measured, rather than from the experiment's own guess."""
    file: Path
    folder: Path
    code: tuple[str, dict[str, str]]
    earlier: Results | None
    """The results file that this run adds to."""
    stale: Results | None
    """The results file of another code version, which this run replaces."""

    def __str__(self) -> str:
        experiment, done = self.experiment, len(self.items) - len(self.left)
        costs = [f"about {_duration(self.cost.seconds)}"]
        for name, unit in (
            ("model_calls", "model calls"),
            ("sampled_tokens", "tokens sampled"),
            ("programs", "programs"),
        ):
            if count := getattr(self.cost, name):
                costs.append(f"{count:,} {unit}")
        if self.cost.money:
            costs.append(f"{self.cost.money:.2f} US $")
        size = f"{len(experiment.arms)} arms x {len(self.units)} units x {len(self.seeds)} seeds"
        lines = [
            f"{experiment.slug}: {experiment.question}",
            f"{'Quick run' if self.quick else 'Run'}: {size}, {len(self.items)} items, {done} of them done.",
            f"Cost of the rest: {', '.join(costs)} ({'from items measured' if self.measured else 'a guess'}).",
        ]
        if self.stale is not None:
            changed = changes(self.stale.code.modules, self.code[1]) or ["settings"]
            lines.append(f"{self.file} was made by other code ({', '.join(changed)} changed) and will be replaced.")
        return "\n".join(lines)


def load(paper: int) -> Experiment | None:
    """The experiment of a paper, or None. Raises StropError when its module is not one."""
    folder = Path(__file__).with_name("experiments")
    modules = sorted(path.stem for path in folder.glob(f"p{paper:02d}_*.py"))
    if not modules:
        return None
    module = import_module(f"strop.papers.experiments.{modules[0]}")
    experiment = getattr(module, "EXPERIMENT", None)
    name = modules[0].split("_", 1)[1].replace("_", "-")
    right = isinstance(experiment, Experiment) and (experiment.paper, experiment.name) == (paper, name)
    if len(modules) > 1 or not right:
        raise StropError(
            f"{module.__file__} must be the only module of paper {paper} and end in EXPERIMENT = "
            f"Experiment(paper={paper}, name='{name}', ...)."
        )
    return experiment


def version_of(experiment: Experiment) -> tuple[str, dict[str, str]]:
    """The code version now: the experiment's module and its components."""
    return code_version([experiment.module, *experiment.components])


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Modules whose source differs."""
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def plan(
    experiment: Experiment,
    *,
    quick: bool = False,
    size: Size | None = None,
    settings: Mapping[str, Any] | None = None,
    file: Path | None = None,
    runs: Path = Path("runs"),
) -> Plan:
    """What to do. `size`: instead of the planned one; `settings`: instead of the experiment's, by name.

    Quick results and those of other settings stay out of `results/`: they go to `file`, by default in the run folder.
    Raises StropError for unknown settings, more units than there are, or a results file that cannot be read.
    """
    changed = dict(settings or {})
    if unknown := changed.keys() - experiment.settings.keys():
        known = ", ".join(experiment.settings) or "none"
        raise StropError(f"{experiment.slug} has no setting '{min(unknown)}'; it has: {known}.")
    own = {**experiment.settings, **(experiment.quick_settings if quick else {})}
    chosen = {**own, **changed}
    size = size or (experiment.quick if quick else experiment.planned)
    units = tuple(experiment.units())
    if len(set(units)) != len(units):
        raise StropError(f"{experiment.slug} names a unit twice.")
    if size.units > len(units):
        raise StropError(f"{experiment.slug} has {len(units)} units; {size.units} were asked for.")
    code = version_of(experiment)
    name = f"{experiment.slug}-{content_hash(code[0], chosen, quick)[:8]}"
    folder = runs / "papers" / name
    official = not quick and chosen == own
    file = file or (results.results_folder() / f"{experiment.slug}.json" if official else folder / "results.json")
    earlier = results.read(file) if file.exists() else None
    same = earlier is not None and earlier.code.version == code[0] and earlier.settings == _plain(chosen)
    known = earlier if same and earlier and earlier.quick == quick else None
    table = Table(known.table().outcomes() if known else [], experiment.arms, experiment.metrics)
    items = tuple(experiment.items(units[: size.units], range(size.seeds)))
    whole = experiment.quick if quick else experiment.planned
    kept, seconds = _kept(folder, experiment, items)
    left = tuple(item for item in items if item not in kept and not _covered(table, item))
    measured = len(seconds) > 0
    each = replace(experiment.cost, seconds=sum(seconds) / len(seconds)) if measured else experiment.cost
    rest = _times(each, len(left))
    if quick and not measured and rest.seconds > QUICK_SECONDS:  # the guess is for settings of full size
        rest = _times(rest, QUICK_SECONDS / rest.seconds)
    return Plan(
        experiment=experiment,
        quick=quick,
        settings=chosen,
        units=units[: size.units],
        seeds=tuple(range(size.seeds)),
        items=items,
        full=tuple(experiment.items(units[: whole.units], range(whole.seeds))),
        left=left,
        cost=rest,
        measured=measured,
        file=file,
        folder=folder,
        code=code,
        earlier=known,
        stale=earlier if known is None else None,
    )


def execute(
    plan: Plan, *, command: str = "", on_progress: Callable[[str, int, int], None] = lambda *_: None
) -> Results:
    """Do what is left of a plan, and write its results file and plot. Returns the results.

    Ends by KeyboardInterrupt as by any other exception only after what is done has been written.
    """
    experiment = plan.experiment
    config = {"experiment": experiment.slug, "settings": plan.settings, "quick": plan.quick}
    done, saved = 0, time.monotonic()
    with Run.open(
        plan.folder,
        command=command or f"strop papers run {experiment.paper}",
        config=config,
        inputs={"code": plan.code[1]},
    ) as run:
        lab = Lab(plan.settings, plan.folder, plan.quick, on_progress)
        try:
            for item in plan.left:
                on_progress(experiment.slug, len(plan.items) - len(plan.left) + done, len(plan.items))
                _do(run, lab, experiment, item)
                done += 1
                if time.monotonic() - saved > SAVE_EVERY:
                    _write(plan, run)
                    saved = time.monotonic()
            on_progress(experiment.slug, len(plan.items), len(plan.items))
        finally:
            lab.close()
            outcome = _write(plan, run)
    if outcome is None:
        raise StropError(f"{experiment.slug} produced no outcome.")
    return outcome


def _do(run: Run, lab: Lab, experiment: Experiment, item: Item) -> None:
    lab.spent, start = Spent(), time.monotonic()
    outcomes = list(experiment.measure(lab, item))
    wanted = {(arm, unit, item.seed) for arm in item.arms for unit in item.units}
    if {(one.arm, one.unit, one.seed) for one in outcomes} != wanted or len(outcomes) != len(wanted):
        raise StropError(f"{experiment.slug} must yield one outcome for each arm and unit of {item}.")
    Table(outcomes, experiment.arms, experiment.metrics)  # refuses impossible figures before they are kept
    spent = replace(lab.spent, seconds=time.monotonic() - start)
    key = _key(experiment, item)
    with run.atomic():
        run.save_result(key, [[one.arm, one.unit, one.seed, dict(one.values)] for one in outcomes])
        run.charge("items", key, spent)


def _write(plan: Plan, run: Run) -> Results | None:
    """Write results file and plot of all outcomes so far; None when there are none.

    A complete file of another code version gives way only to a complete one; until then the new one grows in the run
    folder.
    """
    experiment, earlier = plan.experiment, plan.earlier
    outcomes = earlier.table().outcomes() if earlier else []
    for item in plan.items:
        outcomes += [Outcome(*row) for row in run.result(_key(experiment, item)) or []]
    if not outcomes:
        return None
    table = Table(outcomes, experiment.arms, experiment.metrics)
    complete = all(_covered(table, item) for item in plan.full)
    file = plan.file if complete or plan.stale is None else plan.folder / "results.json"
    return _save(
        file,
        experiment,
        table,
        quick=plan.quick,
        settings=_plain(plan.settings),
        complete=complete,
        code=plan.code,
        sessions=_sessions(earlier, run),
    )


def _save(file: Path, experiment: Experiment, table: Table, *, complete: bool, **about: Any) -> Results:
    svg = _draw(experiment, table, complete)
    plot_name = file.with_suffix(".svg").name if svg else None
    outcome = results.build(experiment, table, complete=complete, plot=plot_name, **about)
    if svg:
        results.write_text(file.with_suffix(".svg"), svg)
    results.write(file, outcome)
    return outcome


def merge(sources: Sequence[Path], file: Path | None = None) -> Results:
    """Put the outcomes of results files from several machines into one, by default that in `results/`.

    What `file` already holds stays. All must be of one experiment, one code version and one set of settings; raises
    StropError naming the file and what differs.
    """
    parts = [results.read(source) for source in sources]
    experiment = load(parts[0].paper)
    if experiment is None:
        raise StropError(f"{sources[0]} is of paper {parts[0].paper}, which has no experiment.")
    file = file or results.results_folder() / f"{experiment.slug}.json"
    if file.exists():
        sources, parts = [file, *sources], [results.read(file), *parts]
    code = version_of(experiment)
    for source, part in zip(sources, parts):
        if part.experiment != experiment.name or part.settings != parts[0].settings or part.quick != parts[0].quick:
            raise StropError(f"{source} is not of the same experiment with the same settings as {sources[0]}.")
        if part.code.version != code[0]:
            changed = ", ".join(changes(part.code.modules, code[1]))
            raise StropError(f"{source} was made by other code ({changed} changed): run it again.")
    table = Table([one for part in parts for one in part.table().outcomes()], experiment.arms, experiment.metrics)
    size = experiment.quick if parts[0].quick else experiment.planned
    full = experiment.items(tuple(experiment.units())[: size.units], range(size.seeds))
    return _save(
        file,
        experiment,
        table,
        quick=parts[0].quick,
        settings=parts[0].settings,
        complete=all(_covered(table, item) for item in full),
        code=code,
        sessions=list({session.id: session for part in parts for session in part.sessions}.values()),
    )


def figure(outcome: Results) -> str:
    """The figure of a results file, drawn again from its outcomes. Raises StropError when it cannot be."""
    experiment = load(outcome.paper)
    if experiment is None:
        raise StropError(f"Paper {outcome.paper} has no experiment that could draw its figure.")
    svg = _draw(experiment, outcome.table(), complete=False)
    if svg is None:
        raise StropError(f"{experiment.slug} has too few outcomes for a figure.")
    return svg


def _draw(experiment: Experiment, table: Table, complete: bool) -> str | None:
    try:
        return (experiment.plot or plot.means)(table)
    except ValueError:  # the plot needs outcomes that are still missing
        if complete:
            raise
        return None


def _sessions(earlier: Results | None, run: Run) -> list[Session]:
    """One for each run folder that outcomes come from; this folder's is counted anew from its charges."""
    charges = run.charges("items")
    total = sum((spent for *_, spent in charges), Spent())
    manifest = run.manifest
    run.save_result("session", uuid4().hex[:12])
    mine = Session(
        id=str(run.result("session")),
        started=manifest["created"],
        command=manifest["command"],
        items=len(charges),
        seconds=round(total.seconds, 1),
        spent=asdict(total),
        machine=manifest["machine"],
        versions=manifest["versions"],
    )
    others = [one for one in (earlier.sessions if earlier else []) if one.id != mine.id]
    return [*others, mine] if mine.items or not others else others


def _covered(table: Table, item: Item) -> bool:
    return all((arm, unit, item.seed) in table for arm in item.arms for unit in item.units)


def _kept(folder: Path, experiment: Experiment, items: tuple[Item, ...]) -> tuple[set[Item], list[float]]:
    """Items that the run folder already holds, and what each of them took."""
    if not (folder / "manifest.json").exists():
        return set(), []
    with Run.read(folder) as run:
        kept = {item for item in items if run.result(_key(experiment, item)) is not None}
        return kept, [spent.seconds for _, _, spent in run.charges("items")]


def _key(experiment: Experiment, item: Item) -> str:
    return content_hash(experiment.slug, item.arms, item.units, item.seed)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back, so that settings compare with those read from a file."""
    import json

    return json.loads(json.dumps(dict(settings)))


def _times(spent: Spent, factor: float) -> Spent:
    values = {field.name: getattr(spent, field.name) * factor for field in fields(Spent)}
    return Spent(**{name: value if name in ("seconds", "money") else round(value) for name, value in values.items()})


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def words(outcome: Results) -> list[str]:
    """The findings in plain lines, the verdict last."""
    lines = []
    for row in outcome.conditions:
        figures = f"{row.value:.4g}, 95 % interval {row.low:.4g} to {row.high:.4g}"
        sizes = f"{row.direction} {row.bound:g} asked; {row.units} x {row.seeds} units and seeds"
        lines.append(f"{'' if row.required else '(also) '}{row.text}: {row.verdict} ({figures}; {sizes}).")
    if outcome.verdict:
        lines.append(f"{'Verdict' if outcome.complete else 'So far'}: {outcome.verdict}.")
    return lines
