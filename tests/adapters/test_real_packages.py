"""The adapters against the packages themselves, each in an environment of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from real_package import python_with, run_there

sys.path.insert(0, str(Path(__file__).parents[1] / "serve"))

from serve_client import Server
from test_adapters import ADD, CALLS, HALF, STROP, SUM, eval_log, examples, reply

pytestmark = pytest.mark.slow


def test_sandbox_fusions_own_client_talks_to_the_server():
    python = python_with("fusion", "sandbox-fusion")
    script = """
import sandbox_fusion as sf
sf.set_endpoint(facts["url"])
run = lambda code, **more: sf.run_code(sf.RunCodeRequest(code=code, language="python", **more), max_attempts=1)
out = {}
good = run("print(int(input()) * 2)", stdin="21")
out["good"] = [good.status, good.run_result.status, good.run_result.return_code, good.run_result.stdout]
mapping = sf.SummaryMapping(RunFailed="failed", RunTimeout="late")
out["failed"] = sf.summary_run_code_result(run("1/0"), mapping)
out["late"] = sf.summary_run_code_result(run("while 1: pass", run_timeout=1), mapping)
try:
    sf.run_code(sf.RunCodeRequest(code="", language="cpp"), max_attempts=1)
except Exception as error:
    out["missing"] = str(error)
row = {"id": 1, "content": "Add.", "test": [{"input": {"stdin": "1 2"}, "output": {"stdout": "3"}}]}
config = sf.TestConfig(dataset_type="CommonOJDataset", language="python", provided_data=row)
ask = lambda code: sf.submit(sf.SubmitRequest(dataset="x", id=1, completion=code, config=config), max_attempts=1)
out["accepted"] = [ask("```python\\n" + code + "\\n```").accepted for code in facts["codes"]]
config = sf.TestConfig()
out["prompts"] = len(sf.get_prompts(sf.GetPromptsRequest(dataset="basics", config=config, limit=3)))
out["many"] = [r.run_result.stdout for r in sf.run_concurrent(run, [[f"print({n})"] for n in range(20)], concurrency=8)]
print(json.dumps(out))
"""
    with Server("--tasks", "basics") as server:
        out = run_there(python, script, url=server.url, codes=[SUM, "print(4)"])
    assert out["good"] == ["Success", "Finished", 0, "42\n"]
    assert (out["failed"], out["late"]) == ("failed", "late")
    assert "cpp" in out["missing"]
    assert out["accepted"] == [True, False]
    assert out["prompts"] == 3
    assert out["many"] == [f"{n}\n" for n in range(20)]


def verl_source(python):
    """verl's reward functions alone: the package itself wants Ray and CUDA packages, which they do not use."""
    return run_there(python, "import importlib.util; print(json.dumps(importlib.util.find_spec('verl').origin))")


@pytest.mark.parametrize("token", [None, "0123456789abcdef"])
def test_verls_own_sandbox_fusion_reward_talks_to_the_server(token):
    python = python_with("verl-reward", "--no-deps", "verl", "requests", "urllib3", "idna", "certifi",
                         "charset-normalizer")  # fmt: skip
    script = """
import importlib.util, os, sys, types
root = os.path.dirname(importlib.util.find_spec("verl").origin) + "/utils/reward_score/sandbox_fusion"
package = types.ModuleType("sf"); package.__path__ = [root]; sys.modules["sf"] = package
def load(name, file):
    spec = importlib.util.spec_from_file_location(name, f"{root}/{file}")
    module = importlib.util.module_from_spec(spec); sys.modules[name] = module; spec.loader.exec_module(module)
    return module
load("sf.utils", "utils.py")
spec = importlib.util.spec_from_file_location("sf", f"{root}/__init__.py", submodule_search_locations=[root])
fusion = importlib.util.module_from_spec(spec); sys.modules["sf"] = fusion; spec.loader.exec_module(fusion)
ask = lambda reply, tests, **more: fusion.compute_score(facts["url"], None, 1024, reply, tests, **more)
out = [ask(reply, tests)[0] for reply, tests in facts["asked"]]
statuses = [m["status"] for m in ask(facts["broken"], facts["asked"][0][1])[1]]
print(json.dumps([out, statuses]))
"""
    asserts = {"assert_case": ["assert add(1, 2) == 3", "assert add(3, 4) == 7"]}
    stdio = {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}
    asked = [(reply(SUM), stdio), (reply("print(3)\n"), stdio), (reply(ADD), CALLS), (reply(HALF), CALLS),
             (reply(ADD), asserts), (reply("import os\nos._exit(0)\n"), asserts)]  # fmt: skip
    with Server(**({"STROP_JUDGE_TOKEN": token} if token else {})) as server:
        url = server.url.replace("//", f"//strop:{token}@") if token else server.url
        scores, statuses = run_there(
            python, script, url=f"{url}/run_code", asked=asked, broken=reply("1/0\n")
        )  # fmt: skip
    assert scores == [1.0, 0.5, 1.0, 0.5, 1.0, 0.0]
    assert statuses == ["runtime_error"] * 2


def test_inspect_reads_the_log_that_was_written(tmp_path):
    python = python_with("inspect", "inspect-ai")
    path = tmp_path / "log.eval"
    tasks = eval_log(path)
    script = """
from inspect_ai.log import read_eval_log, read_eval_log_sample, read_eval_log_sample_summaries
log = read_eval_log(facts["path"])
head = read_eval_log(facts["path"], header_only=True)
summaries = read_eval_log_sample_summaries(facts["path"])
one = read_eval_log_sample(facts["path"], id=facts["id"], epoch=1)
print(json.dumps({
    "status": log.status, "model": head.eval.model, "task": head.eval.task,
    "accuracy": log.results.scores[0].metrics["accuracy"].value,
    "samples": [[s.id, s.epoch, s.scores["strop"].value if s.scores else None, bool(s.error)] for s in log.samples],
    "summaries": len(summaries), "reply": one.output.completion, "answer": one.scores["strop"].answer,
}))
"""
    first = next(iter(tasks))
    out = run_there(python, script, path=str(path), id=first)
    expected = [[task, epoch, value, epoch == 3] for task in tasks for epoch, value in ((1, "C"), (2, "I"), (3, None))]
    assert sorted(out["samples"]) == sorted(expected)
    assert (out["status"], out["model"], out["task"], out["accuracy"]) == ("success", "strop/test", "humaneval", 0.5)
    assert out["summaries"] == 9
    assert out["reply"] == reply(tasks[first].reference)
    assert out["answer"] == tasks[first].reference


def test_inspect_scores_with_the_judge(tmp_path):
    python = python_with("inspect", "inspect-ai")
    script = """
from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput
from inspect_ai.solver import solver
from strop.adapters import inspect_ai as adapter
from strop.types import Verdict

@solver
def canned():  # instead of a model: Inspect's own stand-in wants to download a tokenizer
    async def solve(state, generate):
        state.output = ModelOutput.from_content("canned", facts["replies"][int(state.sample_id)])
        return state
    return solve

data = MemoryDataset([Sample(input="add", id=str(n), metadata={"task": facts["task"]}) for n in range(3)])
def run():
    task = Task(dataset=data, solver=canned(), scorer=adapter.judged_scorer())
    (log,) = eval(task, model="mockllm/model", log_dir=facts["folder"], display="none", fail_on_error=False)
    return log.samples
first = [[s.id, s.scores["strop"].value] for s in run()]
adapter.judged = lambda *_: [Verdict(status="judge_error", fraction=0.0, detail="gone")]
print(json.dumps([first, [[bool(s.error), bool(s.scores)] for s in run()]]))
"""
    replies = [reply(ADD), reply(HALF), reply("import os\nos._exit(0)\n")]
    scored, failed = run_there(python, script, task=STROP, replies=replies, folder=str(tmp_path))
    assert sorted(scored) == [["0", "C"], ["1", "I"], ["2", "I"]]
    assert failed == [[True, False]] * 3


def test_verifiers_tasks_are_rewarded_by_the_judge():
    python = python_with("verifiers", "verifiers")
    script = """
import asyncio
import verifiers.v1 as vf
from strop.adapters.verifiers import judged_reward

class CodeData(vf.TaskData):
    tests: str

class CodeTask(vf.Task[CodeData]):
    @vf.reward(weight=1.0)
    async def solved(self, trace: vf.Trace) -> float:
        return await judged_reward(self.data.tests, trace)

task = CodeTask(CodeData(prompt="Add.", tests=facts["tests"]))
class Reply:
    def __init__(self, text): self.last_reply = text
print(json.dumps([asyncio.run(task.solved(Reply(text))) for text in facts["replies"]]))
"""
    out = run_there(python, script, tests=json.dumps(STROP), replies=[reply(ADD), reply(HALF), "no"])
    assert out == [1.0, 0.0, 0.0]


def test_schemathesis_finds_no_answer_that_the_openapi_document_does_not_allow(tmp_path):
    python = python_with("schemathesis", "schemathesis")
    script = """
import subprocess, sys
checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
command = [sys.executable.replace("python", "schemathesis"), "run", facts["url"] + "/openapi.json", "--checks", checks,
           "--max-examples", "40", "--seed", "7"]
done = subprocess.run(command, capture_output=True, text=True, cwd=facts["folder"])
print(json.dumps([done.returncode, done.stdout[-3000:]]))
"""
    with Server("--tasks", "basics") as server:
        code, said = run_there(python, script, url=server.url, folder=str(tmp_path))
        assert code == 0, said
        assert server.metric("strop_queue_programs") == 0


@pytest.mark.parametrize(("package", "requirement"), [("inspect", "inspect-ai"), ("verifiers", "verifiers")])
def test_the_documentations_example_runs_there(package, requirement):
    example = next(code for code in examples() if requirement.replace("-", "_") in code)
    assert run_there(python_with(package, requirement), example + "\nprint(json.dumps('ran'))") == "ran"
