"""Hand-made cases for tests of rewards."""

from strop.rewards import Case
from strop.types import Sample as _Sample
from strop.types import ScriptCheck, Spent, Task, Verdict


def task(name="t", **fields):
    fields = {
        "prompt": "p",
        "checks": (ScriptCheck(code="assert f() == 1"),),
        "reference": "def f():\n    return 1",
    } | fields
    return Task(id=name, **fields)


def case(status="passed", *, text="```python\nx = 1\n```", code="x = 1", index=0, tokens=4, of=None, **verdict):
    fraction = verdict.pop("fraction", 1.0 if status == "passed" else 0.0)
    return Case(
        task=of or task(),
        sample=_Sample(
            task_id="t", index=index, text=text, code=code, finish_reason="stop", seed=0, protocol="chat",
            spent=Spent(sampled_tokens=tokens), token_ids=tuple(range(tokens)),
        ),
        verdict=None if status is None else Verdict(status=status, fraction=fraction, **verdict),
    )  # fmt: skip


def totals(rule, *cases):
    return [None if one is None else one.total for one in rule(list(cases))]
