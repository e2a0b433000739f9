"""Duration-aware policy gradient on real training programs (Yang, He-Yueya and Liang 2025, arXiv 2509.01684).

The action is a program that trains a model with scikit-learn and prints its score; the policy is a softmax over a menu
of such programs. After each window of `collector.Collector` it takes a step along

    sum over finished actions k of  w_k * (R_k - mean R) * grad log pi(a_k),   w_k = seconds_k / mean seconds, or 1

Departures. The paper's policy is a language model of 3B parameters that writes the programs; here it chooses from a
menu, which keeps the question: does a collector that loses slow actions teach the policy to avoid them, and does the
weight cure it?
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from strop.train.rl.collector import Collector, Finished
from strop.train.rl.weights import by_duration

FAILURE = -1.0
"""Reward of a program that prints no score; scores are accuracies, from 0 to 1."""
_SCORE = re.compile(r"^score (\S+)$", re.MULTILINE)

PROGRAM = """
from sklearn.datasets import load_{data}
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import {scaler}
from sklearn.{module} import {model}
x, y = load_{data}(return_X_y=True)
x, held, y, wanted = train_test_split(x, y, test_size=0.5, random_state=0)
fitted = make_pipeline({scaler}(), {model}({options})).fit(x, y)
print("score", fitted.score(held, wanted))
"""


def program(data: str, scaler: str, module: str, model: str, options: str = "") -> str:
    """A program that trains on one half of a data set of scikit-learn's and prints its accuracy on the other."""
    return PROGRAM.format(data=data, scaler=scaler, module=module, model=model, options=options)


def menu(data: str = "digits") -> list[str]:
    """Slow and good, fast and fair, fast and poor, and one that fails."""
    return [
        program(data, "MinMaxScaler", "ensemble", "ExtraTreesClassifier", "n_estimators=1500, random_state=0"),
        program(data, "StandardScaler", "linear_model", "SGDClassifier", "max_iter=5, tol=None, random_state=0"),
        program(data, "StandardScaler", "tree", "DecisionTreeClassifier", "max_depth=3, random_state=0"),
        program(data, "StandardScaler", "linear_model", "LogisticRegression", "C=-1"),
    ]


def reward(finished: Finished) -> float:
    """The last score that the program printed; `FAILURE` where it failed or printed none that is finite."""
    found = _SCORE.findall(finished.output)
    try:
        score = float(found[-1]) if finished.ok and found else FAILURE
    except ValueError:
        return FAILURE
    return score if math.isfinite(score) else FAILURE


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One window's numbers."""

    probabilities: tuple[float, ...]
    """Of each action, after the update."""
    chosen: tuple[int, ...]
    """How often each action finished in time to count."""
    rewards: tuple[float, ...]
    seconds: tuple[float, ...]
    """Of the finished actions, in the order of `rewards`."""
    discarded: int
    stale: int


class Categorical:
    """A softmax over a menu; logits start at 0."""

    def __init__(self, count: int, *, seed: int, learning_rate: float = 0.5) -> None:
        self.logits = np.zeros(count)
        self.learning_rate = learning_rate
        self._random = np.random.default_rng(seed)

    @property
    def probabilities(self) -> np.ndarray:
        """[count], adding up to 1."""
        scaled = np.exp(self.logits - self.logits.max())
        return scaled / scaled.sum()

    def choose(self) -> int:
        return int(self._random.choice(len(self.logits), p=self.probabilities))

    def learn(self, actions: Sequence[int], rewards: Sequence[float], weights: Any) -> None:
        """One step; the gradient of log pi(a) with respect to the logits is onehot(a) - pi."""
        if not actions:
            return
        values = np.asarray(rewards, dtype=float)
        gradients = np.eye(len(self.logits))[list(actions)] - self.probabilities
        steps = (np.asarray(weights) * (values - values.mean()))[:, None] * gradients
        self.logits += self.learning_rate * steps.mean(0)


def practise(policy: Categorical, collector: Collector, *, windows: int, seconds: float, weigh: bool) -> list[Update]:
    """Collect and learn for `windows` windows of `seconds`; `weigh`: by duration. Returns each window's numbers."""
    log = []
    for version in range(windows):
        found = collector.window(policy.choose, version, seconds)
        actions = [one.action for one in found.finished]
        rewards, times = [reward(one) for one in found.finished], [one.seconds for one in found.finished]
        weights = by_duration(np.asarray(times)) if weigh and times else np.ones(len(times))  # type: ignore[arg-type]
        policy.learn(actions, rewards, weights)
        log.append(
            Update(
                probabilities=tuple(policy.probabilities.tolist()),
                chosen=tuple(actions.count(action) for action in range(len(collector.menu))),
                rewards=tuple(rewards), seconds=tuple(times), discarded=len(found.discarded), stale=len(found.stale),
            )
        )  # fmt: skip
    return log
