"""Runs for the tests of the local page, written through `Run`: real tasks, real programs, real verdicts."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from strop import judge
from strop.evals.solve import task_records
from strop.models.cache import DrawCache
from strop.report.search import write_page
from strop.run import Run
from strop.search.compare import SearchSettings, read_effort, run_searches
from strop.search.methods import get_method
from strop.search.prompting import form_for
from strop.search.summary import summarise
from strop.tasks import load
from strop.tasks.protocols import PROTOCOLS
from strop.types import CheckResult, Completion, Sample, Spent, Task, Verdict

HOSTILE = (
    "</script></style></pre></textarea><script>window.hit = 1</script><img src=x onerror='window.hit = 2'>\n"
    "<svg onload='window.hit = 3'> {{ 7 * 7 }} {% raw %} javascript:alert(1)\n"
    "\x00 \x1b[31mred\x1b[0m \u202egnp.exe\u202c \u200b \ud800 \ufeff\n"
)
HOSTILE_ID = "basics/\"><script>window.hit = 4</script>\x00\u202e%2e%2e/../'&amp;?run=x#y"
COMMAND = "strop improve --model smollm2 --tasks basics"
CONFIG = {"model": "smollm2", "tasks": "basics", "seed": 0}


def sample(task_id: str, index: int, code: str, text: str | None = None) -> Sample:
    return Sample(
        task_id=task_id, index=index, text=f"Here:\n```python\n{code}```" if text is None else text, code=code,
        finish_reason="stop", seed=index, protocol="chat",
        spent=Spent(prompt_tokens=90, sampled_tokens=len(code) // 4 + 1, model_calls=1, seconds=0.05),
    )  # fmt: skip


def verdict(status: str = "failed", **changes) -> Verdict:
    check = CheckResult(
        name="call 1", passed=status == "passed", visible=True, status=status, message="values differ", actual="[2]",
        expected="[6]",
    )  # fmt: skip
    given = {"status": status, "fraction": float(status == "passed"), "checks": (check,), "isolation": "userns"}
    return Verdict(**(given | {"detail": "" if status == "passed" else "call 1: values differ"} | changes))


def programs(task: Task) -> Iterator[str]:
    """The reference, and programs that go wrong in their own ways."""
    name = task.entry_point or "main"
    yield task.reference or ""
    yield f"def {name}(*args, **kwargs):\n    print('asked', args)\n    return None\n"
    yield f"def {name}(*args):\n    raise ValueError('no idea')\n"
    yield f"def {name}(:\n"
    yield f"print('<h1>{name}</h1><p>a page</p>')\ndef {name}(*args):\n    return args[0] if args else 0\n"


def real_run(folder: Path, tasks: int = 24, samples: int = 6, seed: int = 0) -> Path:
    """An improve run: two stages of programs for tasks of `basics`, each judged by the judge; metrics of training."""
    chosen = [task for task in load("basics", split="all") if task.entry_point][:tasks]
    rng = random.Random(seed)
    with Run.open(folder, command=COMMAND, config=CONFIG, inputs={"task_set_hash": "aa"}) as run:
        run.save_result("tasks", task_records(chosen))
        for stage, share in (("before", 0.25), ("after-1", 0.6)):
            drawn = []
            for task in chosen:
                good, *bad = programs(task)
                for index in range(samples):
                    drawn.append((task, sample(task.id, index, good if rng.random() < share else rng.choice(bad))))
            verdicts = {
                task.id: judge.run(task, [one.code for of, one in drawn if of is task], workers=2) for task in chosen
            }
            run.save_samples(stage, [one for _, one in drawn])
            run.save_verdicts(stage, [(one.task_id, one.index, verdicts[one.task_id][one.index]) for _, one in drawn])
            run.charge(stage, "all", sum((one.spent for _, one in drawn), Spent(programs=len(drawn))))
        for step in range(1, 21):
            run.save_metrics("train-1", step, {"loss": 1 / step, "learning_rate": 1e-4 * (20 - step)})
    judge.close()
    return folder


def hostile_run(folder: Path) -> Path:
    """A run in which everything that a model or a task file may choose is hostile."""
    config = {"model": HOSTILE.replace("\ud800", ""), "tasks": "../../etc/passwd", "x": [HOSTILE_ID]}
    with Run.open(folder, command=f"strop eval {HOSTILE_ID}", config=config) as run:
        record = {"prompt": HOSTILE, "split": "<b>held</b>", "tags": ["' onclick='window.hit = 5"], "stub": ""}
        run.save_result("tasks", {HOSTILE_ID: record})
        bad = verdict(
            checks=(CheckResult(name=HOSTILE, passed=False, visible=True, status="failed", message=HOSTILE,
                                actual=HOSTILE, expected=HOSTILE),),
            detail=HOSTILE, output=HOSTILE, flags=("<i>flag</i>",), isolation="<b>",
        )  # fmt: skip
        for stage in ("eval-a", "eval-</option><script>window.hit = 6</script>"):
            run.save_samples(
                stage, [sample(HOSTILE_ID, 0, HOSTILE + stage, HOSTILE), sample(HOSTILE_ID, 1, "x = 1\n" * 170_000)]
            )
            run.save_verdicts(stage, [(HOSTILE_ID, 0, bad), (HOSTILE_ID, 1, bad)])
            run.save_metrics(stage, 1, {"<b>loss": 1.0})
            run.save_metrics(stage, 2, {"<b>loss": 0.5})
    return folder


def large_run(folder: Path, samples: int = 50_000) -> Path:
    """An eval run of 500 tasks with many samples each, with programs of the usual size."""
    rng = random.Random(1)
    good, bad = verdict("passed"), verdict(output="x" * 600, detail="call 1: " + "y" * 200)
    code = "def f(values):\n" + "    total = sum(values)  # a line as programs have them\n" * 12 + "    return total\n"
    with Run.open(folder, command="strop eval -n 100", config=CONFIG) as run:
        run.save_result("tasks", {f"t/{i:04d}": {"prompt": "Do it. " * 40, "split": "test", "tags": ["a"], "stub": ""}
                                  for i in range(500)})  # fmt: skip
        rows = [(f"t/{i:04d}", i) for i in range(500)]
        run.save_samples("eval", [sample(task, 0, code) for task, _ in rows])
        run.save_verdicts("eval", [(task, 0, good if rng.random() < 0.4 else bad) for task, _ in rows])
    # The rest are copies: writing each through `Run` takes longer than all that is tested with them.
    last = samples // 500 - 1
    numbers = f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {last}) SELECT i FROM n)"
    with closing(sqlite3.connect(folder / "run.sqlite")) as database, database:
        database.execute(
            f"INSERT INTO samples SELECT stage, task_id, i, data, token_ids, logprobs FROM {numbers}, samples"
        )
        database.execute(f"INSERT INTO verdicts SELECT stage, task_id, i, status, data FROM {numbers}, verdicts")
    return folder


class Replies:
    """A model that answers its n-th request with the n-th text, for searches whose shape is known."""

    name, chat, batch_size, fingerprint = "replies", True, 4, "replies"

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.asked = 0

    def sample(self, requests, params):
        for place, _ in enumerate(requests):
            text = self.texts[self.asked % len(self.texts)]
            self.asked += 1
            yield place, Completion(text=text, finish_reason="stop", spent=Spent(sampled_tokens=9, model_calls=1))


def search_run(folder: Path) -> Path:
    """A run of two search methods on two tasks, as `strop search` makes it; one reply is hostile."""
    tasks = [task for task in load("basics", split="all") if task.entry_point][:2]
    name = tasks[0].entry_point
    wrong = f"```python\ndef {name}(*args):\n    return '{{{{ 7 * 7 }}}}</script><script>window.hit = 7</script>'\n```"
    model = Replies([wrong, HOSTILE, f"```python\n{tasks[0].reference}```"])
    methods = ("best-of-n", "self-debug")
    settings = SearchSettings(methods=methods, model="replies", budget="programs=4")
    form = form_for(PROTOCOLS["chat"], chat=True, local=False)
    specs = [get_method(method) for method in methods]
    with (
        Run.open(folder, command="strop search", config={"model": "replies", "tasks": "basics"}) as run,
        closing(DrawCache(folder / "draws.sqlite")) as draws,
        judge.Judge(workers=1, stop_at_first_failure=False) as bench,
    ):
        run_searches(run, settings, model, tasks, specs, bench, form, draws=draws)
        write_page(folder, summarise(run, settings, tasks, specs, read_effort(run)), [], "strop search")
    return folder
