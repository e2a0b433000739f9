"""Pairs from the samples of a run on disk: which stage, which tasks, which tests, which construction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from strop.data.audit import contamination, length_audit
from strop.data.pairs import Rule, build
from strop.data.pools import Pool, pool_up, with_matrices
from strop.evals.label_quality import label_quality
from strop.types import Check, Preference, StropError, Task

if TYPE_CHECKING:
    from strop.judge import Judge
    from strop.run import Run
    from strop.tasks.protocols import Protocol

METHODS: Mapping[str, str] = {
    "verdict": "passing against failing programs, also those that do not parse",
    "plum": "passing against failing programs, as the run's verdicts say (or --tests)",
    "dstc": "minimax over programs and visible tests, trained on program and test joined",
    "codedpo": "best against worst by mutual ranking of programs and tests",
    "codedpo-efficiency": "fast against slow among probably right programs, beyond the noise of the clock",
    "best-worst": "best against worst by tests passed",
    "best-random": "best against any lower program by tests passed",
    "random": "any two programs: labels that say nothing, as a control",
}
"""Every construction that needs nothing but judged samples, with what it does."""

HELD_OUT_STAGES = ("before", "after", "guard")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPools:
    """What a run holds for the builders."""

    stage: str
    tasks: tuple[Task, ...]
    pools: tuple[Pool, ...]
    protocol: Protocol
    dropped: Mapping[str, int]
    """Samples that are in no pool, by reason."""


def pools_of_run(run: Run, stage: str | None = None) -> RunPools:
    """The judged samples of one stage, by task. The tasks are loaded again, as the run's configuration names them.

    Raises StropError when the stage is not clear or measures held-out tasks, or the tasks are gone or have changed.
    """
    from strop import tasks as task_sets
    from strop.tasks.loading import resolve
    from strop.tasks.protocols import get_protocol

    stage = _stage(run, stage)
    samples = run.samples(stage)
    protocols = {sample.protocol for sample in samples}
    if len(protocols) != 1:
        raise StropError(
            f"{run.path}, stage {stage}: samples under several protocols ({', '.join(sorted(protocols))})."
        )
    config = run.manifest["config"]
    wanted = {sample.task_id for sample in samples}
    spec = str(config["tasks"])
    loaded = task_sets.load(spec, split=None if resolve(spec)[1] else "all")
    tasks = [task for task in loaded if task.id in wanted]
    missing = sorted(wanted - {task.id for task in tasks})
    if missing:
        raise StropError(
            f"{run.path}: {len(missing)} of its {len(wanted)} tasks are not in {config['tasks']} any more "
            f"({', '.join(missing[:3])})."
        )
    records = run.result("tasks") or {}
    changed = [task.id for task in tasks if records.get(task.id, {}).get("prompt", task.prompt) != task.prompt]
    if changed:
        raise StropError(
            f"{run.path}: {config['tasks']} has changed since the run; the prompt of {changed[0]} is another "
            f"({len(changed)} such tasks). Pairs made now would not be of the programs' own problems."
        )
    pools, dropped = pool_up(tasks, samples, run.verdicts(stage), policy=str(config["model"]))
    return RunPools(
        stage=stage, tasks=tuple(tasks), pools=tuple(pools), protocol=get_protocol(protocols.pop()), dropped=dropped
    )


def _stage(run: Run, stage: str | None) -> str:
    sampled = [name for name in run.stages() if run.samples(name)]
    open_stages = [name for name in sampled if not name.startswith(HELD_OUT_STAGES)]
    if not sampled:
        raise StropError(f"{run.path} holds no samples yet.")
    if stage is None:
        if len(open_stages) != 1:
            names = ", ".join(open_stages) or "none that is not held out"
            raise StropError(f"{run.path} has samples in several stages ({names}); choose one with --stage.")
        return open_stages[0]
    if stage not in sampled:
        raise StropError(f"{run.path} has no samples in stage {stage!r}; it has them in {', '.join(sampled)}.")
    if stage not in open_stages:
        raise StropError(
            f"Stage {stage!r} of {run.path} measures held-out tasks. Training on pairs made of them would teach the "
            f"test. Choose {' or '.join(open_stages) or 'a run with practice samples'}."
        )
    return stage


def suite_for(method: str, tests: str | None, tasks: Sequence[Task]) -> Callable[[Task], Sequence[Check]] | None:
    """The tests that a method scores with, or None when the run's verdicts are enough.

    `tests`: `all` (every assertion of the task), `visible`, or a file that `strop data tests` wrote. Default: the
    verdicts for `verdict`, `plum` and `random`, `visible` for `dstc` (it trains on tests), `all` for the others. Raises
    StropError for an unknown source.
    """
    from strop.tasks.assertions import single_tests

    if tests is None:
        if method in ("verdict", "plum", "random"):
            return None
        tests = "visible" if method == "dstc" else "all"
    if tests == "all":
        return single_tests
    if tests == "visible":
        return lambda task: [check for check in single_tests(task) if check.visible]
    if not Path(tests).is_file():
        raise StropError(f"--tests {tests!r} is neither 'all' nor 'visible' nor a file.")
    from strop.data.written_tests import load_tests

    written = load_tests(Path(tests), tasks)
    return lambda task: written[task.id].tests if task.id in written else ()


def rule_of(method: str, judge: Judge) -> Rule:
    """The rule of a construction. Raises StropError with the known names."""
    from strop.data import codedpo, dstc, plum, ranked

    rules: dict[str, Callable[[], Rule]] = {
        "verdict": lambda: plum.plum(unparsed=True),
        "plum": plum.plum,
        "dstc": dstc.dstc,
        "codedpo": codedpo.correctness,
        "codedpo-efficiency": lambda: codedpo.efficiency(judge),
        "best-worst": ranked.ranked,
        "best-random": lambda: ranked.ranked(against="random"),
        "random": lambda: ranked.random_pairs,
    }
    check_method(method)
    return rules[method]()


def check_method(method: str) -> None:
    """Raise StropError for a construction that is not known."""
    if method not in METHODS:
        raise StropError(f"No construction {method!r}; choose one of {', '.join(METHODS)}.")


# ---- doing it ------------------------------------------------------------------------------------

SuiteOf: TypeAlias = Callable[[Task], Sequence[Check]]


def plan_of(found: RunPools, method: str, tests_of: SuiteOf | None) -> dict[str, Any]:
    """What making the pairs will take, as plain data; nothing is run."""
    distinct = {pool.task.id: len({row.program for row in pool.candidates}) for pool in found.pools}
    runs = 0 if tests_of is None else sum(distinct[pool.task.id] * len(tests_of(pool.task)) for pool in found.pools)
    return {
        "method": method,
        "stage": found.stage,
        "tasks": len(found.pools),
        "programs": sum(len(pool.candidates) for pool in found.pools),
        "programs to run": runs,
        "dropped samples": dict(found.dropped),
    }


def make_pairs(
    found: RunPools, method: str, tests_of: SuiteOf | None, judge: Judge, *, per_task: int = 2,
    by_behaviour: bool = False, seed: int = 0, whole_truth: bool = True, evaluation: Sequence[Task] = (),
) -> tuple[tuple[Preference, ...], dict[str, Any]]:  # fmt: skip
    """The pairs of a run by one construction, and as plain data all there is to say about them.

    `whole_truth`: the tests are those of the verdicts, so label quality against them would be true by definition and
    is left out. `evaluation`: tasks to look for among the pairs. For `codedpo-efficiency` the judge should have one
    worker.
    """
    pools = found.pools if tests_of is None else with_matrices(found.pools, tests_of, judge)
    rule = rule_of(method, judge)
    built = build(
        pools, rule, found.protocol, method=method, per_task=per_task, seed=seed, by_behaviour=by_behaviour
    )  # fmt: skip
    summary = plan_of(found, method, tests_of) | {
        "pairs": len(built.pairs),
        "tasks with a pair": built.tasks,
        "dropped tasks": dict(built.dropped_tasks),
        "dropped pairs": dict(built.dropped_pairs),
        "length": asdict(length_audit(built.pairs)),
    }
    if evaluation:
        summary["contamination"] = contamination(built.pairs, found.tasks, evaluation)
    judged = [(pool.matrix, pool.truth) for pool in pools if pool.matrix is not None]
    if judged and not whole_truth:
        matrices, truths = zip(*judged)
        summary["label quality"] = asdict(label_quality(matrices, truths, seed=seed))
    return built.pairs, summary
