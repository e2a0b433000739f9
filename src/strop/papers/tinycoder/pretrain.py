"""TinyCoder's model: a small Llama, trained from nothing on the demonstrations, and the folder that holds it all."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.papers.tinycoder.fragments import VOCABULARY, make_tokenizer
from strop.papers.tinycoder.problems import demonstrations, tasks
from strop.types import StropError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


@dataclass(frozen=True, slots=True, kw_only=True)
class TinySettings:
    """Size and schooling. The defaults make a base model that is right on 30 to 50 % of its samples, on every seed of
    `results/tinycoder.json` (`benchmarks/tinycoder.py`)."""

    width: int = 112
    layers: int = 2
    heads: int = 4
    demonstrations: int = 500
    bug_rate: float = 0.2
    """Share of demonstrations with a bug: what keeps the base model from being right, and fills every class of it."""
    steps: int = 260
    batch_size: int = 32
    learning_rate: float = 3e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Testbed:
    """Where a testbed lies."""

    model: str
    """Model argument, `hf/FOLDER/model`."""
    tasks: Path
    """`train` and `test` tasks as Strop JSON Lines."""
    parameters: int
    loss: float
    """Mean loss of the last 20 steps, in nats a token."""

    __test__ = False  # the name is not a test's


def make(
    folder: str | Path,
    *,
    seed: int = 0,
    settings: TinySettings = TinySettings(),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Testbed:
    """Pretrain a model from `seed` into `folder`, with its tasks; a folder made with the same arguments is reused.

    The same seed gives the same weights on the same machine. Raises StropError when the folder holds
    a testbed made otherwise.
    """
    from strop import tasks as task_files

    path = Path(folder)
    made_with = {"seed": seed, "settings": asdict(settings)}
    record = path / "testbed.json"
    if record.exists():
        known = json.loads(record.read_text())
        if known["made_with"] != made_with:
            raise StropError(f"{path} holds a testbed made with {known['made_with']}, not {made_with}.")
    else:
        model, loss = pretrain(seed=seed, settings=settings, on_progress=on_progress)
        path.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(path / "model", ignore_errors=True)
        model.save_pretrained(path / "model")
        make_tokenizer().save_pretrained(path / "model")
        task_files.dump(tasks(), path / "tasks.jsonl")
        known = {"made_with": made_with, "parameters": sum(p.numel() for p in model.parameters()), "loss": loss}
        record.write_text(json.dumps(known, indent=2) + "\n")  # written last: it marks a folder that is whole
    return Testbed(
        model=f"hf/{path / 'model'}", tasks=path / "tasks.jsonl", parameters=known["parameters"], loss=known["loss"]
    )


def pretrain(
    *, seed: int, settings: TinySettings, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[LlamaForCausalLM, float]:
    """A Llama trained on demonstrations, the loss on their bodies only; and its mean loss over the last 20 steps."""
    import torch

    rows = _encoded(settings, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _new_model(settings)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model gains nothing from more, and sums come out the same everywhere
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    try:
        losses = _train(model, optimizer, rows, settings, seed, on_progress)
    finally:
        torch.set_num_threads(threads)
    return model.eval(), sum(losses[-20:]) / len(losses[-20:])


def _train(
    model: LlamaForCausalLM, optimizer: Any, rows: list[tuple[list[int], int]], settings: TinySettings, seed: int,
    on_progress: Callable[[int, int], None],
) -> list[float]:  # fmt: skip
    """Loss of every step: linear warm-up over 20 steps, then a cosine down to 0."""
    import torch

    batches = _batches(rows, settings.batch_size, seed)
    losses = []
    model.train()
    for step in range(settings.steps):
        warm, left = min(1.0, (step + 1) / 20), step / settings.steps
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * left))
        loss = model(**_batch(next(batches))).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        on_progress(step + 1, settings.steps)
    return losses


def _batches(rows: list[tuple[list[int], int]], size: int, seed: int) -> Iterator[list[tuple[list[int], int]]]:
    """Pass after pass over the rows, in batches of like length, so that little is padding."""
    rng = random.Random(seed)
    while True:
        order = list(rows)
        rng.shuffle(order)
        order.sort(key=lambda row: len(row[0]) // 8)
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        rng.shuffle(batches)
        yield from batches


def _encoded(settings: TinySettings, seed: int) -> list[tuple[list[int], int]]:
    """Token ids of each demonstration with its end, and the length of its prompt."""
    tokenizer = make_tokenizer()
    rows = []
    for stub, body in demonstrations(settings.demonstrations, bug_rate=settings.bug_rate, seed=seed):
        prompt = tokenizer(stub)["input_ids"]
        rows.append(([*prompt, *tokenizer(body)["input_ids"], tokenizer.eos_token_id], len(prompt)))
    return rows


def _batch(rows: list[tuple[list[int], int]]) -> dict[str, Any]:
    import torch

    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), -100)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for row, (tokens, prompt) in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, prompt : len(tokens)] = torch.tensor(tokens[prompt:])
        mask[row, : len(tokens)] = 1
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def _new_model(settings: TinySettings) -> LlamaForCausalLM:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=settings.width,
            intermediate_size=2 * settings.width,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=VOCABULARY.index("<end>"),
            pad_token_id=VOCABULARY.index("<pad>"),
        )
    )
