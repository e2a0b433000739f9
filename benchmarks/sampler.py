"""How fast Strop samples, against `transformers.generate` on the same prompts, model, number format and stop rule.

    python benchmarks/sampler.py [--models smollm2,gguf/FILE] [--sets humaneval,basics] [--n 1,8,32] [--prompts 16]
                                 [--max-tokens 256] [--rounds 3] [--out results/sampler-benchmark.json]

Both sides run in turn, several rounds, in one process with the same number of threads, so that what else the machine
does falls on both; the ratio of a round is the figure, its median and range are reported. `generate` gets each batch
size of `--generate-batches` once, before the first round, and keeps its best. Tokens that count are those up to each
sample's own end: `generate` goes on computing finished rows until the last one of a batch is done. TRL's trainers
sample with `generate` too, unless told to use vLLM or transformers' paged batching: they have no column of their own.

The floor is what the memory alone allows: the bytes of weights that a step reads, over the read bandwidth measured on
as many bytes. For one row it is tokens a second outright, and `one row` is Strop decoding a single sample against it;
for many rows it is multiplied by the rows of a full batch, a bound that arithmetic keeps both sides from.

The results file is written after every round. The same command goes on where the last one stopped; rounds of other
settings in the file are kept apart. Every round tells the machine's load as it began; `--most-load` waits for a quiet
one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import asked

RESULT = Path(__file__).parent.parent / "results" / "sampler-benchmark.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="smollm2", help="model arguments, comma-separated")
    parser.add_argument("--sets", default="humaneval,basics", help="where prompts come from")
    parser.add_argument("--n", default="1,8,32", help="samples a prompt")
    parser.add_argument("--prompts", type=int, default=16, help="the first so many of each set")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--dtype", default="float32", help="of both sides")
    parser.add_argument("--batch-size", type=int, default=None, help="Strop's; default: its own choice")
    parser.add_argument("--generate-batches", default="8,32,64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most-load", type=float, default=None, help="wait until the machine's load is below this")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.exists() else {"cells": {}}
    results["command"] = asked.command()
    for name in options.models.split(","):
        measure_model(name, options, results)


def measure_model(name: str, options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Every cell of one model that the results do not hold yet."""
    import torch
    import transformers

    from strop.models import load

    wanted = [(one, int(n)) for one in options.sets.split(",") for n in options.n.split(",")]
    with closing(load(name, batch_size=options.batch_size, dtype=options.dtype)) as model:
        list(model.sample(requests(prompts_of("humaneval", 1), 2), parameters(4)))  # packs the weights
        floor = memory_floor(model.model)
        for one, n in wanted:
            key = (
                f"{asked.without_folders(name)} {options.dtype} {one} n={n} "
                f"prompts={options.prompts} max_tokens={options.max_tokens} "
                f"batch_size={model.batch_size} threads={torch.get_num_threads()}"
            )
            cell = results["cells"].setdefault(key, {"rounds": []})
            if len(cell["rounds"]) >= options.rounds:
                print_cell(key, cell)
                continue
            cell |= {
                "fingerprint": model.fingerprint,
                "engine": model.engine,
                "floor": floor,
                "machine": {"processor": processor(), "cores": os.cpu_count()},
                "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
            }
            prompts = prompts_of(one, options.prompts)
            while len(cell["rounds"]) < options.rounds:
                wait_for_quiet(options.most_load)
                cell["rounds"].append(one_round(model, requests(prompts, n), cell, options))
                cell |= summary(cell, min(model.batch_size, n * len(prompts)))
                save(options.out, results)
            print_cell(key, cell)


def one_round(model: Any, wanted: list[Any], cell: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Strop and `generate` on the same requests; who begins alternates."""
    params = parameters(options.max_tokens)
    load = os.getloadavg()[0]
    if "generate_batch" not in cell:
        batches = sorted({min(int(size), len(wanted)) for size in options.generate_batches.split(",")})
        trials = {size: rate(generate(model, wanted, params, size)) for size in batches} if len(batches) > 1 else {}
        cell["generate_trials"] = trials
        cell["generate_batch"] = max(trials, key=lambda size: trials[size]) if trials else batches[0]

    def strop() -> float:
        started = time.perf_counter()
        tokens = sum(completion.spent.sampled_tokens for _, completion in model.sample(wanted, params))
        return rate((tokens, time.perf_counter() - started))

    def single() -> float:
        started = time.perf_counter()
        [(_, completion)] = model.sample(wanted[:1], params)
        return rate((completion.spent.sampled_tokens, time.perf_counter() - started))

    sides = {"strop": strop, "generate": lambda: rate(generate(model, wanted, params, cell["generate_batch"]))}
    order = list(sides) if len(cell["rounds"]) % 2 == 0 else list(reversed(sides))
    return {"load": load, "began": time.strftime("%Y-%m-%d %H:%M")} | {side: sides[side]() for side in order} | {
        "one_row": single()
    }  # fmt: skip


def summary(cell: dict[str, Any], rows: int) -> dict[str, Any]:
    """Medians over the rounds; tokens a second."""
    ratios = [one["strop"] / one["generate"] for one in cell["rounds"]]
    floor = cell["floor"]["tokens_per_second"]
    medians = {
        side: statistics.median(one[side] for one in cell["rounds"]) for side in ("strop", "generate", "one_row")
    }
    return {
        "tokens_per_second": medians,
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "one_row_share_of_floor": medians["one_row"] / floor,
        "share_of_floor": medians["strop"] / (rows * floor),
    }


def print_cell(key: str, cell: dict[str, Any]) -> None:
    speed = cell["tokens_per_second"]
    print(
        f"{key}\n  strop {speed['strop']:.0f} tok/s, generate (batch {cell['generate_batch']}) "
        f"{speed['generate']:.0f} tok/s, ratio {cell['ratio']:.2f} ({cell['ratio_low']:.2f} to "
        f"{cell['ratio_high']:.2f}); one row {speed['one_row']:.1f} of {cell['floor']['tokens_per_second']:.1f} tok/s "
        f"that memory allows ({cell['one_row_share_of_floor']:.0%}); full batch {cell['share_of_floor']:.0%} of its "
        "floor",
        flush=True,
    )


def save(path: Path, results: dict[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=2) + "\n")
    part.replace(path)


def wait_for_quiet(most: float | None) -> None:
    while most is not None and os.getloadavg()[0] > most:
        time.sleep(10)


def generate(model: Any, wanted: list[Any], params: Any, batch: int) -> tuple[int, float]:
    """Useful tokens and seconds of `transformers.generate`, prompts of a batch padded on the left."""
    import torch

    tokens = 0
    started = time.perf_counter()
    pad = next(iter(model.ends))
    for start in range(0, len(wanted), batch):
        ids = [model.encode(request.prompt) for request in wanted[start : start + batch]]
        length = max(map(len, ids))
        inputs = torch.tensor([[pad] * (length - len(row)) + list(row) for row in ids])
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in ids])
        torch.manual_seed(start)
        with torch.inference_mode():
            output = model.model.generate(
                inputs,
                attention_mask=mask,
                do_sample=True,
                temperature=params.temperature,
                top_p=params.top_p,
                top_k=0,
                max_new_tokens=params.max_tokens,
                eos_token_id=sorted(model.ends),
                pad_token_id=pad,
            )[:, length:]
        for row in output.tolist():
            ends = [place for place, token in enumerate(row) if token in model.ends]
            tokens += ends[0] + 1 if ends else len(row)
    return tokens, time.perf_counter() - started


def rate(measured: tuple[int, float]) -> float:
    return measured[0] / measured[1]


def memory_floor(model: Any) -> dict[str, float]:
    """Bytes of weights read for one token, over the read bandwidth measured on as many bytes."""
    import torch

    weights = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    size = sum(parameter.numel() * parameter.element_size() for parameter in weights)
    if not model.config.tie_word_embeddings:
        embedding = model.get_input_embeddings().weight
        size -= (
            embedding.numel() * embedding.element_size()
        )  # one row of it is read, and the head is a matrix of its own
    buffer = torch.ones(size // 4)
    best = min(_timed(buffer.sum) for _ in range(5))
    return {"weight_bytes": size, "gigabytes_per_second": size / best / 1e9, "tokens_per_second": 1 / best}


def _timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def prompts_of(name: str, count: int) -> list[Any]:
    """The first prompts of a task set as chat messages, as the `chat` protocol writes them."""
    from strop.tasks import load
    from strop.tasks.protocols import get_protocol

    return [get_protocol("chat").render(task.public()) for task in load(name, limit=count)]


def requests(prompts: list[Any], n: int) -> list[Any]:
    from strop.types import Request, request_seed

    return [Request(prompt=p, seed=request_seed(0, p[0].content, i)) for p in prompts for i in range(n)]


def parameters(max_tokens: int) -> Any:
    from strop.types import SamplingParams

    return SamplingParams(temperature=0.8, top_p=0.95, max_tokens=max_tokens)


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
