"""Log-probabilities and hidden states of given texts, in padded batches of texts of like length."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from strop.models import Score

Encoded: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids of a prompt, and of the text that goes on from it."""

MOST_TOKENS = 4096
"""Padded tokens of one forward pass."""
MOST_LOGITS = 1 << 28
"""Numbers that the logits of one forward pass may have: 1 GiB in float32. A large vocabulary makes batches smaller."""


def score_tokens(model: Any, encoded: Sequence[Encoded], *, hidden: bool = False) -> list[Score]:
    """Score each text under a transformers causal language model; see `Score`. Order as given.

    Texts are taken longest first, so that those of one forward pass pad each other little. Right padding cannot be
    seen by the tokens before it; what is left of it are last bits of float32.
    """
    import torch

    scores = [Score((), ())] * len(encoded)
    lengths = [len(prompt) + len(text) for prompt, text in encoded]
    order = sorted(range(len(encoded)), key=lambda number: -lengths[number])
    most = min(MOST_TOKENS, MOST_LOGITS // model.config.vocab_size)
    for chunk in _chunks(order, lengths, most):
        with torch.inference_mode():
            for number, score in zip(chunk, _one_pass(model, [encoded[number] for number in chunk], hidden)):
                scores[number] = score
    return scores


def _one_pass(model: Any, chunk: Sequence[Encoded], hidden: bool) -> Iterator[Score]:
    import torch

    length = max(len(prompt) + len(text) for prompt, text in chunk)
    inputs = torch.zeros(len(chunk), length, dtype=torch.long)
    mask = torch.zeros_like(inputs)
    for row, (prompt, text) in enumerate(chunk):
        inputs[row, : len(prompt) + len(text)] = torch.tensor(prompt + text)
        mask[row, : len(prompt) + len(text)] = 1
    shortest = min(len(prompt) for prompt, _ in chunk)
    with _last_states(model) if hidden else contextlib.nullcontext([]) as seen:
        logits = model(input_ids=inputs, attention_mask=mask, logits_to_keep=length - shortest + 1).logits
    first = length - logits.shape[1]  # place whose next token the first kept logits predict
    for row, (prompt, text) in enumerate(chunk):
        own = logits[row, len(prompt) - 1 - first : len(prompt) + len(text) - 1 - first].float()
        chosen = own.gather(1, torch.tensor(text, dtype=torch.long)[:, None])[:, 0]
        logprobs = tuple((chosen - torch.logsumexp(own, -1)).tolist())
        states = seen[0][row, len(prompt) : len(prompt) + len(text)].float().numpy().copy() if hidden else None
        yield Score(logprobs, text, states)


@contextlib.contextmanager
def _last_states(model: Any) -> Iterator[list[Any]]:
    """Catches what the layers hand to the language-model head: [rows, length, width]. Asking the model for hidden
    states would keep those of every layer."""
    seen: list[Any] = []
    # `get_decoder` and not `base_model`: with an adapter on, the latter is the whole model, head included.
    handle = model.get_decoder().register_forward_hook(
        lambda module, args, output: seen.append(output.last_hidden_state)
    )
    try:
        yield seen
    finally:
        handle.remove()


def _chunks(order: Sequence[int], lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Runs of `order` (longest first) whose padded size stays within `most` tokens; a longer text goes alone."""
    chunk: list[int] = []
    for number in order:
        if chunk and (len(chunk) + 1) * lengths[chunk[0]] > most:
            yield chunk
            chunk = []
        chunk.append(number)
    if chunk:
        yield chunk
