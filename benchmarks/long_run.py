"""A run of 100,000 samples: does its memory stay flat, and what does `kill -9` cost?

    python benchmarks/long_run.py [--samples 100000] [--kills 5] [--record]

The measuring loop of `strop eval` draws from an OpenAI-compatible server on this machine that answers at once, and
keeps everything in a run folder. It is killed at random moments and started again. Only control flow is measured: the
server writes fixed programs, and every program gets the same verdict without being run.

Told are the resident memory of the worker at each tenth of the way (median and largest of the readings there; the last
worker alone, which nobody kills, does the last half), the requests that the server answered beyond one for each sample,
and whether samples and charges in the folder are exactly the ones planned.
`results/sampler-long-run.json` is written only with `--record`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import asked

RESULT = Path(__file__).parent.parent / "results" / "sampler-long-run.json"
TASKS = 100
CONCURRENCY = 16
PROMPT_TOKENS, SAMPLED_TOKENS = 11, 23


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000, help=f"a multiple of {TASKS}")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--record", action="store_true", help="write results/sampler-long-run.json")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", nargs=2, metavar=("FOLDER", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
    elif options.work:
        work(Path(options.work[0]), options.work[1], options.samples)
    else:
        result = measure_run(options.samples, options.kills)
        print(json.dumps(result, indent=2))
        if options.record:
            RESULT.parent.mkdir(exist_ok=True)
            RESULT.write_text(json.dumps({"command": asked.command()} | result, indent=2) + "\n")


def measure_run(samples: int, kills: int) -> dict[str, Any]:
    """Start, kill, start again, to the end; see the module's text."""
    dice = random.Random(0)
    with tempfile.TemporaryDirectory() as place, started("--serve") as server:
        url = f"http://127.0.0.1:{server.stdout.readline().decode().strip()}/v1"
        database = Path(place) / "run" / "run.sqlite"
        kill_at = sorted(dice.uniform(0.02, 0.5) * samples for _ in range(kills))
        restarts = []
        began = time.monotonic()
        for most in kill_at:
            with started("--work", f"{place}/run", url, "--samples", str(samples)) as worker:
                seen, changed, between = 0, time.monotonic(), 0.0
                while seen < most:
                    if worker.poll() is not None:
                        raise RuntimeError("the worker ended too early")
                    time.sleep(0.01)
                    if (now := kept(database)) != seen:
                        seen, between, changed = now, time.monotonic() - changed, time.monotonic()
                time.sleep(dice.uniform(0, between))  # somewhere within the next chunk
                worker.kill()
                worker.wait()
                restarts.append(kept(database))
        last, readings = restarts[-1] if restarts else 0, []
        with started("--work", f"{place}/run", url, "--samples", str(samples)) as worker:
            while worker.poll() is None:
                readings.append((kept(database), resident(worker.pid)))
                time.sleep(0.25)
            if worker.returncode:
                raise RuntimeError(f"the worker failed ({worker.returncode})")
        seconds = time.monotonic() - began
        answered = json.loads(urllib.request.urlopen(f"{url}/count").read())["answered"]
        return {
            "samples": samples,
            "seconds": seconds,
            "killed_at_samples": restarts,
            "samples_of_last_worker": samples - last,
            "chunk": chunk_size(),
            "requests_answered": answered,
            "requests_paid_twice": answered - samples,
            "memory_mib": memory_by_tenth(readings, samples),
        } | check(Path(place) / "run", samples)


def check(folder: Path, samples: int) -> dict[str, Any]:
    """What the folder holds, against what was planned; raises when it differs."""
    from strop.run import Run
    from strop.types import Spent

    with Run.read(folder) as run:
        spent = run.spent()
        keys = run.sample_keys("eval")
        seconds = spent.seconds
    planned = {(f"t{task}", index) for task in range(TASKS) for index in range(samples // TASKS)}
    expected = Spent(
        prompt_tokens=samples * PROMPT_TOKENS,
        sampled_tokens=samples * SAMPLED_TOKENS,
        model_calls=samples,
        programs=samples,
        seconds=seconds,
    )
    with sqlite3.connect(folder / "run.sqlite") as connection:
        texts = connection.execute("SELECT count(*), count(DISTINCT json_extract(data, '$.text')) FROM samples")
        rows, different = texts.fetchone()
        verdicts = connection.execute("SELECT count(*) FROM verdicts").fetchone()[0]
    if keys != planned or rows != samples or different != samples or verdicts != samples or spent != expected:
        raise RuntimeError(f"the folder does not hold what was planned: {rows=} {different=} {verdicts=} {spent=}")
    return {"distinct_texts": different, "verdicts": verdicts, "sampled_tokens_charged": spent.sampled_tokens}


def memory_by_tenth(readings: list[tuple[int, float]], samples: int) -> list[dict[str, float]]:
    tenths: dict[int, list[float]] = {}
    for count, memory in readings:
        tenths.setdefault(min(9, 10 * count // samples), []).append(memory)
    return [
        {"tenth": tenth + 1, "median": statistics.median(values), "largest": max(values)}
        for tenth, values in sorted(tenths.items())
    ]


def kept(database: Path) -> int:
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5) as connection:
            return connection.execute("SELECT count(*) FROM samples").fetchone()[0]
    except sqlite3.Error:
        return 0


def resident(pid: int) -> float:
    """MiB in memory now."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
    except (OSError, IndexError):
        return 0.0


class started:
    """`with started(ARGUMENTS) as process:` this script as a process; killed at the end."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE)

    def __enter__(self) -> Any:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


# ---- the worker ------------------------------------------------------------------------------------


def work(folder: Path, url: str, samples: int) -> None:
    """What `strop eval` does, with a judge that accepts everything."""
    from strop.budget import Budget, Meter
    from strop.evals.solve import measure
    from strop.models import load
    from strop.run import Run
    from strop.tasks.protocols import get_protocol
    from strop.types import SamplingParams, Task, TextCheck

    tasks = [Task(id=f"t{n}", prompt=f"Task {n}.", checks=(TextCheck(reference="x"),)) for n in range(TASKS)]
    model = load(f"openai/m@{url}", concurrency=CONCURRENCY)
    with Run.open(folder, command="long run", config={"samples": samples}) as run:
        meter = Meter(Budget(sampled_tokens=10**12), run.spent())
        measure(
            run, "eval", model, tasks, AcceptAll(), get_protocol("chat"),  # type: ignore[arg-type]
            samples_per_task=samples // TASKS, params=SamplingParams(max_tokens=64), seed=0, meter=meter,
        )  # fmt: skip


class AcceptAll:
    def stream(self, jobs: Any) -> Any:
        from strop.types import Verdict

        for key, _, _ in jobs:
            yield key, Verdict(status="passed", fraction=1.0)


def chunk_size() -> int:
    """Samples that a kill can cost: a batch that is not committed yet, and what is in flight."""
    return 4 * CONCURRENCY + CONCURRENCY


# ---- the server ------------------------------------------------------------------------------------


async def serve() -> None:
    """Answers every chat request at once with a program that names task and seed; counts them."""
    answered = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                size = int(head.split("content-length:")[1].split()[0]) if "content-length:" in head else 0
                body = json.loads(await reader.readexactly(size)) if size else {}
                route = head.split()[1]
                if route.endswith("/count"):
                    answer: dict[str, Any] = {"answered": answered}
                elif route.endswith("/models"):
                    answer = {"data": [{"id": "m"}]}
                else:
                    asked = str(body.get("messages", body.get("prompt")))
                    answered += "Task " in asked
                    answer = reply(asked, body.get("seed"))
                data = json.dumps(answer).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=128)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def reply(asked: str, seed: Any) -> dict[str, Any]:
    lines = "\n".join(f"    total += {number}" for number in range(40))
    text = f"```python\ndef f():\n    # {seed} {hash(asked)}\n    total = 0\n{lines}\n    return total\n```"
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": SAMPLED_TOKENS}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


if __name__ == "__main__":
    main()
