"""Named rewards against the constants of their sources, and the laws of their combinations."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reward_cases import case, task, totals

from strop.rewards import (
    answer_and_format,
    batch_part,
    binary,
    gate,
    gated_speed,
    has_program,
    length_penalty,
    lexicographic,
    matches,
    outcome,
    output_score,
    part,
    pass_fraction,
    predicted_output,
    score,
    speed_tiers,
    weighted_sum,
)
from strop.rewards.cost import Comparison
from strop.types import Reward, StropError

STATUSES = ("passed", "failed", "runtime_error", "timeout", "out_of_memory", "forbidden", "syntax_error")


def test_outcome_levels_are_coderls_four():
    found = totals(outcome(), *[case(status) for status in STATUSES])
    assert found == [1.0, -0.3, -0.6, -0.6, -0.6, -0.6, -1.0]
    assert totals(outcome(), case("failed", code="  \n")) == [-1.0]  # no program at all


def test_a_judge_error_is_no_reward_in_every_rule_and_combination():
    broken = case("judge_error")
    compares = type("C", (), {"compare": lambda self, task, program: None})()
    for rule in (
        outcome(),
        binary(),
        pass_fraction(),
        answer_and_format(),
        gated_speed(compares),
        speed_tiers(compares),
    ):
        assert rule([broken, case(None)]) == [None, None]
        assert weighted_sum((1.0, has_program()), (0.5, rule))([broken]) == [None]
        assert gate(rule, has_program())([broken]) == [None]
        assert lexicographic((rule, -1, 1, 3), (has_program(), 0, 1, 2))([broken]) == [None]


def test_missing_level_is_refused():
    with pytest.raises(StropError, match="lack syntax"):
        outcome({"failed": 0, "runtime": 0, "passed": 1})  # type: ignore[dict-item]


def test_pass_fraction_and_binary():
    assert totals(pass_fraction(), case("failed", fraction=0.25)) == [0.25]
    assert totals(binary(), case("failed", fraction=0.75), case()) == [0.0, 1.0]


def test_rigid_and_lenient_presets_differ_only_in_form():
    unfenced = {"text": "x = 1"}
    rows = [case(), case(**unfenced), case("failed"), case("failed", **unfenced)]
    assert totals(answer_and_format(), *rows) == [1.0, 0.5, -0.5, -1.0]
    assert totals(binary(), *rows) == [1.0, 1.0, 0.0, 0.0]


class Timed:
    """A meter that answers from a table."""

    def __init__(self, **speedups):
        self.speedups, self.asked = speedups, []

    def compare(self, task, program):
        self.asked.append(program)
        ratio = self.speedups[program]
        if ratio is None:
            return None
        return Comparison(ratio=ratio, low=ratio, high=ratio, outcome="noise" if 0.9 < ratio < 1.1 else "faster")


def test_gated_speed_pays_only_right_programs_and_never_below_wrong_ones():
    meter = Timed(same=1.05, twice=2.0, eight=8.0, half=0.5, slow=0.01, broken=None)
    right = [case(code=name) for name in ("same", "twice", "eight", "half", "slow", "broken")]
    assert totals(gated_speed(meter), *right) == [0.5, 1.0, 1.0, 0.0, 0.0, None]
    meter.asked.clear()
    assert totals(gated_speed(meter), case("failed"), case("timeout"), case("syntax_error")) == [-0.3, -0.6, -1.0]
    assert meter.asked == []  # wrong programs are not timed


def test_speed_tiers():
    meter = Timed(same=1.0, twice=2.0, hundred=100.0, half=0.5)
    rows = [case("syntax_error"), case("timeout"), case("failed"), *[case(code=n) for n in meter.speedups]]
    assert totals(speed_tiers(meter), *rows) == [-1, -1, -0.5, 0, 1, 2, 0]


def test_a_gate_adds_the_second_part_only_when_open():
    asked = []
    second = batch_part("speed", lambda cases: [asked.append(one.sample.index) or 0.25 for one in cases])
    rewards = gate(binary(), second)([case(index=1), case("failed", index=2), case("judge_error", index=3)])
    assert rewards == [
        Reward(total=1.25, parts={"passed": 1.0, "speed": 0.25}),
        Reward(total=0, parts={"passed": 0}),
        None,
    ]
    assert asked == [1]


def test_weighted_sum_keeps_the_parts_unweighted():
    rewards = weighted_sum((0.9, binary()), (0.1, has_program()))([case("failed")])
    assert rewards == [Reward(total=0.1, parts={"passed": 0.0, "format": 1.0})]
    with pytest.raises(StropError, match="called passed"):
        weighted_sum((1, binary()), (1, binary()))([case()])


values = st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=6)


@settings(max_examples=40, deadline=None)
@given(values)
def test_lexicographic_totals_order_as_the_rounded_tuples(pairs):
    rows = [case(index=number) for number in range(len(pairs))]
    rule = lexicographic(
        (part("a", lambda one: pairs[one.sample.index][0]), -1, 1, 5),
        (part("b", lambda one: pairs[one.sample.index][1]), -1, 1, 9),
    )
    found = totals(rule, *rows)
    keys = [(round((a + 1) / 2 * 4), round((b + 1) / 2 * 8)) for a, b in pairs]
    assert all(0 <= total <= 1 for total in found)
    assert sorted(range(len(pairs)), key=lambda i: (found[i], i)) == sorted(
        range(len(pairs)), key=lambda i: (keys[i], i)
    )
    assert all((found[i] == found[j]) == (keys[i] == keys[j]) for i in range(len(pairs)) for j in range(len(pairs)))


def test_lexicographic_refuses_a_level_without_an_order():
    with pytest.raises(StropError, match="no order"):
        lexicographic((binary(), 1, 1, 2))


def test_length_penalty_falls_in_a_straight_line():
    rule = length_penalty(limit=100, cushion=20)
    assert totals(rule, *[case(tokens=n) for n in (1, 80, 90, 100, 500)]) == [0, 0, -0.5, -1, -1]
    with pytest.raises(StropError, match="cushion"):
        length_penalty(10, 0)


def test_format_by_pattern():
    assert totals(matches(r"```python\n.*```"), case(), case(text="x")) == [1, 0]


# ---- predicted output: dossier's arithmetic ----


def block(out, err):
    return f"thinking <stdout>{out}</stdout>\n<stderr>{err}</stderr>"


def test_output_reward_of_a_perfect_answer_is_capped_as_in_the_authors_code():
    assert output_score(block("1\n", "e"), "1\n", "e").total == pytest.approx(0.775)
    assert output_score(block("1", "e"), "1\n", "e", stderr_weight=1).total == pytest.approx(1.0)


def test_output_reward_counts_lines_as_multisets_and_missing_blocks_as_zero():
    # stdout wrong; stderr shares one of three distinct line places: {a, a} against {a, b} -> 1 / 3
    reward = output_score(block("2", "a\na"), "1", "a\nb")
    assert reward.parts == {"format": 1.0, "stdout": 0.0, "stderr": pytest.approx(1 / 3)}
    assert reward.total == pytest.approx(0.1 + 0.9 * (0.5 / 3) / 2)
    assert output_score("no blocks", "1", "").total == 0
    half = output_score("<stdout>1</stdout>", "1", "")
    assert half.total == pytest.approx(0.1 * 0.5 + 0.9 * 0.5)


def test_the_last_block_counts():
    assert output_score("<stdout>1</stdout> no, <stdout>2</stdout>", "2", "").parts["stdout"] == 1


def test_predicted_output_reads_the_task():
    of = task(meta={"stdout": "3\n"})
    assert totals(predicted_output(), case(None, text=block("3", ""), of=of)) == [pytest.approx(0.775)]
    with pytest.raises(StropError, match=r"meta\.stdout"):
        predicted_output()([case(None)])


# ---- errors ----


def test_a_raising_reward_stops_with_the_sample_named():
    def scorer(cases):
        if any(one.sample.index == 2 for one in cases):
            raise ZeroDivisionError("division by zero")
        return [1.0] * len(cases)

    with pytest.raises(StropError, match="sample 2 of task t: ZeroDivisionError"):
        score(batch_part("s", scorer), [case(index=1), case(index=2)])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_not_finite_stops(bad):
    with pytest.raises(StropError, match="not a finite number"):
        score(part("s", lambda one: bad), [case()])


def test_a_scorer_of_the_wrong_length_stops():
    with pytest.raises(StropError, match="1 values for 2 cases"):
        score(batch_part("s", lambda cases: [1.0]), [case(), case()])


def test_an_abstaining_scorer_drops_the_sample():
    assert score(batch_part("s", lambda cases: [None]), [case()]) == [None]
