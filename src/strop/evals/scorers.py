"""Scorers by name, and the judge of pairs: which of two programs is better, as the token A or B.

shorter, longer             the trivial judges
logprob/MODEL               mean log-probability a token
reward/BASE+FOLDER          a reward model of `strop train reward`
pair/MODEL                  the token A or B, every two programs in both orders (CodeFavor, arXiv 2410.03837)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import TYPE_CHECKING

from strop.evals.codeprefbench import PrefItem, pair_prompt
from strop.models.scorers import Length, LogProb, RewardModel, Scorer
from strop.types import Prompt, StropError

if TYPE_CHECKING:
    from strop.models import Model

KINDS = ("shorter", "longer", "logprob/MODEL", "reward/BASE+FOLDER", "pair/MODEL")
CRITERION = "It should be right: it does what the task asks for on every input."
ANSWERS = (" A", " B")


class PairJudge:
    """A model that is asked which of two programs is better. A score is the mean chance to win against the others.

    Costs two short scorings for each ordered pair of programs: n * (n - 1) of them for n programs.
    """

    def __init__(self, model: Model, criterion: str = CRITERION) -> None:
        self.name = f"pair judge {model.name}"
        self.model, self.criterion = model, criterion
        self.pairs = 0
        """Pairs asked so far, each in both orders."""
        self.turned = 0
        """Those whose winner changed with the order."""

    def wins(self, items: Sequence[PrefItem]) -> list[float]:
        """Chance that the first program of each item is the better one, from the two answers' likelihoods alone."""
        questions = [pair_prompt(item, self.criterion) for item in items]
        scores = self.model.score([(question, answer) for question in questions for answer in ANSWERS])
        gaps = [one.total - other.total for one, other in zip(scores[::2], scores[1::2])]
        return [1 / (1 + math.exp(-max(-50.0, min(50.0, gap)))) for gap in gaps]

    def choices(self, items: Sequence[PrefItem]) -> list[int | None]:
        """0, 1 or None for each item, as `codeprefbench.score_choices` takes them."""
        return [None if win == 0.5 else int(win < 0.5) for win in self.wins(items)]

    def scores(self, prompt: Prompt, programs: Sequence[str]) -> list[float]:
        if len(programs) < 2:
            return [0.5] * len(programs)
        orders = list(permutations(range(len(programs)), 2))
        asked = text_of(prompt)
        couples = [(programs[a], programs[b]) for a, b in orders]
        items = [PrefItem(aspect="", instruction=asked, codes=codes, better=0, group="") for codes in couples]
        first = dict(zip(orders, self.wins(items)))
        totals = [0.0] * len(programs)
        for (a, b), chance in first.items():
            totals[a] += chance
            totals[b] += 1 - chance
            if a < b:
                self.pairs += 1
                self.turned += (chance > 0.5) == (first[b, a] > 0.5)
        return [total / (2 * (len(programs) - 1)) for total in totals]

    @property
    def position_bias(self) -> float | None:
        """Share of pairs whose winner changed with the order, over all that was asked. None before anything was."""
        return self.turned / self.pairs if self.pairs else None


def text_of(prompt: Prompt) -> str:
    """What a prompt says, without a reply that was begun."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(message.content for message in prompt if message.role != "assistant")


def load_scorer(text: str) -> Scorer:
    """The scorer that a name means. Raises StropError with the known forms."""
    from strop import models

    kind, _, rest = text.partition("/")
    if text in ("shorter", "longer"):
        return Length(shorter=text == "shorter")
    if rest and kind == "reward":
        return RewardModel(rest)
    if rest and kind in ("logprob", "pair"):
        return (LogProb if kind == "logprob" else PairJudge)(models.load(rest))
    raise StropError(f"No scorer {text!r}. A scorer is {', '.join(KINDS)}.")
