"""Which program is faster: the arithmetic on made-up times, and the meter on the real judge."""

from __future__ import annotations

import random

import pytest
from reward_cases import task

from strop.rewards import CostMeter, compare_times
from strop.types import Limits, ScriptCheck, StropError


def test_the_interval_is_the_sign_tests():
    # Nine pairs: 1 - 2 * (1 + 9) / 512 = 0.961, so the second smallest and the second largest ratio.
    compared = compare_times([1, 2, 3, 4, 5, 6, 7, 8, 9], [1] * 9)
    assert (compared.low, compared.ratio, compared.high) == (pytest.approx(2), pytest.approx(5), pytest.approx(8))
    assert compared.outcome == "faster"
    assert compare_times([1] * 9, [2] * 9).outcome == "slower"


def test_too_few_pairs_and_unpaired_times_are_refused():
    with pytest.raises(StropError, match="at least 6"):
        compare_times([1] * 5, [1] * 5)
    with pytest.raises(StropError, match="not pairs"):
        compare_times([1] * 9, [1] * 8)


def test_times_at_the_floor_cannot_be_told_apart():
    compared = compare_times([0.0104] * 9, [0.0101] * 9, floor=0.01, resolution=0.0005)
    assert (compared.outcome, compared.speedup) == ("noise", 1.0)
    bound = compare_times([0.0120] * 9, [0.0100] * 9, floor=0.01, resolution=0.0005)
    assert (bound.outcome, bound.ratio) == ("faster", pytest.approx(4))
    assert compare_times([0.030] * 9, [0.020] * 9, floor=0.01).ratio == pytest.approx(2)


def test_equal_programs_are_called_different_in_at_most_five_percent():
    generator = random.Random(0)
    wrong = 0
    for _ in range(2000):
        times = [generator.lognormvariate(0, 0.3) for _ in range(18)]
        wrong += compare_times(times[:9], times[9:]).outcome != "noise"
    assert wrong / 2000 < 0.05  # exact value 20/512 = 0.039
    assert wrong > 20


COUNT = "def f(n):\n    total = 0\n    for i in range(n):\n        total += i\n    return total"
CLOSED = "def f(n):\n    return n * (n - 1) // 2"


@pytest.mark.timeout(120)
def test_the_meter_on_real_programs():
    from strop.judge import Judge

    sums = task(
        "sum", checks=(ScriptCheck(code="assert f(400000) == 79999800000"),), reference=COUNT, entry_point="f",
        limits=Limits(cpu_seconds=20),
    )  # fmt: skip
    with Judge(workers=1) as judge:
        meter = CostMeter(judge, pairs=7)
        faster = meter.compare(sums, CLOSED)
        assert faster is not None
        assert faster.outcome == "faster"
        assert faster.ratio > 3
        again = meter.compare(sums, COUNT + "\n")
        assert again is not None
        assert 0.5 < again.ratio < 2
        assert meter.compare(sums, "def f(n):\n    return 0") is None
        with pytest.raises(StropError, match="no reference"):
            meter.compare(task("bare", reference=None), CLOSED)
