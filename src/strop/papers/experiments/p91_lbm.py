"""Paper 91 asks how policies should be compared, when trials are few and pairs are many.

Four policies try the same initial conditions. Each condition has a difficulty of its own, so their successes go
together, as in matched trials. Every pair is tested with exact McNemar: `uncorrected` calls a pair separated at
p < 0.05, `holm` after Holm's correction over the six pairs. While the four are equal, every separation is false. When
the last is better by a gap, `found GAP` is the share of studies that separate it from the first.

Departure from the paper: its tests are unpaired (Barnard) or sequential. Strop pairs by task, so the paired test is the
one that matters here. Trials are simulated; no robot is involved.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from strop.papers import plot
from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.stats import holm, mcnemar_p
from strop.types import Spent

TRIALS = (20, 50, 100, 200, 400)
GAPS = (0.3, 0.2, 0.1, 0.05)
POLICIES = 4
BASE = 0.5
"""Success rate of the equal policies, where differences are hardest to see."""
SPREAD = 0.15
"""Standard deviation of a condition's difficulty around it."""
PAIRS = list(combinations(range(POLICIES), 2))


def study(trials: int, gap: float, rng: np.random.Generator) -> np.ndarray:
    """Successes of shape (policies, trials); the last policy is better by `gap`."""
    easy = np.clip(rng.normal(BASE, SPREAD, trials), 0.05, 0.95)
    rates = np.repeat(easy[None], POLICIES, axis=0)
    rates[-1] = np.clip(rates[-1] + gap, 0, 1)
    return rng.random((POLICIES, trials)) < rates


def separated(successes: np.ndarray) -> dict[str, np.ndarray]:
    """For each arm, which pairs count as different."""
    p = np.array([mcnemar_p(successes[i], successes[j]) for i, j in PAIRS])
    return {"uncorrected": p < 0.05, "holm": holm(p) < 0.05}


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    for unit in item.units:
        trials = int(unit.split()[0])
        rng = np.random.default_rng([item.seed, trials])
        figures: dict[str, dict[str, float]] = {arm: {} for arm in item.arms}
        for gap in (0.0, *GAPS):
            studies = [separated(study(trials, gap, rng)) for _ in range(lab.settings["studies"])]
            for arm in item.arms:
                if gap:
                    found = np.mean([one[arm][PAIRS.index((0, POLICIES - 1))] for one in studies])
                    figures[arm][f"found {gap}"] = float(found)
                else:
                    figures[arm]["false separation"] = float(np.mean([one[arm].any() for one in studies]))
        for arm in item.arms:
            yield Outcome(arm, unit, item.seed, figures[arm])


def conclude(table: Table) -> list[Condition]:
    fifty, many = table.only(["50 trials"]), table.only(["400 trials"])
    return [
        Condition.of(
            "uncorrected, four equal policies are told apart in more than 5 % of studies",
            table.mean("false separation", "uncorrected"),
            above=0.05,
        ),
        Condition.of("with Holm's correction, in less than 5 %", table.mean("false separation", "holm"), below=0.05),
        Condition.of(
            "50 trials find a gap of 10 points in fewer than half of the studies",
            fifty.mean("found 0.1", "holm"),
            below=0.5,
        ),
        Condition.of("400 trials find it in more than half", many.mean("found 0.1", "holm"), above=0.5),
        Condition.of(
            "50 trials find a gap of 30 points in more than 4 of 5 studies",
            fifty.mean("found 0.3", "holm"),
            above=0.8,
            required=False,
        ),
    ]


def draw(table: Table) -> str:
    series = []
    for gap in GAPS:
        means = [(trials, table.only([f"{trials} trials"]).mean(f"found {gap}", "holm")) for trials in TRIALS]
        series.append(
            {
                "label": f"gap of {100 * gap:g} points",
                "points": [[trials, mean.value] for trials, mean in means],
                "intervals": [[mean.low, mean.high] for _, mean in means],
            }
        )
    title = "Share of studies that find a better policy (Holm)"
    return plot.curves(series, title=title, x_label="trials of each policy", low=0.0)


EXPERIMENT = Experiment(
    paper=91,
    name="lbm",
    question="How often do comparisons of policies separate what is equal, and how many trials does a real gap need?",
    arms=("uncorrected", "holm"),
    units=lambda: [f"{trials} trials" for trials in TRIALS],
    metrics={"false separation": (0.0, 1.0)} | {f"found {gap}": (0.0, 1.0) for gap in GAPS},
    measure=measure,
    conclude=conclude,
    plot=draw,
    components=("strop.stats.mcnemar_p", "strop.stats.holm"),
    planned=Size(units=5, seeds=20),
    quick=Size(units=5, seeds=5),
    cost=Spent(seconds=0.3),
    cut=("unit",),
    settings={"studies": 100},
    quick_settings={"studies": 50},
)
