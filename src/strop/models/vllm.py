"""Sampling with vLLM in this process, on a GPU: `vllm/NAME-or-PATH`.

**Not run.** No machine with a GPU was at hand: this file was written against vLLM's published interface (0.20 and
later: `LLM.generate` with token prompts and one `SamplingParams` a prompt, `prompt_logprobs`, `logprobs_mode`) and has
been tested without vLLM only, with objects of the same fields. No figure about it is claimed anywhere.

Same requests, parameters and fields as the local engine. What differs: draws come from vLLM's own random streams, one a
request, so a seed gives other tokens here than in the local engine, and vLLM promises equal draws only for equal
batches on equal hardware; completions of a call come when all of them are done; adapters must be merged first.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Sequence
from typing import Any

from strop.models import Score
from strop.models.prompts import prompt_token_ids
from strop.models.spec import ModelSpec
from strop.models.stops import cut
from strop.types import Completion, FinishReason, Prompt, Request, SamplingParams, Spent, StropError, content_hash

DEFAULT_BATCH_SIZE = 256
"""Requests a call; vLLM batches them as its memory allows."""


def load_vllm(name: str, spec: ModelSpec, *, batch_size: int | None, dtype: str | None) -> VllmModel:
    """Start an engine. `dtype`: vLLM's choice when None. Raises StropError without vLLM, and for adapters."""
    if importlib.util.find_spec("vllm") is None:
        raise StropError(
            f"{name} needs vLLM, which is not installed here. Install with: pip install 'strop[vllm]' (Linux with a "
            "GPU). Without a GPU, hf/ loads the same model with Strop's own sampler."
        )
    if spec.adapter is not None:
        raise StropError(f"{name}: the vLLM backend takes no adapters. Merge it into the weights, or use hf/.")
    from vllm import LLM  # pyright: ignore[reportMissingImports]

    from strop.models.weights import fingerprint_of

    # Log-probabilities before temperature, top-k and top-p, as everywhere in Strop.
    engine = LLM(model=spec.target, dtype=dtype or "auto", logprobs_mode="raw_logprobs")
    fingerprint = content_hash("vllm", fingerprint_of(ModelSpec("hf", spec.target)), dtype or "auto")
    return VllmModel(engine, name=name, fingerprint=fingerprint, batch_size=batch_size)


class VllmModel:
    """A vLLM engine as a `strop.models.Model`."""

    def __init__(self, engine: Any, *, name: str, fingerprint: str, batch_size: int | None = None) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.batch_size = batch_size or DEFAULT_BATCH_SIZE
        self.engine: Any = engine
        self.tokenizer: Any = engine.get_tokenizer()
        self.chat = bool(getattr(self.tokenizer, "chat_template", None))
        self._context: int = engine.llm_engine.model_config.max_model_len

    def room(self, prompt: Prompt) -> int:
        """Tokens that a completion of this prompt may have before the context is full."""
        return self._context - len(prompt_token_ids(self.tokenizer, prompt))

    def sample(self, requests: Sequence[Request], params: SamplingParams) -> Iterator[tuple[int, Completion]]:
        """Yield (position, completion); `token_ids` include the token that ended a completion."""
        from vllm import SamplingParams as VllmParams  # pyright: ignore[reportMissingImports]

        from strop.models.draw import check_params

        check_params(params)
        prompts, settings = [], []
        for request in requests:
            ids = self._fitting(prompt_token_ids(self.tokenizer, request.prompt), 1)
            prompts.append({"prompt_token_ids": ids})
            settings.append(
                VllmParams(
                    temperature=params.temperature,
                    top_p=params.top_p if params.temperature else 1.0,
                    top_k=params.top_k if params.temperature else 0,
                    max_tokens=min(params.max_tokens, self._context - len(ids)),
                    stop=list(params.stop) or None,
                    seed=request.seed,
                    logprobs=params.logprobs,
                )
            )
        started = time.perf_counter()
        outputs = self.engine.generate(prompts, settings, use_tqdm=False)
        seconds = (time.perf_counter() - started) / max(1, len(requests))
        for position, output in enumerate(outputs):
            yield position, read_output(output, params, seconds)

    def score(self, pairs: Sequence[tuple[Prompt, str]], *, hidden: bool = False) -> list[Score]:
        """As `LocalModel.score`. Raises StropError for hidden states, which vLLM does not hand out beside these."""
        from vllm import SamplingParams as VllmParams  # pyright: ignore[reportMissingImports]

        if hidden:
            raise StropError(f"{self.name}: vLLM gives no hidden states with log-probabilities. Use hf/.")
        encoded = []
        for prompt, text in pairs:
            ids, rest = prompt_token_ids(self.tokenizer, prompt), self.tokenizer(text, add_special_tokens=False)
            encoded.append((ids, list(rest.input_ids)))
        asked = [{"prompt_token_ids": self._fitting(ids + rest, 1)} for ids, rest in encoded]
        outputs = self.engine.generate(asked, VllmParams(max_tokens=1, prompt_logprobs=0), use_tqdm=False)
        scores = []
        for (ids, rest), output in zip(encoded, outputs):
            places = output.prompt_logprobs[len(ids) :]
            scores.append(Score(tuple(place[token].logprob for token, place in zip(rest, places)), tuple(rest)))
        return scores

    def _fitting(self, ids: list[int], more: int) -> list[int]:
        if len(ids) + more > self._context:
            raise StropError(f"{self.name}: {len(ids)} tokens leave no room in its context of {self._context} tokens.")
        return ids

    def close(self) -> None:
        """Drop the engine; its GPU memory is freed when Python collects it."""
        self.engine = None


def read_output(output: Any, params: SamplingParams, seconds: float) -> Completion:
    """A vLLM `RequestOutput` with one completion as ours."""
    [only] = output.outputs
    token_ids = tuple(only.token_ids)
    if only.finish_reason not in ("stop", "length"):
        raise StropError(f"vLLM ended a completion for a reason unknown to Strop: {only.finish_reason!r}.")
    reason: FinishReason = "length" if only.finish_reason == "length" else "stop"
    if reason == "stop" and isinstance(only.stop_reason, str):
        reason = "stop_string"
    text = cut(only.text, params)
    if text != only.text:
        reason = "stop_string"
    top = None
    if params.logprobs:
        # vLLM adds the chosen token where it is not among the likeliest.
        ranked = (sorted(place.items(), key=lambda pair: -pair[1].logprob) for place in only.logprobs)
        top = tuple(tuple((token, one.logprob) for token, one in place[: params.logprobs]) for place in ranked)
    return Completion(
        text=text,
        finish_reason=reason,
        spent=Spent(
            prompt_tokens=len(output.prompt_token_ids),
            sampled_tokens=len(token_ids),
            model_calls=1,
            seconds=seconds,
        ),
        token_ids=token_ids,
        logprobs=tuple(place[token].logprob for token, place in zip(token_ids, only.logprobs)),
        top_logprobs=top,
    )
