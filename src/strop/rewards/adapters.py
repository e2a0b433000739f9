"""The same rules for other trainers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from strop.rewards.core import Case, Rule, score
from strop.types import Sample, Spent, StropError, Task

if TYPE_CHECKING:
    from strop.judge import Judge
    from strop.tasks.protocols import Protocol


def dataset_rows(tasks: Sequence[Task], protocol: Protocol, tokenizer: Any) -> list[dict[str, str]]:
    """Rows for a TRL dataset: the prompt's text, as the model sees it, and the task's id for `trl_reward`."""
    from strop.models import prompt_text

    return [{"prompt": prompt_text(tokenizer, protocol.render(task.public())), "task_id": task.id} for task in tasks]


def trl_reward(
    rule: Rule, tasks: Sequence[Task], judge: Judge, protocol: Protocol, name: str = "strop"
) -> Callable[..., list[float | None]]:
    """A function for TRL's `reward_funcs`: judges the completions and returns totals, `None` for a judge error.

    The dataset needs a `task_id` column (`dataset_rows`). Means of the parts are logged under their names where TRL
    offers `log_metric`. Raises StropError for an unknown task id, and as `score` does.
    """
    by_id = {task.id: task for task in tasks}

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        if "task_id" not in columns:
            raise StropError("The training set has no task_id column; make its rows with strop.rewards.dataset_rows.")
        unknown = sorted({str(one) for one in columns["task_id"]} - by_id.keys())
        if unknown:
            raise StropError(f"The training set names tasks that the reward does not know: {', '.join(unknown[:5])}.")
        asked = [by_id[task_id] for task_id in columns["task_id"]]
        ids = columns.get("completion_ids") or [None] * len(completions)
        samples = [
            _sample(task, index, _text(completion), token_ids, protocol)
            for index, (task, completion, token_ids) in enumerate(zip(asked, completions, ids))
        ]
        jobs = ((index, task, sample.code) for index, (task, sample) in enumerate(zip(asked, samples)))
        verdicts = dict(judge.stream(jobs))
        cases = [
            Case(task=task, sample=sample, verdict=verdicts[index])
            for index, (task, sample) in enumerate(zip(asked, samples))
        ]
        rewards = score(rule, cases)
        if log := columns.get("log_metric"):
            for part, value in _means([one.parts for one in rewards if one is not None]).items():
                log(f"{name}/{part}", value)
        return [None if one is None else one.total for one in rewards]

    reward.__name__ = name  # TRL names its metrics after it
    return reward


def _text(completion: Any) -> str:
    """A completion of a text prompt is a string, of a conversation a list of messages."""
    if isinstance(completion, str):
        return completion
    return "".join(message.get("content") or "" for message in completion)


def _sample(task: Task, index: int, text: str, token_ids: Sequence[int] | None, protocol: Protocol) -> Sample:
    return Sample(
        task_id=task.id,
        index=index,
        text=text,
        code=protocol.extract(task.public(), text),
        finish_reason="stop",
        seed=0,
        protocol=protocol.name,
        spent=Spent(sampled_tokens=len(token_ids or ())),
        token_ids=tuple(token_ids) if token_ids is not None else None,
    )


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for row in rows:
        for part, value in row.items():
            values.setdefault(part, []).append(value)
    return {part: sum(found) / len(found) for part, found in values.items()}
