"""A run's settings, and nouns to keep in it."""

import math

from strop.types import CheckResult, Sample, Spent, Verdict

COMMAND = "strop eval --n 4"
CONFIG = {"model": "smollm2", "tasks": "basics", "n": 4, "seed": 0, "sampling": {"temperature": 0.8}}
INPUTS = {"model": "sha256:aa", "tasks": "sha256:bb", "isolation": "namespaces"}


def sample(task_id="basics/1", index=0, text="def f(): return 1", **changes):
    fields = {
        "task_id": task_id,
        "index": index,
        "text": text,
        "code": text + "\n",
        "finish_reason": "stop",
        "seed": 2**62 + 1,
        "protocol": "chat",
        "spent": Spent(prompt_tokens=10, sampled_tokens=5, model_calls=1, seconds=0.1),
        "token_ids": (1, 2, 49151),
        "logprobs": (-0.1, -1e-30, -math.inf),
    }
    return Sample(**(fields | changes))


def verdict(status="passed", **changes):
    checks = (
        CheckResult(name="a", passed=True, visible=True, status="passed"),
        CheckResult(name="b", passed=False, visible=False, status="failed", message="m", actual="1", expected="2"),
    )
    return Verdict(
        **(
            {"status": status, "fraction": 0.5, "checks": checks, "flags": ("flaky",), "output": "é\x00\ud800"}
            | changes
        )
    )
