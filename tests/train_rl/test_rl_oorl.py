"""OORL: translation tasks judged in three languages, groups of real IR, and GEPO beside the policy's loss."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from rl_tiny import TASKS  # noqa: E402

from strop import tasks  # noqa: E402
from strop.data import ir_groups  # noqa: E402
from strop.judge import Judge, languages  # noqa: E402
from strop.tasks.translation import Translate, fits, translations  # noqa: E402
from strop.train.rl import presets, ranking  # noqa: E402
from strop.train.rl.buffer import Rollout  # noqa: E402
from strop.train.rl.loop import learner_for  # noqa: E402
from strop.train.rl.oorl import EquivalenceLearner, encode  # noqa: E402
from strop.train.rl.policy import Policy  # noqa: E402
from strop.train.rl.recipes import settings  # noqa: E402
from strop.types import CallCheck, Reward, Sample, ScriptCheck, Spent, StropError, Task, Verdict  # noqa: E402

# ---- translation ----

DOUBLE = Task(
    id="double", prompt="?", entry_point="double", reference="def double(x):\n    return x * 2\n", language="python",
    checks=(CallCheck(function="double", args=(4,), expected=8), CallCheck(function="double", args=(-1,), expected=-2)),
)  # fmt: skip
RIGHT = {
    "javascript": "function double(x) { return x * 2; }", "lua": "function double(x) return x * 2 end",
    "cpp": "int twice(int x) { return x * 2; }\n#define double twice\n", "bash": 'double() { echo $(( $1 * 2 )); }',
}  # fmt: skip
HALVE = replace(
    DOUBLE, id="halve", entry_point="halve", reference="def halve(x):\n    return x // 2\n",
    checks=(CallCheck(function="halve", args=(4,), expected=2), CallCheck(function="halve", args=(7,), expected=3)),
)  # fmt: skip
HALVES = {
    "javascript": "function halve(x) { return Math.floor(x / 2); }", "lua": "function halve(x) return x // 2 end",
    "cpp": "int halve(int x) { return x >> 1; }", "bash": "halve() { echo $(( $1 / 2 )); }",
}  # fmt: skip


@pytest.mark.parametrize("targets", [("javascript", "lua", "bash"), pytest.param(("cpp",), marks=pytest.mark.slow)])
def test_the_same_checks_judge_every_language(targets):
    try:
        for name in targets:
            languages.toolchain(name)
        judge = Judge(workers=2, require="root", preload=())
    except StropError as error:
        pytest.skip(str(error))
    made = translations([HALVE], targets)
    assert [task.id for task in made] == [f"halve>{name}" for name in targets]
    with judge:
        jobs = [((task.language, side), task, code) for task in made
                for side, code in (("right", HALVES[task.language]), ("python", HALVE.reference))]  # fmt: skip
        found = {key: verdict.status for key, verdict in judge.stream(jobs)}
    assert {key for key, status in found.items() if status == "passed"} == {(name, "right") for name in targets}
    assert "judge_error" not in found.values()


def test_tasks_whose_values_a_language_lacks_are_left_out():
    def with_value(value, **changes):
        return replace(DOUBLE, checks=(CallCheck(function="double", args=(value,), expected=1),), **changes)

    assert fits(with_value([1, 2.5]), "cpp")
    assert not fits(with_value([1, "a"]), "cpp")
    assert fits(with_value([1, "a"]), "javascript")
    assert not fits(with_value(None), "cpp")
    assert not fits(with_value({1, 2}), "javascript")
    assert not fits(with_value({"a": 1}), "bash")
    assert not fits(with_value(float("nan")), "lua")
    assert not fits(with_value(2**40), "cpp")
    assert not fits(replace(DOUBLE, checks=(ScriptCheck(code="assert 1"),)), "lua")
    assert translations([DOUBLE, replace(DOUBLE, id="x", reference=None)], ["lua"])[0].id == "double>lua"
    with pytest.raises(StropError, match="None of 1 tasks"):
        translations([with_value(None)], ["cpp"])
    with pytest.raises(StropError, match="cobol: no language"):
        translations([DOUBLE], ["lua", "cobol"])


def test_most_basics_can_be_translated():
    basics = tasks.load("basics")
    for name in ("javascript", "lua", "cpp"):
        assert sum(fits(task, name) for task in basics) > len(basics) / 2


def test_the_protocol_reads_what_it_asks_for():
    (task,) = translations([DOUBLE], ["javascript"])
    protocol, program = Translate(), RIGHT["javascript"] + "\n"
    messages = protocol.render(task.public())
    assert "def double(x)" in messages[0].content
    assert "JavaScript" in messages[0].content
    assert messages[1].content == "```javascript\n"
    assert protocol.extract(task, protocol.answer(task, program)) == program
    assert protocol.extract(task, f"{program}```\nHere it is.") == program
    assert protocol.extract(task, "") == ""
    assert protocol.extract(task, "```\n") == ""


def test_work_divides_first_and_translates_then():
    chosen = settings({"languages": "lua, javascript", "held_out_tasks": 6, "practice_tasks": 6})
    work = presets.work(chosen, chat=True)
    assert {task.language for task in work.practice} == {"lua", "javascript"}
    assert not {task.id.partition(">")[0] for task in work.practice} & {t.id.partition(">")[0] for t in work.held_out}
    assert work.protocol.name == "translate"
    with pytest.raises(StropError, match="no chat template"):
        presets.work(chosen, chat=False)


# ---- groups of IR ----


@pytest.fixture(scope="module")
def groups():
    pytest.importorskip("ziglang")
    return list(ir_groups.build(2, seed=3))


def test_winners_do_the_same_and_losers_do_not(groups, tmp_path):
    pairs = [(a, b) for a in (-30, -3, 0, 7, 30) for b in (-20, 1, 15)]
    for group in groups:
        found = [ir_groups.behaviour(text, pairs, tmp_path) for text in group.winners]
        assert found[0] is not None
        assert all(one == found[0] for one in found)
        assert len(set(group.winners)) == len(group.winners) >= 2
        assert len(group.losers) >= 2
        assert not set(group.losers) & set(group.winners)
        assert all(ir_groups.assembles(text, tmp_path) for text in group.losers)
        assert len(group.edits) == len(group.losers)
        for text in (*group.winners, *group.losers):
            assert "!" not in text
            assert "#" not in text


def test_groups_are_the_same_again_and_survive_a_file(groups, tmp_path):
    assert list(ir_groups.build(1, seed=3)) == groups[:1]
    file = tmp_path / "groups.jsonl"
    assert ir_groups.dump(groups, file) == 2
    assert ir_groups.load(file) == groups


def test_mutations_change_one_place():
    text = "  %c = icmp slt i32 %a, 6\n  %r = add nsw i32 %b, -4\n  %x = alloca i32, align 4\n"
    seen = {ir_groups.mutate(text, random.Random(seed)) for seed in range(60)}
    kinds = {found[1].split(":")[0] for found in seen if found}
    assert kinds == {"predicate", "operator", "constant"}
    assert all("align 4" in found[0] for found in seen if found)
    assert ir_groups.mutate("ret void\n", random.Random(0)) is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: not JSON"), ("[]", "field source"), ('{"source": "x"}', "field winners"),
        ('{"source": "x", "winners": ["a", 1], "losers": ["b"]}', "field winners"),
        ('{"source": "x", "winners": ["a", "b"], "losers": []}', "field losers"),
    ],
)  # fmt: skip
def test_wrong_files_are_named(tmp_path, line, message):
    file = tmp_path / "groups.jsonl"
    file.write_text(line)
    with pytest.raises(StropError, match=message):
        ir_groups.load(file)


# ---- the learner ----

HAND = ir_groups.Group(
    source="int f(int a, int b) { return a; }", winners=("ret a", "ret a ; again"), losers=("ret b", "ret 0"),
    levels=("O0", "O1"), edits=("x", "y"),
)  # fmt: skip


def make(tiny, tmp_path, **given):
    ir_groups.dump([HAND], tmp_path / "groups.jsonl")
    chosen = settings(
        {"recipe": "oorl", "model": f"hf/{tiny}", "equivalents": str(tmp_path / "groups.jsonl"), "lora_rank": 4,
         "warmup": 0, "learning_rate": 0.01, "languages": "", **given}
    )  # fmt: skip
    policy = Policy(chosen.model, lora_rank=4, lora_alpha=8, seed=0)
    learner = learner_for(policy, chosen)
    assert isinstance(learner, EquivalenceLearner)
    return policy, learner


def equal_rewards():
    sample = Sample(
        task_id=TASKS[0].id, index=0, text="", code="", finish_reason="stop", seed=0, protocol="p", spent=Spent(),
        token_ids=(11, 12),
    )  # fmt: skip
    verdict = Verdict(status="failed", fraction=0.0)
    return [
        Rollout(task=TASKS[0], sample=replace(sample, index=n), verdict=verdict, reward=Reward(total=0.0))
        for n in range(2)
    ]


def test_gepo_alone_raises_winners_over_losers(tiny, tmp_path):
    policy, learner = make(tiny, tmp_path, gepo_weight=1.0)
    group = encode(HAND, policy)
    assert group.winners == 2

    def margin():
        with torch.no_grad():
            sums = learner._sums(group)
        return float(sums[:2].mean() - sums[2:].mean())

    before, values = margin(), []
    for step in range(1, 7):
        values.append(learner.learn(equal_rewards(), {TASKS[0].id: [5, 6]}, step=step))
    assert values[0]["beside_loss"] == pytest.approx(0.6931, abs=1e-3)  # log 2 before anything has moved
    assert values[-1]["beside_loss"] < values[0]["beside_loss"]
    assert margin() > before
    assert values[-1]["updates"] == 6  # though all rewards were equal


def test_the_term_is_gepo_of_log_ratios_to_the_start(tiny, tmp_path):
    policy, learner = make(tiny, tmp_path)
    learner.learn(equal_rewards(), {TASKS[0].id: [5, 6]}, step=1)
    group = learner.groups[0]
    with torch.no_grad():
        now = learner._sums(group)
        with policy.at_start() as start:
            then = learner._sums(group, start)
        expected = 0.01 * ranking.gepo(now[:2], then[:2], now[2:], then[2:], beta=0.1)
        assert float(learner._beside()) == pytest.approx(float(expected), rel=1e-5)


def test_groups_too_long_for_the_model_are_refused(tiny, tmp_path):
    long = replace(HAND, winners=("ret a" * 500, "ret b"))
    file = tmp_path / "long.jsonl"
    ir_groups.dump([long], file)
    chosen = settings({"recipe": "oorl", "model": f"hf/{tiny}", "equivalents": str(file), "lora_rank": 4})
    with pytest.raises(StropError, match="none of its 1 groups fits"):
        learner_for(Policy(chosen.model, lora_rank=4, lora_alpha=8, seed=0), chosen)
