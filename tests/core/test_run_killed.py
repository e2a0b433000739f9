"""`kill -9` at random moments of a run: it can be opened again, nothing acknowledged is lost, nothing is paid twice."""

import os
import random
import signal
import time
import traceback

import pytest
from run_nouns import CONFIG, sample, verdict

from strop.run import Run
from strop.types import Spent

ITEMS, BATCH = 30, 3


def work(path, acknowledge):
    """Do what is missing of the run, in batches; acknowledge each after it was saved."""
    with Run.open(path, command="eval", config=CONFIG) as run:
        have, judged = len(run.charges()), run.verdicts("before")
        for item in range(ITEMS):
            samples = [sample(f"t{item % 7}", item * BATCH + i, "x" * 2000) for i in range(BATCH)]
            if item >= have:
                with run.atomic():
                    run.save_samples("before", samples)
                    run.charge("before", f"item {item}", Spent(sampled_tokens=7, money=0.1))
                acknowledge(b".")
            if any((kept.task_id, kept.index) not in judged for kept in samples):
                run.save_verdicts("before", [(kept.task_id, kept.index, verdict()) for kept in samples])
            run.save_metrics("before", item, {"done": item / ITEMS})
        run.write("report.json", "done" * 1000)


def start(path):
    """A real process that works on the run; returns its pid and the pipe of its acknowledgements."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            work(path, lambda byte: os.write(writer, byte))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    return pid, reader


def end(pid, reader):
    with os.fdopen(reader, "rb") as pipe:
        acknowledged = len(pipe.read())
    return acknowledged, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def contents(path):
    with Run.read(path) as run:
        stage = "before"
        return run.samples(stage), run.verdicts(stage), run.metrics(), run.charges(), run.spent(), run.stages()


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path, seed):
    whole = tmp_path / "whole"
    began = time.monotonic()
    assert end(*start(whole)) == (ITEMS, 0)
    duration = time.monotonic() - began

    path, rng = tmp_path / "killed", random.Random(seed)
    acknowledged = kills = 0
    for _ in range(15):
        pid, reader = start(path)
        time.sleep(rng.random() ** 2 * duration / 3)  # often early: creation, the schema and opening are hit as well
        os.kill(pid, signal.SIGKILL)
        more, status = end(pid, reader)
        kills += status == -signal.SIGKILL
        acknowledged += more
        if (path / "manifest.json").exists():
            samples, _, _, charges, spent, _ = contents(path)
            # At most the item that was committed but not yet acknowledged at each kill.
            assert acknowledged <= len(charges) <= acknowledged + kills
            assert len(samples) == len(charges) * BATCH
            assert spent.sampled_tokens == len(charges) * 7
        else:
            assert acknowledged == 0
    assert kills >= 4
    _, status = end(*start(path))
    assert status == 0
    assert contents(path) == contents(whole)
    assert (path / "report.json").read_text() == (whole / "report.json").read_text()
    assert sorted(os.listdir(path)) == sorted(os.listdir(whole))
