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
from strop.train import prefix_tree
from strop.train.rl.losses import entropies
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
    logits: Tensor | None = None
    """At temperature 1; [B, T, V]."""


class Policy:
    """The weights that learn, and a sampler that follows them.

    `sampler` is a `strop.models.Model`; `trainable` maps names to the parameters that learn, in a fixed order.
    """

    def __init__(self, spec: str, *, lora_rank: int, lora_alpha: int, seed: int, batch_size: int | None = None) -> None:
        from strop.models import load_for_training

        self.spec = spec
        loaded, _ = load_for_training(spec)
        self.sampler: LocalModel = load_local(spec, batch_size=batch_size, dtype="float32", threads=None)
        self.base_fingerprint = self.sampler.fingerprint
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
        self._merges = supports(self.model)
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
        mask: Tensor,
        temperature: float,
        *,
        model: Any = None,
        entropy: bool = False,
        entropy_gradient: bool = False,
        hidden: bool = False,
        every_logit: bool = False,
    ) -> Scored:
        """Log-probabilities of answers to one prompt: prompt int [P], tokens int [B, T], mask [B, T].

        `model` stands in for the learning one (`at_start`). Everything is 0 where `mask` is 0, which may only be at the
        end of a row. The prompt, and what answers begin with alike, is computed once.
        """
        import torch

        model = self.model if model is None else model
        rows, places = mask.nonzero(as_tuple=True)
        states, node_of = (self._tree_states if self._merges else self._row_states)(model, prompt, tokens, mask)
        # Only states that precede a token meet the vocabulary, each once.
        nodes, of = node_of[rows, places].unique(return_inverse=True)
        logits = model.get_output_embeddings()(states[nodes]).float()
        scaled = logits if temperature in (0.0, 1.0) else logits / temperature
        found = scaled[of, tokens[rows, places]] - torch.logsumexp(scaled, -1)[of]
        spread = found.new_zeros(mask.shape).index_put((rows, places), found)
        uncertain = None
        if entropy:
            with contextlib.nullcontext() if entropy_gradient else torch.no_grad():
                uncertain = found.new_zeros(mask.shape).index_put((rows, places), entropies(logits)[of])
        before = states[node_of] * mask[..., None] if hidden else None
        whole = None
        if every_logit:
            whole = logits.new_zeros(*mask.shape, logits.shape[-1]).index_put((rows, places), logits[of])
        return Scored(spread, uncertain, before, whole)

    def _tree_states(self, model: Any, prompt: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Last hidden states of every distinct place, [nodes, D], and the node before each token, int [B, T]."""
        import torch

        start, lengths = prompt.tolist(), mask.sum(1).long().tolist()
        answers = [row[:length] for row, length in zip(tokens.tolist(), lengths)]
        tree = prefix_tree.prefix_tree([start + answer[:-1] for answer in answers])
        ids, positions = torch.from_numpy(tree.tokens)[None], torch.from_numpy(tree.positions)[None]
        states = prefix_tree.states(model, ids, positions, prefix_tree.branches(tree))
        node_of = torch.zeros(tokens.shape, dtype=torch.long)
        for row, path in enumerate(tree.paths):
            before = path[len(start) - 1 :][: lengths[row]]
            node_of[row, : len(before)] = torch.tensor(before)
        return states, node_of

    def _row_states(self, model: Any, prompt: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The same for models of any attention: every row with its own prompt, padding at the end unseen."""
        import torch

        count, length = tokens.shape
        ids = torch.cat([prompt.expand(count, -1), tokens], 1)[:, :-1]
        states = getattr(model, model.base_model_prefix)(input_ids=ids, use_cache=False).last_hidden_state
        first = len(prompt) - 1
        node_of = torch.arange(count)[:, None] * ids.shape[1] + first + torch.arange(length)
        return states.reshape(-1, states.shape[-1]), node_of * mask.long()


def _with_lora(model: Any, rank: int, alpha: int, seed: int) -> Any:
    """Adapters on all linear layers, seeded; B starts at 0, so the model is unchanged."""
    from peft import get_peft_model
    from transformers import set_seed

    from strop.train.lora import LearnerSettings, lora_config

    set_seed(seed)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return get_peft_model(model, lora_config(LearnerSettings(lora_rank=rank, lora_alpha=alpha, seed=seed)))
