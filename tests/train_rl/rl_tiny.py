"""A tiny random model, tasks and a reward for it: the whole loop in seconds, on the real judge."""

from __future__ import annotations

from pathlib import Path

from strop.rewards import part
from strop.types import ScriptCheck, Task

TASKS = [
    Task(
        id=f"tiny/{number}",
        prompt=f"def f{number}(x):\n",
        stub=f"def f{number}(x):\n",
        entry_point=f"f{number}",
        checks=(ScriptCheck(code=f"assert f{number}(1) == 1", visible=True),),
        reference=f"def f{number}(x):\n    return x",
    )
    for number in range(5)
]


def letters():
    """A reward that a random model can earn: the share of the answer's characters that are letters."""

    def measure(case):
        text = case.sample.text
        return sum(one.isalpha() for one in text) / len(text) if text else 0.0

    return part("letters", measure)


def make_model(folder: Path, *, layers: int = 2) -> Path:
    """A random Llama of a few thousand weights with a byte-level tokenizer, the same every time."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    bare.train_from_iterator(["def add(a, b):\n    return a + b\n"] * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<|end|>", pad_token="<|end|>")
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=1024, eos_token_id=0, bos_token_id=None, pad_token_id=0,
        initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
