"""From prompts to text and token ids, the same for sampling, scoring and training."""

from __future__ import annotations

from typing import Any

from strop.types import Prompt, StropError


def prompt_text(tokenizer: Any, prompt: Prompt) -> str:
    """The text a model sees: raw text as it is, messages through the tokenizer's chat template.

    A last assistant message stays open, to be continued. Raises StropError for messages without a template.
    """
    if isinstance(prompt, str):
        return prompt
    if not prompt:
        raise StropError("A prompt without any message.")
    if not getattr(tokenizer, "chat_template", None):
        raise StropError(
            "This model's tokenizer has no chat template, so it cannot answer messages. "
            "Use a completion protocol, or a model tuned for chat."
        )
    messages = [{"role": message.role, "content": message.content} for message in prompt]
    goes_on = messages[-1]["role"] == "assistant"
    try:
        return tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=not goes_on, continue_final_message=goes_on
        )
    except Exception as error:
        raise StropError(f"The model's chat template refuses these messages: {error}") from error


def prompt_token_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Token ids of a prompt. Raw text gets the tokenizer's special tokens, a template writes its own.

    Raises StropError as `prompt_text`, and for a prompt of no tokens when the tokenizer has no start token.
    """
    ids = list(tokenizer(prompt_text(tokenizer, prompt), add_special_tokens=isinstance(prompt, str))["input_ids"])
    if not ids:
        if tokenizer.bos_token_id is None:
            raise StropError("An empty prompt, and the model's tokenizer has no start token to begin with.")
        ids = [tokenizer.bos_token_id]
    return ids
