"""One step's learning: from judged rollouts to updated weights.

A pass cuts the step's groups into minibatches. What each token counts is worked out for a whole minibatch, then its
groups go through the model one prompt at a time, and their gradients add up to that of the minibatch.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.train.rl import losses, ranking
from strop.train.rl.buffer import Group, Rollout, group_by_prompt, pieces
from strop.train.rl.critic import OutcomeCritic, after_tokens
from strop.train.rl.policy import Policy
from strop.train.rl.prepare import Notes, coefficients, noted, outcomes, set_advantages, set_weights
from strop.train.rl.qlearning import value_head
from strop.train.rl.recipes import RLSettings
from strop.types import StropError

if TYPE_CHECKING:
    from torch import Tensor

VALUE_RATE = 10.0
"""The value head's learning rate over the policy's (PF-PPO's critic has 18 times its actor's). Strop's choice."""
SAMPLER_GAP = 0.1
"""Nats a token between sampler and learner from which something is broken; rounding gives about 1e-5."""


class Learner:
    """The policy's optimiser, with a value head or critic where the recipe has one."""

    def __init__(self, policy: Policy, settings: RLSettings) -> None:
        import torch

        self.policy, self.settings = policy, settings
        groups = [{"params": list(policy.trainable.values()), "lr": settings.learning_rate}]
        self.value = self._value_head()
        if self.value is not None:
            groups.append({"params": list(self.value.parameters()), "lr": settings.learning_rate * VALUE_RATE})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        uses_critic = settings.token_weights == "critic"
        self.critic = OutcomeCritic(policy.width, seed=settings.seed) if uses_critic else None
        self.updates = 0
        self._began = 0  # updates before this step

    def _value_head(self) -> Any:
        """The value head of this method, or None."""
        return value_head(self.policy.width) if self.settings.advantage == "gae" else None

    # ---- one step ------------------------------------------------------------------------------

    def learn(
        self,
        rollouts: Sequence[Rollout],
        prompts: Mapping[str, Sequence[int]],
        *,
        step: int,
        baselines: Mapping[str, float] | None = None,
        references: Mapping[str, Sequence[int]] | None = None,
    ) -> dict[str, float]:
        """Update the policy on one step's rollouts and return what to note.

        prompts: token ids by task. baselines: reward of a greedy answer by task, for the greedy advantage; a task
        without one is left out. references: token ids of a reference answer by task, for imitation.
        Samples without reward or tokens are dropped and counted. Nothing to learn from (no rewards, or all groups
        equal) leaves the weights alone. Raises StropError for a loss that is not finite and for a policy that has
        drifted further than `reference_kl`: the weights of the last checkpoint stay good.
        """
        kept = [one for one in rollouts if baselines is None or one.task.id in baselines]
        groups = group_by_prompt(kept, prompts)
        notes, self._began = Notes(), self.updates
        notes.put("dropped", len(rollouts) - sum(map(len, groups)))
        notes.put("groups", len(groups))
        if groups:
            with _same_bits():
                self._prepare(groups, baselines, notes)
                for number in range(self.settings.epochs):
                    if not self._pass(groups, references or {}, f"{self.settings.seed}/{step}/{number}", notes):
                        break
                if self.critic is not None:
                    self._teach_critic(groups, notes)
        notes.put("updates", self.updates)
        return notes.values()

    def _prepare(self, groups: list[Group], baselines: Mapping[str, float] | None, notes: Notes) -> None:
        """Everything that is fixed before the first update: scores of old weights, advantages and weights."""
        import torch

        s = self.settings
        several = s.epochs * s.minibatches > 1
        wants_old = several or s.reference_kl is not None
        needs_old = wants_old and (s.temperature != 1 or not all(noted(group) for group in groups))
        needs_reference = bool(s.kl_coefficient) or s.reference_kl is not None
        for group in groups:
            if needs_old or self.value is not None:
                with torch.no_grad():
                    scored = self._score(group, None, hidden=self.value is not None)
                    if self.value is not None:
                        group.tensors["values"] = self.value(scored[1]) * group.mask
                group.tensors["old"] = scored[0]
            elif wants_old:
                group.tensors["old"] = group.sampled
            if needs_reference:
                with self.policy.at_start() as start:
                    group.tensors["reference"] = self._score(group, start)[0]
            if self.critic is not None:
                with self.policy.at_start() as start:
                    group.tensors["features"] = after_tokens(self._score(group, start, hidden=True)[1])
                group.tensors["outcomes"] = outcomes(group)
                scores = self.critic.token_scores(group.tensors["features"], group.tensors["outcomes"])
                group.tensors["token_weights"] = scores
                notes.mean("critic_weight", float((scores * group.mask).sum()), float(group.mask.sum()))
        if s.reference_kl is not None:
            self._check_drift(groups, notes)
        set_advantages(groups, s, baselines)
        set_weights(groups, s)
        informative = sum(bool((group.tensors["advantages"] != 0).any()) for group in groups)
        notes.put("informative_groups", informative)

    def _score(self, group: Group, model: Any, hidden: bool = False) -> tuple[Tensor, Any]:
        """Log-probabilities [B, T] and hidden states [B, T, D] of a whole group, piece by piece, without gradient."""
        import torch

        logprobs = torch.zeros_like(group.mask)
        states = torch.zeros(*group.mask.shape, self.policy.width) if hidden else None
        for part in pieces(group, self.settings.micro_batch):
            length = int(group.mask[part].sum(1).max())
            scored = self.policy.score(
                group.prompt,
                group.tokens[part, :length],
                group.mask[part, :length],
                self.settings.temperature,
                model=model,
                hidden=hidden,
            )
            logprobs[part, :length] = scored.logprobs.detach()
            if states is not None and scored.hidden is not None:
                states[part, :length] = scored.hidden.detach()
        return logprobs, states

    def _check_drift(self, groups: list[Group], notes: Notes) -> None:
        limit = self.settings.reference_kl
        for group in groups:
            drift = losses.kl_estimate(group.tensors["old"], group.tensors["reference"], "k3") * group.mask
            notes.mean("reference_kl", float(drift.sum()), float(group.mask.sum()))
        found = notes.values()["reference_kl"]
        if limit is not None and not found <= limit:
            raise StropError(
                f"The policy has moved {found:.3g} nats a token from where it began, more than reference_kl = "
                f"{limit:g}. Training stops; the last checkpoint is whole. A smaller learning_rate or a larger "
                "kl_coefficient keeps it closer."
            )

    # ---- updates -------------------------------------------------------------------------------

    def _pass(self, groups: list[Group], references: Mapping[str, Any], shuffle: str, notes: Notes) -> bool:
        """One pass over the groups; False when the policy moved too far and the step should end."""
        order = list(groups)
        if self.settings.minibatches > 1:
            random.Random(shuffle).shuffle(order)
        size = -(-len(order) // self.settings.minibatches)
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        return all(self._update(batch, references, notes) for batch in batches)

    def _update(self, batch: list[Group], references: Mapping[str, Any], notes: Notes) -> bool:
        """One optimiser step on a minibatch of groups; False when it was left out because the policy moved too far."""
        import torch

        parts = coefficients(batch, self.settings)
        self.optimizer.zero_grad(set_to_none=True)
        moved, counted, worked = 0.0, 0.0, False
        for group, shares in zip(batch, parts):
            if not self._has_signal(group, references):
                continue
            worked = True
            for part in pieces(group, len(group) if self.settings.loss == "rrhf" else self.settings.micro_batch):
                loss, drift = self._loss(group, part, shares, len(batch), notes)
                _finite(loss, "loss", group)
                loss.backward()
                moved, counted = moved + drift[0], counted + drift[1]
            if self.settings.imitation and group.rollouts[0].task.id in references:
                loss = self._imitation(group, references) / len(batch)
                _finite(loss, "imitation loss", group)
                loss.backward()
                notes.add("imitation_loss", float(loss.detach()))
        beside = self._beside()
        if beside is not None:
            worked = True
            _finite(beside, "loss beside the policy's", batch[0])
            beside.backward()
            notes.add("beside_loss", float(beside.detach()))
        if not worked:
            return True
        notes.updates += 1
        limit = self.settings.step_kl
        if limit is not None and counted and moved / counted > limit:
            notes.put("stopped_early", 1.0)
            return False
        for number, part in enumerate(
            self.optimizer.param_groups
        ):  # apart, or the value's gradient shrinks the policy's
            norm = torch.nn.utils.clip_grad_norm_(part["params"], self.settings.max_grad_norm)
            _finite(norm, "gradient", batch[0])
            notes.put("value_grad_norm" if number else "grad_norm", float(norm))
        self._set_rate()
        self.optimizer.step()
        self.updates += 1
        return True

    def _loss(
        self, group: Group, part: slice, shares: Tensor, groups: int, notes: Notes
    ) -> tuple[Tensor, tuple[float, float]]:
        """The loss of some rows of a group, and (sum, count) of how far their tokens have moved in this step."""
        s = self.settings
        length = int(group.mask[part].sum(1).max())
        cut = (part, slice(0, length))
        mask, share = group.mask[cut], shares[cut]
        scored = self.policy.score(
            group.prompt,
            group.tokens[cut],
            mask,
            s.temperature,
            entropy=True,
            entropy_gradient=bool(s.entropy_coefficient),
            hidden=self.value is not None,
        )
        logprobs = scored.logprobs
        fixed = {name: value[cut] if value.dim() > 1 else value[part] for name, value in group.tensors.items()}
        old = fixed.get("old", logprobs.detach())
        moved = (losses.kl_estimate(old, logprobs.detach(), "k3") * mask).sum()
        self._note(group, part, scored, old, fixed["advantages"], mask, notes)
        if s.loss == "rrhf":
            loss = ranking.rrhf(logprobs, mask, group.rewards[part], rank_weight=s.rank_weight) / groups
        else:
            if s.loss == "clipped":
                each = losses.clipped(
                    logprobs, old, fixed["advantages"], mask, low=s.clip_low, high=s.clip_high, level=s.level
                )
            elif s.loss == "cispo":
                each = losses.cispo(logprobs, old, fixed["advantages"], mask, high=s.clip_high)
            else:
                each = losses.reinforce(logprobs, fixed["advantages"])
            if "token_weights" in fixed:
                each = each * fixed["token_weights"]
            loss = (each * share * fixed["weights"][:, None]).sum()
        if s.kl_coefficient and s.kl_in == "loss":
            drift = losses.kl_estimate(logprobs, fixed["reference"], s.kl_estimator)
            loss = loss + s.kl_coefficient * (drift * share).sum()
            notes.mean("reference_kl", float((drift.detach() * mask).sum()), float(mask.sum()))
        if s.entropy_coefficient and scored.entropy is not None:
            loss = loss - s.entropy_coefficient * (scored.entropy * share).sum()
        notes.add("loss", float(loss.detach()))
        if self.value is not None and scored.hidden is not None:
            # The value reads the policy's states without pulling at them.
            values = self.value(scored.hidden.detach())
            error = losses.clipped_value(values, fixed["values"], fixed["returns"], clip=s.value_clip)
            value_loss = (error * share * fixed["weights"][:, None]).sum()
            notes.add("value_loss", float(value_loss.detach()))
            loss = loss + value_loss
        return loss, (float(moved), float(mask.sum()))

    def _note(
        self, group: Group, part: slice, scored: Any, old: Tensor, advantages: Tensor, mask: Tensor, notes: Notes
    ) -> None:
        s, count = self.settings, float(mask.sum())
        logprobs = scored.logprobs.detach()
        notes.mean("entropy", float((scored.entropy.detach() * mask).sum()), count)
        notes.mean(
            "clip_share", losses.clip_share(logprobs, old, advantages, mask, s.clip_low, s.clip_high) * count, count
        )
        if s.temperature == 1 and self.updates == self._began and noted(group):
            gap = float(((logprobs - group.sampled[part, : mask.shape[1]]).abs() * mask).sum())
            notes.mean("sampler_gap", gap, count)
            if gap / max(count, 1.0) > SAMPLER_GAP:
                raise StropError(
                    f"The sampler and the learner disagree by {gap / count:.2g} nats a token on task "
                    f"{group.rollouts[0].task.id}: the samples were not drawn from the weights that learn."
                )

    def _imitation(self, group: Group, references: Mapping[str, Any]) -> Tensor:
        """Mean cross-entropy of the task's reference answer, weighted; a scalar."""
        import torch

        tokens = torch.tensor([list(references[group.rollouts[0].task.id])])
        found = self.policy.score(group.prompt, tokens, torch.ones(tokens.shape), 1.0).logprobs
        return -self.settings.imitation * found.mean()

    def _beside(self) -> Tensor | None:
        """What a method adds to each update's loss from data of its own; a scalar."""
        return None

    def _has_signal(self, group: Group, references: Mapping[str, Any]) -> bool:
        """Whether a group can change the weights at all; the others are not put through the model."""
        s = self.settings
        always = self.value is not None or (s.kl_coefficient and s.kl_in == "loss") or s.entropy_coefficient
        if s.loss == "rrhf" or always or (s.imitation and group.rollouts[0].task.id in references):
            return True
        return bool((group.tensors["advantages"] != 0).any())

    def _teach_critic(self, groups: list[Group], notes: Notes) -> None:
        assert self.critic is not None
        for group in groups:
            loss = self.critic.learn(group.tensors["features"], group.mask, group.tensors["outcomes"])
            notes.mean("critic_loss", loss, 1.0)

    def _set_rate(self) -> None:
        share = min(1.0, (self.updates + 1) / (self.settings.warmup + 1))
        for group, rate in zip(self.optimizer.param_groups, self._rates):
            group["lr"] = rate * share

    # ---- state ---------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that learning changes, as tensors and plain data."""
        out = {
            "weights": {name: parameter.detach() for name, parameter in self.policy.trainable.items()},
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates,
        }
        if self.value is not None:
            out["value"] = self.value.state_dict()
        if self.critic is not None:
            out["critic"] = self.critic.state()
        return out

    def save(self, folder: Path) -> None:
        """Write what was learned into a folder that a model argument can name."""
        self.policy.save(folder)

    def load(self, state: Mapping[str, Any]) -> None:
        import torch

        with torch.no_grad():
            for name, parameter in self.policy.trainable.items():
                parameter.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates = state["updates"]
        if self.value is not None:
            self.value.load_state_dict(state["value"])
        if self.critic is not None:
            self.critic.load(state["critic"])
        self.policy.sync()


@contextlib.contextmanager
def _same_bits() -> Iterator[None]:
    """Torch adds up in a fixed order inside; on CPUs only `index_put` with repeated places would not by itself.

    Kernels without a deterministic form warn and go on. The switch is torch's, for the whole process.
    """
    import torch

    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # only costs time here
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]


def _finite(value: Tensor, what: str, group: Group) -> None:
    """Raise StropError for NaN and infinity before they reach the weights."""
    import torch

    if not torch.isfinite(value.detach()).all():
        raise StropError(
            f"The {what} on task {group.rollouts[0].task.id} is {float(value.detach()):g}. Training stops before it "
            "spoils the weights; the last checkpoint is whole. A smaller learning_rate or max_grad_norm may help."
        )
