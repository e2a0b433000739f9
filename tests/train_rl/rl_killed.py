"""Runs the tiny loop in forked children that kill themselves with SIGKILL at a named moment.

`python rl_killed.py PLAN.json`: a list of {"out", "kill", ...settings}; prints a JSON line for each run.
Forking from a process that has imported everything and computed nothing saves the imports.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

PHASES = ("sampling", "judging", "rewards", "update", "metrics", "checkpoint", "swap")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(kill: str, policy) -> None:
    """Make the process die in the phase `PHASE:N`, at the N-th occasion."""
    import torch

    from strop.judge import Judge
    from strop.run import Run

    phase, _, number = kill.partition(":")
    left = [int(number)]

    def due() -> bool:
        left[0] -= 1
        return left[0] < 0

    def dying_before(function):
        def wrapped(*args, **kwargs):
            if due():
                die()
            return function(*args, **kwargs)

        return wrapped

    if phase == "sampling":  # with some completions drawn and none committed
        inner = policy.sampler.sample

        def sample(requests, params):
            for item in inner(requests, params):
                yield item
                if due():
                    die()

        policy.sampler.sample = sample
    elif phase == "judging":  # samples committed, some verdicts known and none committed
        stream = Judge.stream

        def judged(self, jobs, **options):
            for item in stream(self, jobs, **options):
                if due():
                    die()
                yield item

        Judge.stream = judged
    elif phase == "rewards":
        Run.save_result = dying_before(Run.save_result)
    elif phase == "update":  # half-way through a step's updates: some minibatches have changed the weights
        torch.optim.AdamW.step = dying_before(torch.optim.AdamW.step)
    elif phase == "metrics":
        Run.save_metrics = dying_before(Run.save_metrics)
    elif phase == "checkpoint":  # half of the file written
        save = torch.save

        def half(state, file, *args):
            if due():
                file.write(b"PK half a checkpoint")
                file.flush()
                die()
            return save(state, file, *args)

        torch.save = half
    elif phase == "swap":  # between moving the old checkpoint away and the new one into its place
        os.replace = dying_before(os.replace)


def train(plan: dict) -> None:
    import torch
    from rl_tiny import TASKS, letters

    from strop.judge import Judge
    from strop.run import Run
    from strop.tasks import protocols
    from strop.train.rl.loop import Work, train
    from strop.train.rl.policy import Policy
    from strop.train.rl.recipes import settings

    torch.set_num_threads(1)
    out, kill = Path(plan.pop("out")), plan.pop("kill", "")
    chosen = settings(plan)
    policy = Policy(chosen.model, lora_rank=chosen.lora_rank, lora_alpha=chosen.lora_alpha, seed=chosen.seed)
    work = Work(
        practice=list(TASKS), held_out=[], division="all practised", protocol=protocols.get_protocol("completion")
    )
    with Judge(workers=1) as judge, Run.open(out, command="train rl", config=plan) as run:
        if kill:
            arm(kill, policy)
        train(run, chosen, work, policy, judge, letters())


def main() -> None:
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401

    sys.path.insert(0, str(Path(__file__).parent))
    for plan in json.loads(Path(sys.argv[1]).read_text()):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                train(plan)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(json.dumps({"out": plan["out"], "status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}), flush=True)


if __name__ == "__main__":
    main()
