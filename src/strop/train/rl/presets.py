"""From settings to what they name: rewards, and tasks to practise and to hold out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strop import rewards
from strop.train.rl.loop import Work
from strop.train.rl.recipes import RLSettings
from strop.types import StropError

if TYPE_CHECKING:
    from strop.judge import Judge
    from strop.rewards import Rule


def judge_options(settings: RLSettings) -> dict[str, Any]:
    """Options of `Judge` that the reward needs: a fraction counts every check."""
    return {"stop_at_first_failure": settings.reward != "fraction"}


def measures_time(settings: RLSettings) -> bool:
    """Whether the reward times programs: then `rule` needs a judge of one worker, so that nothing runs beside them."""
    return settings.reward in ("gated-speed", "tiers")


def rule(settings: RLSettings, judge: Judge) -> Rule:
    """The reward that the settings name. `judge` is asked only by rewards that time programs."""
    if measures_time(settings):
        meter = rewards.CostMeter(judge)
        main = rewards.gated_speed(meter) if settings.reward == "gated-speed" else rewards.speed_tiers(meter)
    else:
        main = {
            "outcome": rewards.outcome,
            "binary": rewards.binary,
            "fraction": rewards.pass_fraction,
            "answer-and-format": rewards.answer_and_format,
            "predicted-output": rewards.predicted_output,
        }[settings.reward]()
    terms = [(1.0, main)]
    if settings.format_weight:
        terms.append((settings.format_weight, rewards.has_program()))
    if settings.overlong:
        cushion = min(settings.overlong, settings.max_tokens)
        terms.append((1.0, rewards.length_penalty(settings.max_tokens, cushion)))
    return rewards.weighted_sum(*terms) if len(terms) > 1 else main


def work(settings: RLSettings, *, chat: bool, allow_near_duplicates: bool = False) -> Work:
    """Load and divide the tasks, and check that nothing held out can be practised."""
    from strop.tasks import protocols
    from strop.tasks.translation import Translate, translations
    from strop.train.splits import load_apart

    practice, held_out, division = load_apart(
        settings.tasks,
        settings.held_out,
        practice_tasks=settings.practice_tasks,
        held_out_tasks=settings.held_out_tasks,
        seed=settings.seed,
        allow_near_duplicates=allow_near_duplicates,
    )
    if settings.languages:
        targets = [name.strip() for name in settings.languages.split(",")]
        practice, held_out = translations(practice, targets), translations(held_out, targets) if held_out else []
        division = f"{division}; translated to {', '.join(targets)}"
        if not chat:
            raise StropError(f"{settings.model} has no chat template, which asking for a translation needs.")
    protocol = Translate() if settings.languages else protocols.choose(settings.protocol, chat=chat, local=True)
    return Work(practice=practice, held_out=held_out, division=division, protocol=protocol)
