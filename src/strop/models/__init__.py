"""Text in, completions out: transformers models, GGUF files and OpenAI-compatible endpoints behind one protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from strop.models.prompts import prompt_text, prompt_token_ids
from strop.models.spec import FORMS, ModelSpec, parse_spec
from strop.types import Completion, Prompt, Request, SamplingParams, StropError

__all__ = [
    "FORMS",
    "Model",
    "ModelSpec",
    "Score",
    "load",
    "load_for_training",
    "parse_spec",
    "prompt_text",
    "prompt_token_ids",
    "record_base",
    "save_adapter",
]


@dataclass(frozen=True, slots=True)
class Score:
    """Per-token natural-log probabilities of a given continuation, at temperature 1."""

    logprobs: tuple[float, ...]
    token_ids: tuple[int, ...]
    hidden: Any = field(default=None, compare=False)
    """The last layer's state (after its norm) at each token of the continuation: float32 array [tokens, width]. None
    when not asked for."""

    @property
    def total(self) -> float:
        return sum(self.logprobs)


@runtime_checkable
class Model(Protocol):
    """Anything that writes. `load` makes one from a model argument."""

    name: str
    """The model argument as the user gave it."""
    fingerprint: str
    """Local: hash over the contents of weights, config, tokenizer and adapter files, and the number format.
    Endpoint: hash of address and model id, because its weights cannot be seen."""
    batch_size: int
    """How many requests it likes at once. Callers that make fixed chunks of this size get reproducible chunks."""

    @property
    def chat(self) -> bool:
        """Whether message prompts work: the tokenizer has a chat template, or the endpoint a chat route."""
        ...

    def sample(self, requests: Sequence[Request], params: SamplingParams) -> Iterator[tuple[int, Completion]]:
        """Answer each request; yields (position in `requests`, completion) as they finish."""
        ...

    def score(self, pairs: Sequence[tuple[Prompt, str]], *, hidden: bool = False) -> list[Score]:
        """Log-probabilities of each continuation given its prompt; with `hidden` also the states behind them.

        Raises StropError where the model cannot tell.
        """
        ...

    def close(self) -> None: ...


def load(
    spec: str,
    *,
    batch_size: int | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    cache: bool = False,
    **endpoint: Any,
) -> Model:
    """The model that a model argument names (`strop.models.FORMS`).

    `dtype` (default float32) and `threads` (default: torch's choice) are for local models. `cache`: draw only what the
    file of completions that runs share does not hold (`strop.models.cache`). Further keywords are fields of
    `strop.models.transport.EndpointOptions`. Raises StropError when the model cannot be had.
    """
    parsed = parse_spec(spec)
    if parsed.kind == "replay":
        if dtype is not None or threads is not None or endpoint:
            raise StropError(f"{spec} is a recorded run: it takes no options of local models or endpoints.")
        from strop.models.replay import Replay

        return Replay(spec, parsed, batch_size)
    model = _load(spec, parsed, batch_size, dtype, threads, endpoint)
    if not cache:
        return model
    from strop.models.cache import CachedModel, DrawCache, shared_file

    file = shared_file()
    return CachedModel(model, DrawCache(file)) if file else model


def _load(
    spec: str,
    parsed: ModelSpec,
    batch_size: int | None,
    dtype: str | None,
    threads: int | None,
    endpoint: dict[str, Any],
) -> Model:
    if parsed.kind == "openai":
        if dtype is not None or threads is not None:
            raise StropError(f"{spec} is an endpoint: dtype and threads are options of local models.")
        from strop.models.endpoint import load_endpoint

        return load_endpoint(spec, parsed, batch_size, endpoint)
    if endpoint:
        raise StropError(f"{', '.join(sorted(endpoint))}: options of endpoints, and {spec} is a local model.")
    if parsed.kind == "vllm":
        if threads is not None:
            raise StropError(f"{spec}: vLLM chooses its threads itself.")
        from strop.models.vllm import load_vllm

        return load_vllm(spec, parsed, batch_size=batch_size, dtype=dtype)
    from strop.models.local import load_local

    return load_local(spec, batch_size=batch_size, dtype=dtype or "float32", threads=threads)


def load_for_training(spec: str) -> tuple[Any, Any]:
    """The torch model (float32, training mode) and its tokenizer; see `strop.models.weights.load_for_training`."""
    from strop.models import weights

    return weights.load_for_training(spec)


def save_adapter(model: Any, folder: Any, *, base: str, tokenizer: Any = None) -> Any:
    """Write a peft adapter so that `BASE+FOLDER` loads it; see `strop.models.weights.save_adapter`."""
    from strop.models import weights

    return weights.save_adapter(model, folder, base=base, tokenizer=tokenizer)


def record_base(folder: Any, base: str) -> None:
    """Note in a saved adapter's folder which model it was trained on; see `strop.models.weights.record_base`."""
    from strop.models import weights

    weights.record_base(folder, base)
