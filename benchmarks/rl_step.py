"""One step of GRPO, Strop against TRL: seconds, tokens a second, and where the time goes.

    python benchmarks/rl_step.py [--quick] [--model smollm2] [--prompts 4] [--group 8] [--max-tokens 48] [--steps 4]

Both sides take the same step in turn, in one process with the same number of threads: the same tasks of `basics`, group
size and longest answer, temperature 1, no stop strings, LoRA on all linear layers at rank 16, the same reward on the
same judge, one update. The reward has a grain of length in it, so that no group's rewards are all equal: Strop leaves
such groups out of an update and TRL does not, which would be less work, not faster work. How long answers are is up to
each side's random numbers, so the figure is tokens a second, of the whole step and of its parts; the ratio of each pair
of steps is taken, and its median and range reported. The first pair warms up and does not count. TRL's micro-batch is
the better of `--trl-batches`, tried in the warm-up.

The floor is arithmetic: 2 FLOP a weight for each token sampled, 6 for each token of prompt and answer learned from
(with LoRA the weights' own gradients, 2 of those 6, are not needed: 4), over the rate of a large matrix product here.

`results/rl-step.json` and `results/rl-step.svg` are written only with `--record`, which is refused when the machine is
busy (`--busy` records anyway; the load is in the file).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asked

RESULT = Path(__file__).parent.parent / "results" / "rl-step.json"


class Unstopped:
    """A prompt protocol without stop strings: both sides end at the end token or the limit."""

    stop = ()

    def __init__(self, inner: Any) -> None:
        self._inner, self.name, self.chat = inner, inner.name, inner.chat

    def stop_for(self, task: Any) -> tuple[str, ...]:
        return ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def rule() -> Any:
    """1 for a program that passes, and a grain of length that makes all rewards of a group differ."""
    from strop.rewards import binary, part, weighted_sum

    return weighted_sum((1.0, binary()), (1e-5, part("length", lambda case: float(len(case.sample.text)))))


class StropSide:
    """One Strop step at a time, with a run folder, kept samples and checkpoints as in a real run."""

    def __init__(self, options: argparse.Namespace, tasks: list[Any], protocol: Any, judge: Any, folder: Path) -> None:
        from strop.run import Run
        from strop.train.rl.learner import Learner
        from strop.train.rl.loop import Buffer, Work
        from strop.train.rl.policy import Policy
        from strop.train.rl.recipes import settings

        self.settings = settings(
            {
                "model": options.model, "prompts": options.prompts, "group": options.group,
                "max_tokens": options.max_tokens, "held_out_samples": 0, "learning_rate": 1e-5,
            }
        )  # fmt: skip
        self.policy = Policy(options.model, lora_rank=16, lora_alpha=32, seed=0)
        self.learner = Learner(self.policy, self.settings)
        self.folder = folder
        self.run = Run.open(folder, command="benchmark", config={})
        work = Work(practice=tasks, held_out=[], division="", protocol=protocol)
        self.buffer = Buffer(self.run, self.settings, work, judge, rule())
        self.number = 0

    def step(self) -> dict[str, float]:
        from strop.train.rl import checkpoint
        from strop.train.rl.loop import _learn

        self.number += 1
        began = time.perf_counter()
        rollouts = self.buffer.collect(self.number, self.policy)
        drawn = time.perf_counter()
        _learn(self.learner, self.buffer, rollouts, self.number)
        self.policy.sync()
        learned = time.perf_counter()
        checkpoint.save(self.folder / "checkpoint", self.number, self.learner.state())
        ended = time.perf_counter()
        sampling = sum(one.sample.spent.seconds for one in rollouts)
        return {
            "tokens": sum(one.sample.spent.sampled_tokens for one in rollouts),
            "prompt_tokens": sum(one.sample.spent.prompt_tokens for one in rollouts),
            "seconds": ended - began,
            "sampling": sampling,
            "judging": max(0.0, drawn - began - sampling),
            "learning": learned - drawn,
            "saving": ended - learned,
        }


def trl_trainer(options: argparse.Namespace, rows: list[dict], reward: Any, micro: int, callbacks: list) -> Any:
    """TRL's trainer for the same step; `callbacks` see its steps."""
    from datasets import Dataset
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    from strop.models import load_for_training
    from strop.train.lora import LearnerSettings, lora_config

    model, tokenizer = load_for_training(options.model)
    samples = options.prompts * options.group
    return GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=tempfile.mkdtemp(), per_device_train_batch_size=micro,
            gradient_accumulation_steps=samples // micro, num_generations=options.group, loss_type="grpo", beta=0.0,
            max_completion_length=options.max_tokens, temperature=1.0, learning_rate=1e-5, max_steps=options.steps + 1,
            save_strategy="no", report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False,
            disable_tqdm=True, logging_strategy="no",
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(LearnerSettings()),
        callbacks=callbacks,
    )  # fmt: skip


def measure_trl(options: argparse.Namespace, rows: list[dict], judged: Any, micro: int, after_step: Any) -> None:
    """Run TRL's steps; `after_step(numbers)` is called after each, and may take its time."""
    from transformers import TrainerCallback

    now: dict[str, float] = {}

    def reward(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        started = time.perf_counter()
        found = judged(prompts=prompts, completions=completions, **columns)
        now["judging"] = now.get("judging", 0.0) + time.perf_counter() - started
        now["tokens"] = now.get("tokens", 0) + sum(map(len, columns["completion_ids"]))
        return found

    class Clock(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            now.clear()
            now["began"] = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            seconds = time.perf_counter() - now["began"]
            learning = seconds - now["sampling"] - now["judging"]
            after_step({**now, "seconds": seconds, "learning": learning})

    trainer = trl_trainer(options, rows, reward, micro, [Clock()])
    generate = trainer._generate

    def timed(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        found = generate(*args, **kwargs)
        now["sampling"] = now.get("sampling", 0.0) + time.perf_counter() - started
        return found

    trainer._generate = timed
    trainer.train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--trl-batches", default="8,32", help="TRL's micro-batches to try")
    parser.add_argument("--quick", action="store_true", help="4 prompts, groups of 4, 32 tokens, 3 steps")
    parser.add_argument("--record", action="store_true", help="write results/rl-step.json and .svg")
    parser.add_argument("--busy", action="store_true", help="record although the machine is busy")
    options = parser.parse_args()
    if options.quick:
        options.prompts, options.group, options.max_tokens, options.steps, options.trl_batches = 4, 4, 32, 3, "8"
    load = os.getloadavg()[0]
    if options.record and not options.busy and load > 0.5:
        sys.exit(f"The machine is busy (load {load:.1f}); nothing recorded.")

    import torch
    import transformers
    import trl

    from strop import tasks
    from strop.judge import Judge
    from strop.rewards import dataset_rows, trl_reward
    from strop.tasks import protocols

    practice = [task for task in tasks.load("basics") if task.split == "train"][: options.prompts]
    protocol: Any = Unstopped(protocols.choose("auto", chat=True, local=True))
    with Judge() as judge, tempfile.TemporaryDirectory() as folder:
        side = StropSide(options, practice, protocol, judge, Path(folder) / "run")
        rows = dataset_rows(practice, protocol, side.policy.sampler.tokenizer)
        judged = trl_reward(rule(), practice, judge, protocol)
        micro = best_micro_batch(options, rows, judged)
        pairs: list[tuple[dict, dict]] = []

        def strop_step(theirs: dict[str, float]) -> None:
            ours = side.step()
            pairs.append((ours, theirs))
            print(f"step {len(pairs)}: strop {line(ours)} | trl {line(theirs)}", flush=True)

        measure_trl(options, rows, judged, micro, strop_step)
        side.run.close()
        floor = arithmetic_floor(side, pairs[1:])
    ratios = {part: ratio(pairs[1:], part) for part in ("seconds", "sampling", "learning")}
    for part, found in ratios.items():
        name = "whole step" if part == "seconds" else part
        print(
            f"{name}, tokens a second, Strop over TRL: {found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
        )
    print(f"arithmetic floor of Strop's step: {floor['seconds']:.1f} s at {floor['gigaflops']:.0f} GFLOP/s")
    result = {
        "command": asked.command(),
        "options": vars(options),
        "trl_micro_batch": micro,
        "ratios": ratios,
        "strop": [ours for ours, _ in pairs[1:]],
        "trl": [theirs for _, theirs in pairs[1:]],
        "floor": floor,
        "machine": {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": load},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__},
        "date": time.strftime("%Y-%m-%d"),
    }
    if options.record:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=2) + "\n")
        RESULT.with_suffix(".svg").write_text(figure(ratios))


def best_micro_batch(options: argparse.Namespace, rows: list[dict], judged: Any) -> int:
    """TRL's micro-batch with the most tokens a second in one step after one that warms up."""
    samples = options.prompts * options.group
    sizes = sorted({min(int(size), samples) for size in options.trl_batches.split(",")})
    if len(sizes) == 1:
        return sizes[0]
    found = {}
    for size in sizes:
        seen: list[dict] = []
        one = argparse.Namespace(**{**vars(options), "steps": 1})
        measure_trl(one, rows, judged, size, seen.append)
        found[size] = rate(seen[-1])
    return max(found, key=lambda size: found[size])


def arithmetic_floor(side: StropSide, pairs: list[tuple[dict, dict]]) -> dict[str, float]:
    """Seconds that the products of Strop's median step take at the rate of one large product."""
    import torch

    weights = sum(parameter.numel() for parameter in side.policy.sampler.model.parameters() if parameter.dim() == 2)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    a @ b
    best = min(_timed(lambda: a @ b) for _ in range(10))
    peak = 2 * 1024**3 / best
    sampled = statistics.median(ours["tokens"] for ours, _ in pairs)
    prompts = statistics.median(ours["prompt_tokens"] for ours, _ in pairs) / side.settings.group
    flop = weights * (2 * (sampled + prompts) + 4 * (sampled + prompts))
    return {"seconds": flop / peak, "gigaflops": peak / 1e9, "weights": weights}


def _timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def rate(step: dict[str, float], part: str = "seconds") -> float:
    """Tokens sampled in the step, a second of the whole step or of one part of it."""
    return step["tokens"] / step[part]


def ratio(pairs: list[tuple[dict, dict]], part: str) -> dict[str, float]:
    """Strop's rate over TRL's: median, least and greatest over pairs of steps."""
    found = [rate(ours, part) / rate(theirs, part) for ours, theirs in pairs]
    return {"value": statistics.median(found), "low": min(found), "high": max(found)}


def figure(ratios: dict[str, dict[str, float]]) -> str:
    """The ratios as a dot plot; the line marks equal speed."""
    from strop.report.plot import dots

    rows = [("whole step" if part == "seconds" else part, SimpleNamespace(**row)) for part, row in ratios.items()]
    return dots(rows, title="One step of GRPO: tokens a second, Strop over TRL (median, range)", mark=1.0)


def line(step: dict[str, float]) -> str:
    parts = ", ".join(f"{name} {step[name]:.1f}" for name in ("sampling", "judging", "learning"))
    return f"{rate(step):.0f} tok/s, {step['seconds']:.1f} s ({parts})"


if __name__ == "__main__":
    main()
