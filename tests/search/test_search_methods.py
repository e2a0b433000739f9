"""What each method does step by step, on scripted replies."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import CRASH, GOOD, WRONG, Scripted, block, solve, task

from strop.search import codechain, selectors
from strop.search.code import functions, missing_functions, normal_form, operations
from strop.search.methods import get_method
from strop.search.nodes import Node
from strop.search.pg_td import Edge, Place
from strop.types import CallCheck, StdioCheck, StropError, Task

THREE = "def double(x):\n    return 6\n"
"""Passes one of the two visible tests."""
OVERFIT = "def double(x):\n    return 6 if x == 3 else 4\n"
"""Passes both visible tests and fails the hidden ones."""


def replies(*programs: str):
    """Programs in order, whatever the prompt."""
    waiting = iter(programs)
    return Scripted(lambda text, before: block(next(waiting)))


# ---- best of N ---------------------------------------------------------------------------------


def test_best_of_n_takes_the_first_of_the_best(judge):
    found = solve("best-of-n", replies(WRONG, THREE, GOOD, OVERFIT), judge, budget="programs=4")
    assert found.answer.code == GOOD
    assert [node.fraction for node in found.state.nodes] == [0.5, 0.5, 1.0, 1.0]
    assert solve("best-of-n:stop=yes", replies(WRONG, OVERFIT, GOOD), judge).meter.spent.programs == 2


def test_a_vote_follows_outputs_not_texts(judge):
    same = "def double(y):\n    return y + 3\n"
    also = "def double(z):\n    w = z\n    return w + 3\n"
    found = solve("best-of-n:select=majority:filter=no", replies(GOOD, same, also, CRASH, CRASH, CRASH), judge,
                  budget="programs=6")  # fmt: skip
    assert found.answer.code == same


def test_mbr_prefers_what_agrees_most(judge):
    half = "def double(x):\n    return 6 if x == 3 else 0\n"
    found = solve("best-of-n:select=mbr:filter=no", replies(CRASH, WRONG, half, THREE, GOOD), judge,
                  budget="programs=5")  # fmt: skip
    # On (3, 2): WRONG 5, 4; half 6, 0; THREE 6, 6; GOOD 6, 4. GOOD shares 6 with two and 4 with one.
    assert found.answer.code == GOOD


def test_codet_uses_tests_that_the_model_wrote(judge):
    def reply(text: str, before: int) -> str:
        if "assert" in text:
            return "Sure:\n1. assert double(1) == 2\nassert double(0) == 0, 'zero'\nassert double(x) == 2\nassert True"
        return block([OVERFIT, OVERFIT, GOOD, "def double(a):\n    return a + a\n"][before])

    found = solve("best-of-n:select=codet", Scripted(reply), judge, budget="programs=4")
    assert found.answer.code == GOOD
    assert found.state.formats["write_tests!"] == 0
    assert [node.value for node in found.state.nodes] == [0.0, 0.0, 4.0, 4.0]


def test_clusters_group_by_algorithm():
    loop = "def f(n):\n    total = 0\n    for i in range(n):\n        total += i\n    return total\n"
    renamed = "def f(count):\n    '''Adds up.'''\n    s = 0\n    for k in range(count):\n        s += k\n    return s\n"
    formula = "def f(n):\n    return n * (n - 1) // 2\n"
    recursive = "def f(n):\n    return 0 if n <= 0 else n - 1 + f(n - 1)\n"
    nodes = [Node(i, None, "solver", "", "", code) for i, code in enumerate([formula, loop, recursive, renamed])]
    groups = [[node.number for node in group] for group in selectors.clusters(nodes)]
    assert groups == [[1, 3], [0], [2]]
    assert 1 < selectors.effective_algorithms(selectors.clusters(nodes)) < 4
    assert normal_form(loop) == normal_form(renamed)
    assert operations(recursive)["recursion"] == 1


# ---- chains and trees --------------------------------------------------------------------------


def test_self_debug_shows_what_failed_and_stops_when_it_passes(judge):
    model = replies(WRONG, THREE, GOOD)
    found = solve("self-debug", model, judge)
    assert found.answer.code == GOOD
    assert found.meter.spent.programs == 3
    assert [node.parent for node in found.state.nodes] == [None, 0, 1]
    assert "`double(3)` should be 6, but it returned 5." in model.asked[1][0]
    assert "`double(2)` should be 4, but it returned 6." in model.asked[2][0]
    assert "-2" not in "".join(text for text, _, _ in model.asked), "a hidden test leaked into a prompt"


def test_a_chain_that_repeats_itself_starts_afresh(judge):
    found = solve("self-debug", replies(WRONG, WRONG, GOOD), judge)
    assert [(node.parent, node.fate) for node in found.state.nodes] == [
        (None, "expanded"), (0, "aborted"), (None, "accepted"),
    ]  # fmt: skip


def codetree_model(programs, critic="True", score="Score: 2", ideas="1. Fix it.\n2. Start again."):
    waiting = iter(programs)

    def reply(text: str, before: int) -> str:
        if "different strategies" in text:
            return "1. First idea.\n2. Second idea."
        if "different ways to repair" in text:
            return ideas
        if "Score: NUMBER" in text:
            return score
        if "holds only True" in text:
            return critic
        return block(next(waiting))

    return Scripted(reply)


def fates(found) -> list[tuple[int | None, str]]:
    return [(node.parent, node.fate) for node in found.state.nodes]


def test_codetree_accepts_what_the_critic_accepts(judge):
    found = solve("codetree", codetree_model([OVERFIT]), judge)
    assert fates(found) == [(None, "accepted")]
    assert found.answer.value == pytest.approx(1 + 5 / 15)


def test_codetree_goes_on_when_the_critic_rejects(judge):
    found = solve("codetree", codetree_model([OVERFIT, GOOD], critic="It is wrong for 5.\nFalse"), judge,
                  budget="programs=2")  # fmt: skip
    assert fates(found) == [(None, "accepted"), (0, "unvisited")]
    assert found.answer.code == OVERFIT, "equal value: the earliest"
    repair = [text for text, _, _ in found_prompts(found) if "It is wrong for 5." in text]
    assert repair


def found_prompts(found):
    return [(node.prompt, None, None) for node in found.state.nodes]


def test_codetree_first_strategy_comes_first_and_depth_ends_a_branch(judge):
    model = codetree_model([WRONG, THREE, GOOD], score="Score: 4")
    found = solve("codetree", model, judge)
    assert [node.label for node in found.state.nodes] == ["First idea.", "Fix it.", "Fix it."]
    assert [node.depth for node in found.state.nodes] == [1, 2, 3]
    assert found.answer.code == GOOD


def test_codetree_aborts_below_the_parents_value(judge):
    found = solve("codetree", codetree_model([THREE, CRASH, GOOD]), judge)
    assert fates(found) == [(None, "expanded"), (0, "aborted"), (0, "accepted")]


def test_codetree_breadth_first_expands_the_best_first(judge):
    model = codetree_model([CRASH, THREE, WRONG, WRONG, WRONG, GOOD])
    found = solve("codetree:policy=bfs", model, judge)
    assert [node.parent for node in found.state.nodes] == [None, None, 1, 1, 0, 0]
    assert found.answer.code == GOOD
    assert max(model.batches) == 4, "a level is drawn at once"


def test_a_critic_that_always_rejects_ends_within_the_budget(judge):
    model = codetree_model([GOOD] * 50, critic="False")
    found = solve("codetree", model, judge, budget="programs=9")
    assert found.meter.spent.programs <= 9
    assert found.answer.code == GOOD


def test_tree_of_code_grows_where_programs_crash_and_votes(judge):
    thought = "<thought>plan</thought>\n"
    waiting = iter([CRASH, WRONG, CRASH, GOOD, GOOD, CRASH, GOOD, CRASH, CRASH] + [CRASH] * 20)
    model = Scripted(lambda text, before: thought + block(next(waiting)))
    found = solve("tree-of-code", model, judge, budget="programs=9")
    assert [node.parent for node in found.state.nodes] == [None, None, None, 0, 0, 0, 2, 2, 2]
    assert found.answer.code == GOOD
    assert found.answer.label == "plan"
    assert "AttributeError" in found.state.nodes[3].prompt
    assert "should be" not in found.state.nodes[3].prompt, "what checks expect must stay out of it"


def test_hierarchical_defines_what_is_missing_and_stops_at_its_depth(judge):
    def endless(text: str, before: int) -> str:
        if "is not defined yet" in text:
            name = re.search(r"It calls `(\w+)`", text)[1]
            return block(f"def {name}(v):\n    return {name}_deeper(v)\n")
        return block("def double(x):\n    return helper(x)\n")

    found = solve("hierarchical", Scripted(endless), judge, budget="programs=1")
    assert found.state.facts["helpers_written"] == 4
    assert [f.name for f in functions(found.answer.code)][-2:] == ["helper", "double"]

    def finite(text: str, before: int) -> str:
        if "is not defined yet" in text:
            return block("import math\n\ndef helper(v):\n    return int(math.fsum([v, v]))\n")
        return block("def double(x):\n    return helper(x)\n")

    found = solve("hierarchical", Scripted(finite), judge)
    assert found.answer.verdict.passed
    assert found.meter.spent.programs == 1
    assert found.meter.spent.model_calls == 2


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ("def f(x):\n    return f(x - 1)", []),
        ("def f(x):\n    return g(h(x))", ["g", "h"]),
        ("from math import sqrt\ndef f(g):\n    return g(sqrt(2))", []),
        ("from math import *\ndef f(x):\n    return sqrt(x)", []),
        ("def f(x):\n    def g(y):\n        return y\n    return g(x) + len([x]) + x.h()", []),
        ("f = lambda q: q(later())", ["later"]),
        ("def f(x):\n    if check(x):\n        return 1", ["check"]),
        ("not python", []),
    ],
)
def test_missing_functions(code, missing):
    assert [one.name for one in missing_functions(code)] == missing


def test_codechain_hands_on_functions_of_what_passed(judge):
    modular = (
        "```module\ndef twice(v):\n    '''Twice v.'''\n```\n"
        "```python\ndef twice(v):\n    '''Twice v.'''\n    return v + v\n\n\ndef double(x):\n    return twice(x)\n```"
    )
    model = Scripted(lambda text, before: modular)
    found = solve("codechain", model, judge, budget="programs=7")
    revisions = [node.prompt for node in found.state.nodes[3:]]
    assert [len(revisions), found.meter.spent.programs] == [4, 7]
    assert all("def twice(v):" in prompt and "def double" not in prompt for prompt in revisions)
    assert found.answer.number == 5, "the latest round's first"
    assert found.state.formats["modules!"] == 0
    with pytest.raises(StropError, match="joined by dashes"):
        solve("codechain:clusters=many", model, judge)


def test_representatives_come_from_different_clusters():
    sources = [f"def sort_{n}(items):\n    return sorted(items)[{n}]" for n in range(4)]
    sources += [
        f"def read_{n}(path):\n    with open(path) as stream:\n        return stream.read({n})" for n in range(4)
    ]
    parts = [function for source in sources for function in functions(source)]
    chosen = codechain.representatives(parts, 2, seed=0)
    assert {function.name[:4] for function in chosen} == {"sort", "read"}
    assert codechain.representatives(parts[:2], 5, seed=0) == parts[:2]
    assert codechain.representatives(parts, 2, seed=0) == chosen
    assert codechain.round_sizes(8, 3, 4) == [4, 2, 2]
    assert codechain.round_sizes(None, 3, 4) == [4, 4, 4]


def test_the_tester_decides_whether_the_coder_writes_again(judge):
    said = iter(["I doubt PASS here.\nFAIL", "Fine.\nPASS"])
    waiting = iter([WRONG, GOOD])

    def reply(text: str, before: int) -> str:
        if "You are the tester" in text:
            return next(said)
        if "You are the analyst" in text:
            return "1. Double it."
        return block(next(waiting))

    found = solve("agents:flow=act", Scripted(reply), judge)
    assert found.answer.code == GOOD
    assert [node.role for node in found.state.nodes] == ["coder", "coder"]
    assert found.meter.spent.model_calls == 5


def test_a_repair_that_is_worse_is_not_kept(judge):
    model = Scripted(lambda text, before: block(CRASH if "was written" in text else THREE))
    found = solve("agents:flow=basic-debugger:rounds=2", model, judge)
    assert found.answer.code == THREE
    assert [node.fate for node in found.state.nodes] == ["accepted", "aborted", "aborted"]


# ---- tokens ------------------------------------------------------------------------------------


def test_pg_td_finds_what_greedy_decoding_misses(judge):
    model = Scripted(lambda text, before: "```")
    found = solve("pg-td", model, judge)
    assert found.state.nodes[0].code.strip().endswith("x + 2")
    assert found.answer.code.strip().endswith("2 * x")


@pytest.mark.parametrize("rollouts", [1, 4, 12])
def test_pg_td_caches_change_only_the_cost(judge, rollouts):
    seen, cost = [], []
    for cache in ("yes", "no"):
        found = solve(f"pg-td:rollouts={rollouts}:cache={cache}", Scripted(lambda text, before: "```"), judge,
                      budget="programs=100")  # fmt: skip
        seen.append(list(dict.fromkeys(node.code for node in found.state.nodes)))
        cost.append(found.meter.spent.prompt_tokens + found.meter.spent.sampled_tokens)
    assert seen[0] == seen[1]
    assert cost[0] < cost[1]


def test_pg_td_selection_rules_by_hand():
    edges = [Edge(0, 0.7, visits=3, best=0.5), Edge(1, 0.2, visits=1, best=0.5), Edge(2, 0.1)]
    place = Place((), edges, visits=5)
    spread = math.sqrt(math.log(5))
    for rule, beta in (("p-ucb", 2.0), ("var-p-ucb", math.log(16 / 10) + 2)):
        scores = [edge.best + beta * edge.prior * spread / (1 + edge.visits) for edge in edges]
        assert place.choose(rule, 2.0, 10.0) is edges[scores.index(max(scores))]
    assert place.choose("ucb", 2.0, 10.0) is edges[2], "what was never tried comes first"
    edges[2].visits = 2
    assert place.choose("ucb", 2.0, 10.0) is edges[1]
    assert place.choose("p-ucb", 0.0, 10.0) is edges[0], "ties go to the more likely token"


@pytest.mark.parametrize("rule", ["p-ucb", "ucb"])
def test_pg_td_finds_it_by_every_rule(judge, rule):
    found = solve(f"pg-td:rule={rule}", Scripted(lambda text, before: "```"), judge)
    assert found.answer.code.strip().endswith("2 * x")


def test_helpers_without_end_come_to_one(judge):
    """Every helper calls a new one: at most `most` of them, at most `depth` levels."""

    def reply(text: str, before: int) -> str:
        asked = re.search(r"Define the Python function `(\w+)`", text)
        if asked is None:
            return block("def double(x):\n    return help_0(x)\n")
        number = int(asked[1].split("_")[1])
        return block(f"def help_{number}(x):\n    return help_{number + 1}(x) + help_{number + 50}(x)\n")

    for options, most in (("most=5:depth=9", 5), ("most=50:depth=3", 6)):
        found = solve(f"hierarchical:{options}", Scripted(reply), judge, budget="programs=1")
        assert found.state.facts["helpers_written"] == most


def test_a_method_that_calls_itself_for_ever_is_an_error_for_people(judge):
    def again(state):
        yield from again(state)

    with pytest.raises(StropError, match="RecursionError"):
        solve(again, Scripted(lambda text, before: ""), judge)


def test_pg_td_needs_a_model_that_shows_its_tokens(judge):
    class Closed(Scripted):
        complete_tokens = None

    with pytest.raises(StropError, match="needs a local model"):
        solve("pg-td", Closed(lambda text, before: ""), judge)
    assert get_method("pg-td").needs_tokens
    assert not get_method("direct").needs_tokens


# ---- whole programs ----------------------------------------------------------------------------


def stdio_task(visible: bool) -> Task:
    checks = (StdioCheck(stdin="3\n", stdout="6\n", visible=visible), StdioCheck(stdin="5\n", stdout="10\n"))
    return Task(id="t/stdio", prompt="Read a number, print its double.", checks=checks)


@pytest.mark.parametrize("method", ["best-of-n:select=majority", "self-debug", "runtime-debug", "tree-of-code",
                                    "best-of-n:select=codet", "hierarchical", "codechain"])  # fmt: skip
@pytest.mark.parametrize("visible", [True, False])
def test_whole_programs(judge, method, visible):
    good, bad = "print(2 * int(input()))\n", "x = int(input())\nprint(x + 2)\n"
    model = Scripted(lambda text, before: block(good if "was written" in text or before else bad))
    found = solve(method, model, judge, [stdio_task(visible)], budget="programs=3")[0]
    assert found.answer is not None
    if visible and method != "tree-of-code":
        assert found.answer.code == good


# ---- anything at all ---------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=300))
def test_looking_at_code_never_raises(text):
    for source in (text, f"def f(x):\n    {text}"):
        functions(source)
        missing_functions(source)
        normal_form(source)
        operations(source)


def test_checks_that_mention_odd_values_can_be_shown(judge):
    odd = task(checks=(CallCheck(function="double", args=("a\n`b`$code",), expected={1: {2.5}}, visible=True),))
    model = Scripted(lambda text, before: block(WRONG))
    found = solve("self-debug", model, judge, [odd], budget="programs=2")[0]
    assert "$code" in found.state.nodes[1].prompt
