"""Tables, conditions and verdicts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.papers.experiment import Condition, overall
from strop.papers.table import Outcome, Table
from strop.stats import Difference, Estimate, compare_seeds, estimate

ARMS, METRICS = ("a", "b"), {"x": (0.0, 1.0), "y": None}


def table(grid: dict, metric: str = "x") -> Table:
    """From {(arm, unit, seed): value}."""
    return Table([Outcome(*key, {metric: value}) for key, value in grid.items()], ARMS, METRICS)


def full(seeds: int, units: int, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    cells = [(arm, f"u{unit}", s) for arm in ARMS for s in range(seeds) for unit in range(units)]
    return {key: float(rng.random()) for key in cells}


def test_estimates_are_those_of_stats():
    cells = full(seeds=4, units=9)
    x = np.array([[[cells[arm, f"u{unit}", s] for unit in range(9)] for s in range(4)] for arm in ARMS])
    one = table(cells)
    direct = compare_seeds(x[0], x[1])
    got = one.compare("x", "b", "a")
    assert (got.value, got.low, got.high) == pytest.approx((direct.value, direct.low, direct.high), rel=1e-6)
    assert (got.n, got.seeds) == (9, 4)
    single = table({key: value for key, value in cells.items() if key[2] == 0})
    plain = estimate(x[0, 0])
    low = min(plain.low, float(plain.value - 2.306 * x[0, 0].std(ddof=1) / 3))
    assert single.mean("x", "a").low == pytest.approx(low, abs=1e-3)


def test_an_interval_does_not_depend_on_the_order_of_work():
    cells = full(seeds=3, units=6)
    shuffled = dict(sorted(cells.items(), key=lambda item: hash(item)))
    assert table(cells).compare("x", "b", "a") == table(shuffled).compare("x", "b", "a")


def test_few_figures_get_students_interval_not_a_narrower_one():
    two = table({("a", "u", 0): 0.4, ("a", "u", 1): 0.6})
    mean = two.mean("x", "a")
    assert (mean.low, mean.high) == (0.0, 1.0)  # 12.7 standard errors either way, clipped to the bounds
    with pytest.raises(ValueError, match="no interval"):
        table({("a", "u", 0): 4.0}, "y").mean("y", "a")


def test_a_partial_grid_has_no_gaps_and_keeps_the_seeds_that_cover_most():
    cells = full(seeds=3, units=5)
    for unit in ("u3", "u4"):
        del cells["b", unit, 2]
    grid, seeds, units = table(cells).grid("x", "a", "b")
    assert seeds == (0, 1)
    assert units == ("u0", "u1", "u2", "u3", "u4")
    assert not np.isnan(grid).any()


@given(st.sets(st.tuples(st.sampled_from(ARMS), st.sampled_from("pqr"), st.integers(0, 3))))
def test_grids_of_any_subset_are_whole(keys):
    one = table(dict.fromkeys(keys, 0.5))
    grid, seeds, units = one.grid("x", *ARMS)
    assert grid.shape == (2, len(seeds), len(units))
    assert np.isfinite(grid).all()
    assert all((arm, unit, seed) in keys for arm in ARMS for unit in units for seed in seeds)


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome("c", "u", 0, {"x": 0.5}), "no such arm"),
        (Outcome("a", "u", 0, {"z": 0.5}), "no metric"),
        (Outcome("a", "u", 0, {"x": 1.5}), "outside"),
        (Outcome("a", "u", 0, {"y": float("nan")}), "outside"),
    ],
)
def test_impossible_outcomes_are_refused(outcome, said):
    with pytest.raises(ValueError, match=said):
        Table([outcome], ARMS, METRICS)


@pytest.mark.parametrize(
    ("low", "high", "bound", "verdict"),
    [
        (0.1, 0.3, {"above": 0.0}, "shown"),
        (-0.1, 0.3, {"above": 0.0}, "not shown at this scale"),
        (-0.3, -0.1, {"above": 0.0}, "contradicted"),
        (0.0, 0.3, {"above": 0.0}, "not shown at this scale"),
        (-0.015, 0.3, {"above": -0.02}, "shown"),
        (0.1, 0.3, {"below": 0.5}, "shown"),
        (0.1, 0.6, {"below": 0.5}, "not shown at this scale"),
        (0.6, 0.7, {"below": 0.5}, "contradicted"),
    ],
)
def test_a_verdict_follows_from_the_interval_alone(low, high, bound, verdict):
    figure = Estimate((low + high) / 2, low, high, 30)
    assert Condition.of("said", figure, **bound).verdict == verdict
    difference = Difference((low + high) / 2, low, high, 30, 0.9, 0.1)  # whatever p says
    assert Condition.of("said", difference, **bound).verdict == verdict


def test_the_experiment_is_shown_when_every_required_condition_is():
    shown = Condition.exact("a", 1.0, n=3)
    not_shown = Condition.of("b", Estimate(0.5, -1.0, 2.0, 3))
    against = Condition.exact("c", -1.0, n=3)
    beside = Condition.exact("d", -1.0, n=3, required=False)
    assert overall([shown, beside]) == "shown"
    assert overall([shown, not_shown]) == "not shown at this scale"
    assert overall([shown, not_shown, against]) == "contradicted"
    assert overall([beside]) is None
    with pytest.raises(ValueError, match="one bound"):
        Condition.exact("e", 1.0, n=1, above=0.0, below=2.0)
