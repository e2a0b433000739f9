"""Synthetic runs for tests of the report: made up, seeded, and written through the real `Run`."""

from __future__ import annotations

import random

from strop.types import CheckResult, Sample, Spent, Verdict

CONCEPTS = (
    "arithmetic", "booleans", "characters", "conversion", "counting", "dictionaries", "grouping", "list building",
    "list searching", "nested lists", "recursion", "sets", "simple classes", "sorting", "string formatting",
    "string searching",
)  # fmt: skip
FAR = ("bits", "clock arithmetic", "error handling", "generators", "matrices", "run-length coding")

HOSTILE = (
    "def f(x):\n"
    "    # </script></style></pre><script>document.title='owned'</script>\n"
    '    s = \'"><img src=x onerror="document.title=1">\' + "{{ 7 * 7 }} {% raw %}"\n'
    "    return s  # \x00 \x1b[31mred\x1b[0m \u202egnp.exe\u202c \u200b\u2066 \ud800 \u00ad\ufeff\n"
)

PROGRAMS = {
    True: (
        'def {name}(values):\n    """Return the values above the mean."""\n    if not values:\n        return []\n'
        "    mean = sum(values) / len(values)\n    return [value for value in values if value > mean]\n"
    ),
    False: (
        "def {name}(values):\n    mean = sum(values) / len(values)  # fails on an empty list\n    result = []\n"
        "    for i in range(len(values)):\n        if values[i] >= mean:\n            result.append(values[i])\n"
        "    return result\n"
    ),
}

FAILURES = (
    ("failed", 60),
    ("runtime_error", 22),
    ("syntax_error", 9),
    ("timeout", 6),
    ("out_of_memory", 2),
    ("forbidden", 1),
)


def task_records(near: int = 60, far: int = 36, practice: int = 96, hostile: bool = True) -> dict[str, dict]:
    """Records as runs store them: prompt, split, tags and stub by task id."""
    records = {}
    for split, count, concepts in (
        ("train", practice, CONCEPTS),
        ("held-out-near", near, CONCEPTS),
        ("held-out-far", far, FAR),
    ):
        for number in range(count):
            concept = concepts[number % len(concepts)]
            name = f"{concept.replace(' ', '_').replace('-', '_')}_{split[-4:]}_{number:02d}"
            records[f"basics/{name}"] = {
                "prompt": f"Write a function {name}(values) that returns the values above their mean, in order.\n\n"
                f">>> {name}([1, 2, 6])\n[6]\n>>> {name}([])\n[]",
                "split": split,
                "tags": [concept],
                "stub": f"def {name}(values):\n",
            }
    if hostile:
        records["basics/</script><img src=x onerror=alert(1)>\u202e\x00"] = {
            "prompt": f"</pre><script>alert(1)</script>\n{HOSTILE}",
            "split": "held-out-near",
            "tags": ["<b>bold</b>", '" onmouseover="alert(1)'],
            "stub": "",
        }
    return records


def sample_and_verdict(random_: random.Random, task_id: str, index: int, rate: float) -> tuple[Sample, Verdict]:
    """One made-up sample that passes with chance `rate`."""
    passed = random_.random() < rate
    code = PROGRAMS[passed].format(name=task_id.split("/")[1].split("<")[0] or "f")
    if "<" in task_id:
        code = HOSTILE
    status = "passed" if passed else random_.choices(*zip(*FAILURES, strict=True))[0]
    tokens = random_.randrange(40, 160)
    sample = Sample(
        task_id=task_id, index=index, text=f"Here it is:\n```python\n{code}```", code=code, seed=index,
        finish_reason="length" if random_.random() < 0.04 else "stop", protocol="chat",
        spent=Spent(prompt_tokens=90, sampled_tokens=tokens, model_calls=1, seconds=0.05),
    )  # fmt: skip
    good = 10 if passed else random_.randrange(9)
    checks = [
        CheckResult(name=f"call {n + 1}", passed=n < good, visible=n < 2, status="passed" if n < good else status,
                    message="" if n < good else "values differ", actual=None if n < good else "[2, 6]",
                    expected=None if n < good else "[6]")
        for n in range(10)
    ]  # fmt: skip
    verdict = Verdict(
        status=status, fraction=good / 10, checks=tuple(checks), seconds=0.01, wall_seconds=0.012, memory_mb=11.5,
        detail="" if passed else f"check {good + 1}: expected [6], got [2, 6]",
        output="<i>printed</i> \x07" if "<" in task_id else "", isolation="user-namespaces",
        flags=("early_exit",) if status == "forbidden" else (),
    )  # fmt: skip
    return sample, verdict


def fill_stage(run, stage: str, rates: dict[str, float], samples_per_task: int, seed: int) -> None:
    """Write samples, verdicts and what they cost for one stage."""
    random_ = random.Random(seed)
    rows = [
        sample_and_verdict(random_, task_id, index, rate)
        for task_id, rate in rates.items()
        for index in range(samples_per_task)
    ]
    run.save_samples(stage, [sample for sample, _ in rows])
    run.save_verdicts(stage, [(sample.task_id, sample.index, verdict) for sample, verdict in rows])
    run.charge(stage, "all", sum((sample.spent for sample, _ in rows), Spent(programs=len(rows))))


def fill_improve(run, rounds: int = 1, gain: float = 0.14, samples: int = 8, seed: int = 0, **sizes) -> None:
    """A whole improve run: before, then practice, training and measurement for each round, and the guards."""
    records = task_records(**sizes)
    run.save_result("tasks", records)
    run.save_result("division", "train split practised, held-out splits held out")
    random_ = random.Random(seed)
    ability = {task_id: min(max(random_.gauss(0.4, 0.32), 0.0), 1.0) for task_id in records}
    # The hostile task gains most, so that its programs are among those shown.
    ability |= {task_id: 0.0 for task_id in records if "<" in task_id}
    held_out = {task_id: ability[task_id] for task_id, record in records.items() if record["split"] != "train"}
    practice = {task_id: ability[task_id] for task_id, record in records.items() if record["split"] == "train"}
    fill_stage(run, "before", held_out, samples, seed)
    guards = {f"HumanEval/{number}": 0.3 for number in range(12)}
    fill_stage(run, "guard-before", guards, 1, seed + 50)
    run.save_result("guard-before", {"perplexity": 12.41})
    for number in range(1, rounds + 1):
        fill_stage(run, f"practice-{number}", practice, 8, seed + 10 * number)
        run.save_result(f"train-{number}-data", [{"task_id": task_id} for task_id in practice])
        for step in range(1, 41):
            loss = 0.35 + 0.9 * 0.92**step + random_.gauss(0, 0.03)
            learning_rate = 4e-4 * (1 - step / 41)
            metrics = {"loss": loss, "learning_rate": learning_rate, "grad_norm": 1.2 + random_.gauss(0, 0.2)}
            metrics |= {"mean_token_accuracy": 0.7 + 0.25 * (1 - 0.92**step), "epoch": step / 20}
            run.save_metrics(f"train-{number}", step, metrics)
        run.charge(f"train-{number}", "all", Spent(seconds=95.5))
        later = {
            task_id: min(max(rate + gain * (1 - 0.5**number) * 2 * random_.random(), 0.0), 1.0)
            if records[task_id]["split"] == "held-out-near"
            else rate
            for task_id, rate in held_out.items()
        }
        later |= {task_id: 1.0 for task_id in later if "<" in task_id}
        fill_stage(run, f"after-{number}", later, samples, seed + 10 * number + 1)
        fill_stage(run, f"guard-after-{number}", guards, 1, seed + 51)
        run.save_result(f"guard-after-{number}", {"perplexity": 12.87})


def fill_eval(run, stages: tuple[str, ...] = ("eval",), samples: int = 5, seed: int = 0, **sizes) -> None:
    """A whole eval run; several stages stand for several prompt protocols."""
    records = task_records(**({"practice": 0} | sizes))
    run.save_result("tasks", records)
    random_ = random.Random(seed)
    ability = {task_id: min(max(random_.gauss(0.45, 0.3), 0.0), 1.0) for task_id in records}
    for number, stage in enumerate(stages):
        rates = {task_id: max(rate - 0.08 * number, 0.0) for task_id, rate in ability.items()}
        fill_stage(run, stage, rates, samples, seed + number)
