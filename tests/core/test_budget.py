import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.budget import FIELDS, Budget, BudgetExhausted, Meter, Price
from strop.types import Spent, StropError

whole = st.integers(0, 10**12)
real = st.floats(0, 1e9)
spents = st.builds(
    Spent, prompt_tokens=whole, sampled_tokens=whole, model_calls=whole, programs=whole, seconds=real, money=real
)


def test_parse_reads_units():
    budget = Budget.parse(
        " programs=200, sampled_tokens=50k,prompt_tokens=1.5M ,model_calls=1_000,seconds=10m,money=$2.50"
    )
    assert budget == Budget(
        programs=200, sampled_tokens=50_000, prompt_tokens=1_500_000, model_calls=1000, seconds=600, money=2.5
    )
    assert Budget.parse("") == Budget()
    assert Budget.parse("seconds=1.5h").seconds == 5400
    assert Budget.parse("seconds=2min").seconds == 120
    assert Budget.parse("sampled_tokens=2e6").sampled_tokens == 2_000_000
    assert Budget.parse("prompt_tokens=0.0007m").prompt_tokens == 700


@given(st.builds(Budget, prompt_tokens=st.none() | whole, programs=st.none() | whole, seconds=st.none() | real))
def test_text_of_a_budget_reads_back(budget):
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("tokens=5", "'tokens=5'"),
        ("programs", "'programs'"),
        ("programs=", "''"),
        ("programs=ten", "'ten'"),
        ("programs=5s", "'5s'"),
        ("seconds=5k", "'5k'"),
        ("programs=-5", "'-5'"),
        ("programs=nan", "'nan'"),
        ("programs=1.5", "whole number"),
        ("programs=1e400", "whole number"),
        ("seconds=1e400", "not inf"),
        ("programs=$5", "'$5'"),
        ("programs=5,programs=6", "twice"),
    ],
)
def test_bad_budgets_name_the_bad_part(text, part):
    with pytest.raises(StropError) as told:
        Budget.parse(text)
    assert part in str(told.value)


@given(st.text(max_size=30) | st.builds("{}={}".format, st.sampled_from(FIELDS), st.text(max_size=8)))
def test_any_text_is_a_budget_or_a_clear_error(text):
    try:
        budget = Budget.parse(text)
    except StropError:
        return
    assert all(limit >= 0 and math.isfinite(limit) for limit in budget.limits().values())


@given(st.lists(spents, max_size=5), spents)
def test_a_meter_ends_exactly_when_a_limit_is_reached(charges, limit):
    meter = Meter(Budget(sampled_tokens=limit.sampled_tokens + 1, money=limit.money + 1))
    total = Spent()
    for cost in charges:
        meter.charge(cost)
        total += cost
    assert meter.spent == total
    reached = [
        name for name, most in (("sampled_tokens", limit.sampled_tokens + 1), ("money", limit.money + 1))
        if getattr(total, name) >= most
    ]  # fmt: skip
    assert meter.exhausted == bool(reached)
    assert (meter.ended_by in reached) if reached else meter.ended_by is None
    for name, left in meter.remaining().items():
        assert left == max(0, meter.budget.limits()[name] - getattr(total, name))


def test_the_first_limit_reached_is_the_one_that_is_named():
    meter = Meter(Budget(programs=10, sampled_tokens=100))
    meter.charge(Spent(programs=9, sampled_tokens=99))
    meter.check()
    assert meter.remaining() == {"sampled_tokens": 1, "programs": 1}
    meter.charge(Spent(programs=1))
    meter.charge(Spent(sampled_tokens=50))
    assert meter.ended_by == "programs"
    assert meter.remaining() == {"sampled_tokens": 0, "programs": 0}
    with pytest.raises(BudgetExhausted, match="10 of 10 programs") as told:
        meter.check()
    assert told.value.limit == "programs"


@given(spents, st.integers(0, 50))
def test_what_a_meter_affords_fits(each, at_most):
    meter = Meter(Budget(programs=10**13, sampled_tokens=10**12 * 7, seconds=3e9))
    count = meter.affords(each, at_most)
    assert 0 <= count <= at_most
    for name, limit in meter.budget.limits().items():
        assert getattr(each, name) * count <= limit * (1 + 1e-9)
    if count < at_most:
        assert any(getattr(each, name) * (count + 1) > limit for name, limit in meter.budget.limits().items())


def test_resumed_and_unlimited_meters():
    resumed = Meter(Budget(programs=10), spent=Spent(programs=7))
    assert resumed.affords(Spent(programs=1), 8) == 3
    assert Meter(Budget(programs=10), spent=Spent(programs=12)).exhausted
    assert Meter(Budget(programs=0)).exhausted
    free = Meter()
    free.charge(Spent(programs=10**9))
    assert free.affords(Spent(programs=10**9), 8) == 8
    assert not free.exhausted
    with pytest.raises(ValueError, match="finite"):
        free.charge(Spent(seconds=math.nan))


def test_threads_charge_without_loss():
    meter = Meter(Budget(programs=4000))

    def work():
        for _ in range(1000):
            meter.charge(Spent(programs=1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.spent == Spent(programs=4000)
    assert meter.exhausted


def test_price_per_million_tokens():
    spent = Price(prompt=0.15, sampled=0.60).of(Spent(prompt_tokens=2_000_000, sampled_tokens=500_000, seconds=3))
    assert spent == Spent(prompt_tokens=2_000_000, sampled_tokens=500_000, seconds=3, money=0.6)
