"""OpenRLHF: `--reward.remote_url`, which is either a file with `reward_func` or the URL of a server.

As a file (OpenRLHF and Strop in one environment):

    from strop.adapters.openrlhf import reward_func

As a URL, with `strop judge --serve` elsewhere: `http://strop:TOKEN@host:8080/openrlhf`. `labels` hold the tasks
(`--data.label_key`): rows in any format that Strop knows, as JSON text. `queries` are prompt and reply together, so the
reply is what follows the prompt.

Wire format: OpenRLHF 0.11.2, `openrlhf/utils/agent.py`. Its rewards are numbers without a way to abstain, so a reply
on which the judge failed fails the whole request: OpenRLHF then logs the failure and keeps `reward: None`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from strop.adapters.ground_truth import judged, program_in, reward_of, task_of
from strop.types import StropError, Task, Verdict


def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Rewards (share of checks passed) and scores (1 for a program that passed). Raises StropError."""
    jobs = read_jobs(queries, prompts, labels)
    return answer(judged([task for task, _ in jobs], [code for _, code in jobs], partial=True))


def read_jobs(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str]) -> list[tuple[Task, str]]:
    """Task and program of each query. Raises StropError naming what is wrong with which."""
    if not len(queries) == len(prompts) == len(labels):
        raise StropError(f"{len(queries)} queries, {len(prompts)} prompts and {len(labels)} labels do not match.")
    jobs = []
    for index, (query, prompt, label) in enumerate(zip(queries, prompts, labels)):
        try:
            task = task_of(label)
        except StropError as error:
            raise StropError(f"Field `labels`, item {index}: {error}") from None
        jobs.append((task, program_in(task, reply_in(query, prompt))))
    return jobs


def reply_in(query: str, prompt: str) -> str:
    """What a query holds besides its prompt. Special tokens may surround both."""
    at = query.find(prompt) if prompt else -1
    return query[at + len(prompt) :] if at >= 0 else query


def answer(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """OpenRLHF's form of rewards. Raises StropError when the judge failed on one."""
    rewards = [reward_of(verdict, partial=True) for verdict in verdicts]
    if None in rewards:
        failed = verdicts[rewards.index(None)]
        raise StropError(f"The judge failed, so there is no reward: {failed.detail}")
    return {
        "rewards": rewards,
        "scores": [float(verdict.passed) for verdict in verdicts],
        "extra_logs": {"strop/passed": [float(verdict.passed) for verdict in verdicts]},
    }
