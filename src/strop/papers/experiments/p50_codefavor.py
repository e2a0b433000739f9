"""Paper 50 trains a model to say which of two programs is better. Does that beat the untrained model, and length?

Pairs are real programs for HumanEval, one right and one wrong by execution, from the public preference set that paper
43's experiment uses. Half of the tasks are learned from, the others measured on. A judge sees each pair in both orders;
`shorter` and `longer` are the trivial judges, always beside it. The benchmark of the paper is not used: it may not be
trained on, nor shipped (`strop.evals.codeprefbench` scores a judge on it, from your own copy).

Departures from the paper: labels by execution instead of commits and critiques, so correctness is the only aspect; a
135M model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np

from strop import models
from strop.evals.codeprefbench import PrefItem, both_orders, position_bias
from strop.evals.scorers import PairJudge
from strop.papers.experiment import Condition, Experiment, Item, Lab, Outcome, Size, Table
from strop.papers.experiments.p43_codedpo import RIGHT, bench, programs
from strop.tasks import load
from strop.train.lora import LearnerSettings
from strop.train.pair_judge import train_pair_judge
from strop.types import Preference, Spent

TRAINED, UNTRAINED = "trained judge", "untrained judge"


def pairs_of(unit: str, answers: list, prompt: str, most: int, seed: int) -> list[Preference]:
    """Right against wrong programs of a task in random order, each used once."""
    texts = programs()[unit]
    right = [text for text, row in zip(texts, answers) if all(one == RIGHT for one in row)]
    wrong = [text for text, row in zip(texts, answers) if not all(one == RIGHT for one in row)]
    rng = np.random.default_rng([seed, *unit.encode()])
    rng.shuffle(right)
    rng.shuffle(wrong)
    return [
        Preference(
            prompt=prompt, chosen=good, rejected=bad,
            why={"task_id": unit, "chosen_program": good, "rejected_program": bad},
        )
        for good, bad in list(zip(right, wrong))[:most]
    ]  # fmt: skip


def measure(lab: Lab, item: Item) -> Iterator[Outcome]:
    settings, prompts = lab.settings, {task.id: task.prompt for task in load("humaneval")}
    learned = list(programs())[::2][: settings["learned_tasks"]]
    answers = lab.once(bench, lab, (*item.units, *learned))
    made = {
        unit: pairs_of(unit, answers[unit], prompts[unit], settings["per_task"], item.seed)
        for unit in (*learned, *item.units)
    }
    adapter = lab.folder / f"judge-{item.seed}"
    if not adapter.exists():
        train_pair_judge(
            settings["model"], [pair for unit in learned for pair in made[unit]],
            folder=lab.folder / f"work-{item.seed}", adapter=adapter,
            settings=LearnerSettings(
                epochs=settings["epochs"], learning_rate=settings["learning_rate"], max_length=1024, seed=item.seed
            ),
            on_metrics=lambda *_: None, on_progress=lambda done, total: lab.on_progress("training", done, total),
        )  # fmt: skip
    asked = [
        PrefItem(aspect="correctness", instruction=prompts[unit], better=0, group=unit,
                 codes=(pair.why["chosen_program"], pair.why["rejected_program"]))
        for unit in item.units for pair in made[unit]
    ]  # fmt: skip
    shown = both_orders(asked)
    choices = {"shorter": _shorter(shown), "longer": [None if one is None else 1 - one for one in _shorter(shown)]}
    for arm, spec in ((UNTRAINED, settings["model"]), (TRAINED, f"{settings['model']}+{adapter}")):
        with closing(models.load(spec)) as model:
            choices[arm] = PairJudge(model).choices(shown)
    for unit in item.units:
        mine = [place for place, one in enumerate(shown) if one.group == unit]
        if not mine:  # its programs are all right, or all wrong
            continue
        for arm in item.arms:
            picked = [(choices[arm][place], shown[place].better) for place in mine]
            right = [0.5 if choice is None else float(choice == better) for choice, better in picked]
            turned = position_bias([choices[arm][place] for place in mine])
            yield Outcome(arm, unit, item.seed, {"right": float(np.mean(right)), "order decides": turned})


def _shorter(items: list[PrefItem]) -> list[int | None]:
    lengths = [tuple(map(len, item.codes)) for item in items]
    return [None if one == other else int(one > other) for one, other in lengths]


def conclude(table: Table) -> list[Condition]:
    return [
        Condition.of("the trained judge is right more often", table.compare("right", TRAINED, UNTRAINED)),
        Condition.of(
            "the trained judge is right more often than the rule `shorter is better`",
            table.compare("right", TRAINED, "shorter"),
        ),
        Condition.of(
            "the order of the programs decides less often after training",
            table.compare("order decides", TRAINED, UNTRAINED),
            below=0.0,
            required=False,
        ),
    ]


EXPERIMENT = Experiment(
    paper=50,
    name="codefavor",
    question="Does a small judge of pairs, trained on executed programs, beat its untrained self and the length rules?",
    arms=(TRAINED, UNTRAINED, "shorter", "longer"),
    units=lambda: list(programs())[1::2],
    metrics={"right": (0.0, 1.0), "order decides": (0.0, 1.0)},
    measure=measure,
    conclude=conclude,
    components=("strop.train.pair_judge", "strop.evals.scorers", "strop.evals.codeprefbench"),
    planned=Size(units=24, seeds=3),
    quick=Size(units=3, seeds=1),
    cost=Spent(seconds=1500, programs=2500),
    cut=(),
    settings={"model": "smollm2", "learned_tasks": 24, "per_task": 3, "epochs": 2.0, "learning_rate": 3e-4},
    quick_settings={"learned_tasks": 3, "per_task": 1, "epochs": 1.0},
)
