"""Rewards over HTTP, and that a judge that failed never turns into a 0 or a refusal of the program."""

from __future__ import annotations

import json

import pytest
from serve_client import BAD, DOUBLE, GOOD, lines

BROKEN = {
    "task_id": "broken", "prompt": "def f(x):\n    '''Double.'''\n", "entry_point": "f",
    "canonical_solution": "    pass",
    "test": "def check(candidate):\n    raise RuntimeError('the check is broken')\n",
}  # fmt: skip


def reply(code):
    return f"```python\n{code}```"


def remote_reward(server, codes, tasks):
    queries = [f"<|user|>Double it.<|assistant|>{reply(code)}" for code in codes]
    labels = [json.dumps(task) for task in tasks]
    return server.post("/openrlhf", {"query": queries, "prompts": ["Double it."] * len(codes), "labels": labels})


def verify(server, code, metadata, text=None):
    content = [{"type": "output_text", "text": reply(code) if text is None else text, "annotations": []}]
    message = {"type": "message", "id": "1", "role": "assistant", "status": "completed", "content": content}
    body = {"responses_create_params": {"input": "x"}, "response": {"output": [message]}}
    return server.post("/verify", body | {"verifier_metadata": metadata})


def test_openrlhf_gets_rewards_in_order(server):
    half = "def f(x):\n    return 4\n"
    answer = remote_reward(server, [GOOD, half, BAD, "x"], [DOUBLE] * 4).json()
    assert answer["rewards"] == [1.0, 0.5, 0.0, 0.0]
    assert answer["scores"] == [1.0, 0.0, 0.0, 0.0]
    assert answer["extra_logs"] == {"strop/passed": [1.0, 0.0, 0.0, 0.0]}


def test_openrlhf_labels_that_are_no_tasks_are_named(server):
    response = server.post("/openrlhf", {"query": ["a"], "prompts": [""], "labels": ["3"]})
    assert response.status_code == 422
    assert "labels" in response.json()["detail"]
    assert server.post("/openrlhf", {"query": ["a"], "prompts": [], "labels": []}).status_code == 422


def test_nemo_gym_gets_its_request_back(server):
    answer = verify(server, GOOD, {"task": DOUBLE}).json()
    assert (answer["reward"], answer["extracted_model_code"]) == (1.0, GOOD)
    assert answer["responses_create_params"] == {"input": "x"}
    tests = {"inputs": ["1 2"], "outputs": ["3"]}
    assert verify(server, "print(4)", {"unit_tests": tests}).json()["reward"] == 0.0
    assert verify(server, "", {"unit_tests": tests}, text="").json()["reward"] == 0.0
    assert verify(server, GOOD, {}).status_code == 422


def test_a_broken_check_is_nobodys_fault_everywhere(server):
    body = {"tasks": [BROKEN], "programs": [{"task_id": "broken", "solution": GOOD}]}
    verdict, end = lines(server.post("/v1/judge", body))
    assert (verdict["status"], verdict["passed"], end["statuses"]) == ("judge_error", False, {"judge_error": 1})
    response = remote_reward(server, [GOOD, GOOD], [DOUBLE, BROKEN])
    assert response.status_code == 503
    assert "no reward" in response.json()["detail"]
    answer = verify(server, GOOD, {"task": BROKEN}).json()
    assert (answer["mask_sample"], answer["failure_kind"]) == (True, "judge_failed")
    config = {"dataset_type": "HumanEvalDataset", "provided_data": BROKEN}
    response = server.post("/submit", {"dataset": "x", "id": 0, "completion": reply(GOOD), "config": config})
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("program", [GOOD, "import os; os._exit(0)", "raise SystemExit(0)"])
def test_forged_passes_get_no_reward(server, program):
    expected = float(program == GOOD)
    assert remote_reward(server, [program], [DOUBLE]).json()["rewards"] == [expected]
    assert verify(server, program, {"task": DOUBLE}).json()["reward"] == expected
