"""B-Coder's learner (Yu et al. 2023, arXiv 2310.03173): Q-learning whose Q starts as the language model.

Stage phi, the first `value_steps` steps: the model is frozen and a value head learns what states are worth. Stage
theta: the model and a residual of the value learn. Both minimise the temporal-difference error with the conservative
operator, which backs up through the *frozen* model's greedy token (`qlearning.py` has the formulas). Reference
solutions are trajectories that passed; in stage theta their tokens are also pulled towards being greedy and likely.

    loss = 1/2 TD(samples) + 1/2 TD(references) + advantage_weight * sum |A(reference)| + imitation * CE(reference)

`QRanker` is the reward model that comes for free: it ranks programs by the reward that the learned Q implies.

Departures. The paper trains an encoder-decoder on 256 programs a problem that its checkpoint drew once, thousands of
updates a stage; here each step draws with the present model, which in stage phi is the checkpoint. A value head whose
output starts at 0 would have no gradient under the cap, so it starts where the cap gives about 0. The cross-entropy is
a mean over tokens. Policy and values share one hidden state; the values do not pull at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.train.rl import qlearning
from strop.train.rl.buffer import Group, Rollout
from strop.train.rl.learner import Learner
from strop.train.rl.policy import Policy, Scored
from strop.train.rl.prepare import Notes, at_last_token
from strop.train.rl.recipes import RLSettings
from strop.types import Prompt, StropError

if TYPE_CHECKING:
    from torch import Tensor

FIRST_BIAS = 2.0
"""Where the value head starts: `capped(2)` is 0.13, while at 0 the cap has no slope."""
VALUES = "q_value.safetensors"


def make_value_head(width: int) -> Any:
    """V_phi + (h1 - h2), uncapped; maps [..., D] to [...]. Starts at `FIRST_BIAS` everywhere."""
    import torch

    first = qlearning.value_head(width)
    torch.nn.init.constant_(first.linear.bias, FIRST_BIAS)
    return qlearning.residual_value_head(first, width)


class QLearner(Learner):
    """`Learner` with the loss above; settings `loss = "td"`."""

    values_only = True

    def __init__(self, policy: Policy, settings: RLSettings) -> None:
        super().__init__(policy, settings)
        self._reference_greedy: dict[str, Tensor] = {}  # the frozen model's, so they never change

    def _value_head(self) -> Any:
        return make_value_head(self.policy.width)

    def learn(self, rollouts: Sequence[Rollout], prompts: Mapping[str, Sequence[int]], *, step: int, **more: Any):
        self.values_only = step <= self.settings.value_steps
        self.value.first.requires_grad_(self.values_only)
        self.value.learned.requires_grad_(not self.values_only)
        return super().learn(rollouts, prompts, step=step, **more) | {"values_only": float(self.values_only)}

    def _prepare(self, groups: list[Group], baselines: Mapping[str, float] | None, notes: Notes) -> None:
        for group in groups:
            group.tensors["frozen_greedy"] = self._frozen_greedy(group.prompt, group.tokens, group.mask)
            group.tensors["rewards"] = at_last_token(group)
        notes.put("informative_groups", sum(len(group.rewards.unique()) > 1 for group in groups))

    def _frozen_greedy(self, prompt: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Most likely token of the starting model at each state; int [B, T]."""
        import torch

        found = torch.zeros_like(tokens)
        with self.policy.at_start() as start:
            for first in range(0, len(tokens), self.settings.micro_batch):
                part = slice(first, first + self.settings.micro_batch)
                scored = self.policy.score(prompt, tokens[part], mask[part], 1.0, model=start, every_logit=True)
                found[part] = scored.logits.argmax(-1)  # type: ignore[union-attr]
        return found

    def _states(self, prompt: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Scored, Tensor]:
        """What the model says, without gradient in stage phi, and capped values [B, T] before each token."""
        import torch

        with torch.set_grad_enabled(not self.values_only):
            scored = self.policy.score(prompt, tokens, mask, 1.0, entropy=True, hidden=True, every_logit=True)
        assert scored.hidden is not None
        return scored, qlearning.capped(self.value(scored.hidden.detach()))

    def _loss(
        self, group: Group, part: slice, shares: Tensor, groups: int, notes: Notes
    ) -> tuple[Tensor, tuple[float, float]]:
        length = int(group.mask[part].sum(1).max())
        cut = (part, slice(0, length))
        tokens, mask = group.tokens[cut], group.mask[cut]
        scored, values = self._states(group.prompt, tokens, mask)
        self._note(group, part, scored, scored.logprobs.detach(), group.tensors["rewards"][cut], mask, notes)
        logits: Any = scored.logits
        greedy, rewards = group.tensors["frozen_greedy"][cut], group.tensors["rewards"][cut]
        errors = qlearning.td_errors(logits, values, tokens, greedy, rewards, mask, gamma=self.settings.gamma)
        loss = 0.5 * (errors * shares[cut]).sum()
        notes.add("loss", float(loss.detach()))
        notes.mean("value", float((values.detach() * mask).sum()), float(mask.sum()))
        return loss, (0.0, 0.0)

    def _imitation(self, group: Group, references: Mapping[str, Any]) -> Tensor:
        """What the task's reference adds: a passed trajectory, and in stage theta greedy and likely tokens."""
        import torch

        task_id = group.rollouts[0].task.id
        tokens = torch.tensor([list(references[task_id])])
        mask, rewards = torch.ones(tokens.shape), torch.zeros(tokens.shape)
        rewards[0, -1] = qlearning.LARGEST_RETURN
        scored, values = self._states(group.prompt, tokens, mask)
        logits: Any = scored.logits
        if task_id not in self._reference_greedy:
            self._reference_greedy[task_id] = self._frozen_greedy(group.prompt, tokens, mask)
        greedy = self._reference_greedy[task_id]
        loss = 0.5 * qlearning.td_loss(logits, values, tokens, greedy, rewards, mask, gamma=self.settings.gamma)
        if self.values_only:
            return loss
        likely = torch.log_softmax(logits, -1).gather(-1, tokens[..., None]).mean()
        penalty = qlearning.advantage_penalty(logits, tokens, mask)
        return loss + self.settings.advantage_weight * penalty - self.settings.imitation * likely

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        super().save(folder)
        save_file({name: value.contiguous() for name, value in self.value.state_dict().items()}, folder / VALUES)


class QRanker:
    """Scores programs by the sum over tokens of Q(s, a) - gamma V(s'); a `strop.models.scorers.Scorer`.

    `spec` is a model with the folder that a `bcoder` run left: `BASE+FOLDER`. A sum over tokens may follow length:
    compare with `strop.models.scorers.Length` before believing it.
    """

    def __init__(self, spec: str, *, gamma: float = qlearning.GAMMA) -> None:
        """Raises StropError where the folder holds no values."""
        from safetensors.torch import load_file

        from strop.models.spec import parse_spec

        parsed = parse_spec(spec)
        file = Path(parsed.adapter or parsed.target) / VALUES
        if not file.is_file():
            raise StropError(f"{file} is not there: {spec} was not trained with the recipe bcoder.")
        # One adapter on top that changes nothing: a policy always learns something.
        self.policy = Policy(spec, lora_rank=1, lora_alpha=1, seed=0)
        self.value = make_value_head(self.policy.width)
        self.value.load_state_dict(load_file(file))
        self.name, self.gamma = f"implied reward of {spec}", gamma

    def scores(self, prompt: Prompt, programs: Sequence[str]) -> list[float]:
        """One number for each program, with its end token, as an answer to `prompt`."""
        import torch

        tokenizer = self.policy.sampler.tokenizer
        start = torch.tensor(self.policy.sampler.encode(prompt))
        found = []
        with torch.no_grad():
            for program in programs:
                ids = [*tokenizer(program, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
                tokens, mask = torch.tensor([ids]), torch.ones(1, len(ids))
                scored = self.policy.score(start, tokens, mask, 1.0, hidden=True, every_logit=True)
                assert scored.logits is not None
                values = qlearning.capped(self.value(scored.hidden))
                found.append(float(qlearning.program_score(scored.logits, values, tokens, mask, gamma=self.gamma)))
        return found
