"""The adapter in TRL's own calling convention, on the real judge."""

from __future__ import annotations

import pytest
from reward_cases import task

from strop.rewards import binary, dataset_rows, has_program, trl_reward, weighted_sum
from strop.tasks import protocols
from strop.types import StropError, Verdict

ADD = task("add", prompt="Write f() that returns 1.", entry_point="f")
RIGHT, WRONG = "```python\ndef f():\n    return 1\n```", "```python\ndef f():\n    return 2\n```"


def test_completions_are_judged_and_parts_logged():
    from strop.judge import Judge

    logged = {}
    with Judge(workers=1) as judge:
        rule = weighted_sum((1.0, binary()), (0.1, has_program()))
        reward = trl_reward(rule, [ADD], judge, protocols.get_protocol("chat"))
        texts = [RIGHT, WRONG, ""]
        columns = {"task_id": ["add"] * 3, "completion_ids": [[1], [2], []], "log_metric": logged.__setitem__}
        assert reward(prompts=["p"] * 3, completions=texts, **columns) == [1.1, 0.1, 0.0]
        as_messages = [[{"role": "assistant", "content": text}] for text in texts]
        assert reward(prompts=["p"] * 3, completions=as_messages, task_id=["add"] * 3) == [1.1, 0.1, 0.0]
    assert logged == {"strop/passed": pytest.approx(1 / 3), "strop/format": pytest.approx(2 / 3)}


class Failing:
    """A judge that fails on our side."""

    def stream(self, jobs):
        for key, _, _ in jobs:
            yield key, Verdict(status="judge_error", fraction=0.0)


def test_a_judge_error_is_none_for_trl():
    reward = trl_reward(binary(), [ADD], Failing(), protocols.get_protocol("chat"))  # type: ignore[arg-type]
    assert reward(prompts=["p"], completions=[RIGHT], task_id=["add"]) == [None]


def test_a_data_set_without_task_ids_or_with_foreign_ones_is_refused():
    reward = trl_reward(binary(), [ADD], Failing(), protocols.get_protocol("chat"))  # type: ignore[arg-type]
    with pytest.raises(StropError, match="no task_id column"):
        reward(prompts=["p"], completions=[RIGHT])
    with pytest.raises(StropError, match="does not know: other"):
        reward(prompts=["p"], completions=[RIGHT], task_id=["other"])


def test_rows_hold_the_text_that_the_model_sees():
    class Plain:
        chat_template = "x"

        def apply_chat_template(self, messages, **options):
            return f"<{messages[0]['content']}>"

    (row,) = dataset_rows([ADD], protocols.get_protocol("chat"), Plain())
    assert row["task_id"] == "add"
    assert "returns 1" in row["prompt"]
