"""Inspect: Strop's judge as a scorer, and a run folder as an Inspect `.eval` log.

    from strop.adapters.inspect_ai import judged_scorer      # in Inspect's environment

    @task
    def basics():
        return Task(dataset=MemoryDataset([Sample(input=..., metadata={"task": row})]), scorer=judged_scorer())

`metadata["task"]` is a row in any format that Strop knows. Where the judge failed the scorer raises, so that Inspect
marks the sample as an error and does not score it.

`write_eval_log` needs no Inspect: a `.eval` file is a ZIP archive of JSON (`header.json`, `_journal/start.json`,
`summaries.json`, `samples/ID_epoch_N.json`), as `inspect_ai/log/_recorders/eval.py` of inspect-ai 0.3.285 reads and
writes it. A verdict of `judge_error` becomes a sample with an error and without a score.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from strop.adapters.ground_truth import judged, program_in, task_of
from strop.types import Sample, StropError, Task, Verdict

SCORER = "strop"
CORRECT, INCORRECT = "C", "I"


def judged_scorer() -> Any:
    """An Inspect scorer: `C` where the program in the reply passes every check of the sample's task, else `I`."""
    from inspect_ai.scorer import Score, accuracy, scorer, stderr  # pyright: ignore[reportMissingImports]

    @scorer(metrics=[accuracy(), stderr()], name=SCORER)
    def make() -> Any:
        async def score(state: Any, target: Any) -> Any:
            task = task_of(state.metadata["task"])
            program = program_in(task, state.output.completion)
            (verdict,) = await asyncio.to_thread(judged, [task], [program])
            if verdict.status == "judge_error":
                raise StropError(f"The judge failed, so there is no score: {verdict.detail}")
            return Score(
                value=CORRECT if verdict.passed else INCORRECT,
                answer=program,
                explanation=verdict.detail,
                metadata=_facts(verdict),
            )

        return score

    return make()


def write_eval_log(
    path: str | Path, *, name: str, model: str, tasks: Mapping[str, Task], results: Sequence[tuple[Sample, Verdict]],
    created: datetime | None = None,
) -> None:  # fmt: skip
    """Write judged samples as an Inspect log: one Inspect sample a task, one epoch a sample of it.

    `name` is the task set, `model` as Inspect writes it (`provider/name`). The file appears whole or not at all.
    """
    when = (created or datetime.now(UTC)).isoformat(timespec="seconds")
    digest = hashlib.sha256(f"{name}\x1f{model}\x1f{when}".encode()).hexdigest()
    samples = [_sample(tasks[sample.task_id], sample, verdict, model) for sample, verdict in results]
    epochs = max((sample.index for sample, _ in results), default=0) + 1
    spec = {
        "eval_id": digest[:22], "run_id": digest[22:44], "task_id": digest[42:64], "created": when, "task": name,
        "task_version": 0, "model": model, "model_args": {}, "task_args": {}, "model_generate_config": {},
        "dataset": {"name": name, "samples": len(tasks), "sample_ids": list(tasks), "shuffled": False},
        "config": {"epochs": epochs}, "packages": {}, "scorers": [{"name": SCORER, "options": {}, "metrics": []}],
    }  # fmt: skip
    plan = {"name": "plan", "steps": [], "config": {}}
    header = {
        "version": 2, "status": "success", "eval": spec, "plan": plan, "results": _results(samples),
        "stats": {"started_at": when, "completed_at": when, "model_usage": {}},
    }  # fmt: skip
    target = Path(path)
    fresh = target.with_name(f".{target.name}.new")
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive:
        _put(archive, "_journal/start.json", {"version": 2, "eval": spec, "plan": plan})
        for sample in samples:
            _put(archive, f"samples/{sample['id']}_epoch_{sample['epoch']}.json", sample)
        _put(archive, "summaries.json", [_summary(sample) for sample in samples])
        _put(archive, "header.json", header)
    fresh.replace(target)


def _put(archive: zipfile.ZipFile, name: str, value: Any) -> None:
    archive.writestr(name, json.dumps(value, ensure_ascii=True, allow_nan=False))


def _sample(task: Task, sample: Sample, verdict: Verdict, model: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": task.id,
        "epoch": sample.index + 1,
        "input": _text(task.prompt),
        "target": "",
        "messages": [
            {"role": role, "content": text} for role, text in (("user", task.prompt), ("assistant", sample.text))
        ],
        "output": {
            "model": model,
            "choices": [
                {
                    "message": {"role": "assistant", "content": _text(sample.text)},
                    "stop_reason": "max_tokens" if sample.finish_reason == "length" else "stop",
                }
            ],
            "completion": _text(sample.text),
        },
        "metadata": {"protocol": sample.protocol, "seed": sample.seed},
        "store": {},
        "events": [],
        "model_usage": {model: _usage(sample)},
        "attachments": {},
    }
    row["messages"] = [{**message, "content": _text(message["content"])} for message in row["messages"]]
    if verdict.status == "judge_error":
        detail = _text(f"the judge failed: {verdict.detail}")
        row["error"] = {"message": detail, "traceback": detail, "traceback_ansi": detail}
        row["scores"] = {}
    else:
        value = CORRECT if verdict.passed else INCORRECT
        row["scores"] = {
            SCORER: {
                "value": value, "answer": _text(sample.code), "explanation": _text(verdict.detail),
                "metadata": _facts(verdict),
            }
        }  # fmt: skip
    return row


def _usage(sample: Sample) -> dict[str, int]:
    spent = sample.spent
    return {
        "input_tokens": spent.prompt_tokens, "output_tokens": spent.sampled_tokens,
        "total_tokens": spent.prompt_tokens + spent.sampled_tokens,
    }  # fmt: skip


def _summary(sample: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: sample[name] for name in ("id", "epoch", "input", "target", "metadata", "scores", "model_usage")}
    return kept | {"error": sample["error"]["message"] if "error" in sample else None}


def _results(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Accuracy as Inspect computes it: the mean over scored samples."""
    scored = [float(sample["scores"][SCORER]["value"] == CORRECT) for sample in samples if sample["scores"]]
    metrics = {"accuracy": {"name": "accuracy", "value": sum(scored) / len(scored), "params": {}}} if scored else {}
    score = {
        "name": SCORER, "scorer": SCORER, "params": {}, "metrics": metrics, "scored_samples": len(scored),
        "unscored_samples": len(samples) - len(scored),
    }  # fmt: skip
    return {"total_samples": len(samples), "completed_samples": len(scored), "scores": [score]}


def _facts(verdict: Verdict) -> dict[str, Any]:
    return {
        "status": verdict.status, "fraction": verdict.fraction, "seconds": verdict.seconds,
        "isolation": verdict.isolation, "flags": list(verdict.flags),
    }  # fmt: skip


def _text(text: str) -> str:
    """Without lone surrogates, on which Inspect's reader stops."""
    return text.encode("utf-8", "replace").decode("utf-8")
