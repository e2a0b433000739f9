"""The loop: sample, judge, reward, learn, checkpoint; then the next step with the new weights.

Stages in the run folder:

    before       held-out tasks, the model as it was              (samples, verdicts)
    practice-1   every step's samples: index = step * group + n   (samples, verdicts)
    greedy-1     one greedy answer a task and step, index = step  (for the greedy advantage only)
    train-1      metrics of each step                             results `rewards-S`, `policy-S`
    after-1      the same held-out tasks, same seeds, trained     (samples, verdicts)
    guard-before, guard-after-1     a HumanEval slice and the perplexity of a fixed text, where asked for

Where a run is cut. What a step draws depends on weights, seed and step alone; samples, verdicts and rewards are
committed as they come, and the weights, optimiser and random generators go to `checkpoint/` every `save_every` steps. A
resumed run loads the last checkpoint, learns again from the kept samples of the steps since, and goes on. With the same
number of threads its weights are the same bits as those of a run that was never cut; `policy-S` keeps their hash, and a
difference is noted as an event.

What goes wrong. All rewards of a group equal: the group adds nothing. No sample of a step with a reward: the step is
left out and counted; three in a row stop the run. A loss that is not finite, a policy beyond `reference_kl`, a reward
that raises: StropError, with the last checkpoint whole. An answer without tokens is dropped, one that is empty text
but for its end token is learned from like any other.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from strop.evals.solve import OnProgress, draw, measure, silent, task_records
from strop.rewards import Case, Rule, score
from strop.train import guard
from strop.train.rl import checkpoint
from strop.train.rl.bcoder import QLearner
from strop.train.rl.buffer import Rollout
from strop.train.rl.learner import Learner
from strop.train.rl.monitors import watch
from strop.train.rl.oorl import EquivalenceLearner
from strop.train.rl.policy import Policy
from strop.train.rl.recipes import RLSettings
from strop.types import Reward, Sample, SamplingParams, Spent, StropError, Task, Verdict, content_hash, request_seed

if TYPE_CHECKING:
    from strop.judge import Judge
    from strop.run import Run
    from strop.tasks.protocols import Protocol

OnStep: TypeAlias = Callable[[int, Mapping[str, float]], None]
"""`(step from 1, numbers of the step)`; also for steps that are learned again after a resume."""

PRACTICE, GREEDY, TRAIN = "practice-1", "greedy-1", "train-1"
PATIENCE = 3
"""Steps in a row without a single reward after which the run stops: then the judge is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a run practises on and is measured on."""

    practice: list[Task]
    held_out: list[Task]
    division: str
    protocol: Protocol


def train(
    run: Run,
    settings: RLSettings,
    work: Work,
    policy: Policy,
    judge: Judge,
    rule: Rule,
    *,
    on_step: OnStep = lambda step, values: None,
    on_progress: OnProgress = silent,
) -> Path:
    """Run or resume all steps and return the folder of the result: `adapter`, or `model` when all weights learned."""
    run.save_result("tasks", task_records([*work.practice, *work.held_out]))
    run.save_result("division", work.division)
    result = run.path / ("adapter" if settings.lora_rank else "model")
    if result.exists():
        return result
    _measure(run, "before", settings, work, policy, judge, on_progress)
    _watch(run, "guard-before", settings, policy, judge, on_progress)
    learner = learner_for(policy, settings)
    done = 0
    if (kept := checkpoint.load(run.path / "checkpoint")) is not None:
        done, state = kept
        learner.load(state)
    buffer = Buffer(run, settings, work, judge, rule)
    without_reward = 0
    for step in range(done + 1, settings.steps + 1):
        began = time.perf_counter()
        rollouts = buffer.collect(step, policy)
        drawn = time.perf_counter()
        without_reward = 0 if any(one.reward is not None for one in rollouts) else without_reward + 1
        if without_reward >= PATIENCE:
            raise StropError(
                f"No sample of the last {PATIENCE} steps got a reward; the last verdict says: "
                f"{rollouts[-1].verdict.detail or rollouts[-1].verdict.status}. `strop judge --doctor` says what the "
                "judge lacks. The last checkpoint is whole."
            )
        values = _learn(learner, buffer, rollouts, step)
        fingerprint = policy.sync()
        ended = time.perf_counter()
        _keep_fingerprint(run, step, fingerprint)
        run.save_metrics(TRAIN, step, values)
        run.charge(TRAIN, f"step {step}", Spent(seconds=ended - drawn))
        if step % settings.save_every == 0 or step == settings.steps:
            checkpoint.save(run.path / "checkpoint", step, learner.state())
        sampling = sum(one.sample.spent.seconds for one in rollouts) if buffer.fresh else 0.0
        clock = {
            "sampling_seconds": sampling,
            "judging_seconds": max(0.0, drawn - began - sampling),
            "learning_seconds": ended - drawn,
            "saving_seconds": time.perf_counter() - ended,
        }
        on_step(step, values | clock)
        on_progress(TRAIN, step, settings.steps)
    _measure(run, "after-1", settings, work, policy, judge, on_progress)
    _watch(run, "guard-after-1", settings, policy, judge, on_progress)
    part = result.with_name(result.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    learner.save(part)
    part.rename(result)
    shutil.rmtree(run.path / "checkpoint", ignore_errors=True)
    return result


def learner_for(policy: Policy, settings: RLSettings) -> Learner:
    """The learner of the method that the settings describe."""
    if settings.loss == "td":
        return QLearner(policy, settings)
    return EquivalenceLearner(policy, settings) if settings.equivalents else Learner(policy, settings)


def _measure(
    run: Run, stage: str, settings: RLSettings, work: Work, policy: Policy, judge: Judge, on_progress: OnProgress
) -> None:
    """Held-out tasks, as `strop improve` measures them: temperature 0.8, nucleus 0.95, whatever is trained with."""
    if not settings.held_out_samples or not work.held_out:
        return
    params = SamplingParams(max_tokens=settings.max_tokens)
    measure(
        run, stage, policy.sampler, work.held_out, judge, work.protocol,
        samples_per_task=settings.held_out_samples, params=params, seed=settings.seed, on_progress=on_progress,
    )  # fmt: skip


def _watch(run: Run, stage: str, settings: RLSettings, policy: Policy, judge: Judge, on_progress: OnProgress) -> None:
    guard.watch(
        run, stage, policy.sampler, judge, count=settings.guard_tasks, protocol=settings.protocol,
        max_tokens=settings.max_tokens, seed=settings.seed, on_progress=on_progress,
    )  # fmt: skip


def _learn(learner: Learner, buffer: Buffer, rollouts: Sequence[Rollout], step: int) -> dict[str, float]:
    """The step's numbers: the learner's, the rewards' and the monitors'."""
    from transformers import set_seed

    s = learner.settings
    # Nothing here draws random numbers, but a user's reward or model may: a step learned again draws the same ones.
    set_seed(request_seed(s.seed, "learn", step) % 2**32)
    prompts = {one.task.id: learner.policy.sampler.encode(buffer.prompt(one.task)) for one in rollouts}
    values = learner.learn(
        rollouts,
        prompts,
        step=step,
        baselines=buffer.baselines(step, learner.policy) if s.advantage == "greedy" else None,
        references=buffer.references(rollouts, learner.policy) if s.imitation else None,
    )
    known = [one.reward for one in rollouts if one.reward is not None]
    if known:
        values["reward"] = sum(reward.total for reward in known) / len(known)
        for name in known[0].parts:
            parts = [reward.parts[name] for reward in known if name in reward.parts]
            values[f"reward/{name}"] = sum(parts) / len(parts)
    values["without_reward"] = float(len(rollouts) - len(known))
    tasks = {one.task.id: one.task for one in rollouts}
    return values | watch(tasks, [(one.sample, one.verdict) for one in rollouts])


def _keep_fingerprint(run: Run, step: int, fingerprint: str) -> None:
    """Note the weights' hash; when a step learned again ends elsewhere, say so."""
    before = run.result(f"policy-{step}")
    if before is None:
        run.save_result(f"policy-{step}", {"fingerprint": fingerprint})
    elif before["fingerprint"] != fingerprint:
        run.event("not-reproduced", {"step": step, "was": before["fingerprint"], "is": fingerprint})


# ---- rollouts ----------------------------------------------------------------------------------


class Buffer:
    """Every step's rollouts, kept in the run folder and drawn where they are missing."""

    def __init__(self, run: Run, settings: RLSettings, work: Work, judge: Judge, rule: Rule) -> None:
        self._run, self._settings, self._work, self._judge, self._rule = run, settings, work, judge, rule
        self._samples = {
            stage: {(sample.task_id, sample.index): sample for sample in run.samples(stage)}
            for stage in (PRACTICE, GREEDY)
        }
        self._verdicts = {stage: dict(run.verdicts(stage)) for stage in (PRACTICE, GREEDY)}
        self.fresh = False
        """Whether the last `collect` drew anything."""

    def tasks(self, step: int) -> list[Task]:
        """The step's tasks: whole passes over the practice tasks, each in its own seeded order."""
        tasks, count = self._work.practice, min(self._settings.prompts, len(self._work.practice))
        chosen: list[Task] = []
        place = (step - 1) * count
        while len(chosen) < count:
            number, start = divmod(place, len(tasks))
            order = list(tasks)
            random.Random(f"{self._settings.seed}/order/{number}").shuffle(order)
            taken = {task.id for task in chosen}
            chosen += [task for task in order[start:] if task.id not in taken][: count - len(chosen)]
            place = (number + 1) * len(tasks)
        return chosen

    def prompt(self, task: Task) -> Any:
        return self._work.protocol.render(task.public())

    def collect(self, step: int, policy: Policy) -> list[Rollout]:
        """The step's samples with verdicts and rewards; whatever is kept already is not done again."""
        group = self._settings.group
        wanted = [(task, step * group + number) for task in self.tasks(step) for number in range(group)]
        judged = self._draw(PRACTICE, wanted, policy, self._settings.params)
        rewards = self._rewards(f"rewards-{step}", judged)
        return [
            Rollout(task=task, sample=sample, verdict=verdict, reward=reward)
            for (task, sample, verdict), reward in zip(judged, rewards)
        ]

    def baselines(self, step: int, policy: Policy) -> dict[str, float]:
        """Reward of one greedy answer to each of the step's tasks; tasks whose answer has none are absent."""
        params = replace(self._settings.params, temperature=0.0, top_p=1.0)
        judged = self._draw(GREEDY, [(task, step) for task in self.tasks(step)], policy, params)
        rewards = self._rewards(f"greedy-rewards-{step}", judged)
        return {task.id: reward.total for (task, _, _), reward in zip(judged, rewards) if reward is not None}

    def references(self, rollouts: Sequence[Rollout], policy: Policy) -> dict[str, tuple[int, ...]]:
        """Token ids of an answer that says the reference solution, for tasks that have one."""
        tokenizer, out = policy.sampler.tokenizer, {}
        for task in {one.task.id: one.task for one in rollouts}.values():
            if task.reference is None:
                continue
            answer = self._work.protocol.answer(task.public(), task.reference)
            ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
            out[task.id] = (*ids, tokenizer.eos_token_id)
        return out

    def _draw(
        self, stage: str, wanted: Sequence[tuple[Task, int]], policy: Policy, params: SamplingParams
    ) -> list[tuple[Task, Sample, Verdict]]:
        """Samples and verdicts of (task, index); what is missing is drawn, judged and committed."""
        samples, verdicts, run = self._samples[stage], self._verdicts[stage], self._run
        missing = [(task, index) for task, index in wanted if (task.id, index) not in samples]
        self.fresh = bool(missing)
        if missing:
            drawn = draw(policy.sampler, missing, self._work.protocol, params, self._settings.seed)
            key = content_hash([(sample.task_id, sample.index) for sample in drawn])
            with run.atomic():
                run.save_samples(stage, drawn)
                run.charge(stage, key, sum((sample.spent for sample in drawn), Spent(programs=len(drawn))))
            samples |= {(sample.task_id, sample.index): sample for sample in drawn}
        unjudged = [(task, index) for task, index in wanted if (task.id, index) not in verdicts]
        jobs = (((task.id, index), task, samples[task.id, index].code) for task, index in unjudged)
        found = dict(self._judge.stream(jobs))
        run.save_verdicts(stage, [(*key, verdict) for key, verdict in found.items()])
        verdicts |= found
        return [(task, samples[task.id, index], verdicts[task.id, index]) for task, index in wanted]

    def _rewards(self, key: str, judged: Sequence[tuple[Task, Sample, Verdict]]) -> list[Reward | None]:
        """Rewards are kept like verdicts: some measure time, and would not come out the same again."""
        kept = self._run.result(key)
        if kept is None:
            rewards = score(
                self._rule, [Case(task=task, sample=sample, verdict=verdict) for task, sample, verdict in judged]
            )
            kept = [None if one is None else {"total": one.total, "parts": dict(one.parts)} for one in rewards]
            self._run.save_result(key, kept)
        return [None if one is None else Reward(total=one["total"], parts=one["parts"]) for one in kept]
