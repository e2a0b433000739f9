"""What each method is made of: one settings class, and the fields in which the methods differ.

A recipe only sets defaults; any field can be set on top of it. Constants are the sources' where a source is named, and
untuned first choices for small models elsewhere (learning rate, steps, sizes).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from strop.train.rl.losses import Aggregation, Estimator, Level
from strop.train.rl.weights import Filter
from strop.types import SamplingParams, StropError


@dataclass(frozen=True, slots=True, kw_only=True)
class RLSettings:
    """Everything that decides the outcome of a run. Written to the manifest; a resumed run must have the same."""

    recipe: str = "grpo"
    model: str = "smollm2"
    tasks: str = "basics"
    protocol: str = "auto"
    practice_tasks: int | None = None
    """How many practice tasks are used; None for all."""
    held_out: str | None = None
    """A separate task set to measure on; None divides `tasks` (see `splits.divide`)."""
    held_out_tasks: int | None = None
    held_out_samples: int = 2
    """Samples a held-out task, before and after; 0 switches the measurement off."""
    guard_tasks: int = 0
    """HumanEval tasks watched for lost general ability, greedy, before and after; 0 switches the guards off."""

    languages: str = ""
    """Languages to translate to, with commas between: every task becomes a translation of its reference into each
    (`tasks.translation`), practised and held out alike. Empty: the tasks as they are."""

    steps: int = 40
    prompts: int = 16
    """Tasks a step."""
    group: int = 8
    """Samples a task, each step."""
    temperature: float = 1.0
    top_p: float = 1.0
    """Below 1 samples come from a cut distribution that the loss does not know of."""
    max_tokens: int = 96

    reward: str = "outcome"
    """`outcome`, `binary`, `fraction`, `answer-and-format`, `gated-speed`, `tiers` or `predicted-output`; callers from
    Python may pass any rule instead."""
    format_weight: float = 0.0
    """Adds this much for an answer that holds a program at all."""
    overlong: int = 0
    """Tokens before `max_tokens` over which a penalty of up to 1 grows (DAPO); 0: none."""

    advantage: Literal["group", "group-mean", "batch", "leave-one-out", "greedy", "none", "gae"] = "group"
    loss: Literal["clipped", "cispo", "reinforce", "rrhf", "td"] = "clipped"
    """`td` is B-Coder's Q-learning (`bcoder.py`)."""
    level: Level = "token"
    aggregation: Aggregation = "sequence"
    clip_low: float = 0.2
    clip_high: float = 0.2
    normalise: bool = False
    """Give the advantages of a step zero mean and unit deviation."""
    epochs: int = 1
    """Passes over each step's samples."""
    minibatches: int = 1
    """Updates a pass."""
    filter: Filter = "none"
    filter_power: float = 3.0
    token_weights: Literal["none", "critic"] = "none"
    sequence_weights: Literal["none", "duration"] = "none"
    imitation: float = 0.0
    """Weight of cross-entropy on the tasks' reference solutions beside the loss."""
    rank_weight: float = 1.0
    value_steps: int = 0
    """With `td`: steps at the beginning in which only the value learns."""
    advantage_weight: float = 0.1
    """With `td`: weight of the sum of |A| over the tokens of a reference solution."""
    equivalents: str | None = None
    """A file of groups of equivalent and other answers (`strop data ir-groups`) for a GEPO loss beside the policy's."""
    gepo_weight: float = 0.0
    gepo_beta: float = 0.1
    kl_coefficient: float = 0.0
    kl_estimator: Estimator = "k3"
    kl_in: Literal["loss", "reward"] = "loss"
    """In the reward: k1 of each token is subtracted from it (classic RLHF; needs advantage = "gae")."""
    entropy_coefficient: float = 0.0
    gamma: float = 1.0
    lam: float = 0.95
    value_clip: float = 0.2

    learning_rate: float = 1e-4
    warmup: int = 2
    """Updates over which the learning rate rises to its value; constant afterwards."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    lora_rank: int = 16
    """0 trains all weights."""
    lora_alpha: int = 32
    step_kl: float | None = 0.5
    """Skip what is left of a step's updates once the policy moved this far from where the step began (k3 a token)."""
    reference_kl: float | None = None
    """Stop the run once the policy is this far from the start (k3 a token). Costs a forward pass where the KL is not
    part of the loss."""

    save_every: int = 1
    """Steps between checkpoints; the steps after the last one are learned again from the kept samples."""
    micro_batch: int = 8
    """Most sequences in one forward pass."""
    threads: int | None = None
    """Torch threads; None takes torch's choice, and the number is kept for resuming."""
    seed: int = 0

    @property
    def params(self) -> SamplingParams:
        return SamplingParams(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


RECIPES: Mapping[str, Mapping[str, Any]] = {
    # Shao et al. 2024, arXiv 2402.03300 (KL 0.04 in the paper; 0 here, as in TRL's and later practice).
    "grpo": {},
    # Liu et al. 2025, arXiv 2503.20783: no division by the deviation, none by the length.
    "dr-grpo": {"advantage": "group-mean", "aggregation": "constant"},
    # Yu et al. 2025, arXiv 2503.14476: clip-higher, token mean, soft over-long penalty. Its dynamic sampling is not
    # here: groups of equal rewards add nothing, but are not drawn again.
    "dapo": {"clip_high": 0.28, "aggregation": "token", "overlong": 16},
    # Zheng et al. 2025, arXiv 2507.18071: ratio and clip of whole sequences.
    "gspo": {"level": "sequence-mean", "clip_low": 3e-4, "clip_high": 4e-4},
    # MiniMax 2025, arXiv 2506.13585; the upper clip as in TRL's documentation.
    "cispo": {"loss": "cispo", "clip_high": 4.0, "aggregation": "token"},
    # Ahmadian et al. 2024, arXiv 2402.14740.
    "rloo": {"advantage": "leave-one-out", "level": "sequence"},
    # Williams 1992, with the batch's mean as baseline.
    "reinforce": {"advantage": "none", "loss": "reinforce", "normalise": True, "aggregation": "sequence"},
    # Schulman et al. 2017, arXiv 1707.06347: value head, GAE, several passes, KL inside the reward.
    "ppo": {
        "advantage": "gae", "normalise": True, "epochs": 2, "minibatches": 2, "kl_coefficient": 0.05, "kl_in": "reward",
    },
    # Shen and Zhang 2024, arXiv 2409.06957: PPO on the best and a random answer of five.
    "pf-ppo": {
        "advantage": "gae", "normalise": True, "epochs": 2, "minibatches": 2, "kl_coefficient": 0.01, "kl_in": "reward",
        "filter": "best-random", "group": 5,
    },
    # Le et al. 2022, arXiv 2207.01780: levels, greedy baseline, critic's token weights, half of the loss imitation.
    "coderl": {
        "advantage": "greedy", "loss": "reinforce", "token_weights": "critic", "imitation": 1.0, "reward": "outcome",
    },
    # Yu et al. 2023, arXiv 2310.03173; weights and gamma are the paper's, the steps are Strop's.
    "bcoder": {
        "advantage": "none", "loss": "td", "aggregation": "token", "imitation": 0.5, "gamma": 0.999, "value_steps": 10,
    },
    # Yang et al. 2024, arXiv 2412.17264: PPO on the gated speed reward.
    "acecode": {
        "advantage": "gae", "normalise": True, "epochs": 2, "minibatches": 2, "kl_coefficient": 0.05, "kl_in": "reward",
        "reward": "gated-speed",
    },
    # Yuan et al. 2023, arXiv 2304.05302; the use for optimising code: Duan et al. 2023, arXiv 2312.05657.
    "rrhf": {"loss": "rrhf", "advantage": "none", "learning_rate": 2e-5},
    # Wu et al. 2025, arXiv 2505.12723: translation judged by unit tests, REINFORCE++ (batch-normalised, clipped) and
    # GEPO at the paper's weight of 0.01; beta is TRL's for DPO. Needs `equivalents`.
    "oorl": {
        "languages": "javascript,lua,cpp", "reward": "binary", "advantage": "none",
        "normalise": True, "aggregation": "token", "gepo_weight": 0.01,
    },
    # Yang et al. 2025, arXiv 2509.01684: actions weighed by how long they ran.
    "duration": {"sequence_weights": "duration"},
}  # fmt: skip

REWARDS = ("outcome", "binary", "fraction", "answer-and-format", "gated-speed", "tiers", "predicted-output")
NAMES = tuple(field.name for field in fields(RLSettings))


def settings(given: Mapping[str, Any], where: str = "the settings") -> RLSettings:
    """Settings from plain data: the recipe's fields, then `given`. Raises StropError naming every field that is wrong.

    `where` names the source for messages.
    """
    from pydantic import ConfigDict, ValidationError, create_model

    unknown = sorted(given.keys() - set(NAMES))
    if unknown:
        raise StropError(f"{where}: no setting is called {', '.join(unknown)}. Known are {', '.join(NAMES)}.")
    recipe = given.get("recipe", "grpo")
    if recipe not in RECIPES:
        raise StropError(f"{where}: field recipe: no recipe {recipe!r}; choose one of {', '.join(RECIPES)}.")
    types = get_type_hints(RLSettings)
    kinds: dict[str, Any] = {field.name: (types[field.name], field.default) for field in fields(RLSettings)}
    checked = create_model("RLSettings", __config__=ConfigDict(strict=True), **kinds)
    try:
        values = checked(**{**RECIPES[recipe], **given, "recipe": recipe}).model_dump()
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc'][:1]))}: {one['msg']}" for one in error.errors()]
        raise StropError(f"{where}: {'; '.join(dict.fromkeys(lines))}.") from error
    found = RLSettings(**values)
    _check(found, where)
    return found


def read(path: Path | None, overrides: Sequence[str], options: Mapping[str, Any] | None = None) -> RLSettings:
    """Settings from a TOML file or from plain data, and `key=value` words, which win.

    Raises StropError naming file, line or field.
    """
    given: dict[str, Any] = dict(options or {})
    if path is not None:
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise StropError(f"{path} cannot be read: {error.strerror}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise StropError(f"{path} is not TOML: {error}.") from error
        settings(given, str(path))
    for word in overrides:
        name, equals, text = word.partition("=")
        if not equals:
            raise StropError(f"{word!r} is not a setting; write NAME=VALUE.")
        name = name.strip().replace("-", "_")
        given[name] = _value(name, text.strip())
    return settings(given, "the command line")


def _value(name: str, text: str) -> Any:
    """A TOML value where the text is one, `none` where the field may be None, else the text itself."""
    if text == "none" and type(None) in get_args(get_type_hints(RLSettings).get(name)):
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


NOT_IN_TD: Mapping[str, Any] = {
    "advantage": "none", "normalise": False, "filter": "none", "token_weights": "none", "sequence_weights": "none",
    "kl_coefficient": 0.0, "entropy_coefficient": 0.0, "reference_kl": None,
}  # fmt: skip


def _check(found: RLSettings, where: str) -> None:
    """Values that have the right type and make no sense."""
    at_least = {
        "steps": 1, "prompts": 1, "group": 1, "max_tokens": 1, "epochs": 1, "minibatches": 1, "save_every": 1,
        "micro_batch": 1, "lora_rank": 0, "warmup": 0, "value_steps": 0, "overlong": 0,
        "held_out_samples": 0, "guard_tasks": 0,
        "learning_rate": 0, "temperature": 0, "max_grad_norm": 0,
    }  # fmt: skip
    for name, least in at_least.items():
        if getattr(found, name) < least:
            raise StropError(f"{where}: field {name} must be at least {least}, not {getattr(found, name)}.")
    if found.reward not in REWARDS:
        raise StropError(f"{where}: field reward: no reward {found.reward!r}; choose one of {', '.join(REWARDS)}.")
    if found.kl_in == "reward" and found.kl_coefficient and found.advantage != "gae":
        raise StropError(f'{where}: kl_in = "reward" needs advantage = "gae", which spreads it over tokens.')
    if found.advantage in ("group", "group-mean", "leave-one-out") and found.group < 2:
        raise StropError(
            f"{where}: advantage {found.advantage!r} compares samples of a task; group must be at least 2."
        )
    if found.loss == "rrhf" and found.group < 2:
        raise StropError(f"{where}: RRHF ranks samples of a task; group must be at least 2.")
    if found.loss == "td" and found.value_steps >= found.steps:
        raise StropError(f"{where}: all {found.steps} steps are value_steps; the model itself would learn nothing.")
    unused = [name for name, value in NOT_IN_TD.items() if getattr(found, name) != value]
    if found.loss == "td" and unused:
        name = unused[0]
        raise StropError(f'{where}: field {name} does nothing with loss "td"; it must be {NOT_IN_TD[name]!r}.')
    if bool(found.gepo_weight) != bool(found.equivalents):
        raise StropError(
            f"{where}: gepo_weight and equivalents go together: make a file of groups with `strop data ir-groups --out "
            "groups.jsonl` and set equivalents=groups.jsonl, or set gepo_weight=0."
        )
    if found.gepo_weight and found.loss == "td":
        raise StropError(f'{where}: field gepo_weight does nothing with loss "td"; it must be 0.')
    if found.languages and found.protocol != "auto":
        raise StropError(f"{where}: languages bring a prompt protocol of their own; protocol must be auto.")
    if found.temperature == 0:
        raise StropError(f"{where}: temperature 0 draws the same answer again and again; nothing can be learned.")
    if found.minibatches > found.prompts:
        raise StropError(
            f"{where}: {found.minibatches} minibatches need at least as many prompts, not {found.prompts}."
        )
