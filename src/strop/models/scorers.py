"""Models that judge programs: a number for a program, higher for what is likelier right.

    scorer = RewardModel("smollm2+runs/reward/adapter")
    best = programs[int(np.argmax(scorer.scores(prompt, programs)))]

`prompt` is what the program's author was asked (`Protocol.render` of the public task), so that scorers see in use what
they were trained on. Scores of different prompts need not compare. How far a scorer can be trusted is measured by
`strop.evals.reliability`; search uses one as a selector, and `strop.rewards.scored` makes a reward of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from strop.models.prompts import prompt_token_ids
from strop.models.spec import parse_spec
from strop.types import Prompt, StropError

if TYPE_CHECKING:
    from strop.models import Model


@runtime_checkable
class Scorer(Protocol):
    """Anything that scores programs."""

    name: str

    def scores(self, prompt: Prompt, programs: Sequence[str]) -> list[float]:
        """One number for each program of a prompt, in order."""
        ...


def score(scorer: Scorer, prompt: Prompt, code: str) -> float:
    """The score of one program. Judges of pairs give one half: there is nothing to compare it with."""
    return scorer.scores(prompt, [code])[0]


class Length:
    """The trivial judge that every other one has to beat: the shorter (or the longer) program is the better one."""

    def __init__(self, *, shorter: bool = True) -> None:
        self.name = "shorter" if shorter else "longer"
        self._sign = -1.0 if shorter else 1.0

    def scores(self, prompt: Prompt, programs: Sequence[str]) -> list[float]:
        return [self._sign * len(program) for program in programs]


class LogProb:
    """Mean log-probability a token under a model, given the prompt (Chen et al. 2021 found the mean best)."""

    def __init__(self, model: Model) -> None:
        self.name = f"logprob of {model.name}"
        self.model = model

    def scores(self, prompt: Prompt, programs: Sequence[str]) -> list[float]:
        found = self.model.score([(prompt, program or " ") for program in programs])
        return [one.total / max(1, len(one.logprobs)) for one in found]


# ---- reward models -------------------------------------------------------------------------------


class RewardModel:
    """A model with one number as output, as `strop train reward` leaves it: argument `BASE+FOLDER`."""

    def __init__(self, spec: str, *, batch_size: int = 16, max_length: int = 768) -> None:
        """Raises StropError when the folder holds no reward model, or another base's."""
        import torch

        self.name = f"reward model {spec}"
        self.model, self.tokenizer = load_reward_model(spec)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model.to(self.device)
        self.batch_size, self.max_length = batch_size, max_length

    def scores(self, prompt: Prompt, programs: Sequence[str]) -> list[float]:
        """The model's output for each program. Beyond `max_length` tokens the program's end is not seen."""
        import torch

        rows = [scored_tokens(self.tokenizer, prompt, program)[: self.max_length] for program in programs]
        pad, found = int(self.model.config.pad_token_id), []
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            longest = max(map(len, batch))
            ids = torch.tensor([row + [pad] * (longest - len(row)) for row in batch], device=self.device)
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch], device=self.device)
            with torch.no_grad():
                found += self.model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
        return found


def scored_tokens(tokenizer: Any, prompt: Prompt, program: str) -> list[int]:
    """What a reward model reads: the prompt, the program, and the end token."""
    answer = tokenizer(program, add_special_tokens=False)["input_ids"]
    return [*prompt_token_ids(tokenizer, prompt), *answer, tokenizer.eos_token_id]


def with_score_head(model: Any, tokenizer: Any) -> Any:
    """A causal language model turned into one that outputs a number: its body, and a new head that begins at 0.

    A head of 0 scores everything alike until it has learned something, and needs no seed.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    config = model.config
    config.num_labels = 1
    config.pad_token_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    with torch.device("meta"):
        scoring = AutoModelForSequenceClassification.from_config(config)
    head = torch.nn.Linear(scoring.score.in_features, 1, bias=False)
    torch.nn.init.zeros_(head.weight)
    scoring.score = head
    setattr(scoring, scoring.base_model_prefix, getattr(model, model.base_model_prefix))
    return scoring


def load_reward_model(spec: str) -> tuple[Any, Any]:
    """The scoring model of `BASE+FOLDER` in evaluation mode, and its tokenizer. Raises StropError for other folders."""
    from peft import PeftConfig, PeftModel

    from strop.models.weights import check_base, load_weights

    parsed = parse_spec(spec)
    if parsed.adapter is None or not (parsed.adapter / "adapter_config.json").is_file():
        raise StropError(f"{spec} names no reward model; give BASE+FOLDER, as `strop train reward` prints it.")
    if PeftConfig.from_pretrained(str(parsed.adapter)).task_type != "SEQ_CLS":
        raise StropError(f"{parsed.adapter} holds an adapter for writing, not a reward model.")
    check_base(parsed)
    base = load_weights(parse_spec(parsed.base))
    scoring = with_score_head(base.model, base.tokenizer)
    return PeftModel.from_pretrained(scoring, str(parsed.adapter)).merge_and_unload().eval(), base.tokenizer
