"""`strop train dpo`, `kto`, `reward`, `pair` and `rerank`: one learner on a file of pairs, or on a run's samples."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from strop.cli.options import (
    DryRunOption,
    FreshOption,
    JsonOption,
    ModelOption,
    OutOption,
    QuietOption,
    SeedOption,
    command_line,
    run_folder,
)

T = TypeVar("T")
LEARNERS = {
    "dpo": "Prefer chosen to rejected answers, with TRL's DPO losses; by default the sigmoid loss plus imitation.",
    "kto": "Learn from answers that are wanted or not, without pairs (KTO). Pairs count as one of each.",
    "reward": "A reward model: one number for a program, higher for the chosen one (Bradley-Terry).",
    "pair": "A judge of pairs: which of two programs is better, A or B, learned in both orders.",
}
SCORING = {"reward": "reward", "pair": "pair"}
"""Learners whose result is a scorer, and the kind that `strop audit scorer` calls it by."""
EpochsOption = Annotated[float, typer.Option("--epochs", min=0.01)]
RankOption = Annotated[int, typer.Option("--lora-rank", min=1)]
LengthOption = Annotated[int, typer.Option("--max-length", min=8, help="Longer examples are left out, and counted.")]
BatchOption = Annotated[int, typer.Option("--batch-size", min=1, help="Examples a training step.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to `strop train`."""
    for name, line in LEARNERS.items():
        app.command(name, help=f"{line}\n\nThe same command again resumes; `accelerate launch` works.")(learn)
    app.command("rerank")(rerank)


def learn(
    context: typer.Context,
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="A file of `strop data pairs`.")],
    model: ModelOption = "smollm2",
    epochs: EpochsOption = 1.0,
    learning_rate: Annotated[float, typer.Option("--learning-rate", min=0.0)] = 1e-4,
    batch_size: BatchOption = 8,
    lora_rank: RankOption = 16,
    max_length: LengthOption = 768,
    beta: Annotated[float, typer.Option("--beta", min=0.0, help="dpo and kto: how dear it is to move away.")] = 0.1,
    loss: Annotated[str, typer.Option("--loss", metavar="A,B", help="dpo: TRL's losses, summed.")] = "sigmoid,sft",
    loss_weights: Annotated[
        str | None, typer.Option("--loss-weights", metavar="X,Y", help="Default: 1 each.", show_default=False)
    ] = None,
    held_out: Annotated[
        float, typer.Option("--held-out", min=0.0, max=0.9, help="reward and pair: share of tasks to measure on.")
    ] = 0.2,
    seed: SeedOption = 0,
    out: OutOption = None,
    fresh: FreshOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    from dataclasses import asdict

    from strop.train.lora import LearnerSettings

    name = str(context.info_name)
    rows, summary = _rows(name, pairs)
    practised, kept_apart = rows, []
    if name in SCORING:
        practised, kept_apart = _divide(rows, lambda pair: str(pair.why.get("task_id", pair.prompt)), held_out)
    summary |= {"learned from": len(practised), "held out": len(kept_apart)}
    settings = LearnerSettings(
        epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, lora_rank=lora_rank, max_length=max_length,
        seed=seed,
    )  # fmt: skip
    names, weights = _losses(loss, loss_weights)
    extra = {"dpo": {"beta": beta, "loss": names, "loss_weights": weights}, "kto": {"beta": beta}}.get(name, {})
    config = {"learner": name, "model": model, "tasks": str(pairs), "held_out": held_out, **extra, **asdict(settings)}
    if dry_run:
        steps = -(-len(practised) * (2 if name == "pair" else 1) // batch_size) * epochs
        _show(summary | {"model": model, "training steps": round(steps), "lora rank": lora_rank}, as_json)
        return
    folder = run_folder(f"train-{name}", out, config)
    adapter = folder / "adapter"
    inputs = {"pairs": hashlib.sha256(pairs.read_bytes()).hexdigest()}
    function = _learner(name)
    _run(folder, config, inputs, fresh, quiet or as_json, lambda on_metrics, on_progress: adapter.exists() or function(
        model, practised, folder=folder / "work", adapter=adapter, settings=settings, on_metrics=on_metrics,
        on_progress=on_progress, **extra,
    ))  # fmt: skip
    if not _first_process():
        return
    summary |= {"adapter": str(adapter)}
    if name in SCORING:
        summary |= _accuracy(f"{SCORING[name]}/{model}+{adapter}", kept_apart, seed)
        summary["use it with"] = f"strop audit scorer {SCORING[name]}/{model}+{adapter} --run RUN"
    else:
        summary["use it with"] = f"strop eval --model {model}+{adapter}"
    _show(summary, as_json)


def rerank(
    run: Annotated[Path, typer.Option("--run", metavar="FOLDER", help="A run with several samples a task.")],
    model: ModelOption = "smollm2",
    stage: Annotated[str | None, typer.Option("--stage", help="Stage of the run, such as practice-1.")] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Reward models, each learning from more.")] = 2,
    top: Annotated[float, typer.Option("--top", min=0.01, max=1.0, help="Share of failures that are hard.")] = 0.3,
    per_task: Annotated[int, typer.Option("--per-task", min=1, help="Most pairs of one task a round.")] = 4,
    held_out: Annotated[float, typer.Option("--held-out", min=0.01, max=0.9, help="Share of tasks.")] = 0.3,
    epochs: EpochsOption = 2.0,
    learning_rate: Annotated[float, typer.Option("--learning-rate", min=0.0)] = 3e-4,
    batch_size: BatchOption = 8,
    lora_rank: RankOption = 16,
    max_length: LengthOption = 768,
    seed: SeedOption = 0,
    out: OutOption = None,
    fresh: FreshOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a reranker, and again on the failures it overrates; measured on tasks that it never saw.

    Samples of each practised task are dealt out over the rounds. Prints the reliability of every round's reward model
    beside the trivial scorers.
    """
    from dataclasses import asdict

    from strop.data.from_run import pools_of_run
    from strop.evals.reliability import as_data, lines, reliability_report
    from strop.run import Run
    from strop.train.lora import LearnerSettings
    from strop.train.rerank import judged_programs, self_train
    from strop.types import StropError

    with Run.read(run) as opened:
        found = pools_of_run(opened, stage)
    practised, kept_apart = _divide(found.pools, lambda pool: pool.task.id, held_out)
    if not practised or not kept_apart:
        raise StropError(f"{run}: {len(found.pools)} tasks are too few to train on some and measure on others.")
    settings = LearnerSettings(
        epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, lora_rank=lora_rank, max_length=max_length,
        seed=seed,
    )  # fmt: skip
    summary: dict[str, Any] = {
        "practised tasks": len(practised), "held-out tasks": len(kept_apart),
        "programs": sum(len(pool.candidates) for pool in found.pools), "dropped samples": dict(found.dropped),
    }  # fmt: skip
    if dry_run:
        _show(summary | {"pairs at most": rounds * per_task * len(practised)}, as_json)
        return
    config = {
        "learner": "rerank",
        "model": model,
        "tasks": str(run),
        "stage": found.stage,
        "rounds": rounds,
        "top": top,
    }
    config |= {"per_task": per_task, "held_out": held_out, **asdict(settings)}
    folder = run_folder("train-rerank", out, config)
    trained: list[Any] = []
    _run(folder, config, {}, fresh, quiet or as_json, lambda on_metrics, on_progress: trained.extend(self_train(
        model, practised, found.protocol, folder, settings=settings, rounds=rounds, per_task=per_task, top=top,
        on_round=lambda number, done, total: on_progress(done, total),
    )))  # fmt: skip
    summary["pairs by round"] = [len(pairs) for _, pairs in trained]
    report = reliability_report(
        judged_programs(kept_apart, found.protocol), [scorer for scorer, _ in trained], seed=seed
    )
    summary["use it with"] = (
        f"strop search --method best-of-n:select=scorer:scorer=reward/{model}+{folder}/round-{rounds}"
    )
    if as_json:
        _show(summary | {"reliability": as_data(report)}, as_json)
        return
    _show(summary, as_json)
    for line in lines(report):
        typer.echo(line)


# ---- what they share ---------------------------------------------------------------------------


def _first_process() -> bool:
    """Whether this process writes the run folder; under `accelerate launch` the others only train."""
    return os.environ.get("RANK", "0") == "0"


def _run(
    folder: Path, config: dict[str, Any], inputs: dict[str, str], fresh: bool, quiet: bool,
    work: Callable[[Callable, Callable], Any],
) -> None:  # fmt: skip
    """Call `work(on_metrics, on_progress)`, in the first process with a run folder, elsewhere with idle callbacks."""
    import time

    from strop.cli.progress import progress
    from strop.run import Run
    from strop.types import Spent

    if not _first_process():
        work(lambda step, values: None, lambda done, total: None)
        return
    opened = Run.open(folder, command=command_line(), config=config, inputs=inputs, fresh=fresh)
    with opened as run, progress(show=not quiet) as on_progress:
        began = time.monotonic()
        work(
            lambda step, values: run.save_metrics("train", step, values),
            lambda done, total: on_progress("training", done, total),
        )
        run.charge("train", "training", Spent(seconds=time.monotonic() - began))


def _learner(name: str) -> Callable[..., None]:
    from strop.train.dpo import train_dpo
    from strop.train.kto import train_kto
    from strop.train.pair_judge import train_pair_judge
    from strop.train.reward import train_reward

    return {"dpo": train_dpo, "kto": train_kto, "reward": train_reward, "pair": train_pair_judge}[name]


def _rows(name: str, path: Path) -> tuple[list[Any], dict[str, Any]]:
    """What a learner learns from, and its counts. Raises StropError naming what is wrong with the file."""
    from strop.data.export import read_labelled, read_pairs
    from strop.types import StropError

    if not path.is_file():
        raise StropError(f"There is no file {path}; `strop data pairs` makes one.")
    rows = read_labelled(path) if name == "kto" else read_pairs(path)
    return list(rows), {"learner": name, "rows": len(rows)}


def _divide(items: Sequence[T], task_of: Callable[[T], str], share: float) -> tuple[list[T], list[T]]:
    """Items of most tasks, and of the share of tasks with the lowest hash of their id: the same for every learner."""

    def rank(item: T) -> float:
        return int.from_bytes(hashlib.sha256(task_of(item).encode("utf-8", "surrogatepass")).digest()[:8]) / 2**64

    return [item for item in items if rank(item) >= share], [item for item in items if rank(item) < share]


def _losses(loss: str, weights: str | None) -> tuple[list[str], list[float]]:
    from strop.types import StropError

    names = [name.strip() for name in loss.split(",") if name.strip()]
    try:
        return names, [1.0] * len(names) if weights is None else [float(word) for word in weights.split(",")]
    except ValueError:
        raise StropError(f"--loss-weights {weights!r} are no numbers separated by commas.") from None


def _accuracy(spec: str, pairs: list[Any], seed: int) -> dict[str, str]:
    """Held-out accuracy of a trained scorer, the length rule beside it."""
    from strop.evals.reliability import pair_accuracy
    from strop.evals.scorers import load_scorer

    if not pairs:
        return {"held-out accuracy": "not measured: no task was held out"}
    return {
        f"held-out accuracy{suffix}": pair_accuracy(load_scorer(name), pairs, seed=seed).words()
        for suffix, name in (("", spec), (' of "shorter is better"', "shorter"))
    }


def _show(summary: dict[str, Any], as_json: bool) -> None:
    import json

    if as_json:
        typer.echo(json.dumps(summary, indent=1))
        return
    for name, value in summary.items():
        typer.echo(f"{name}: {value if value not in ({}, []) else 'none'}")
