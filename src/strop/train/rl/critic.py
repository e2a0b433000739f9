"""CodeRL's outcome critic: which of four outcomes will a program have, token by token (Le et al. 2022).

A head Linear - ReLU - Linear on every token's hidden state, maximum over tokens, four-way cross-entropy against what
really happened. A token's weight is the probability that the head puts on the *observed* outcome at that token, not on
"passed": with a negative advantage, a token that surely fails here gets the larger push down.

Departures: the paper fine-tunes a CodeT5-base on programs collected once; here the head alone learns, on hidden states
of the policy's own starting weights, from each step's samples after they have been used. Until it has seen a step,
every token counts 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strop.rewards.outcome import OUTCOMES

if TYPE_CHECKING:
    from torch import Tensor


class OutcomeCritic:
    """Head and optimiser; hidden states come from elsewhere."""

    def __init__(self, width: int, *, inner: int = 128, learning_rate: float = 1e-3, seed: int = 0) -> None:
        """`inner` is the paper's; the learning rate is a first choice for so small a head."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        self.head = torch.nn.Sequential(
            torch.nn.Linear(width, inner), torch.nn.ReLU(), torch.nn.Linear(inner, len(OUTCOMES))
        )
        for parameter in self.head.parameters():
            with torch.no_grad():
                bound = (parameter.shape[-1] if parameter.dim() > 1 else inner) ** -0.5
                parameter.uniform_(-bound, bound, generator=generator)
        self.optimizer = torch.optim.Adam(self.head.parameters(), lr=learning_rate)
        self.trained = 0

    def token_scores(self, hidden: Tensor, outcomes: Tensor) -> Tensor:
        """Probability of the observed outcome at each token; hidden [B, T, D], outcomes int [B]; returns [B, T]."""
        import torch

        if not self.trained:
            return torch.ones(hidden.shape[:2])
        with torch.no_grad():
            probabilities = torch.softmax(self.head(_normal(hidden)), -1)
        return probabilities.gather(2, outcomes[:, None, None].expand(-1, hidden.shape[1], 1))[..., 0]

    def predict(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Log-probabilities of the four outcomes of whole programs, [B, 4]; mask [B, T]."""
        import torch

        logits = self.head(_normal(hidden)).masked_fill(mask[..., None] == 0, -torch.inf)
        return torch.log_softmax(logits.amax(1), -1)

    def learn(self, hidden: Tensor, mask: Tensor, outcomes: Tensor) -> float:
        """One step of cross-entropy on a batch; returns the loss before it."""
        loss = -self.predict(hidden, mask).gather(1, outcomes[:, None]).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.trained += len(outcomes)
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        return {"head": self.head.state_dict(), "optimizer": self.optimizer.state_dict(), "trained": self.trained}

    def load(self, state: dict[str, Any]) -> None:
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.trained = state["trained"]


def _normal(hidden: Tensor) -> Tensor:
    """Hidden states of one scale whatever the model."""
    import torch

    return torch.nn.functional.layer_norm(hidden.detach().float(), hidden.shape[-1:])


def after_tokens(hidden: Tensor) -> Tensor:
    """States after each token from states before each: shifted by one, the last repeated; [B, T, D]."""
    import torch

    return torch.cat([hidden[:, 1:], hidden[:, -1:]], 1)
