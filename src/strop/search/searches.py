"""One search under way, and what it leaves: its trace."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from strop.budget import Meter
from strop.search.nodes import Complete, Draw, Node, Request
from strop.search.state import State
from strop.types import ScriptCheck, Task

if TYPE_CHECKING:
    from strop.search.methods import MethodSpec

LOADS = ScriptCheck(code="pass\n", style="asserts", visible=True, name="loads")

R = TypeVar("R")


def visible_task(task: Task) -> Task:
    """What the judge gets during a search: visible checks with their set-up; `loads` alone where there are none."""
    visible = task.visible_checks
    if not visible and task.entry_point is not None:
        visible = (LOADS,)
    return replace(task, checks=visible, reference=None, meta={})


@dataclass(slots=True)
class Search:
    """One method on one task with one seed, under way."""

    method: MethodSpec
    seed: int
    task: Task
    """The judge's view: visible checks and their set-up, nothing else."""
    state: State
    meter: Meter
    steps: Any
    """The method's generator."""
    waiting: Request | None = None
    got: list[list[Any]] = field(default_factory=list)
    """Replies to the waiting draw, for each of its items; None for those under way."""
    owed: int = 0
    """Replies under way."""
    places: Counter[str] = field(default_factory=Counter)
    """How often each prompt was drawn: the index of its next draw."""
    requests: int = 0
    refusals: int = 0
    answer: Node | None = None
    done: bool = False

    def request(self, kind: type[R]) -> R:
        """The waiting request, which is of that kind."""
        assert isinstance(self.waiting, kind)
        return self.waiting

    @property
    def rows(self) -> int:
        """Replies that it waits for."""
        if isinstance(self.waiting, Draw):
            return sum(item.n - len(got) for item, got in zip(self.waiting.items, self.got))
        return int(isinstance(self.waiting, Complete))

    def record(self) -> dict[str, Any]:
        """The finished search as plain data: the trace."""
        state = self.state
        return {
            "task": state.task.id,
            "method": self.method.name,
            "seed": self.seed,
            "answer": self.answer.number if self.answer else None,
            "nodes": [node.record() for node in state.nodes],
            "words": [words.record() for words in state.words],
            "spent": asdict(self.meter.spent),
            "ended_by": self.meter.ended_by,
            "notes": state.notes,
            "formats": dict(state.formats),
            "facts": state.facts,
            "visible_checks": len(state.task.visible_checks),
        }


@dataclass(slots=True)
class Effort:
    """What all searches together really took."""

    wall_seconds: float = 0.0
    model_seconds: float = 0.0
    judge_seconds: float = 0.0
    """The judge's; it works beside the model."""
    judge_alone_seconds: float = 0.0
    """Of these, with nothing for the model to do."""
    drawn: int = 0
    """Replies drawn from the model."""
    reused: int = 0
    """Replies that had been drawn before, for another search or another run."""
    sampled_tokens: int = 0
    """Of the replies drawn."""
    passes: int = 0
    """Passes of a local model, calls of others."""
    rows: int = 0
    """Rows in all passes."""
    room: int = 0
    """Rows that would have fitted."""

    @property
    def overhead(self) -> float:
        """Share of wall time in which neither the model worked nor the judge alone."""
        return 1 - (self.model_seconds + self.judge_alone_seconds) / self.wall_seconds if self.wall_seconds else 0.0

    @property
    def utilisation(self) -> float:
        """How full the model's batch was, 0 to 1."""
        return self.rows / self.room if self.room else 0.0

    def __add__(self, other: Effort) -> Effort:
        mine, theirs = asdict(self), asdict(other)
        return Effort(**{name: mine[name] + theirs[name] for name in mine})
