"""HumanEval Pro and MBPP Pro: the published defects, the arms, and problems made from other tasks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from strop.evals.pro import NOT_INVOKING, UNNAMED, ProProtocol, load_pro, pro_report, run_pro, self_invoking
from strop.judge import Judge
from strop.tasks import load
from strop.types import StropError

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "codeeval-pro"


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as bench:
        yield bench


def published(name: str):
    if not (FOLDER / name).exists():
        if os.environ.get("CI"):
            pytest.fail(f"{name} must be present in CI")
        pytest.skip(f"shared data {name} is not here")
    return load_pro(FOLDER / name)


def test_defective_items_of_humaneval_pro_are_named():
    items = published("humaneval_pro.json")
    by_defect = {
        kind: [int(item.number) for item in items if kind in item.defects()] for kind in (UNNAMED, NOT_INVOKING)
    }
    assert by_defect[UNNAMED] == [3, 5, 14, 20, 21, 22, 28, 46, 63, 112]
    assert by_defect[NOT_INVOKING] == [16, 19, 35, 41, 74, 119, 147]
    assert len([item for item in items if item.solvable]) == 154


def test_defective_items_of_mbpp_pro_are_counted():
    items = published("mbpp_pro.json")
    assert sum(UNNAMED in item.defects() for item in items) == 25
    assert sum(NOT_INVOKING in item.defects() for item in items) == 30


def test_references_pass_through_the_protocol_in_both_arms(judge):
    protocol = ProProtocol()
    items = [item for item in published("humaneval_pro.json") if item.solvable][:6]
    for item in items:
        for arm in ("pro", "given"):
            task = item.task(arm)
            reply = protocol.answer(task, _program(item, task))
            program = protocol.extract(task.public(), reply + "\nSome words.")
            (verdict,) = judge.run(task, [program])
            assert verdict.passed, (item.id, arm, verdict.detail, program)
    assert items[0].base_id == "HumanEval/0"
    user, begun = protocol.render(items[0].task("given").public())
    assert items[0].new_problem.strip() in user.content
    assert items[0].base_solution.strip() in begun.content
    assert items[0].base_solution.strip() not in protocol.render(items[0].task("pro"))[1].content


def _program(item, task):
    whole = f"{item.base_problem}{item.base_solution.rstrip()}\n\n\n{item.new_problem}{item.new_solution}"
    assert whole.startswith(task.stub)
    return whole


def test_files_of_another_shape_are_named(tmp_path):
    file = tmp_path / "humaneval_pro.json"
    file.write_text('[{"id": 0, "raw_problem": "x"}, {"raw_problem": 1}]')
    with pytest.raises(StropError, match="raw_solution"):
        load_pro(file)


def test_report_splits_the_drop():
    items = published("humaneval_pro.json")[:12]
    base = {item.id: 1.0 for item in items}
    given = {item.id: float(place < 9) for place, item in enumerate(items)}
    pro = {item.id: float(place < 6) for place, item in enumerate(items)}
    report = pro_report(items, base, pro, given)
    assert report.items == 12
    assert report.drop.value == pytest.approx(-0.5)
    assert report.owed_to_base.value + report.owed_to_composition.value == pytest.approx(report.drop.value)
    assert pro_report(items, base, pro, clean_only=True).items == 10
    with pytest.raises(StropError, match="no result for"):
        pro_report(items, base, {})


def test_any_task_with_call_checks_becomes_self_invoking(judge):
    made = [(task, self_invoking(task, inputs=2)) for task in load("basics", limit=12)]
    good = [new for _, new in made if new is not None]
    assert len(good) >= 6
    for new in good:
        (right, base_only) = judge.run(new, [new.reference, new.reference.rpartition("def ")[0]])
        assert right.passed, right.detail
        assert not base_only.passed
        assert "calling it" in new.prompt
    task, new = next((task, new) for task, new in made if new is not None)
    assert not new.public().hidden_checks
    assert self_invoking(task.public().__class__(id="x", prompt="", checks=())) is None


class Knows:
    """Answers every problem with what a table says, by what the prompt begins."""

    name = "hf/knows"
    chat = True
    batch_size = 4
    fingerprint = "knows"

    def __init__(self, replies):
        self.replies = replies

    def sample(self, requests, params):
        from strop.types import Completion, Spent

        for place, request in enumerate(requests):
            said = "\n".join(message.content for message in request.prompt)
            text = next(reply for key, reply in self.replies.items() if key in said)
            yield place, Completion(text=text, finish_reason="stop", spent=Spent())


def test_all_arms_run_on_a_model_that_cannot_do_the_first_problem(judge, tmp_path):
    from strop.run import Run
    from strop.tasks.protocols import get_protocol
    from strop.types import SamplingParams

    item = published("humaneval_pro.json")[0]
    begun = f"{item.base_problem}{item.base_solution.rstrip()}\n\n\n{item.new_problem}"
    wrong = "    return None\n\n\n" + item.new_problem + item.new_solution + "\n```"
    model = Knows({begun: item.new_solution + "\n```", "Write a solution of both": wrong, "": "    return None\n```"})
    with Run.open(tmp_path / "run", command="strop audit pro", config={}) as run:
        options = {"base": get_protocol("block"), "params": SamplingParams(temperature=0.0)}
        whole, clean = run_pro(run, model, [item], judge, **options)
        again, _ = run_pro(run, Knows({}), [item], judge, **options)
    assert whole == clean == again
    assert (whole.base.value, whole.pro.value, whole.given.value) == (0.0, 0.0, 1.0)
    assert (whole.owed_to_base.value, whole.owed_to_composition.value) == (-1.0, 1.0)
    with Run.open(tmp_path / "other", command="strop audit pro", config={}) as run:
        report, _ = run_pro(run, model, [item], judge, base=None, params=SamplingParams(temperature=0.0))
    assert (report.base, report.drop, report.owed_to_composition) == (None, None, None)
    assert report.owed_to_base.value == -1.0
