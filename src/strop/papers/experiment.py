"""What an experiment is. One is a module `experiments/pNN_name.py` that ends in `EXPERIMENT = Experiment(...)`.

    def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
        judge = lab.once(Judge)                               # opened at the first item, closed after the last
        for unit in item.units:
            for arm in item.arms:
                yield Outcome(arm, unit, item.seed, {"solved": ...})

    def conclude(table: Table) -> list[Condition]:
        return [Condition.of("the tree solves more than resampling", table.compare("solved", "tree", "resample"))]

- An **arm** is a method that is compared; a **unit** is what arms are paired by, usually a task; a **seed** repeats it.
- An **item** is the work that is done and kept at once. `cut` says along what the work is cut besides seeds.
- An **outcome** is what one arm did on one unit with one seed: figures by metric.
- A **condition** is a claim as code. Its verdict comes from its interval and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from strop.papers.table import Outcome, Table
from strop.stats import Bounds, Difference, Estimate
from strop.types import Spent, StropError

T = TypeVar("T")
Verdict: TypeAlias = Literal["shown", "not shown at this scale", "contradicted"]
__all__ = ["Condition", "Experiment", "Item", "Lab", "Outcome", "Size", "Table", "Verdict", "overall"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is run: the first `units` of the experiment's units, and seeds 0 to `seeds` - 1."""

    units: int
    seeds: int

    def __post_init__(self) -> None:
        if self.units < 1 or self.seeds < 1:
            raise StropError(f"An experiment needs at least one unit and one seed, not {self.units} and {self.seeds}.")


@dataclass(frozen=True, slots=True)
class Item:
    """One work item: every arm in `arms` on every unit in `units`, with one seed."""

    arms: tuple[str, ...]
    units: tuple[str, ...]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A claim about one figure: that it lies above (or below) a bound.

    `shown` when the whole 95 % interval does, `contradicted` when the whole interval lies on the other side, else
    `not shown at this scale`. A difference that may not be worse than 2 points is `above=-0.02`.
    """

    text: str
    value: float
    low: float
    high: float
    bound: float
    direction: Literal["above", "below"]
    units: int
    seeds: int
    required: bool
    """Whether the experiment's own verdict depends on it; others are reported beside it."""

    @classmethod
    def of(
        cls,
        text: str,
        figure: Estimate | Difference,
        *,
        above: float | None = None,
        below: float | None = None,
        required: bool = True,
    ) -> Condition:
        """From an estimate or a paired difference. Without a bound: above 0."""
        if above is not None and below is not None:
            raise ValueError("a condition has one bound")
        bound, direction = (below, "below") if below is not None else (above or 0.0, "above")
        return cls(
            text=text,
            value=figure.value,
            low=figure.low,
            high=figure.high,
            bound=bound,
            direction=direction,
            units=figure.n,
            seeds=getattr(figure, "seeds", 1),
            required=required,
        )

    @classmethod
    def exact(cls, text: str, value: float, *, n: int, required: bool = True, **bound: float) -> Condition:
        """From a figure without sampling error, such as how many of `n` runs gave the same programs as a reference.

        Only for what is counted in full, never for a sample of something larger. `above` and `below` as in `of`.
        """
        return cls.of(text, Estimate(value, value, value, n), required=required, **bound)

    @property
    def verdict(self) -> Verdict:
        if any(math.isnan(end) for end in (self.low, self.high)):
            return "not shown at this scale"
        sign = 1 if self.direction == "above" else -1
        near, far = sorted((sign * (self.low - self.bound), sign * (self.high - self.bound)))
        return "shown" if near > 0 else "contradicted" if far < 0 else "not shown at this scale"


def overall(conditions: Sequence[Condition]) -> Verdict | None:
    """The experiment's verdict: shown when every required condition is, contradicted when any is; None without any."""
    verdicts = {condition.verdict for condition in conditions if condition.required}
    if not verdicts:
        return None
    if "contradicted" in verdicts:
        return "contradicted"
    return "shown" if verdicts == {"shown"} else "not shown at this scale"


class Lab:
    """What `measure` works with: settings, a place to write, the bill, and things that are opened once."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        folder: Path,
        quick: bool,
        on_progress: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        self.settings = settings
        self.on_progress = on_progress
        """For work inside an item: `(what is being done, things done, things in all)`."""
        self.folder = folder
        """Scratch space that survives an interruption: checkpoints, run folders of inner runs."""
        self.quick = quick
        self.spent = Spent()
        """Charged for the item at hand; the harness keeps it and starts the next item at nothing."""
        self._stack = ExitStack()
        self._opened: dict[Hashable, Any] = {}

    def once(self, make: Callable[..., T], *arguments: Hashable) -> T:
        """`make(*arguments)`, called once a run. What it returns is closed at the end where it has a `close`."""
        key = (make, *arguments)
        if key not in self._opened:
            thing = self._opened[key] = make(*arguments)
            if callable(close := getattr(thing, "close", None)):
                self._stack.callback(close)
        return self._opened[key]

    def charge(self, spent: Spent) -> None:
        """Add tokens, calls and programs to the item's bill. Seconds are measured by the harness."""
        self.spent += spent

    def close(self) -> None:
        self._stack.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Everything about one experiment. Settings, sizes and conditions are fixed here, before the first outcome."""

    paper: int
    name: str
    """Lower case with hyphens; the module is `pNN_name` and the results file `NN-name.json`."""
    question: str
    """What is asked, in one sentence with a question mark."""
    arms: tuple[str, ...]
    units: Callable[[], Sequence[str]]
    """All units there are, in a fixed order; a size takes the first ones. Raises StropError when data are missing."""
    metrics: Mapping[str, Bounds]
    """Each metric with the least and greatest value that one outcome can have, or None. The first is the main one."""
    measure: Callable[[Lab, Item], Iterable[Outcome]]
    conclude: Callable[[Table], list[Condition]]
    components: tuple[str, ...]
    """Dotted names of what is tested. Their modules and this one make up the code version."""
    planned: Size
    """The size whose verdict counts. A smaller file is partial: its verdict is printed as `so far`."""
    quick: Size
    """Ends within three minutes on two cores; smaller numbers, the same work."""
    cost: Spent
    """What one item costs, roughly, on two cores; replaced by what was measured once there is any."""
    cut: tuple[Literal["arm", "unit"], ...] = ("arm", "unit")
    """How work is cut into items, besides by seed: `()` all arms and units of a seed at once, `("arm",)` for a
    training run, `("unit",)` where arms share samples."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """All else that can change an outcome, as plain data: models, budgets, steps."""
    quick_settings: Mapping[str, Any] = field(default_factory=dict)
    """What differs in a quick run."""
    plot: Callable[[Table], str] | None = None
    """SVG from `strop.papers.plot`; without it, every arm's main metric with its interval."""

    @property
    def slug(self) -> str:
        """`43-codedpo`."""
        return f"{self.paper:02d}-{self.name}"

    @property
    def module(self) -> str:
        """Dotted name of the module that holds it."""
        return self.measure.__module__

    def items(self, units: Sequence[str], seeds: Sequence[int]) -> Iterator[Item]:
        """The work items, seed by seed, so that whole seeds are done first."""
        arms = [(arm,) for arm in self.arms] if "arm" in self.cut else [self.arms]
        blocks = [(unit,) for unit in units] if "unit" in self.cut else [tuple(units)]
        for seed in seeds:
            for block in blocks:
                for some in arms:
                    yield Item(some, block, seed)
