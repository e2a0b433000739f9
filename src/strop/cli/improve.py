"""Let a model practise on tasks, learn from what worked, and measure it again on held-out tasks.

Without arguments: the embedded model SmolLM2-135M-Instruct on the embedded task set `basics`. Running the same
command again resumes; Ctrl-C keeps what is done. The final adapter lies in the run folder; use it with
`--model MODEL+FOLDER/adapter`.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from strop.cli.options import (
    DryRunOption,
    FreshOption,
    IsolationOption,
    JsonOption,
    ModelOption,
    NearDuplicatesOption,
    OutOption,
    QuietOption,
    RayOption,
    SeedOption,
    TasksOption,
    WorkersOption,
    command_line,
    keep_stdout,
    run_folder,
    show_outcome,
)

if TYPE_CHECKING:
    from strop.train.rl.recipes import RLSettings


def improve(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Settings of reinforcement learning, as in strop train rl."),
    ] = None,
    model: ModelOption = "smollm2",
    tasks: TasksOption = "basics",
    held_out: Annotated[
        str | None, typer.Option("--held-out", metavar="TASKS", help="Measure on this set instead of a split.")
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            help="rft: imitate what passed. star: also references of tasks never solved. dpo: prefer what passed. "
            "plum, dstc, codedpo: pairs by these constructions. plum-kto: labels without pairs. grpo, ppo, rloo, "
            "coderl, ...: reinforcement learning (strop train rl --settings lists them).",
        ),
    ] = "star",
    tests: Annotated[
        str | None,
        typer.Option("--tests", metavar="WHICH", help="What constructions score with: all, visible, or a file."),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often to practise and train.")] = 1,
    practice_tasks: Annotated[
        int, typer.Option("--practice-tasks", min=0, help="Practice tasks each round; 0 for all.")
    ] = 0,
    practice_samples: Annotated[int, typer.Option("--practice-samples", min=1, help="Samples a practice task.")] = 2,
    held_out_tasks: Annotated[int, typer.Option("--held-out-tasks", min=0, help="0 for all.")] = 0,
    held_out_samples: Annotated[int, typer.Option("--held-out-samples", min=1, help="Samples a held-out task.")] = 2,
    per_task: Annotated[
        int, typer.Option("--per-task", min=1, help="Most programs or pairs learned from one task.")
    ] = 4,
    protocol: Annotated[str, typer.Option("--as", help="Prompt protocol.")] = "auto",
    temperature: Annotated[float, typer.Option("--temperature", "-T", min=0.0)] = 0.8,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1)] = 80,
    epochs: Annotated[float, typer.Option("--epochs", min=0.01)] = 2.0,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", min=0.0, help="Default: 1e-3 to imitate, 1e-4 to prefer.", show_default=False),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Examples a training step.")] = 8,
    lora_rank: Annotated[int, typer.Option("--lora-rank", min=1)] = 16,
    guard_tasks: Annotated[
        int, typer.Option("--guard-tasks", min=0, help="HumanEval tasks watched; 0: no guards.")
    ] = 8,
    allow_near_duplicates: NearDuplicatesOption = False,
    seed: SeedOption = 0,
    workers: WorkersOption = None,
    require_isolation: IsolationOption = None,
    ray: RayOption = None,
    out: OutOption = None,
    fresh: FreshOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    from strop import models
    from strop.cli.progress import progress
    from strop.cli.reinforce import reinforce
    from strop.judge import Judge
    from strop.models.spec import is_local
    from strop.run import Run
    from strop.tasks import task_set_hash
    from strop.train.improve import IMITATING, RECIPES, ImproveSettings, plan, usual_learning_rate
    from strop.train.improve import improve as improve_model
    from strop.train.lora import LearnerSettings
    from strop.train.rl import recipes as rl_recipes
    from strop.types import StropError

    if recipe in rl_recipes.RECIPES:
        reinforce(
            "improve", _rl_settings(context, words or []), workers=workers,
            allow_near_duplicates=allow_near_duplicates, require_isolation=require_isolation, ray=ray, out=out,
            fresh=fresh, dry_run=dry_run, as_json=as_json, quiet=quiet,
        )  # fmt: skip
        return
    if recipe not in RECIPES:
        known = ", ".join((*RECIPES, *rl_recipes.RECIPES))
        raise StropError(f"There is no recipe {recipe!r}; choose one of {known}.")
    if words:
        raise StropError(f"{words[0]!r}: NAME=VALUE settings are for reinforcement learning; {recipe} has options.")
    if tests is not None and recipe in (*IMITATING, "dpo"):
        raise StropError(f"--tests is for recipes that make pairs by a construction; {recipe} reads the verdicts.")
    settings = ImproveSettings(
        model=model, tasks=tasks, held_out=held_out, recipe=recipe, tests=tests,  # type: ignore[arg-type]
        rounds=rounds,
        practice_tasks=practice_tasks or None, practice_samples=practice_samples, held_out_tasks=held_out_tasks or None,
        held_out_samples=held_out_samples, per_task=per_task, protocol=protocol, temperature=temperature,
        max_tokens=max_tokens, guard_tasks=guard_tasks, seed=seed,
        learner=LearnerSettings(
            epochs=epochs, learning_rate=learning_rate or usual_learning_rate(recipe), batch_size=batch_size,
            lora_rank=lora_rank, seed=seed,
        ),
    )  # fmt: skip
    config = asdict(settings)
    if dry_run:
        _show_plan(
            settings, plan(settings, chat=True, local=is_local(model), allow_near_duplicates=allow_near_duplicates)
        )
        return
    folder = run_folder("improve", out, config)
    with (
        keep_stdout(ray),
        closing(models.load(model)) as loaded,
        Judge(workers=workers, require=require_isolation, ray=ray) as judge,
    ):
        work = plan(settings, chat=loaded.chat, local=is_local(model), allow_near_duplicates=allow_near_duplicates)
        config["protocol"] = work.protocol.name
        inputs = {
            "model_fingerprint": loaded.fingerprint,
            "task_set_hash": task_set_hash([*work.practice, *work.held_out]),
        } | test_file_hash(tests)
        run = Run.open(folder, command=command_line(), config=config, inputs=inputs, fresh=fresh)
        with run, progress(show=not quiet and not as_json) as on_progress:
            adapter = improve_model(run, settings, work, loaded, judge, on_progress)
    use = f"Adapter: {adapter}   use it with: strop eval --model {settings.model}+{adapter}"
    show_outcome(folder, as_json, use)


# Options that mean the same in reinforcement learning, under its names; where not given, the recipe's own values hold.
_RL_NAMES = {
    "model": "model", "tasks": "tasks", "held_out": "held_out", "practice_tasks": "practice_tasks",
    "held_out_tasks": "held_out_tasks", "held_out_samples": "held_out_samples", "practice_samples": "group",
    "protocol": "protocol", "temperature": "temperature", "max_tokens": "max_tokens", "learning_rate": "learning_rate",
    "lora_rank": "lora_rank", "seed": "seed",
}  # fmt: skip
_NOT_IN_RL = {
    "tests": "the reward= setting says what is rewarded", "rounds": "steps= says how long to practise",
    "per_task": "every sample counts", "epochs": "epochs= says how often each step's samples are used",
    "batch_size": "prompts= and group= make the batch",
}  # fmt: skip


def _rl_settings(context: typer.Context, words: list[str]) -> RLSettings:
    """Options as typed and NAME=VALUE words, which win, as settings of reinforcement learning.

    Raises StropError for an option that it has no use for.
    """
    from strop.train.rl.recipes import read
    from strop.types import StropError

    values = context.params
    typed = [name for name in values if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    for name in typed:
        if name in _NOT_IN_RL:
            option = "--" + name.replace("_", "-")
            raise StropError(f"{option} does nothing with --recipe {values['recipe']}: {_NOT_IN_RL[name]}.")
    given = {_RL_NAMES[name]: values[name] for name in typed if name in _RL_NAMES}
    for name in ("practice_tasks", "held_out_tasks"):
        given[name] = given.get(name) or None
    return read(None, words, given | {"recipe": values["recipe"], "guard_tasks": values["guard_tasks"]})


def test_file_hash(tests: str | None) -> dict[str, str]:
    """For the manifest: what is in the file of written tests, where one is used."""
    import hashlib
    from pathlib import Path

    from strop.types import StropError

    if tests in (None, "all", "visible"):
        return {}
    try:
        return {"tests": hashlib.sha256(Path(tests).read_bytes()).hexdigest()}
    except OSError as error:
        raise StropError(f"--tests {tests!r} is neither 'all' nor 'visible' nor a file that can be read.") from error


def _show_plan(settings, work) -> None:
    from strop.train.improve import IMITATING

    counts = work.samples(settings)
    kind = "programs" if settings.recipe in (*IMITATING, "plum-kto") else "pairs"
    with_reference = sum(task.reference is not None for task in work.practice)
    typer.echo(
        f"{settings.recipe} on {settings.model}, {settings.rounds} round(s); {work.division}\n"
        f"{len(work.practice)} practice tasks x {settings.practice_samples} samples; {len(work.held_out)} held-out "
        f"tasks x {settings.held_out_samples} samples, before and after each round\n"
        f"{with_reference} practice tasks have a reference\n"
        f"samples to draw: {sum(counts.values())} "
        f"({', '.join(f'{name} {count}' for name, count in counts.items())}), at most "
        f"{sum(counts.values()) * settings.max_tokens:,} tokens\n"
        f"training: at most {len(work.practice) * settings.per_task * settings.rounds} "
        f"{kind} x {settings.learner.epochs:g} epochs, LoRA rank "
        f"{settings.learner.lora_rank}"
    )
