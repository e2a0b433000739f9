"""Sets keep the order in which they iterate, where a check or a program can see it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from judge_helpers import task

from strop.judge import codec


def crossed(value):
    return codec.decode(codec.loads(codec.dumps(codec.encode(value))))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(-1000, 1000) | st.text(max_size=3) | st.none() | st.tuples(st.integers(0, 9)), max_size=30))
def test_sets_stay_equal_and_of_their_type(items):
    for kind in (set, frozenset):
        there = crossed(kind(items))
        assert there == kind(items)
        assert type(there) is kind


def test_small_sets_of_numbers_keep_their_order():
    """However they were built: literals, one by one, or left over from larger ones."""
    kept = total = 0
    for step in (1, 3, 7, 8, 16, 33):
        for size in range(1, 15):
            numbers = [(7 * step * i) % 500 for i in range(size)]
            for built in (
                set(numbers),
                set().union(numbers, numbers),
                set(range(30)) & set(numbers),
                set(dict.fromkeys(numbers)),
            ):
                total += 1
                kept += list(crossed(built)) == list(built)
    assert kept / total > 0.97, (kept, total)


def test_a_program_that_relies_on_the_order_of_a_set_gets_the_order_of_the_check(judge):
    """MBPP/341: returning the set's own order is right for a set that iterates in order, and wrong for any other."""
    program = "def f(s): return tuple(s)"
    for literal in ("{6, 7, 8, 9, 10, 11}", "{12, 13, 14, 15, 16}", "{40, 8, 16}", "{1, 2, 3}"):
        expected = tuple(sorted(eval(literal)))
        honest = tuple(eval(literal)) == expected
        (verdict,) = judge.run(task(f"assert f({literal}) == {expected}", entry_point="f"), [program])
        assert verdict.passed is honest, (literal, verdict)
    returned = task("assert list(f(0)) == [8, 16, 40]", entry_point="f")
    order = list({40, 8, 16})
    (verdict,) = judge.run(returned, ["def f(x): return {40, 8, 16}"])
    assert verdict.passed is (order == [8, 16, 40])


def test_hash_seeds_are_fixed_and_differ_between_runs():
    from strop.judge import Judge

    order = task("assert f() == f()", entry_point="f")
    program = "print(hash('strop'), flush=True)\ndef f(): return 1"
    with Judge(workers=2) as judge:
        outputs = {verdict.output for verdict in judge.run(order, [program] * 8)}
    with Judge(workers=1) as judge:
        outputs |= {judge.run(order, [program])[0].output}
    assert len(outputs) == 1, "the same in every process of every judge"
