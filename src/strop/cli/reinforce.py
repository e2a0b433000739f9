"""Reinforcement learning as the command line runs it: `strop train rl` and `strop improve --recipe grpo|ppo|...`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

from strop.cli.options import command_line, keep_stdout, run_folder, show_outcome

if TYPE_CHECKING:
    from strop.train.rl.recipes import RLSettings

OnStep: TypeAlias = Callable[[int, Mapping[str, float]], None]
TRACKERS = ("trackio", "wandb", "tensorboard")
COLUMNS = (
    ("reward", "reward", "{:.3f}"),
    ("passed", "pass_rate", "{:.2f}"),
    ("groups", "informative_groups", "{:.0f}"),
    ("length", "mean_length", "{:.0f}"),
    ("cut", "truncated", "{:.2f}"),
    ("entropy", "entropy", "{:.2f}"),
    ("grad", "grad_norm", "{:.2g}"),
    ("cheats", "special_cased", "{:.2f}"),
    ("sample s", "sampling_seconds", "{:.1f}"),
    ("judge s", "judging_seconds", "{:.1f}"),
    ("learn s", "learning_seconds", "{:.1f}"),
)
"""Heading, metric and format of the live table. `groups` have unequal rewards; `cheats` answer the tests by cases."""


def reinforce(
    verb: str, chosen: RLSettings, *, track: str | None = None, workers: int | None, allow_near_duplicates: bool,
    require_isolation: str | None, ray: str | None = None, out: Path | None, fresh: bool, dry_run: bool,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Run or resume one training with its measurements, and show the report's headline. `verb` names the folder."""
    from strop.types import StropError

    if track is not None and track not in TRACKERS:
        raise StropError(f"No tracker is called {track!r}; choose one of {', '.join(TRACKERS)}.")
    if dry_run:
        _show_plan(chosen, allow_near_duplicates)
        return
    import torch

    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    # The number of threads decides the last bits, so a resumed run must have the same.
    chosen = replace(chosen, threads=torch.get_num_threads())

    from strop.cli.progress import progress
    from strop.judge import Judge
    from strop.run import Run
    from strop.tasks import task_set_hash
    from strop.train.rl import presets
    from strop.train.rl.loop import train
    from strop.train.rl.policy import Policy

    folder = run_folder(verb, out, asdict(chosen))
    policy = Policy(chosen.model, lora_rank=chosen.lora_rank, lora_alpha=chosen.lora_alpha, seed=chosen.seed)
    work = presets.work(chosen, chat=policy.sampler.chat, allow_near_duplicates=allow_near_duplicates)
    settled = asdict(replace(chosen, protocol=work.protocol.name))
    inputs = {
        "model_fingerprint": policy.base_fingerprint,
        "task_set_hash": task_set_hash([*work.practice, *work.held_out]),
    }
    with ExitStack() as open_now:
        open_now.enter_context(keep_stdout(ray))
        judge = open_now.enter_context(
            Judge(workers=workers, require=require_isolation, ray=ray, **presets.judge_options(chosen))
        )
        timer = judge
        if presets.measures_time(chosen):
            timer = open_now.enter_context(Judge(workers=1, require=require_isolation))
        run = open_now.enter_context(
            Run.open(folder, command=command_line(), config=settled, inputs=inputs, fresh=fresh)
        )
        log = tracker(track, folder, settled)
        with progress(show=not quiet and not as_json) as on_progress, table(not quiet and not as_json) as show:

            def on_step(step: int, values: Mapping[str, float]) -> None:
                show(step, values)
                log(step, values)

            result = train(
                run, chosen, work, policy, judge, presets.rule(chosen, timer), on_step=on_step, on_progress=on_progress
            )
    use = f"{chosen.model}+{result}" if chosen.lora_rank else f"hf/{result}"
    if chosen.held_out_samples and work.held_out:
        show_outcome(folder, as_json, f"Result: {result}   use it with: strop eval --model {use}")
    else:
        typer.echo(f"Result: {result}   use it with: strop eval --model {use}")


def _show_plan(chosen: Any, allow_near_duplicates: bool) -> None:
    from strop.train.rl import presets

    work = presets.work(chosen, chat=True, allow_near_duplicates=allow_near_duplicates)
    prompts = min(chosen.prompts, len(work.practice))
    samples = chosen.steps * prompts * chosen.group
    held_out = 2 * len(work.held_out) * chosen.held_out_samples
    typer.echo(
        f"{chosen.recipe} on {chosen.model}: {chosen.steps} steps of {prompts} tasks x {chosen.group} samples; "
        f"{work.division}\n"
        f"samples to draw: {samples} to learn from, {held_out} held-out (before and after), at most "
        f"{(samples + held_out) * chosen.max_tokens:,} tokens\n"
        f"updates: at most {chosen.steps * chosen.epochs * chosen.minibatches}; "
        + (f"LoRA rank {chosen.lora_rank}" if chosen.lora_rank else "all weights")
    )


# ---- live numbers ------------------------------------------------------------------------------


@contextmanager
def table(show: bool) -> Iterator[OnStep]:
    """Yield a callback that shows a line for each step on standard error, above the progress bars."""
    if not show:
        yield lambda step, values: None
        return
    widths = [max(7, len(heading)) for heading, _, _ in COLUMNS]
    heading = "  ".join(["step", *(name.rjust(width) for (name, _, _), width in zip(COLUMNS, widths))])
    seen = 0

    def line(step: int, values: Mapping[str, float]) -> None:
        nonlocal seen
        if seen % 20 == 0:
            print(heading, file=sys.stderr)
        seen += 1
        cells = [
            (form.format(values[name]) if name in values else "-").rjust(width)
            for (_, name, form), width in zip(COLUMNS, widths)
        ]
        print("  ".join([f"{step:4d}", *cells]), file=sys.stderr, flush=True)

    yield line


def tracker(name: str | None, folder: Path, config: Mapping[str, Any]) -> OnStep:
    """A callback that sends each step's numbers to trackio, wandb or TensorBoard; does nothing for None.

    Raises StropError when the package is not installed. A resumed run sends the steps that it learns again once more.
    """
    if name is None:
        return lambda step, values: None
    from importlib import import_module

    from strop.types import StropError

    package = "torch.utils.tensorboard" if name == "tensorboard" else name
    try:
        module: Any = import_module(package)
    except ImportError as error:
        raise StropError(f"--track {name} needs a package that is not here ({error}): pip install {name}") from error
    if name == "tensorboard":
        writer = module.SummaryWriter(str(folder / "tensorboard"))

        def write(step: int, values: Mapping[str, float]) -> None:
            for key, value in values.items():
                writer.add_scalar(key, value, step)
            writer.flush()

        return write
    module.init(project="strop", name=folder.name, config=dict(config))
    return lambda step, values: module.log(dict(values), step=step)
