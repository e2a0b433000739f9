"""`strop improve`: measure, practise, judge, select, learn, measure again, on tasks the model never practised.

Stages, each resumable and each named in the run folder:

    before       held-out tasks, base model                      (samples, verdicts)
    practice-1   practice tasks, current model                   (samples, verdicts)
    train-1      LoRA on what worked, from the base model        (curves, adapter)
    after-1      the same held-out tasks, same seeds, trained    (samples, verdicts)
    practice-2 ...                                               (with --rounds)

Each round trains from the base model on everything practised so far, as expert iteration does (Zelikman et al. 2022,
arXiv 2203.14465): a second round refines the data, not the leftovers of the first round's weights. Guards
(`guard-before`, `guard-after-r`) watch a HumanEval slice and the perplexity of a fixed text.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from strop.evals.solve import OnProgress, measure, silent, task_records
from strop.train import guard
from strop.train.constructed import CONSTRUCTIONS, constructed, labelled
from strop.train.dpo import train_dpo
from strop.train.examples import Judged, judged, rejection_sampled, with_references
from strop.train.kto import train_kto
from strop.train.lora import LearnerSettings
from strop.train.sft import train_sft
from strop.train.splits import load_apart
from strop.types import SamplingParams, Spent, Task

if TYPE_CHECKING:
    from strop.judge import Judge
    from strop.models import Model
    from strop.run import Run
    from strop.tasks.protocols import Protocol

Recipe = Literal["star", "rft", "dpo", "plum", "plum-kto", "dstc", "codedpo"]
RECIPES: tuple[Recipe, ...] = get_args(Recipe)
IMITATING: tuple[Recipe, ...] = ("star", "rft")
LEARNING_RATES = {"imitating": 1e-3, "preferring": 1e-4}
"""Usual learning rates by kind of recipe. Preferences move a model further at the same rate; theirs is a first choice
that no experiment has tuned."""


def usual_learning_rate(recipe: str) -> float:
    """The learning rate of a recipe unless one is given."""
    return LEARNING_RATES["imitating" if recipe in IMITATING else "preferring"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImproveSettings:
    """Everything that decides the outcome. Written to the manifest; a resumed run must have the same."""

    model: str = "smollm2"
    tasks: str = "basics"
    held_out: str | None = None
    """A separate task set to measure on; None divides `tasks` (see `splits.divide`)."""
    recipe: Recipe = "star"
    """`rft`: imitate the programs that passed. `star`: also the reference of tasks that no program solved. `dpo`:
    prefer programs that passed to programs that failed. `plum`, `dstc`, `codedpo`: pairs by these
    constructions (`strop.data`), learned with DPO. `plum-kto`: the same labels without pairs, learned with KTO."""
    tests: str | None = None
    """What the constructions score programs with: `all` or `visible` assertions of the task, or a file of written
    tests; None for each one's own default (`strop.data.from_run.suite_for`)."""
    rounds: int = 1
    practice_tasks: int | None = None
    """How many practice tasks each round uses; None for all."""
    practice_samples: int = 2
    """Samples a practice task, each round."""
    held_out_tasks: int | None = None
    held_out_samples: int = 2
    """Samples a held-out task, before and after."""
    per_task: int = 4
    """Most distinct programs or pairs learned from one task, so that easy tasks do not drown the rest."""
    protocol: str = "auto"
    temperature: float = 0.8
    top_p: float = 0.95
    max_tokens: int = 80
    guard_tasks: int = 8
    """HumanEval tasks watched for lost general ability, greedy; 0 switches the guards off."""
    seed: int = 0
    learner: LearnerSettings = field(default_factory=LearnerSettings)

    @property
    def params(self) -> SamplingParams:
        return SamplingParams(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will do, worked out before anything is spent."""

    practice: list[Task]
    held_out: list[Task]
    division: str
    protocol: Protocol

    def samples(self, settings: ImproveSettings) -> dict[str, int]:
        """Samples to draw, by kind of stage."""
        return {
            "held-out": len(self.held_out) * settings.held_out_samples * (1 + settings.rounds),
            "practice": len(self.practice) * settings.practice_samples * settings.rounds,
            "guard": settings.guard_tasks * (1 + settings.rounds),
        }


def plan(settings: ImproveSettings, *, chat: bool, local: bool, allow_near_duplicates: bool = False) -> Plan:
    """Load and divide the tasks, and check that nothing held out can be practised."""
    from strop.tasks import protocols

    practice, held_out, division = load_apart(
        settings.tasks,
        settings.held_out,
        practice_tasks=settings.practice_tasks,
        held_out_tasks=settings.held_out_tasks,
        seed=settings.seed,
        allow_near_duplicates=allow_near_duplicates,
    )
    return Plan(
        practice=practice,
        held_out=held_out,
        division=division,
        protocol=protocols.choose(settings.protocol, chat=chat, local=local),
    )


def improve(
    run: Run, settings: ImproveSettings, plan: Plan, model: Model, judge: Judge, on_progress: OnProgress = silent
) -> Path:
    """Run every stage that is not done yet and return the final adapter's folder. `model` is closed on the way."""
    from strop import models

    run.save_result("tasks", task_records([*plan.practice, *plan.held_out]))
    run.save_result("division", plan.division)
    adapter = run.path / "adapter"
    _measure_held_out(run, "before", model, settings, plan, judge, on_progress)
    _watch(run, "guard-before", model, settings, judge, on_progress)
    for number in range(1, settings.rounds + 1):
        trained = run.path / f"adapter-{number}"
        if not trained.exists():
            _practise(run, number, model, settings, plan, judge, on_progress)
            model.close()
            _learn(run, number, trained, settings, plan, judge, on_progress)
        else:
            model.close()
        model = models.load(f"{settings.model}+{trained}")
        _measure_held_out(run, f"after-{number}", model, settings, plan, judge, on_progress)
        _watch(run, f"guard-after-{number}", model, settings, judge, on_progress)
    model.close()
    if not adapter.exists():
        partial = adapter.with_name("adapter.part")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(run.path / f"adapter-{settings.rounds}", partial)
        partial.rename(adapter)
    return adapter


def _measure_held_out(
    run: Run, stage: str, model: Model, settings: ImproveSettings, plan: Plan, judge: Judge, on_progress: OnProgress
) -> None:
    measure(
        run, stage, model, plan.held_out, judge, plan.protocol,
        samples_per_task=settings.held_out_samples, params=settings.params, seed=settings.seed, on_progress=on_progress,
    )  # fmt: skip


def _practise(
    run: Run, number: int, model: Model, settings: ImproveSettings, plan: Plan, judge: Judge, on_progress: OnProgress
) -> None:
    measure(
        run, f"practice-{number}", model, plan.practice, judge, plan.protocol,
        samples_per_task=settings.practice_samples, params=settings.params, seed=settings.seed + 1000 * number,
        on_progress=on_progress,
    )  # fmt: skip


def _learn(
    run: Run, number: int, adapter: Path, settings: ImproveSettings, plan: Plan, judge: Judge, on_progress: OnProgress
) -> None:
    stage = f"train-{number}"
    began = time.monotonic()
    samples, verdicts = practised(run, number)
    rows = judged(plan.practice, samples, verdicts)
    shared: dict[str, Any] = {
        "folder": run.path / stage,
        "adapter": adapter,
        "settings": settings.learner,
        "on_metrics": lambda step, values: run.save_metrics(stage, step, values),
        "on_progress": lambda done, total: on_progress(stage, done, total),
    }
    learn: Callable[..., None] = train_dpo
    if settings.recipe in IMITATING:
        if settings.recipe == "star":
            rows = with_references(rows, _sound_references(rows, judge))
        learn = train_sft
        data: Sequence[Any] = rejection_sampled(rows, plan.protocol, per_task=settings.per_task, seed=settings.seed)
    elif settings.recipe in CONSTRUCTIONS:
        data, summary = constructed(
            CONSTRUCTIONS[settings.recipe], plan.practice, samples, verdicts, plan.protocol, judge,
            policy=settings.model, tests=settings.tests, per_task=settings.per_task, seed=settings.seed,
            held_out=plan.held_out,
        )  # fmt: skip
        run.save_result(f"{stage}-labels", summary)
    else:
        learn = train_kto
        data, summary = labelled(
            plan.practice, samples, verdicts, plan.protocol, judge, tests=settings.tests, per_task=settings.per_task,
            seed=settings.seed,
        )  # fmt: skip
        run.save_result(f"{stage}-labels", summary)
    run.save_result(f"{stage}-data", [asdict(item) for item in data])
    learn(settings.model, data, **shared)
    run.charge(stage, "training", Spent(seconds=time.monotonic() - began))


def _sound_references(rows: Sequence[Judged], judge: Judge) -> set[str]:
    """Ids of the tasks that no program solved and whose reference passes every check."""
    jobs = [(row.task.id, row.task, row.task.reference) for row in rows if not row.passing and row.task.reference]
    return {task_id for task_id, verdict in judge.stream(jobs) if verdict.passed}


def practised(run: Run, rounds: int) -> tuple[list, dict]:
    """Samples and verdicts of practice rounds 1 to `rounds`; samples of later rounds get fresh indices."""
    samples, verdicts = [], {}
    offset = 0
    for number in range(1, rounds + 1):
        stage = f"practice-{number}"
        drawn = run.samples(stage)
        samples += [replace(sample, index=sample.index + offset) for sample in drawn]
        verdicts |= {(task, index + offset): verdict for (task, index), verdict in run.verdicts(stage).items()}
        offset += 1 + max((sample.index for sample in drawn), default=-1)
    return samples, verdicts


def _watch(
    run: Run, stage: str, model: Model, settings: ImproveSettings, judge: Judge, on_progress: OnProgress
) -> None:
    guard.watch(
        run, stage, model, judge, count=settings.guard_tasks, protocol=settings.protocol,
        max_tokens=settings.max_tokens, seed=settings.seed, on_progress=on_progress,
    )  # fmt: skip
