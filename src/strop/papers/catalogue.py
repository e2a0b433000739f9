"""Cards with what was measured: each paper's state, and the checks that keep the catalogue honest.

A state is computed, never written: no results file is `planned` (`study` for a survey, which claims nothing that could
be run); a file that is incomplete, or has no required condition, is `runs`; a complete one has its verdict as state.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from strop.papers import harness, results
from strop.papers.cards import COUNT, FOLDER, Card, cards, read_card
from strop.papers.code import resolve
from strop.papers.experiment import Experiment
from strop.papers.results import Results
from strop.types import StropError

State: TypeAlias = Literal["planned", "study", "runs", "shown", "not shown at this scale", "contradicted"]
STATES: tuple[State, ...] = ("shown", "not shown at this scale", "contradicted", "runs", "study", "planned")


@dataclass(frozen=True, slots=True)
class Entry:
    """One paper: its card, its experiment and results if there are any, and what follows from them."""

    slug: str
    card: Card
    experiment: Experiment | None
    results: Results | None
    stale: tuple[str, ...]
    """Modules that changed since the results were made; their verdict is then about other code."""

    @property
    def state(self) -> State:
        if self.results is None:
            return "study" if self.card.kind == "survey" else "planned"
        if not self.results.complete or self.results.verdict is None:
            return "runs"
        return self.results.verdict

    @property
    def components(self) -> list[str]:
        """What the card names, and what its experiment tests."""
        tested = self.experiment.components if self.experiment else ()
        return list(dict.fromkeys([*self.card.components, *tested]))

    def data(self) -> dict[str, Any]:
        """The card as plain data, with `slug`, `state`, `stale`, `experiment` and `measured` beside its own fields."""
        measured = None
        if self.results is not None:
            measured = self.results.model_dump(mode="json", exclude={"outcomes", "units", "seeds"})
        about = {
            "slug": self.slug,
            "state": self.state,
            "stale": list(self.stale),
            "experiment": self.experiment.question if self.experiment else None,
            "measured": measured,
        }
        return {**self.card.model_dump(mode="json"), "components": self.components, **about}


def catalogue(folder: Path | None = None) -> list[Entry]:
    """Every paper with its state. `folder`: where results lie. Raises StropError for a card or file that is damaged."""
    return [entry(slug, folder) for slug in cards()]


def entry(slug: str, folder: Path | None = None) -> Entry:
    """One paper. Raises StropError when its card, experiment or results file is damaged."""
    return _entry(slug, cards()[slug], folder)


def _entry(slug: str, card: Card, folder: Path | None) -> Entry:
    experiment = harness.load(card.number)
    file = (folder or results.results_folder()) / f"{slug}.json"
    outcome = results.read(file) if file.exists() else None
    stale: list[str] = []
    if outcome is not None and experiment is not None:
        now = harness.version_of(experiment)
        stale = harness.changes(outcome.code.modules, now[1]) if now[0] != outcome.code.version else []
    return Entry(slug, card, experiment, outcome, tuple(stale))


# ---- checks ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Check:
    """What `check` found. `problems` are broken promises; `stale` are results made by code that has changed since."""

    problems: list[str] = field(default_factory=list)
    stale: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.problems and not self.stale


def check(folder: Path | None = None, cards_folder: Path = FOLDER) -> Check:
    """Prove the catalogue: every card valid, every component there, every results file following from its outcomes.

    Goes on after a defect, so that all are found in one run.
    """
    found, folder = Check(), folder or results.results_folder()
    known = _check_cards(found, cards_folder)
    counts: Counter[str] = Counter()
    for slug, card in known.items():
        try:
            experiment = harness.load(card.number)
            if experiment is not None and experiment.slug != slug:
                found.problems.append(f"{slug}: its experiment is called {experiment.slug}")
            tested = experiment.components if experiment else ()
            _check_components(found, slug, dict.fromkeys([*card.components, *tested]))
            one = _entry(slug, card, folder)
        except StropError as error:
            found.problems.append(f"{slug}: {error}")
            continue
        counts[one.state] += 1
        if one.stale:
            found.stale[slug] = list(one.stale)
        if one.results is not None:
            found.problems += [f"{slug}: {text}" for text in _check_results(one, folder)]
    _check_strays(found, folder, known)
    found.counts = {state: counts[state] for state in STATES}
    return found


def _check_cards(found: Check, folder: Path) -> dict[str, Card]:
    known: dict[str, Card] = {}
    for path in sorted(folder.glob("*")):
        try:
            card = read_card(path)
            known[path.stem] = card
        except StropError as error:
            found.problems.append(str(error))
    numbers = Counter(card.number for card in known.values())
    found.problems += [f"paper {number} has no card" for number in range(1, COUNT + 1) if not numbers[number]]
    found.problems += [f"paper {number} has {count} cards" for number, count in numbers.items() if count > 1]
    return known


def _check_components(found: Check, slug: str, names: Iterable[str]) -> None:
    for name in names:
        try:
            resolve(name)
        except StropError as error:
            found.problems.append(f"{slug}: component {error}")
        except ImportError as error:
            found.problems.append(f"{slug}: component '{name}' cannot be imported: {error}")


def _check_results(one: Entry, folder: Path) -> list[str]:
    outcome, experiment = one.results, one.experiment
    assert outcome is not None
    if experiment is None:
        return ["it has a results file but no experiment"]
    wrong = []
    if (outcome.paper, outcome.experiment) != (experiment.paper, experiment.name):
        wrong.append(f"its results file is of paper {outcome.paper}, {outcome.experiment}")
    if outcome.quick or (outcome.settings != dict(experiment.settings) and not one.stale):
        wrong.append("its results are of a quick run or of other settings than the experiment's")
    if outcome.plot and not (folder / outcome.plot).is_file():
        wrong.append(f"its plot {outcome.plot} is missing")
    if not one.stale:
        wrong += results.differences(outcome, experiment)
    return wrong


def _check_strays(found: Check, folder: Path, known: dict[str, Card]) -> None:
    for path in sorted(folder.glob("*.json")):
        if re.match(r"\d\d-", path.name) and path.stem not in known:
            found.problems.append(f"{path.name} belongs to no card")
    numbers = {card.number for card in known.values()}
    for path in sorted(Path(harness.__file__).with_name("experiments").glob("p*.py")):
        if not re.match(r"p\d\d_", path.name) or int(path.name[1:3]) not in numbers:
            found.problems.append(f"{path.name} belongs to no card")
