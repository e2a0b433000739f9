"""Ratings by comparison against values worked out by hand, and what they promise on votes with a known truth."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from strop.evals.arena import (
    CENTRE,
    SCALE,
    Vote,
    bradley_terry,
    bradley_terry_ratings,
    elo,
    elo_ratings,
    groups,
    is_bounded,
    is_smoothed,
    wins,
)


def test_two_players_are_the_log_odds():
    """One parameter: the maximum of 3 ln p + 1 ln(1-p) is at p = 3/4, so the strengths differ by ln 3."""
    log = bradley_terry(np.array([[0, 3], [1, 0]]))
    assert log == pytest.approx([math.log(3) / 2, -math.log(3) / 2], abs=1e-7)


def test_three_players_whose_wins_fit_exactly():
    """Strengths 4, 2, 1: of six games each pair has expected wins 4 to 2, 4.8 to 1.2 and 4 to 2; these are the maximum,
    because the likelihood equations ask for expected wins equal to observed ones."""
    table = np.array([[0, 4, 4.8], [2, 0, 4], [1.2, 2, 0]])
    strength = np.exp(bradley_terry(table))
    assert strength / strength[2] == pytest.approx([4, 2, 1], abs=1e-5)


def test_a_published_example():
    """Wikipedia's worked example of Bradley-Terry (four players), whose printed solution is 0.640, 1.043, 0.660, 2.270
    with geometric mean 1."""
    table = np.array([[0, 2, 0, 1], [3, 0, 5, 0], [0, 3, 0, 1], [4, 0, 3, 0]])
    assert np.exp(bradley_terry(table)) == pytest.approx([0.640, 1.043, 0.660, 2.270], abs=2e-3)


def test_the_maximum_is_one():
    """Nothing near the solution has a higher likelihood."""
    rng = np.random.default_rng(0)
    table = rng.integers(1, 9, (5, 5)) * (1 - np.eye(5))
    best = bradley_terry(table)

    def likelihood(s):
        return float((table * -np.log1p(np.exp(s[None, :] - s[:, None]))).sum())

    for _ in range(200):
        assert likelihood(best + rng.normal(0, 0.05, 5)) <= likelihood(best) + 1e-9


def test_elo_by_hand():
    """Equal players: the winner gets k/2. Then 1016 against 984 expects 1 / (1 + 10^(-32/400)) = 0.5459 of 1016."""
    votes = [Vote("a", "b", 1)]
    assert elo(votes, ["a", "b"], k=32) == pytest.approx([1016, 984])
    expected = 1 / (1 + 10 ** (-32 / 400))
    assert expected == pytest.approx(0.5459, abs=1e-4)
    moved = 32 * (0 - expected)
    assert elo([*votes, Vote("a", "b", 0)], ["a", "b"], k=32) == pytest.approx([1016 + moved, 984 - moved])
    assert elo([Vote("a", "b", 0.5)], ["a", "b"]) == pytest.approx([1000, 1000])


def test_no_finite_answer_is_said_and_smoothed():
    table = wins([Vote("a", "b", 1)] * 3, ["a", "b"])
    assert not is_bounded(table)
    with pytest.raises(ValueError, match="won or lost everything"):
        bradley_terry(table)
    votes = [Vote("a", "b", 1, str(n)) for n in range(3)]
    assert is_smoothed(votes)
    best, worst = bradley_terry_ratings(votes)
    # Half a vote each way: 3.5 to 0.5, odds of 7.
    assert (best.player, best.won, worst.lost) == ("a", 3, 3)
    assert best.value - worst.value == pytest.approx(SCALE * math.log(7), abs=0.01)


def test_a_group_that_beat_the_others_every_time_is_not_bounded():
    """a and b beat each other, c and d too, but nobody of the second group ever beat the first (Ford's condition)."""
    votes = [Vote(*v) for v in (("a", "b", 1), ("b", "a", 1), ("c", "d", 1), ("d", "c", 1), ("a", "c", 1))]
    table = wins(votes, list("abcd"))
    assert not is_bounded(table)
    assert groups(table) == [[0, 1, 2, 3]]
    assert is_bounded(wins([*votes, Vote("d", "b", 1)], list("abcd")))


def test_players_who_never_met_are_not_ranked():
    votes = [Vote("a", "b", 1), Vote("c", "d", 1)]
    assert groups(wins(votes, list("abcd"))) == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="never met"):
        bradley_terry_ratings(votes)


@pytest.mark.parametrize("rate", [bradley_terry_ratings, elo_ratings])
def test_no_votes_and_impossible_votes(rate):
    with pytest.raises(ValueError, match="no votes"):
        rate([])
    for bad in (Vote("a", "a", 1), Vote("a", "b", 2), Vote("a", "b", math.nan)):
        with pytest.raises(ValueError, match="score from 0 to 1"):
            bradley_terry_ratings([bad])


def drawn(strengths: dict[str, float], tasks: int, seed: int) -> list[Vote]:
    rng = random.Random(seed)
    votes = []
    for task in range(tasks):
        a, b = rng.sample(sorted(strengths), 2)
        chance = 1 / (1 + 10 ** ((strengths[b] - strengths[a]) / 400))
        votes.append(Vote(a, b, float(rng.random() < chance), str(task)))
    return votes


def test_intervals_cover_the_truth():
    truth = {"a": 1120.0, "b": 1000.0, "c": 880.0}
    covered = 0
    for seed in range(40):
        found = bradley_terry_ratings(drawn(truth, 150, seed), resamples=300, seed=seed)
        covered += sum(one.low <= truth[one.player] <= one.high for one in found)
    assert 0.88 <= covered / 120 <= 1.0


def test_both_ratings_order_players_alike_and_repeat():
    votes = drawn({"a": 1300.0, "b": 1000.0, "c": 700.0}, 300, 1)
    by_strength, by_elo = bradley_terry_ratings(votes), elo_ratings(votes)
    assert [one.player for one in by_strength] == [one.player for one in by_elo] == ["a", "b", "c"]
    assert bradley_terry_ratings(votes) == by_strength
    assert elo_ratings(votes) == by_elo
    assert np.mean([one.value for one in by_elo]) == pytest.approx(CENTRE)
    assert all(one.low <= one.value <= one.high for one in (*by_strength, *by_elo))


def test_votes_of_a_task_are_resampled_together():
    """Ten votes on one task are one observation of players on tasks: the interval must not shrink with copies."""
    votes = [Vote("a", "b", float(n % 3 > 0), str(n)) for n in range(12)]
    copies = [vote for vote in votes for _ in range(10)]
    single, repeated = (bradley_terry_ratings(part)[0] for part in (votes, copies))
    width, width_of_copies = single.high - single.low, repeated.high - repeated.low
    assert width_of_copies > 0.6 * width
