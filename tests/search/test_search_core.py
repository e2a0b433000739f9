"""Budgets, batches, the wall before hidden checks, resume: what every method rests on."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import CRASH, GOOD, WRONG, Scripted, block, prompt_text, scheduler, solve, task

from strop.models.cache import DrawCache
from strop.search.methods import MethodSpec, get_method
from strop.types import SamplingParams, ScriptCheck, StropError


class Untouchable(ScriptCheck):
    """A hidden check whose content must not be looked at."""

    def __getattribute__(self, name):
        if name in ("code", "style", "name"):
            raise AssertionError("a hidden check was read")
        return super().__getattribute__(name)


METHODS = [
    "direct", "best-of-n", "best-of-n:stop=yes", "best-of-n:select=logprob", "best-of-n:select=majority",
    "best-of-n:select=mbr", "best-of-n:select=codet", "best-of-n:select=clusters", "self-debug",
    "self-debug:reflect=yes", "codetree", "codetree:policy=bfs", "tree-of-code", "tree-of-code:checks=yes", "codechain",
    "codechain:clustering=no", "runtime-debug", "runtime-debug:level=line", "runtime-debug:trace=no",
    "agents:flow=basic", "agents:flow=ac", "agents:flow=act", "agents:flow=act-debugger", "hierarchical",
    "hierarchical:decompose=yes", "pg-td", "pg-td:cache=no",
]  # fmt: skip


def some_of_everything(text: str, before: int) -> str:
    """Programs good and bad, lists, scores, tests: whatever a prompt may want, now and then."""
    if "assert" in text:
        return "assert double(4) == 8\nassert double(0) == 0"
    if "List up to" in text:
        return "1. Add the number to itself.\n2. Multiply by two."
    if "Score:" in text:
        return "It is close.\nScore: 3"
    if "holds only" in text:
        return ["FAIL", "False", "PASS", "True"][before % 4]
    if "is not defined yet" in text:
        return block(
            "def twice(v):\n    return add(v, v)\n" if "`twice`" in text else "def add(a, b):\n    return a + b\n"
        )
    if "leaves the details" in text:
        return block("def double(x):\n    return twice(x)\n")
    return block([WRONG, CRASH, WRONG, GOOD][before % 4])


@pytest.mark.parametrize("method", METHODS)
def test_no_method_reaches_hidden_checks(judge, method):
    hidden = Untouchable(code="assert double(5) == 10", name="x")
    one = task()
    one = replace(one, checks=(*one.visible_checks, hidden))
    with pytest.raises(AssertionError):
        _ = hidden.code
    found = solve(method, Scripted(some_of_everything), judge, [one], budget="programs=3")[0]
    assert found.state.task.hidden_checks == ()
    assert found.task.hidden_checks == ()


BUDGETS = {
    "programs=0": "programs", "programs=5": "programs", "model_calls=3": "model_calls",
    "sampled_tokens=57": "sampled_tokens", "programs=4,model_calls=5,sampled_tokens=90": "model_calls",
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("budget", BUDGETS)
def test_no_method_spends_more_than_its_budget(judge, method, budget):
    model = Scripted(some_of_everything)
    found = solve(method, model, judge, budget=budget)
    for part in budget.split(","):
        name, _, limit = part.partition("=")
        assert getattr(found.meter.spent, name) <= int(limit)
    assert found.meter.spent.model_calls >= len(model.asked)
    assert len(found.state.nodes) == found.meter.spent.programs
    if budget == "programs=0":
        assert found.answer is None


def test_a_token_budget_is_used_up_to_the_last_token(judge):
    model = Scripted(lambda text, before: "x" * 4000)
    found = solve("best-of-n", model, judge, budget="sampled_tokens=250")
    assert found.meter.spent.sampled_tokens == 250
    assert [params.max_tokens for _, params, _ in model.asked] == [100, 100, 50]


def test_branches_and_tasks_share_a_batch_and_equal_draws_happen_once(judge):
    model = Scripted(some_of_everything, batch_size=12)
    bench = scheduler(model, judge, "programs=2")
    tasks = [task(id=f"t/{n}", prompt=f"Write double(x), number {n}.") for n in range(6)]
    specs = [get_method(name) for name in ("best-of-n", "best-of-n:select=mbr", "best-of-n:select=logprob")]
    found = list(bench.run(bench.start(spec, one, 0) for one in tasks for spec in specs))
    assert len(found) == 18
    assert len(model.asked) == 12
    assert bench.effort.drawn == 12
    assert bench.effort.reused == 24
    assert all(search.meter.spent.programs == 2 for search in found)
    assert max(model.batches) >= 4


def test_the_first_draws_are_those_of_eval(judge):
    """Same prompt, same seed: `strop search` and `strop eval` see the same programs."""
    from strop.evals.solve import draw
    from strop.tasks.protocols import PROTOCOLS

    params = SamplingParams(max_tokens=100)
    first, second = Scripted(some_of_everything), Scripted(some_of_everything)
    draw(first, [(task(), 0), (task(), 1)], PROTOCOLS["chat"], params, seed=7)
    solve("best-of-n", second, judge, budget="programs=2", seed=7, params=params)
    assert first.asked == second.asked


def test_draws_kept_on_disk_are_not_drawn_again(judge, tmp_path):
    model = Scripted(some_of_everything)
    asked, spent = [], []
    for _ in range(2):
        cache = DrawCache(tmp_path / "draws.sqlite")
        found = solve("codetree", model, judge, cache=cache)
        cache.close()
        asked.append(len(model.asked))
        spent.append(replace(found.meter.spent, seconds=0))
    assert asked[0] == asked[1] > 0
    assert spent[0] == spent[1], "a reply from the cache must cost what it cost"
    other = Scripted(some_of_everything)
    cache = DrawCache(tmp_path / "draws.sqlite")
    solve("codetree", other, judge, cache=cache)
    assert other.asked, "another model's draws were taken"


def test_a_damaged_file_of_draws_is_an_error_for_people(tmp_path):
    (tmp_path / "draws.sqlite").write_text("no database, only text" * 100)
    with pytest.raises(StropError, match=r"draws\.sqlite"):
        DrawCache(tmp_path / "draws.sqlite")


# ---- methods that misbehave --------------------------------------------------------------------


def test_a_method_that_ignores_the_end_of_its_budget_is_ended(judge):
    from strop.budget import BudgetExhausted

    def stubborn(state):
        while True:
            try:
                yield from state.write()
            except BudgetExhausted:
                continue

    found = solve(stubborn, Scripted(some_of_everything), judge, budget="programs=3")
    assert found.meter.spent.programs == 3
    assert found.answer is not None


def test_a_method_that_judges_for_ever_is_ended(judge):
    def circles(state):
        nodes = yield from state.write()
        while True:
            nodes[0].verdict = None
            yield from state.judge(nodes)

    found = solve(circles, Scripted(lambda text, before: ""), judge)
    assert any("circles" in note for note in found.state.notes)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (lambda state: iter([1]), "not a generator"),
        (lambda state: (yield 3), "no request"),
        (lambda state: (yield from _raise()), "ZeroDivisionError"),
        (lambda state: (yield from _answer(7)), "must return"),
    ],
)
def test_a_broken_method_is_an_error_that_names_it(judge, method, words):
    with pytest.raises(StropError, match=words):
        solve(method, Scripted(some_of_everything), judge)


def _raise():
    yield from ()
    return 1 / 0


def _answer(value):
    yield from ()
    return value


def test_a_method_may_return_text(judge):
    def fixed(state):
        yield from ()
        return GOOD

    found = solve(fixed, Scripted(some_of_everything), judge)
    assert found.answer.code == GOOD
    assert found.answer.role == "answer"


# ---- replies that are nothing ------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reply", ["", "\x00", "I cannot.", "```python\n", "1.", "def double(x):\n  " * 400])
def test_replies_that_hold_no_program(judge, method, reply):
    found = solve(method, Scripted(lambda text, before: reply), judge, budget="programs=3")
    assert found.meter.spent.programs <= 3
    found.record()


@pytest.mark.parametrize("method", METHODS)
def test_tasks_without_visible_checks_are_solved_and_noted(judge, method):
    found = solve(method, Scripted(some_of_everything), judge, [task(visible=False)], budget="programs=4")[0]
    assert found.answer is not None
    assert not found.state.passes(found.answer)
    assert found.state.notes or method in ("direct", "best-of-n:stop=yes", "best-of-n:select=logprob",
                                           "best-of-n:select=clusters", "best-of-n:select=codet", "agents:flow=basic",
                                           "agents:flow=ac", "agents:flow=act")  # fmt: skip


def test_without_visible_checks_programs_that_do_not_load_come_last(judge):
    broken = "import nothing_like_this\ndef double(x):\n    return 2 * x\n"
    model = Scripted(lambda text, before: block(GOOD if "was written" in text else broken))
    found = solve("self-debug", model, judge, [task(visible=False)], budget="programs=2")[0]
    assert found.answer.code == GOOD


def test_prompts_that_outgrow_the_context_get_no_answer_and_a_note(judge):
    class Short(Scripted):
        def room(self, prompt):
            return 150 - len(prompt_text(prompt))

    model = Short(lambda text, before: block(WRONG))
    found = solve("self-debug", model, judge, budget="programs=4")
    assert found.meter.spent.programs == 4
    assert found.answer.code == WRONG
    assert any("context" in note for note in found.state.notes)
    assert all(len(text) <= 150 for text, _, _ in model.asked)


# ---- names -------------------------------------------------------------------------------------


def test_methods_by_name_and_options():
    spec = get_method("codetree:policy=bfs:depth=2")
    assert spec.options == {"policy": "bfs", "depth": 2}
    assert get_method("best_of_n:stop=yes").options == {"stop": True}
    assert get_method("self-debug:temperature=0:reflect=no").options == {"temperature": 0.0, "reflect": False}
    for bad, words in [
        ("codetre", "Did you mean codetree"),
        ("codetree:policy=up", "one of dfs, bfs"),
        ("codetree:deep=3", "Its options"),
        ("codetree:depth=x", "cannot read"),
        ("codetree:depth=-1", "cannot read"),
        ("./nothing.py:search", "no file"),
        ("./nothing.py", "name the function"),
    ]:
        with pytest.raises(StropError, match=words):
            get_method(bad)


def test_a_users_own_method(judge, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def search(state, *, n: int = 2):\n"
        "    nodes = yield from state.write(n=n)\n"
        "    yield from state.judge(nodes)\n"
        "    return state.best(nodes)\n"
    )
    spec = get_method(f"{file}:search:n=4")
    assert spec.source
    bench = scheduler(Scripted(some_of_everything), judge)
    (found,) = bench.run([bench.start(spec, task(), 0)])
    assert found.answer.code.strip() == GOOD.strip()
    with pytest.raises(StropError, match="no function"):
        get_method(f"{file}:other")
    file.write_text("import nothing_like_this\n")
    with pytest.raises(StropError, match="could not be loaded"):
        get_method(f"{file}:search")


def test_the_method_in_the_documentation_works(judge, tmp_path):
    page = Path(__file__).parents[2] / "docs" / "search.md"
    source = page.read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "mine.py").write_text(source)
    bench = scheduler(Scripted(lambda text, before: block(GOOD if "was written" in text else WRONG)), judge)
    (found,) = bench.run([bench.start(get_method(f"{tmp_path / 'mine.py'}:search:n=2"), task(), 0)])
    assert found.answer.code == GOOD
    assert found.meter.spent.programs == 3


def test_every_method_in_the_documentation_is_there():
    from strop.search.methods import METHODS

    page = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
    table = page.split("## Methods")[1].split("## Your own")[0]
    assert set(re.findall(r"^\| `([\w-]+)`", table, re.M)) == set(METHODS)


def test_a_method_needs_a_name():
    assert MethodSpec("x", lambda state: None).options == {}
