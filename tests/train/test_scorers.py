"""Scorers that learn, on a random model: judges of pairs, the self-trained reranker, their verbs, and their uses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from learner_cases import pairs, samples, task

from strop import models
from strop import tasks as task_sets
from strop.data import Candidate, Pool, write_pairs
from strop.data.hard import hard_negatives
from strop.data.pairs import build
from strop.evals.reliability import reliability_report
from strop.evals.scorers import PairJudge
from strop.evals.solve import task_records
from strop.models.scorers import RewardModel
from strop.rewards import Case, gate, has_program, score, scored
from strop.run import Run
from strop.tasks.protocols import get_protocol
from strop.train.lora import LearnerSettings
from strop.train.pair_judge import questions, train_pair_judge
from strop.train.rerank import judged_programs, parts, self_train
from strop.types import Preference, StropError

COMPLETION = get_protocol("completion")
SETTINGS = LearnerSettings(epochs=4, batch_size=8, learning_rate=5e-3, lora_rank=4, max_length=400)


def pool(number: int) -> Pool:
    """Programs that name the number are right, those that name another are wrong: visible in the text."""
    one = task(number)
    texts = [one.stub + f"    return {word} + {place}\n" for place in range(3) for word in ("x", "none")]
    candidates = [
        Candidate(program=text, index=place, status="passed" if "return x" in text else "failed")
        for place, text in enumerate(texts)
    ]
    return Pool(task=one, candidates=tuple(candidates))


class Shorter:
    name = "told"

    def scores(self, prompt, programs):
        return [-float(len(program)) for program in programs]


@pytest.fixture(scope="module")
def base(small_model):
    return f"hf/{small_model('llama')}"


def test_hard_negatives_are_the_failures_that_score_highest():
    one = task(1)
    wrong = [one.stub + f"    return {'x' * size}\n" for size in (5, 2, 9, 3)]
    candidates = [Candidate(program=text, index=place, status="failed") for place, text in enumerate(wrong)]
    good = Candidate(program=one.stub + "    return x + 1\n", index=9, status="passed")
    rows = Pool(task=one, candidates=(*candidates, good))
    built = build(
        [rows], hard_negatives(Shorter(), COMPLETION, top=0.5), COMPLETION, method="m", per_task=9, reuse=True
    )
    assert sorted(pair.why["rejected_index"] for pair in built.pairs) == [1, 3]
    assert {pair.why["chosen_index"] for pair in built.pairs} == {9}
    nothing = build([replace(rows, candidates=(good,))], hard_negatives(Shorter(), COMPLETION), COMPLETION, method="m")
    assert nothing.dropped_tasks == {"all programs pass": 1}


def test_rounds_share_no_sample():
    first, second = parts([pool(1)], 2)
    indices = [{candidate.index for candidate in half[0].candidates} for half in (first, second)]
    assert indices[0] & indices[1] == set()
    assert len(indices[0] | indices[1]) == 6


@pytest.mark.timeout(600)
def test_the_reranker_learns_in_rounds_and_resumes(base, tmp_path):
    practised = [pool(number) for number in range(1, 5)]
    trained = self_train(base, practised, COMPLETION, tmp_path, settings=SETTINGS, rounds=2, per_task=2)
    assert [len(used) for _, used in trained] == sorted(len(used) for _, used in trained)
    report = reliability_report(judged_programs([pool(7), pool(8)], COMPLETION), [scorer for scorer, _ in trained])
    assert report[-1].auc.value > 0.8, "what is visible in the text was not learned"
    before = (tmp_path / "round-1" / "adapter_model.safetensors").stat().st_mtime_ns
    again = self_train(base, practised, COMPLETION, tmp_path, settings=SETTINGS, rounds=2, per_task=2)
    assert (tmp_path / "round-1" / "adapter_model.safetensors").stat().st_mtime_ns == before
    assert [used for _, used in again] == [used for _, used in trained]
    solved = [replace(one, candidates=one.candidates[::2]) for one in practised]
    with pytest.raises(StropError, match="all programs pass: 4"):
        self_train(base, solved, COMPLETION, tmp_path / "other", settings=SETTINGS, rounds=1)


@pytest.mark.timeout(600)
def test_a_judge_of_pairs_learns_in_both_orders(base, tmp_path):
    learned = [
        Preference(prompt=f"# {n}", chosen="", rejected="", why={"chosen_program": "yes", "rejected_program": "no"})
        for n in range(6)
    ]
    asked = questions(learned[:1])
    assert [row.completion for row in asked] == [" A", " B"]
    assert asked[0].prompt.index("yes") < asked[0].prompt.index("no\n")
    train_pair_judge(
        base, learned, folder=tmp_path / "work", adapter=tmp_path / "adapter", settings=SETTINGS,
        on_metrics=lambda *_: None, on_progress=lambda *_: None,
    )  # fmt: skip
    model = models.load(f"{base}+{tmp_path / 'adapter'}")
    judge = PairJudge(model)
    good, bad = judge.scores("# 9", ["yes", "no"])
    model.close()
    assert good > bad
    with pytest.raises(StropError, match="no pairs"):
        train_pair_judge(base, [])


@pytest.mark.timeout(600)
def test_a_scorer_is_a_reward(base):
    one, other = task(1), task(2)
    drawn = samples([one, other])
    cases = [Case(task=one if row.task_id == one.id else other, sample=row) for row in drawn]
    cases.append(Case(task=one, sample=replace(drawn[0], code="")))
    rewards = score(scored(Shorter(), COMPLETION), cases)
    assert [reward.total for reward in rewards] == [-len(case.sample.code) for case in cases]
    gated = score(gate(has_program(), scored(Shorter(), COMPLETION)), cases)
    assert gated[-1].total == 0.0
    assert gated[0].parts == {"format": 1.0, "score": -len(drawn[0].code)}


# ---- verbs ---------------------------------------------------------------------------------------


def strop(*words, launcher=(sys.executable, "-m", "strop.cli.main")):
    done = subprocess.run([*launcher, *map(str, words)], capture_output=True, text=True, timeout=500)
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def pair_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    write_pairs(pairs(10), file)
    return file


@pytest.mark.timeout(600)
def test_train_reward_from_a_file_and_again(base, pair_file, tmp_path):
    words = ["train", "reward", pair_file, "--model", base, "--out", tmp_path / "run", "--batch-size", "4", "--epochs",
             "4", "--learning-rate", "5e-3", "--lora-rank", "4", "--held-out", "0.3", "--json", "-q"]  # fmt: skip
    done = strop(*words)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["learned from"] + summary["held out"] == 10
    assert 0 < summary["held out"] < 10
    assert summary["held-out accuracy"].startswith("100")
    assert "shorter is better" in "".join(summary)
    with Run.read(tmp_path / "run") as run:
        assert any(row.name == "loss" for row in run.metrics("train"))
    weights = (tmp_path / "run" / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    assert strop(*words).returncode == 0
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == weights
    RewardModel(f"{base}+{tmp_path / 'run' / 'adapter'}")


def test_verbs_say_what_they_would_do_and_what_is_wrong(base, pair_file, tmp_path):
    plan = strop("train", "kto", pair_file, "--model", base, "--dry-run", "--json")
    assert json.loads(plan.stdout)["rows"] == 20
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "p", "completion": "c", "label": "yes"}\n')
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    for words, said in [
        (("kto", bad), "field label"),
        (("dpo", bad), "field chosen"),
        (("dpo", empty), "no rows"),
        (("dpo", tmp_path / "none"), "strop data pairs"),
        (("dpo", pair_file, "--loss", "best", "--out", tmp_path / "a"), "no loss"),
        (("dpo", pair_file, "--loss-weights", "1,x", "--out", tmp_path / "a"), "no numbers"),
    ]:
        done = strop("train", *words, "--model", base)
        assert done.returncode == 2, (words, done.stderr)
        assert said in done.stderr, (words, done.stderr)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    """A run whose samples are judged, over a task file."""
    folder = tmp_path_factory.mktemp("sampled")
    some = [task(number) for number in range(1, 13)]
    task_sets.dump(some, folder / "tasks.jsonl")
    drawn = samples(some)
    from strop.judge import Judge

    by_id = {one.id: one for one in some}
    config = {"model": "by-hand", "tasks": f"{folder / 'tasks.jsonl'}:train"}
    with Judge(workers=1) as judge, Run.open(folder / "run", command="strop eval", config=config) as run:
        jobs = [((row.task_id, row.index), by_id[row.task_id], row.code) for row in drawn]
        run.save_result("tasks", task_records(some))
        run.save_samples("eval", drawn)
        run.save_verdicts("eval", [(*key, verdict) for key, verdict in judge.stream(jobs)])
    return folder / "run"


@pytest.mark.timeout(600)
def test_rerank_from_a_run_and_the_audit_of_scorers(base, sampled, tmp_path):
    done = strop(
        "train", "rerank", "--run", sampled, "--model", base, "--out", tmp_path / "run", "--epochs", "1",
        "--lora-rank", "2", "--json", "-q",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["practised tasks"] + summary["held-out tasks"] == 12
    assert [row["scorer"] for row in summary["reliability"]][:2] == ["shorter", "longer"]
    assert len(summary["reliability"]) == 4
    audit = strop("audit", "scorer", "shorter", f"logprob/{base}", "--run", sampled)
    assert audit.returncode == 0, audit.stderr
    assert "logprob of" in audit.stdout
    assert "length correlation" in audit.stdout
    assert strop("audit", "scorer", "best", "--run", sampled).returncode == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["dpo", "kto", "reward"])
def test_accelerate_launch_trains_in_two_processes(name, base, pair_file, tmp_path):
    launcher = [
        sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process",
        "1",
        "-m", "strop.cli.main",
    ]  # fmt: skip
    done = strop(
        "train", name, pair_file, "--model", base, "--out", tmp_path / "run", "--batch-size", "2", "--epochs", "2",
        "--lora-rank", "2", "--json", "-q", launcher=launcher,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()
    assert done.stdout.count('"learner"') == 1, "one process speaks"


def test_search_chooses_by_a_scorer():
    from strop.search import selectors
    from strop.search.methods import get_method

    with pytest.raises(StropError, match="reward/BASE"):
        selectors.scorer_named("best")
    assert selectors.scorer_named("shorter") is selectors.scorer_named("shorter")
    assert get_method("best-of-n:select=scorer:scorer=shorter").options["scorer"] == "shorter"
    assert np.argmax(selectors.scorer_named("longer").scores("", ["a", "bb"])) == 1
