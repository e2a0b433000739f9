"""`results/NN-name.json`: what an experiment measured. Written by the harness, read by cards, docs and checks.

The file holds the outcomes themselves, so that estimates and verdicts can be computed again from it (`recompute`), and
so that a later run with more seeds or units adds to it. Outcomes of another code version or other settings never mix.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from strop.papers.experiment import Condition, Experiment, Outcome, Table, overall
from strop.run import write_whole
from strop.types import StropError

FORMAT = "strop-paper/1"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Strict):
    """An arm's mean of one metric with its 95 % interval."""

    metric: str
    arm: str
    value: float
    low: float
    high: float
    units: int
    seeds: int


class Finding(_Strict):
    """A condition with its verdict."""

    text: str
    verdict: Literal["shown", "not shown at this scale", "contradicted"]
    required: bool
    value: float
    low: float
    high: float
    direction: Literal["above", "below"]
    bound: float
    units: int
    seeds: int


class Session(_Strict):
    """One run folder that outcomes come from."""

    id: str
    started: str
    command: str
    items: int
    seconds: float
    spent: dict[str, float]
    machine: dict[str, Any]
    versions: dict[str, str]


class Code(_Strict):
    """The code version: one hash over the modules, and each module's own."""

    version: str
    modules: dict[str, str]


class Results(_Strict):
    """One results file."""

    format: Literal["strop-paper/1"]
    paper: int
    experiment: str
    question: str
    quick: bool
    settings: dict[str, Any]
    arms: list[str]
    metrics: dict[str, tuple[float, float] | None]
    planned: dict[str, int]
    complete: bool
    """Whether every planned unit and seed is there; until then the verdict is provisional."""
    verdict: Literal["shown", "not shown at this scale", "contradicted"] | None
    conditions: list[Finding]
    estimates: list[Figure]
    seconds: float
    spent: dict[str, float]
    sessions: list[Session]
    code: Code
    plot: str | None
    seeds: list[int]
    units: list[str]
    outcomes: dict[str, dict[str, list[list[float | None]]]]
    """Metric, arm, then a row a unit with a figure a seed; null where the metric does not apply."""
    absent: list[tuple[str, str, int]]
    """Arm, unit and seed of what was not measured yet."""

    def table(self) -> Table:
        """The outcomes again. Raises ValueError when they do not fit together."""
        return Table(_unpack(self), self.arms, self.metrics)


def build(
    experiment: Experiment,
    table: Table,
    *,
    quick: bool,
    settings: Mapping[str, Any],
    complete: bool,
    code: tuple[str, dict[str, str]],
    sessions: list[Session],
    plot: str | None,
) -> Results:
    """The results of all outcomes in `table`."""
    findings, figures = conclude(experiment, table, complete)
    size = experiment.quick if quick else experiment.planned
    spent = {name: sum(session.spent[name] for session in sessions) for name in sessions[-1].spent}
    return Results(
        format=FORMAT,
        paper=experiment.paper,
        experiment=experiment.name,
        question=experiment.question,
        quick=quick,
        settings=dict(settings),
        arms=list(experiment.arms),
        metrics=dict(experiment.metrics),
        planned={"units": size.units, "seeds": size.seeds},
        complete=complete,
        verdict=overall([condition for condition, _ in findings]),
        conditions=[finding for _, finding in findings],
        estimates=figures,
        seconds=round(sum(session.seconds for session in sessions), 1),
        spent=spent,
        sessions=sessions,
        code=Code(version=code[0], modules=code[1]),
        plot=plot,
        seeds=list(table.seeds),
        units=list(table.units),
        outcomes=_pack(table),
        absent=[cell for cell in product(table.arms, table.units, table.seeds) if cell not in table],
    )


def conclude(
    experiment: Experiment, table: Table, complete: bool
) -> tuple[list[tuple[Condition, Finding]], list[Figure]]:
    """Conditions with their findings, and every arm's mean of every metric that it has figures of.

    While outcomes are incomplete, figures that need the missing ones are left out.
    """
    findings = []
    try:
        for condition in experiment.conclude(table):
            fields = {name: getattr(condition, name) for name in Finding.model_fields if name != "verdict"}
            fields |= {name: _short(fields[name]) for name in ("value", "low", "high")}
            findings.append((condition, Finding(**fields, verdict=condition.verdict)))
    except ValueError:
        if complete:
            raise
        findings.clear()
    figures = []
    for metric in table.metrics:
        for arm in table.arms:
            try:
                mean = table.mean(metric, arm)
            except ValueError:  # the metric does not apply to this arm, or not yet
                continue
            value, low, high = map(_short, (mean.value, mean.low, mean.high))
            sizes = {"units": mean.n, "seeds": mean.seeds}
            figures.append(Figure(metric=metric, arm=arm, value=value, low=low, high=high, **sizes))
    return findings, figures


def differences(results: Results, experiment: Experiment) -> list[str]:
    """What in the file does not follow from its own outcomes; for `check`. Empty when all does."""
    try:
        findings, figures = conclude(experiment, results.table(), results.complete)
    except ValueError as error:
        return [str(error)]
    wrong = []
    if [_rounded(finding) for _, finding in findings] != [_rounded(finding) for finding in results.conditions]:
        wrong.append("its conditions do not follow from its outcomes")
    if [_rounded(figure) for figure in figures] != [_rounded(figure) for figure in results.estimates]:
        wrong.append("its estimates do not follow from its outcomes")
    if overall([condition for condition, _ in findings]) != results.verdict:
        wrong.append("its verdict does not follow from its outcomes")
    return wrong


def _rounded(row: BaseModel) -> dict[str, Any]:
    """Four digits: another version of NumPy may sum in another order."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in row}


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _pack(table: Table) -> dict[str, dict[str, list[list[float | None]]]]:
    packed: dict[str, dict[str, list[list[float | None]]]] = {}
    for metric in table.metrics:
        for arm in table.arms:
            rows = [[table.value(metric, arm, unit, seed) for seed in table.seeds] for unit in table.units]
            packed.setdefault(metric, {})[arm] = rows
    return packed


def _unpack(file: Results) -> list[Outcome]:
    absent = set(file.absent)
    cells: dict[tuple[str, str, int], dict[str, float]]
    cells = {cell: {} for cell in product(file.arms, file.units, file.seeds) if cell not in absent}
    for metric, arms in file.outcomes.items():
        for arm, rows in arms.items():
            if len(rows) != len(file.units) or any(len(row) != len(file.seeds) for row in rows):
                raise ValueError(f"the outcomes of {arm} in {metric} do not have one row a unit and one figure a seed")
            for unit, row in zip(file.units, rows):
                for seed, value in zip(file.seeds, row):
                    if value is not None:
                        cells.setdefault((arm, unit, seed), {})[metric] = value
    return [Outcome(*cell, figures) for cell, figures in cells.items()]


# ---- files -------------------------------------------------------------------------------------


def results_folder() -> Path:
    """`results/` of the checkout that this package is run from; for an installed package, of the working directory."""
    checkout = Path(__file__).resolve().parents[3]
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / "results"


def read(path: Path) -> Results:
    """Read a results file. Raises StropError when it is missing, damaged or not one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Results.model_validate(data)
    except FileNotFoundError:
        raise StropError(f"{path} does not exist; `strop papers run` writes it.") from None
    except OSError as error:
        raise StropError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise StropError(
            f"{path}: {where}: {first['msg']}. Results are written by `strop papers run`, not by hand."
        ) from (error)
    except ValueError as error:
        raise StropError(f"{path} is damaged: {error}. Restore it from a copy, or run the experiment again.") from error


def write(path: Path, results: Results) -> None:
    """Write the file whole or not at all. Raises StropError when the disk fails."""
    write_text(path, _lines(results.model_dump(mode="json")) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all. Raises StropError when the disk fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise StropError(f"{path} cannot be written: {error.strerror or error}.") from error


def _lines(value: Any, depth: int = 0) -> str:
    """JSON with one line for what fits in one, so that a file's changes read well in a diff."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(flat) + depth <= 118 or not isinstance(value, dict | list) or not value:
        return flat
    pad, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict):
        rows: Iterable[str] = (f"{json.dumps(key)}: {_lines(item, depth + 1)}" for key, item in value.items())
        return "{" + ",".join(pad + row for row in rows) + end + "}"
    return "[" + ",".join(pad + _lines(item, depth + 1) for item in value) + end + "]"
