"""Verdicts and texts in, numbers with a breakdown out.

A rule scores a batch of `Case`s (task, sample, verdict) and gives a `Reward` or `None` for each. Named rules are
combined by `weighted_sum`, `gate` or `lexicographic`; every total keeps the parts it was made of.

    rule = gate(binary(), gated_speed(CostMeter(judge)))
    rewards = score(rule, cases)

`None` means that nothing is known: the judge itself failed, or a scorer abstained. It passes through every
combination and drops the sample. It never counts as 0, which would punish a program for our own failure.

    outcome.py     outcome levels, binary, pass fraction, answer-and-format levels
    speed.py       gated speed and tiers            cost.py        which program is faster, or is it noise
    output.py      predicted output                 milestones.py  partial credit from inserted marks
    text.py        format and length                scored.py      a reward model or judge of pairs as a rule
    core.py        rules and their combinations
    adapters.py    the same rules as TRL's `reward_funcs`
"""

from strop.rewards.adapters import dataset_rows, trl_reward
from strop.rewards.core import Case, Rule, batch_part, gate, lexicographic, part, score, verdict_part, weighted_sum
from strop.rewards.cost import Comparison, CostMeter, compare_times
from strop.rewards.milestones import instrument, milestones
from strop.rewards.outcome import (
    ANSWER_AND_FORMAT,
    CODERL_LEVELS,
    answer_and_format,
    binary,
    outcome,
    outcome_class,
    pass_fraction,
)
from strop.rewards.output import output_score, predicted_output
from strop.rewards.scored import scored
from strop.rewards.speed import gated_speed, speed_tiers
from strop.rewards.text import has_program, length_penalty, matches

__all__ = [
    "ANSWER_AND_FORMAT",
    "CODERL_LEVELS",
    "Case",
    "Comparison",
    "CostMeter",
    "Rule",
    "answer_and_format",
    "batch_part",
    "binary",
    "compare_times",
    "dataset_rows",
    "gate",
    "gated_speed",
    "has_program",
    "instrument",
    "length_penalty",
    "lexicographic",
    "matches",
    "milestones",
    "outcome",
    "outcome_class",
    "output_score",
    "part",
    "pass_fraction",
    "predicted_output",
    "score",
    "scored",
    "speed_tiers",
    "trl_reward",
    "verdict_part",
    "weighted_sum",
]
