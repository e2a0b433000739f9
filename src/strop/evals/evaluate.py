"""`strop eval`: how many tasks does a model solve, under one prompt protocol or under each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strop.evals.solve import OnProgress, measure, silent, task_records
from strop.types import SamplingParams, Task

if TYPE_CHECKING:
    from strop.budget import Meter
    from strop.judge import Judge
    from strop.models import Model
    from strop.run import Run
    from strop.tasks.protocols import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSettings:
    """Everything that decides the outcome of an evaluation. Written to the manifest."""

    model: str = "smollm2"
    tasks: str = "basics"
    tags: tuple[str, ...] = ()
    limit: int | None = None
    samples: int = 1
    """Samples a task; pass@k needs at least k of them."""
    k: tuple[int, ...] = (1,)
    protocol: str = "auto"
    """Name of a prompt protocol, `auto`, or `all` to compare every protocol that fits model and tasks."""
    temperature: float = 0.8
    top_p: float = 0.95
    max_tokens: int = 512
    stop_after_block: bool = False
    """End a reply behind its first closed code block."""
    seed: int = 0
    budget: str | None = None

    @property
    def params(self) -> SamplingParams:
        return SamplingParams(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            stop_after_block=self.stop_after_block,
        )


def stage_name(protocol: Protocol, compared: bool) -> str:
    """`eval`, or `eval-PROTOCOL` when several protocols are compared in one run."""
    return f"eval-{protocol.name}" if compared else "eval"


def evaluate(
    run: Run,
    settings: EvalSettings,
    model: Model,
    tasks: Sequence[Task],
    protocols: Sequence[Protocol],
    judge: Judge,
    *,
    meter: Meter | None = None,
    on_progress: OnProgress = silent,
) -> None:
    """Sample and judge `tasks` under each of `protocols`; resumes. Results are read from the run afterwards."""
    run.save_result("tasks", task_records(tasks))
    for protocol in protocols:
        measure(
            run,
            stage_name(protocol, len(protocols) > 1),
            model,
            tasks,
            judge,
            protocol,
            samples_per_task=settings.samples,
            params=settings.params,
            seed=settings.seed,
            meter=meter,
            on_progress=on_progress,
        )
