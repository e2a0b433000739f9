"""A transformers model in this process: prompts to token ids, sampling (`strop.models.decoding`) and scoring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from strop.models import Score, grouped
from strop.models.draw import check_params
from strop.models.flow import Asked, Prefix, Reply, TokenCompletion
from strop.models.grouped import GroupedEngine
from strop.models.likelihood import score_tokens
from strop.models.packed import PackedLinears, versions
from strop.models.padded import PaddedEngine
from strop.models.prompts import prompt_token_ids
from strop.models.spec import parse_spec
from strop.models.starts import Starts
from strop.models.weights import load_weights
from strop.types import Completion, Prompt, Request, SamplingParams, StropError, content_hash

if TYPE_CHECKING:
    from strop.models.decoding import LocalFlow

DEFAULT_BATCH_SIZE = 64
"""Rows at once."""


def load_local(spec: str, *, batch_size: int | None, dtype: str, threads: int | None) -> LocalModel:
    """Load weights and make them a Model. `threads` sets torch's thread count for the whole process."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    weights = load_weights(parse_spec(spec), dtype=dtype)
    fingerprint = weights.fingerprint if dtype == "float32" else content_hash(weights.fingerprint, dtype)
    return LocalModel(weights.model, weights.tokenizer, name=spec, fingerprint=fingerprint, batch_size=batch_size)


class LocalModel:
    """A transformers causal language model and its tokenizer as a `strop.models.Model`.

    `fingerprint` may be any string that identifies the weights; give a model that is being trained a new one after
    each update.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str, fingerprint: str, batch_size: int | None = None
    ) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.batch_size = batch_size or DEFAULT_BATCH_SIZE
        self.chat = bool(getattr(tokenizer, "chat_template", None))
        self.model: Any = model
        self.tokenizer: Any = tokenizer
        self.ends = _end_tokens(model, tokenizer)
        self.context = int(getattr(model.config, "max_position_embeddings", 0) or 1 << 30)
        self.engine = "grouped" if grouped.supports(model) else "padded"
        self._packed = PackedLinears(model) if self.engine == "grouped" and PackedLinears.available(model) else None
        self._starts = Starts()

    @property
    def reused_prompt_tokens(self) -> int:
        """Prompt tokens that were not encoded again, because another prompt of this model began alike.

        `Completion.spent` counts them all the same: what a prompt costs does not depend on what ran before it."""
        return self._starts.reused

    # ---- prompts -------------------------------------------------------------------------------

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids of a prompt; see `prompt_token_ids`."""
        return tuple(prompt_token_ids(self.tokenizer, prompt))

    def room(self, prompt: Prompt) -> int:
        """Tokens that a completion of this prompt may have before the context is full; below 1 it cannot be drawn."""
        return self.context - len(self.encode(prompt))

    def decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    # ---- sampling ------------------------------------------------------------------------------

    def flow(self) -> LocalFlow:
        """An empty set of requests in flight; see `strop.models.flow`."""
        from strop.models.decoding import LocalFlow

        return LocalFlow(self)

    def sample(self, requests: Sequence[Request], params: SamplingParams) -> Iterator[tuple[int, Completion]]:
        """Yield (position, completion) as completions finish.

        A completion's `token_ids` are all tokens drawn, an end token or the token that completed a stop string
        included; `text` has neither. `spent.prompt_tokens` counts the prompt for every request, shared or not.
        """
        return self._all(requests, params)  # type: ignore[return-value]

    def complete_tokens(
        self, prefixes: Sequence[tuple[Prompt, Sequence[int]]], params: SamplingParams
    ) -> Iterator[tuple[int, TokenCompletion]]:
        """Go on greedily from prompts and tokens already chosen; yields (position, completion) as they finish.

        For methods that search over tokens. `params.max_tokens` and stop strings count the chosen tokens as part of the
        completion; `params.logprobs` (at least 1) alternatives are told for every place. A prefix that is already at
        its end gives no tokens. Raises StropError for temperatures above 0, whose draws would depend on the split.
        """
        return self._all([Prefix(prompt, tuple(tokens)) for prompt, tokens in prefixes], params)  # type: ignore[return-value]

    def _all(self, asked: Sequence[Asked], params: SamplingParams) -> Iterator[tuple[int, Reply]]:
        """Replies to a fixed list of requests."""
        check_params(params)
        flow = self.flow()
        for position, one in enumerate(asked):
            if not flow.add(position, one, params):
                tokens = len(self.encode(one.prompt)) + (len(one.tokens) if isinstance(one, Prefix) else 0)
                raise StropError(
                    f"{self.name}: a prompt of {tokens} tokens leaves no room in its context of {self.context} tokens."
                )
        while flow.waiting:
            yield from flow.step()

    def new_engine(self) -> GroupedEngine | PaddedEngine:
        """What passes rows through the model; nothing of one engine is seen by another but encoded prompts."""
        if self.engine == "padded":
            return PaddedEngine(self.model)
        return GroupedEngine(self.model, self._packed, self._starts.begin((self.fingerprint, versions(self.model))))

    # ---- scoring -------------------------------------------------------------------------------

    def score(self, pairs: Sequence[tuple[Prompt, str]], *, hidden: bool = False) -> list[Score]:
        """Log-probabilities (natural, temperature 1) of each continuation's tokens, end token not included.

        The continuation is tokenised by itself, as if the model had written it after the prompt.
        """
        encoded = []
        for prompt, text in pairs:
            ids, rest = self.encode(prompt), tuple(self.tokenizer(text, add_special_tokens=False).input_ids)
            if len(ids) + len(rest) > self.context:
                raise StropError(
                    f"{self.name}: prompt and continuation of {len(ids)} + {len(rest)} tokens do not fit its context "
                    f"of {self.context} tokens."
                )
            encoded.append((ids, rest))
        return score_tokens(self.model, encoded, hidden=hidden)

    def close(self) -> None:
        """Drop the weights; the object cannot be used afterwards."""
        self.model = None


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a completion: those of the model's generation settings, and the tokenizer's end token."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ends = [*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id]
    return frozenset(end for end in ends if end is not None)
