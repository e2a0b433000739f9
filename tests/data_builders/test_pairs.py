"""What becomes a pair, what does not, and that every loss is counted."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pool_helpers import Plain, pool, program

from strop.data import build, pool_up
from strop.data.dstc import dstc
from strop.data.pairs import Draft, NoPair
from strop.data.plum import labels, plum, unpaired
from strop.data.ranked import random_pairs, ranked
from strop.types import Sample, Spent, StropError, Task, Verdict

RULES = {
    "plum": plum(),
    "plum-all": plum("all"),
    "plum-unparsed": plum(unparsed=True),
    "dstc": dstc(),
    "codedpo": ranked("mutual"),
    "agreement": ranked("agreement"),
    "best-random": ranked(against="random"),
    "random": random_pairs,
}


def make(pools, rule, **options):
    return build(pools, rule, Plain(), method="m", **options)


# ---- bad input: sensible output, with counts -------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in RULES if name != "random"])
@pytest.mark.parametrize(
    ("rows", "programs"),
    [
        ("11 11 11", None),  # all pass
        ("00 00", None),  # none does
        ("11", None),  # one sample
        ("10 01 00", [program(1)] * 3),  # one program, with unstable verdicts
        ("?? ??", None),  # the judge failed throughout
    ],
)
def test_tasks_that_teach_nothing_give_no_pair_and_a_reason(name, rows, programs):
    built = make([pool(rows, programs)], RULES[name])
    assert built.pairs == ()
    assert built.tasks == 0
    assert sum(built.dropped_tasks.values()) == 1


def test_nothing_at_all_gives_nothing():
    for rule in RULES.values():
        assert make([], rule).pairs == ()


def test_a_matrix_without_tests_is_a_reason():
    empty = pool("1 0")
    bare = replace(empty, matrix=empty.matrix.without_tests([0]))
    for name in ("dstc", "codedpo"):
        assert make([bare], RULES[name]).dropped_tasks == {"no test to run": 1}


def test_samples_that_cannot_be_used_are_counted():
    def sample(task_id, index, code="def f(): pass"):
        return Sample(task_id=task_id, index=index, text="", code=code, finish_reason="stop", seed=0, protocol="p",
                      spent=Spent())  # fmt: skip

    task = Task(id="t", prompt="", checks=())
    samples = [sample("t", 0), sample("t", 1), sample("t", 2, " \n"), sample("t", 3), sample("other", 0)]
    statuses = {("t", 0): "passed", ("t", 1): "judge_error", ("t", 2): "failed", ("other", 0): "passed"}
    verdicts = {key: Verdict(status=status, fraction=0.0) for key, status in statuses.items()}
    pools, dropped = pool_up([task], samples, verdicts, policy="me")
    assert [(c.index, c.passed, c.policy) for c in pools[0].candidates] == [(0, True, "me")]
    assert dropped == {
        "samples that the judge failed on": 1,
        "samples without a program": 1,
        "samples without a verdict": 1,
        "samples of tasks that are not given": 1,
    }


# ---- caps and duplicates ---------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.text("01?", min_size=2, max_size=2), min_size=1, max_size=6), max_size=4),
    st.sampled_from(sorted(RULES)),
    st.integers(1, 3),
    st.booleans(),
)
def test_every_pair_is_within_a_task_capped_and_true_to_its_rule(words, name, per_task, reuse):
    pools = [pool(" ".join(rows), task_id=f"t{number}") for number, rows in enumerate(words)]
    built = make(pools, RULES[name], per_task=per_task, reuse=reuse, seed=3)
    assert built == make(pools, RULES[name], per_task=per_task, reuse=reuse, seed=3)
    by_id = {one.task.id: one for one in pools}
    for pair in built.pairs:
        source = by_id[pair.why["task_id"]]
        chosen, rejected = (source.candidates[pair.why[f"{side}_index"]] for side in ("chosen", "rejected"))
        assert (chosen.program, rejected.program) == (pair.why["chosen_program"], pair.why["rejected_program"])
        assert pair.prompt == source.task.prompt
        if name.startswith("plum"):
            good, bad = (source.matrix.statuses[candidate.index] for candidate in (chosen, rejected))
            assert set(good) <= {"passed", "judge_error"}
            assert "failed" in bad
        if pair.margin is not None:
            assert pair.margin > 0 or name == "dstc", "equal programs, apart only with their tests"
    for one in pools:
        mine = [pair for pair in built.pairs if pair.why["task_id"] == one.task.id]
        assert len(mine) <= per_task
        indices = [pair.why[f"{side}_index"] for pair in mine for side in ("chosen", "rejected")]
        assert reuse or name == "dstc" or len(set(indices)) == len(indices)
    assert built.tasks + sum(built.dropped_tasks.values()) == len(pools)


def test_the_same_program_in_other_words_makes_no_pair():
    twins = [program(1), program(1) + "# again\n", program(2)]
    built = make([pool("11 00 00", twins)], plum(), per_task=5)
    assert [pair.why["rejected_index"] for pair in built.pairs] in ([1], [2], [2])
    rule_of_twins = lambda one, rng: [Draft(chosen=one.candidates[0], rejected=one.candidates[1])]  # noqa: E731
    built = make([pool("11 00 00", twins)], rule_of_twins)
    assert built.dropped_pairs == {"both are the same program": 1}
    assert built.dropped_tasks == {"no proposed pair could be kept": 1}


def test_behaviour_counts_once_when_asked():
    rows = pool("11 11 10 10 01")
    assert len(make([rows], plum("all"), per_task=9, reuse=True).pairs) == 6
    built = make([rows], plum("all"), per_task=9, reuse=True, by_behaviour=True)
    assert len(built.pairs) == 2
    assert built.dropped_pairs == {"a rejected program that behaves like another": 4}


def test_programs_without_a_form_are_counted_and_others_take_their_place():
    programs = [program(1), "def f(x):\n    return 'no form'\n", program(2)]
    built = make([pool("11 00 00", programs)], plum("all"), per_task=2, reuse=True)
    assert built.dropped_pairs == {"programs without a form under the protocol": 1}
    assert [pair.why["rejected_index"] for pair in built.pairs] == [2]
    only = make([pool("11 00", programs[:2])], ranked())
    assert only.dropped_pairs == {"programs without a form under the protocol": 1}
    assert only.pairs == ()


def test_the_cap_is_no_silent_loss():
    built = make([pool("11 11 11 00 00 00")], plum(), per_task=1)
    assert built.dropped_pairs == {"beyond the cap of a task": 2}
    with pytest.raises(StropError, match="at least 1"):
        make([pool("1 0")], plum(), per_task=0)


def test_another_seed_gives_other_pairs_and_tasks_do_not_disturb_each_other():
    rows = "1 1 1 1 0 0 0 0"
    many = [pool(rows, task_id=f"t{n}") for n in range(3)]
    assert make(many, plum(), seed=1).pairs != make(many, plum(), seed=2).pairs
    alone = make(many[1:2], plum(), seed=1).pairs[0]
    assert alone in make(many, plum(), seed=1).pairs


# ---- single constructions --------------------------------------------------------------------------


def test_plum_drops_what_does_not_parse_and_labels_by_verdict_without_a_matrix():
    rows = pool("11 00 00", ["def f(x): return x", "def f(x:", "def f(x): return 0"])
    assert [(c.index, label) for c, label in labels(rows)] == [(0, True), (2, False)]
    assert [(c.index, label) for c, label in labels(replace(rows, matrix=None))] == [(0, True), (2, False)]


def test_unparsed_programs_stay_where_they_are_wanted():
    rows = pool("11 00 11", ["def f(x): return x", "def f(x:", "def f(x): return x  # again"])
    assert [(c.index, label) for c, label in labels(rows, unparsed=True)] == [(0, True), (1, False)]
    (pair,) = make([rows], plum(unparsed=True)).pairs
    assert pair.why["rejected_program"] == "def f(x:"
    assert make([rows], plum()).dropped_tasks == {"all programs pass": 1}


def test_unpaired_takes_tasks_with_one_label_too():
    rows = unpaired([pool("11 11"), pool("00 00 00", task_id="u")], Plain(), per_task=2)
    assert sorted((row.task_id, row.label) for row in rows) == [("t", True)] * 2 + [("u", False)] * 2


def test_dstc_joins_the_rare_test_to_the_best_and_the_easy_one_to_the_worst():
    built = make([pool("110 111 100 000")], dstc())
    (pair,) = built.pairs
    assert (pair.why["chosen_index"], pair.why["rejected_index"]) == (1, 3)
    assert pair.chosen == program(1).rstrip() + "\n\n\nassert f(2) == 2\n"
    assert pair.rejected == program(3).rstrip() + "\n\n\nassert f(0) == 0\n"
    plain = make([pool("110 111 100 000")], dstc(join=False)).pairs[0]
    assert plain.chosen == program(1)
    (tied,) = make([pool("10 01")], dstc()).pairs
    assert (tied.margin, "assert" in tied.chosen) == (0.0, True)
    assert make([pool("10 01")], dstc(join=False)).dropped_tasks == {"all programs score the same": 1}


def test_dstc_never_trains_on_hidden_tests():
    built = make([pool("10 01", visible=False)], dstc())
    assert built.dropped_tasks == {"no visible test with the form of an assertion": 1}


def test_ranked_pairs_outside_in():
    built = make([pool("111 110 100 000")], ranked(), per_task=2)
    ends = {(pair.why["chosen_index"], pair.why["rejected_index"]) for pair in built.pairs}
    assert ends == {(0, 3), (1, 2)}
    wide = make([pool("111 110 100 000")], ranked(gap=0.5), per_task=2)
    assert [(pair.why["chosen_index"], pair.margin) for pair in wide.pairs] == [(0, 1.0)]


def test_random_pairs_are_blind():
    rng = random.Random(0)
    order = {random_pairs(pool("1 0"), rng)[0].chosen.index for _ in range(30)}
    assert order == {0, 1}
    with pytest.raises(NoPair):
        random_pairs(pool("1"), rng)
