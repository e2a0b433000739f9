"""What a method may spend, and what is left of it.

`Budget` limits any of the fields of `Spent`; `Meter` is charged as a method works and says when to stop. A method
asks `meter.affords(...)` before a batch, charges what the batch really cost, and ends when `meter.exhausted`. The last
batch may overshoot (nobody knows how many tokens a model will write), and the meter reports the true sum.
"""

from __future__ import annotations

import math
import re
import threading
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from strop.types import Spent, StropError

FIELDS = tuple(field.name for field in fields(Spent))
_COUNT_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
_TIME_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


class BudgetExhausted(StropError):
    """A limit was reached. `limit` is the field that ended it."""

    def __init__(self, limit: str, message: str) -> None:
        super().__init__(message)
        self.limit = limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits in the units of `Spent`: counts, seconds, US dollars. None: no limit."""

    prompt_tokens: int | None = None
    sampled_tokens: int | None = None
    model_calls: int | None = None
    programs: int | None = None
    seconds: float | None = None
    """Seconds as charged: the sum over everything the method reports, not the time on the wall."""
    money: float | None = None

    def __post_init__(self) -> None:
        for name, limit in self.limits().items():
            if not (math.isfinite(limit) and limit >= 0):
                raise StropError(f"The budget's limit on {name} must be a number of at least 0, not {limit}.")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read `programs=200,sampled_tokens=50k,seconds=10m,money=2.50`. Raises StropError naming the bad part.

        Counts take k, M and G (or B); seconds take s, m (or min), h and d; money is in dollars, with or without `$`.
        """
        limits: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, amount = (piece.strip() for piece in part.partition("="))
            if not equals or name not in FIELDS:
                raise StropError(
                    f"Cannot read '{part}' in the budget '{text}': expected NAME=AMOUNT with a name among "
                    f"{', '.join(FIELDS)}, such as programs=200,sampled_tokens=50k,seconds=10m."
                )
            if name in limits:
                raise StropError(f"The budget '{text}' limits {name} twice.")
            limits[name] = _amount(name, amount, text)
        return cls(**{name: limit if name in ("seconds", "money") else int(limit) for name, limit in limits.items()})

    def limits(self) -> dict[str, float]:
        """Only the fields that are limited."""
        return {name: limit for name in FIELDS if (limit := getattr(self, name)) is not None}

    def __str__(self) -> str:
        """A text that `parse` reads back; empty when nothing is limited."""
        return ",".join(f"{name}={limit!r}" for name, limit in self.limits().items())


def _amount(name: str, amount: str, text: str) -> float:
    match = re.fullmatch(r"\$?((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z]*)", amount.lower().replace("_", ""))
    units = _TIME_UNITS if name == "seconds" else {"": 1} if name == "money" else _COUNT_UNITS
    if not match or match[2] not in units or (amount.startswith("$") and name != "money"):
        known = ", ".join(unit for unit in units if unit) or "none"
        raise StropError(f"Cannot read the amount '{amount}' of {name} in the budget '{text}' (units: {known}).")
    value = float(match[1]) * units[match[2]]
    # Rounded before the test, because 0.0007 M is 700 only up to float error.
    if units is _COUNT_UNITS and (value > 1e18 or abs(value - round(value)) > 1e-6):
        raise StropError(f"{name}={amount} in the budget '{text}' is not a whole number below 10^18.")
    return round(value) if units is _COUNT_UNITS else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per million tokens."""

    prompt: float
    sampled: float

    def of(self, spent: Spent) -> Spent:
        """The same cost with `money` set from its tokens."""
        money = (spent.prompt_tokens * self.prompt + spent.sampled_tokens * self.sampled) / 1e6
        return replace(spent, money=money)


class Meter:
    """Counts what a method spends against its budget. Safe to charge from several threads."""

    def __init__(self, budget: Budget | None = None, spent: Spent | None = None) -> None:
        """`spent`: what earlier parts of the same work have used up, for instance before a resumed run stopped."""
        self.budget = budget or Budget()
        self._limits = self.budget.limits()
        self._spent = spent or Spent()
        self._lock = threading.Lock()
        self._ended_by = self._first_reached()

    @property
    def spent(self) -> Spent:
        return self._spent

    @property
    def ended_by(self) -> str | None:
        """The limit that was reached first (in the order of `Spent` when one charge reached several), or None."""
        return self._ended_by

    @property
    def exhausted(self) -> bool:
        return self._ended_by is not None

    def charge(self, spent: Spent) -> None:
        """Add a cost. Never refuses: what has been spent is spent."""
        if any(value < 0 or not math.isfinite(value) for value in asdict(spent).values()):
            raise ValueError(f"a cost must be finite and not negative: {spent}")
        with self._lock:
            self._spent += spent
            self._ended_by = self._ended_by or self._first_reached()

    def check(self) -> None:
        """Raise BudgetExhausted when a limit has been reached; for loops that end by exception."""
        if self._ended_by:
            limit = self._limits[self._ended_by]
            used = getattr(self._spent, self._ended_by)
            raise BudgetExhausted(self._ended_by, f"The budget is spent: {used:g} of {limit:g} {self._ended_by}.")

    def remaining(self) -> dict[str, float]:
        """What is left of every limited field, not below 0."""
        return {name: max(0, limit - getattr(self._spent, name)) for name, limit in self._limits.items()}

    def affords(self, each: Spent, at_most: int) -> int:
        """How many things that cost `each` still fit, up to `at_most`. 0 once the meter is exhausted."""
        if self.exhausted:
            return 0
        counts = [at_most]
        for name, left in self.remaining().items():
            cost = getattr(each, name)
            if cost > 0:
                counts.append(math.floor(min(left / cost + 1e-9, at_most)))
        return max(0, min(counts))

    def _first_reached(self) -> str | None:
        return next((name for name, limit in self._limits.items() if getattr(self._spent, name) >= limit), None)
