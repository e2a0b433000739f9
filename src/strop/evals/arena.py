"""Ranking by comparisons: Bradley-Terry by maximum likelihood, and Elo, both with bootstrap intervals.

A vote names two players and how the first did: 1 won, 0 lost, 0.5 drew ("tie" and "both bad" alike, as Chiang et al.
2024 count them). Ratings are on Elo's scale: 400 points stand for odds of 10 to 1, and 1000 is the mean player.

Nothing here knows where votes come from: people in `strop view`, models as judges, or tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SCALE = 400 / np.log(10)
"""Points for one unit of log-odds."""
CENTRE = 1000.0
RESAMPLES = 1_000
"""Bootstrap replicates: the ends of an interval are the 26th smallest and largest, good to a tenth of its width."""


class Vote(NamedTuple):
    """One comparison. `score` is the first player's: 1, 0 or 0.5. Votes on one task are resampled together."""

    first: str
    second: str
    score: float
    task: str = ""


@dataclass(frozen=True, slots=True)
class Rating:
    """A player's rating with its 95 % interval; what it won, lost and drew."""

    player: str
    value: float
    low: float
    high: float
    won: int
    lost: int
    drawn: int


def players_of(votes: Iterable[Vote]) -> list[str]:
    """Everybody who met somebody, by name."""
    return sorted({player for vote in votes for player in (vote.first, vote.second)})


def wins(votes: Sequence[Vote], players: Sequence[str]) -> np.ndarray:
    """Shape (players, players): how often the row's player beat the column's, a draw as half a win for each.

    Raises ValueError for a score outside 0 to 1, or a player who meets themselves.
    """
    place = {player: number for number, player in enumerate(players)}
    table = np.zeros((len(players), len(players)))
    for first, second, score, _ in votes:
        if not 0 <= score <= 1 or first == second:
            raise ValueError(f"a vote needs two players and a score from 0 to 1: {first!r}, {second!r}, {score}")
        table[place[first], place[second]] += score
        table[place[second], place[first]] += 1 - score
    return table


def is_bounded(table: np.ndarray) -> bool:
    """Whether finite ratings of maximum likelihood exist: no group of players won, or lost, all it played against the
    others (Ford 1957). `table` as `wins` gives it."""
    return bool((_reach(table > 0)).all())


def _reach(edges: np.ndarray) -> np.ndarray:
    """Transitive closure of a relation, everybody reaching themselves. Shape (..., players, players)."""
    reach = np.logical_or(edges, np.eye(edges.shape[-1], dtype=bool))
    for _ in range(max(1, int(np.ceil(np.log2(max(edges.shape[-1], 2)))))):
        reach = np.matmul(reach, reach)  # of booleans: whether some player lies between
    return reach


def groups(table: np.ndarray) -> list[list[int]]:
    """Players who met, directly or through others. Ratings of two groups cannot be compared."""
    reach = _reach((table + table.T) > 0)
    return [list(map(int, members)) for members in sorted({tuple(np.flatnonzero(row)) for row in reach})]


def bradley_terry(table: np.ndarray, *, steps: int = 10_000) -> np.ndarray:
    """Log strengths of maximum likelihood with mean 0, by the MM algorithm of Hunter (2004). Shape (..., players).

    P(i beats j) = 1 / (1 + exp(s_j - s_i)). `table`: shape (..., players, players), as `wins` gives it; leading axes
    are solved together. Raises ValueError where no finite maximum exists (see `is_bounded`).
    """
    if not _reach(table > 0).all():
        raise ValueError("somebody won or lost everything, so no finite ratings of maximum likelihood exist")
    met = table + np.swapaxes(table, -1, -2)
    won = table.sum(axis=-1)
    strength = np.ones(table.shape[:-1])
    for _ in range(steps):
        new = won / (met / (strength[..., :, None] + strength[..., None, :])).sum(axis=-1)
        new /= np.exp(np.log(new).mean(axis=-1, keepdims=True))
        moved = np.abs(np.log(new) - np.log(strength)).max(initial=0.0)
        strength = new
        if moved < 1e-9:
            break
    return np.log(strength)


def elo(votes: Iterable[Vote], players: Sequence[str], *, k: float = 4.0) -> np.ndarray:
    """Elo ratings after the votes in their order, from 1000 each. Shape (players,).

    `k` is the most points one vote moves; 4 as in BigCodeArena and Chatbot Arena, small because votes come in any
    order. The order still matters: `elo_ratings` averages over orders.
    """
    ratings = dict.fromkeys(players, CENTRE)
    for first, second, score, _ in votes:
        expected = 1 / (1 + 10 ** ((ratings[second] - ratings[first]) / 400))
        ratings[first] += k * (score - expected)
        ratings[second] -= k * (score - expected)
    return np.array([ratings[player] for player in players])


def bradley_terry_ratings(votes: Sequence[Vote], *, resamples: int = RESAMPLES, seed: int = 0) -> list[Rating]:
    """Every player's rating by Bradley-Terry, best first, with percentile intervals over tasks.

    Where the votes (or a replicate of them) leave maximum likelihood without a finite answer, half a vote each way is
    added between all who met, which keeps a player with nothing but wins on the page. Raises ValueError when players
    fall into groups that never met, or there are no votes.
    """
    if not votes:
        raise ValueError("there are no votes yet")
    players = players_of(votes)
    table = wins(votes, players)
    if len(groups(table)) > 1:
        raise ValueError("the players fall into groups that never met, so they cannot be put in one order")
    met = (table + table.T) > 0
    by_task = np.stack([wins(part, players) for part in _by_task(votes)])
    times = np.random.default_rng(seed).multinomial(len(by_task), np.full(len(by_task), 1 / len(by_task)), resamples)
    drawn = np.tensordot(times, by_task, axes=1)
    return _rated(votes, players, _solve(table[None], met)[0], _solve(drawn, met))


def is_smoothed(votes: Sequence[Vote]) -> bool:
    """Whether `bradley_terry_ratings` had to add half a vote each way."""
    return not is_bounded(wins(votes, players_of(votes)))


def elo_ratings(votes: Sequence[Vote], *, k: float = 4.0, resamples: int = RESAMPLES, seed: int = 0) -> list[Rating]:
    """Every player's Elo rating, best first: the mean over shuffled orders, with percentile intervals over tasks.

    Raises ValueError for no votes.
    """
    if not votes:
        raise ValueError("there are no votes yet")
    players = players_of(votes)
    rng = np.random.default_rng(seed)
    tasks = _by_task(votes)
    shuffled = [[votes[i] for i in rng.permutation(len(votes))] for _ in range(resamples)]
    replicates = []
    for draw in rng.integers(len(tasks), size=(resamples, len(tasks))):
        drawn = [vote for number in draw for vote in tasks[number]]
        replicates.append([drawn[i] for i in rng.permutation(len(drawn))])
    value = _elo_of_many(shuffled, players, k).mean(axis=0)
    return _rated(votes, players, value, _elo_of_many(replicates, players, k))


def _elo_of_many(orders: Sequence[Sequence[Vote]], players: Sequence[str], k: float) -> np.ndarray:
    """`elo` of many lists of votes at once. Shape (lists, players)."""
    place = {player: number for number, player in enumerate(players)}
    ratings = np.full((len(orders), len(players)), CENTRE)
    lengths = np.array([len(order) for order in orders])
    filled = np.zeros((3, len(orders), int(lengths.max(initial=0))))
    for row, order in enumerate(orders):
        filled[:, row, : len(order)] = np.array([(place[a], place[b], score) for a, b, score, _ in order]).T
    for step in range(filled.shape[2]):
        on = np.flatnonzero(lengths > step)
        first, second = filled[0, on, step].astype(int), filled[1, on, step].astype(int)
        expected = 1 / (1 + 10 ** ((ratings[on, second] - ratings[on, first]) / 400))
        moved = k * (filled[2, on, step] - expected)
        ratings[on, first] += moved
        ratings[on, second] -= moved
    return ratings


def _solve(tables: np.ndarray, met: np.ndarray) -> np.ndarray:
    open_ended = ~np.asarray(_reach(tables > 0).all(axis=(-1, -2)))
    return CENTRE + SCALE * bradley_terry(tables + 0.5 * met * open_ended[:, None, None])


def _by_task(votes: Sequence[Vote]) -> list[list[Vote]]:
    """Votes task by task: the task is the unit of sampling."""
    found: dict[str, list[Vote]] = {}
    for vote in votes:
        found.setdefault(vote.task, []).append(vote)
    return list(found.values())


def _rated(votes: Sequence[Vote], players: list[str], value: np.ndarray, drawn: np.ndarray) -> list[Rating]:
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    counts = {player: [0, 0, 0] for player in players}
    for first, second, score, _ in votes:
        for player, own in ((first, score), (second, 1 - score)):
            counts[player][0 if own > 0.5 else 1 if own < 0.5 else 2] += 1
    found = [
        Rating(player, float(value[i]), float(min(low[i], value[i])), float(max(high[i], value[i])), *counts[player])
        for i, player in enumerate(players)
    ]
    return sorted(found, key=lambda rating: (-rating.value, rating.player))
