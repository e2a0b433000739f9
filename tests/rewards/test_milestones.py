"""Marks go where the program reaches a stage, and cannot be forged by printing words."""

from __future__ import annotations

import ast
import contextlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reward_cases import case, totals

from strop.rewards import instrument, milestones
from strop.types import StropError

PROGRAM = """from __future__ import annotations
import math

def load_data():
    return [1, 2]

class Model:
    def fit(self, rows):
        self.mean = sum(rows) / len(rows)
        return self

    def predict(self, rows):
        raise ValueError("later")

rows = load_data()
model = Model()
if rows:
    model.fit(rows)
model.predict(rows)
"""


def output_of(code):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(ValueError):
        exec(compile(code, "p", "exec"), {"__name__": "m"})
    return out.getvalue()


def test_marks_follow_the_statements_that_reached_a_stage():
    assert output_of(instrument(PROGRAM, "s3cret")).splitlines() == [
        "s3cret import", "s3cret load", "s3cret build", "s3cret train",
    ]  # fmt: skip


def rule(score=lambda one: None, secret="s3cret"):
    return milestones(lambda one: secret, score)


def test_rewards_of_failure_progress_and_a_valid_result():
    reached = output_of(instrument(PROGRAM, "s3cret"))
    assert totals(rule(), case("runtime_error", output="")) == [-10]
    assert totals(rule(), case("runtime_error", output=reached)) == [pytest.approx(-9.6)]
    assert totals(rule(lambda one: 0.83), case(output=reached)) == [0.83]


def test_printed_words_without_the_secret_earn_nothing():
    forged = "import\nload\nbuild\ntrain\npredict\ns3cret\nguess train\n"
    assert totals(rule(), case("failed", output=forged)) == [-10]
    repeated = "s3cret train\n" * 50
    assert totals(rule(), case("failed", output=repeated)) == [pytest.approx(-9.9)]
    with pytest.raises(StropError, match="empty secret"):
        rule(secret="")([case("failed")])


def test_a_judge_error_earns_nothing_known():
    assert rule(lambda one: 1.0)([case("judge_error")]) == [None]


def test_text_that_is_not_a_program_comes_back_as_it_is():
    assert instrument("def f(:", "s") == "def f(:"


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(
        ["x = open", "async def f():\n    await g()", "match x:\n    case 1: fit()", "try: fit()\nfinally: pass"]
    )
)
def test_what_comes_back_parses(code):
    ast.parse(instrument(code, "s"))
