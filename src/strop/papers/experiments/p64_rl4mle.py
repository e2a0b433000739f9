"""Paper 64 weighs an action's gradient by how long it ran. When do slow actions need that, and when do they not?

Actions are real scikit-learn training programs for the digits data: `fast` is naive Bayes, `slow` a random forest,
which is better. A policy over the two starts even. Two worker processes run what it draws, in windows of wall time;
after each window the policy learns from the programs that ended. `discard` ends unfinished programs with the window,
`carry` lets them go on into the next. `plain` is REINFORCE on the accuracy, `weighted` multiplies by `by_duration`. The
window is 1.4 runs of the slow program, measured first.

The bias belongs to collectors that discard: there, what is seen is not what was drawn. A baseline (the running mean of
rewards) is reported beside it, because with one, two actions can no longer pull the policy both ways.

Departures from the paper: a policy over two programs for a language model that writes them; REINFORCE for PPO; no
milestones and no prompts to improve an earlier program.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np

from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.train.rl.weights import by_duration
from strop.types import Spent, StropError

PROGRAMS = {
    "fast": """
from sklearn.naive_bayes import GaussianNB
model = GaussianNB().fit(train_x, train_y)
accuracy = model.score(test_x, test_y)
""",
    "slow": """
from sklearn.ensemble import RandomForestClassifier
model = RandomForestClassifier(n_estimators=40, random_state=seed).fit(train_x, train_y)
accuracy = model.score(test_x, test_y)
""",
}
ACTIONS = tuple(PROGRAMS)
ARMS = {
    "plain, discard": (False, False, False),
    "weighted, discard": (True, False, False),
    "plain, carry": (False, True, False),
    "weighted, carry": (True, True, False),
    "plain, discard, baseline": (False, False, True),
    "weighted, discard, baseline": (True, False, True),
}
"""Weighted by duration, unfinished work carried over, baseline."""
WORKERS = 2
UNIT = "digits"


# ---- running programs --------------------------------------------------------------------------


def data(seed: int) -> dict[str, Any]:
    """The digits in two halves, and what a program may read. Raises StropError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise StropError("This experiment trains scikit-learn models: pip install scikit-learn.") from None
    x, y = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.5, random_state=seed)
    return {"train_x": train_x, "test_x": test_x, "train_y": train_y, "test_y": test_y, "seed": seed}


def execute(action: int, space: dict[str, Any], answer: Connection) -> None:
    """In a process of its own: run the program and say how good its model is."""
    exec(PROGRAMS[ACTIONS[action]], space)  # our own text
    answer.send(float(space["accuracy"]))
    answer.close()


@dataclass(slots=True)
class Running:
    action: int
    process: Any
    answer: Connection
    began: float


@dataclass(frozen=True, slots=True)
class Done:
    action: int
    seconds: float
    accuracy: float


class Collector:
    """Keeps `WORKERS` programs running and gathers what ends within a window of wall time."""

    def __init__(self, seed: int, carry: bool) -> None:
        self.carry, self.rng = carry, np.random.default_rng(seed)
        self.space = data(seed)
        self.running: list[Running] = []
        self.started = 0

    def window(self, seconds: float, share: np.ndarray) -> list[Done]:
        """Draw actions with probabilities `share` until time is up; what ended, in the order in which it did."""
        ends, found = time.monotonic() + seconds, []
        while (left := ends - time.monotonic()) > 0:
            while len(self.running) < WORKERS:
                self._start(int(self.rng.choice(len(share), p=share)))
            ready = wait([one.answer for one in self.running], timeout=left)
            for one in [one for one in self.running if one.answer in ready]:
                found.append(Done(one.action, time.monotonic() - one.began, one.answer.recv()))
                self._end(one)
        if not self.carry:
            self.close()
        return found

    def _start(self, action: int) -> None:
        self.started += 1
        here, there = multiprocessing.Pipe(duplex=False)
        space = {**self.space, "seed": int(self.rng.integers(2**31))}
        process = multiprocessing.get_context("fork").Process(target=execute, args=(action, space, there), daemon=True)
        process.start()
        there.close()
        self.running.append(Running(action, process, here, time.monotonic()))

    def _end(self, one: Running) -> None:
        one.process.kill()
        one.process.join()
        one.answer.close()
        self.running.remove(one)

    def close(self) -> None:
        for one in list(self.running):
            self._end(one)


def slow_seconds(seed: int, runs: int = 5) -> float:
    """Median seconds of the slow program while both workers run it."""
    collector, found = Collector(seed, carry=True), []
    only_slow = np.eye(len(ACTIONS))[ACTIONS.index("slow")]
    try:
        while len(found) < runs:
            found += [one.seconds for one in collector.window(0.2, only_slow)]
    finally:
        collector.close()
    return float(np.median(found))


# ---- learning ----------------------------------------------------------------------------------


def share_of(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max())
    return raised / raised.sum()


def gradient(done: list[Done], share: np.ndarray, weighted: bool, base: float) -> np.ndarray:
    """Mean of weight * (accuracy - base) * gradient of log share; [actions]."""
    import torch

    seconds = torch.tensor([one.seconds for one in done])
    weights = by_duration(seconds).numpy() if weighted else np.ones(len(done))
    scores = np.array([one.accuracy - base for one in done])
    actions = np.eye(len(share))[[one.action for one in done]]
    return ((weights * scores)[:, None] * (actions - share)).mean(0)


def learn(lab: Lab, arm: str, window: float, seed: int) -> dict[str, float]:
    """Train the policy; its last share of the slow program, and the share among programs seen in the first windows."""
    settings = lab.settings
    weighted, carry, with_baseline = ARMS[arm]
    logits, base, seen = np.zeros(len(ACTIONS)), None, []
    collector = Collector(seed, carry)
    try:
        for _ in range(settings["windows"]):
            share = share_of(logits)
            done = collector.window(window, share)
            seen.append((share[1], [one.action for one in done]))
            if not done:
                continue
            mean = float(np.mean([one.accuracy for one in done]))
            base = mean if base is None else 0.8 * base + 0.2 * mean
            # With a baseline what is left of a reward is some twenty times smaller.
            rate = settings["rate"] * (settings["baseline_rate"] if with_baseline else 1.0)
            logits = logits + rate * gradient(done, share, weighted, base if with_baseline else 0.0)
    finally:
        collector.close()
    lab.charge(Spent(programs=collector.started))
    expected = sum(share * len(actions) for share, actions in seen)
    return {
        "share of the slow program": float(share_of(logits)[1]),
        "slow ones seen over drawn": float(sum(sum(actions) for _, actions in seen) / max(expected, 1e-9)),
    }


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    for arm in item.arms:
        seconds = slow_seconds(item.seed)
        found = learn(lab, arm, lab.settings["window"] * seconds, item.seed)
        for unit in item.units:
            yield Outcome(arm, unit, item.seed, found)


def conclude(table: Table) -> list[Condition]:
    share, seen = "share of the slow program", "slow ones seen over drawn"
    return [
        Condition.of(
            "where unfinished work is discarded, duration weights end with more of the slow and better program",
            table.compare(share, "weighted, discard", "plain, discard"),
        ),
        Condition.of(
            "carrying it over does so without weights", table.compare(share, "plain, carry", "plain, discard")
        ),
        Condition.of(
            "where it is carried over, weights add less than 0.2",
            table.compare(share, "weighted, carry", "plain, carry"),
            below=0.2,
        ),
        Condition.of(
            "discarding, the plain policy sees the slow program less often than it draws it",
            table.mean(seen, "plain, discard"),
            below=1.0,
            required=False,
        ),
        Condition.of(
            "carrying over, it sees it as often as it draws it, within a tenth",
            table.mean(seen, "plain, carry"),
            above=0.9,
            required=False,
        ),
        Condition.of(
            "with a baseline, weights still add where work is discarded",
            table.compare(share, "weighted, discard, baseline", "plain, discard, baseline"),
            required=False,
        ),
    ]


EXPERIMENT = Experiment(
    paper=64,
    name="rl4mle",
    question="When a collector discards unfinished programs, do duration weights save the slow and better one?",
    arms=tuple(ARMS),
    units=lambda: [UNIT],
    metrics={"share of the slow program": (0.0, 1.0), "slow ones seen over drawn": None},
    measure=measure,
    conclude=conclude,
    components=("strop.train.rl.weights",),
    planned=Size(units=1, seeds=5),
    quick=Size(units=1, seeds=2),
    cost=Spent(seconds=14, programs=400),
    cut=("arm",),
    settings={"windows": 24, "window": 1.4, "rate": 1.0, "baseline_rate": 10.0},
    quick_settings={"windows": 4},
)
