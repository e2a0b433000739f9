"""What the experiments on search methods share: one model, one set of problems, one file of drawn replies.

All of them, and `benchmarks/search_compare.py`, ask the same model for the same problems with the same parameters. A
reply that one of them drew is therefore not drawn again by another: it comes from the file of completions that all runs
share (`strop.models.cache`), and is charged as if it had been drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import cache
from typing import Any

from strop import models
from strop.budget import Budget
from strop.judge import Judge
from strop.models.cache import DrawCache, shared_file
from strop.models.spec import is_local
from strop.papers.experiment import Item, Lab, Outcome
from strop.run import Run
from strop.search.compare import SearchSettings, grade_key, in_order, run_searches, traces
from strop.search.methods import MethodSpec, get_method
from strop.search.prompting import form_for
from strop.stats import Bounds
from strop.tasks import load, protocols
from strop.types import Spent, Task, content_hash

SETTINGS: dict[str, Any] = {
    "model": "gguf/~/.cache/strop/models/Qwen2.5-Coder-0.5B-Instruct.q4_k_m.gguf",
    "budget": "programs=8",
    "temperature": 0.8,
    "top_p": 0.95,
    "max_tokens": 384,
}
"""Of every experiment on search methods; a change here parts them from the draws that are there."""
QUICK: dict[str, Any] = {"budget": "programs=3", "max_tokens": 160}
METRICS: dict[str, Bounds] = {
    "solved": (0.0, 1.0),
    "found": (0.0, 1.0),
    "visible": (0.0, 1.0),
    "programs": None,
    "over budget": None,
    "sampled tokens": None,
    "model calls": None,
}
"""solved: the answer passes all checks; found: some program does; visible: share of visible checks that the answer
passes; over budget: programs beyond the budget."""

More = Callable[[Mapping[str, Any], Sequence[bool | None]], Mapping[str, float]]
"""Further metrics of a trace; the second argument says of each program whether it passes all checks."""


@cache
def problems() -> dict[str, Task]:
    """HumanEval's 100 problems with examples that its own tests assert, in the fixed order of `strop search`."""
    return {task.id: task for task in in_order([task for task in load("humaneval") if task.visible_checks])}


class Searches:
    """Model, judge and draws, opened once for an experiment."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._stack = ExitStack()
        name = settings["model"]
        self.model = self._stack.enter_context(closing(models.load(name)))
        self.judge = self._stack.enter_context(Judge(stop_at_first_failure=False))
        self.draws = self._stack.enter_context(closing(DrawCache(shared_file())))
        local = is_local(name)
        protocol = protocols.choose("auto", chat=self.model.chat, local=local)
        self.form = form_for(protocol, chat=self.model.chat, local=local)

    def close(self) -> None:
        self._stack.close()


def run(
    lab: Lab, item: Item, methods: Mapping[str, str | MethodSpec], **changes: Any
) -> Iterator[tuple[str, str, dict[str, Any], list[bool | None]]]:
    """Every method on every unit of an item, as (arm, unit, trace, whether each program passes all checks).

    `methods`: by arm. `changes`: of the lab's settings, such as `budget`. Searches are kept one by one in the lab's
    folder, so that an interrupted item goes on where it was. Charges the lab.
    """
    settings = {**lab.settings, **changes}
    opened = lab.once(_open, settings["model"])
    specs = {arm: get_method(one) if isinstance(one, str) else one for arm, one in methods.items()}
    chosen = SearchSettings(
        methods=tuple(spec.name for spec in specs.values()), tasks="humaneval", seeds=(item.seed,),
        **{name: settings[name] for name in SETTINGS},
    )  # fmt: skip
    tasks = [problems()[unit] for unit in item.units]
    config = {name: settings[name] for name in SETTINGS}
    with Run.open(
        lab.folder / f"searches-{content_hash(config)[:8]}", command="strop papers run", config=config
    ) as kept:
        run_searches(
            kept, chosen, opened.model, tasks, list(specs.values()), opened.judge, opened.form,
            draws=opened.draws, on_progress=lab.on_progress,
        )  # fmt: skip
        for arm, spec in specs.items():
            for trace in traces(kept, tasks, [spec], (item.seed,)):
                grades = [_grade(kept, trace["task"], node["code"]) for node in trace["nodes"]]
                lab.charge(Spent(**{**trace["spent"], "seconds": 0.0}))
                yield arm, trace["task"], trace, grades


def _open(model: str) -> Searches:
    return Searches({"model": model})


def _grade(kept: Run, task_id: str, code: str) -> bool | None:
    """Whether a program passes all checks; None when the judge itself failed."""
    if not code.strip():
        return False
    grade = kept.result(grade_key(task_id, code))
    return None if grade is None else grade["status"] == "passed"


def outcomes(
    lab: Lab, item: Item, methods: Mapping[str, str | MethodSpec], more: More = lambda trace, grades: {}, **changes: Any
) -> Iterator[Outcome]:
    """One outcome with `METRICS` (and `more`) for every arm in `methods` and unit of an item."""
    limit = Budget.parse({**lab.settings, **changes}["budget"]).programs
    for arm, unit, trace, grades in run(lab, item, methods, **changes):
        spent, answer = trace["spent"], trace["answer"]
        chosen = trace["nodes"][answer] if answer is not None else None
        values = {
            "visible": (chosen["fraction"] or 0.0) if chosen else 0.0,
            "programs": spent["programs"],
            "over budget": max(0, spent["programs"] - limit) if limit is not None else 0,
            "sampled tokens": spent["sampled_tokens"],
            "model calls": spent["model_calls"],
        }
        solved = grades[answer] if answer is not None else False
        if solved is not None:
            values |= {"solved": float(solved), "found": float(any(grades))}
        yield Outcome(arm, unit, item.seed, {**values, **more(trace, grades)})
