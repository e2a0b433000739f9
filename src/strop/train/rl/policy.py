"""A model that samples and learns.

Two copies of the weights: one learns (with LoRA adapters, or whole), one samples, its linear layers holding base plus
adapter after each `sync`. So sampling runs at full speed, and the base weights are never touched by merging and
un-merging, which would not give the same bits back. Dropout is off throughout.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strop.models.grouped import supports
from strop.models.local import LocalModel, load_local
from strop.models.spec import parse_spec
from strop.train.rl.losses import entropies, token_logprobs
from strop.types import StropError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Scored:
    """What the model says about given answers to one prompt."""

    logprobs: Tensor
    """Of each token, at the sampling temperature; [B, T], float32."""
    entropy: Tensor | None = None
    """In nats, at temperature 1; [B, T], without gradient unless asked for."""
    hidden: Tensor | None = None
    """Last hidden state *before* each token; [B, T, D]."""


class Policy:
    """The weights that learn, and a sampler that follows them.

    `sampler` is a `strop.models.Model`; `trainable` maps names to the parameters that learn, in a fixed order.
    """

    def __init__(self, spec: str, *, lora_rank: int, lora_alpha: int, seed: int, batch_size: int | None = None) -> None:
        from strop.models import load_for_training

        self.spec = spec
        self.sampler: LocalModel = load_local(spec, batch_size=batch_size, dtype="float32", threads=None)
        self.base_fingerprint = self.sampler.fingerprint
        loaded, _ = load_for_training(spec)
        self._peft: Any = None
        if hasattr(loaded, "peft_config"):
            if not lora_rank:
                raise StropError(f"{spec} has an adapter, which goes on learning; lora_rank = 0 needs a bare model.")
            self._peft = loaded
        elif lora_rank:
            self._peft = _with_lora(loaded, lora_rank, lora_alpha, seed)
        self.model: Any = (self._peft.get_base_model() if self._peft is not None else loaded).eval()
        if self._peft is None:
            self.sampler.model = None  # one copy is enough when all weights learn
            self.sampler = LocalModel(
                self.model, self.sampler.tokenizer, name=spec, fingerprint=self.base_fingerprint, batch_size=batch_size
            )
        self.trainable: dict[str, Any] = {
            name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad
        }
        self.width = int(self.model.config.get_text_config().hidden_size)
        self._shares_prompts = supports(self.model)
        self._reference: Any = None
        self.sync()

    # ---- weights -------------------------------------------------------------------------------

    def sync(self) -> str:
        """Hand the learned weights to the sampler, with a fingerprint of their own; returns it."""
        import torch

        if self._peft is not None:
            targets = dict(self.sampler.model.named_modules())
            with torch.no_grad():
                for name, module in self.model.named_modules():
                    if hasattr(module, "lora_A") and module.lora_A:
                        merged = module.base_layer.weight + module.get_delta_weight(module.active_adapters[0])
                        targets[name].weight.copy_(merged)
        digest = hashlib.sha256(self.base_fingerprint.encode())
        for name, parameter in self.trainable.items():
            digest.update(name.encode())
            digest.update(parameter.detach().contiguous().numpy().tobytes())
        self.sampler.fingerprint = digest.hexdigest()
        return self.sampler.fingerprint

    @contextlib.contextmanager
    def at_start(self) -> Iterator[Any]:
        """The model as it was before any learning, for reference log-probabilities and critics."""
        import torch

        with torch.no_grad():
            if self._peft is not None and parse_spec(self.spec).adapter is None:
                with self._peft.disable_adapter():
                    yield self.model
            else:
                if self._reference is None:
                    self._reference = load_local(self.spec, batch_size=None, dtype="float32", threads=None).model
                yield self._reference

    def save(self, folder: Any) -> None:
        """Write the adapter, or the whole model with its tokenizer, into a folder that a model argument can name."""
        from strop.models import save_adapter

        if self._peft is not None:
            save_adapter(self._peft, folder, base=parse_spec(self.spec).base)
        else:
            self.model.save_pretrained(str(folder), safe_serialization=True)
            self.sampler.tokenizer.save_pretrained(str(folder))

    # ---- what it says --------------------------------------------------------------------------

    def score(
        self,
        prompt: Tensor,
        tokens: Tensor,
        temperature: float,
        *,
        model: Any = None,
        entropy: bool = False,
        entropy_gradient: bool = False,
        hidden: bool = False,
    ) -> Scored:
        """Log-probabilities of answers to one prompt: prompt int [P], tokens int [B, T] padded at the end with any id.

        `model` stands in for the learning one (`at_start`). What it says of padding means nothing.
        """
        import torch

        logits, states = self._logits(self.model if model is None else model, prompt, tokens, hidden)
        found = None
        if entropy:
            with contextlib.nullcontext() if entropy_gradient else torch.no_grad():
                found = entropies(logits)
        return Scored(token_logprobs(logits, tokens, temperature), found, states)

    def _logits(self, model: Any, prompt: Tensor, tokens: Tensor, hidden: bool) -> tuple[Tensor, Tensor | None]:
        """Logits [B, T, V] and hidden states [B, T, D] before each token; the prompt is read once for all answers."""
        import torch

        rows, length = tokens.shape
        options = {"output_hidden_states": True} if hidden else {}
        if not self._shares_prompts or rows == 1:
            ids = torch.cat([prompt.expand(rows, -1), tokens], 1)[:, :-1]
            output = model(input_ids=ids, use_cache=False, logits_to_keep=length, **options)
            return output.logits, output.hidden_states[-1][:, -length:] if hidden else None
        from transformers import DynamicCache

        cache = DynamicCache()
        first = model(input_ids=prompt[None], past_key_values=cache, use_cache=True, logits_to_keep=1, **options)
        logits = [first.logits.expand(rows, -1, -1)]
        states = [first.hidden_states[-1][:, -1:].expand(rows, -1, -1)] if hidden else []
        if length > 1:
            cache.batch_repeat_interleave(rows)
            rest = model(input_ids=tokens[:, :-1], past_key_values=cache, use_cache=True, **options)
            logits.append(rest.logits)
            states += [rest.hidden_states[-1]] if hidden else []
        return torch.cat(logits, 1), torch.cat(states, 1) if hidden else None


def _with_lora(model: Any, rank: int, alpha: int, seed: int) -> Any:
    """Adapters on all linear layers, seeded; B starts at 0, so the model is unchanged."""
    from peft import get_peft_model
    from transformers import set_seed

    from strop.train.lora import LearnerSettings, lora_config

    set_seed(seed)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return get_peft_model(model, lora_config(LearnerSettings(lora_rank=rank, lora_alpha=alpha, seed=seed)))
