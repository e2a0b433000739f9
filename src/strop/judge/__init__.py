"""Programs in, verdicts out. A program influences its verdict only through the values it returns and what it uses.

    from strop import judge
    verdicts = judge.run(task, programs)                 # a shared judge, started on first use
    with judge.Judge(workers=2) as bench:                # or your own
        for key, verdict in bench.stream(jobs): ...

Threat model: a program is hostile. Checks and set-up may be: they cannot harm the machine, only falsify verdicts of
their own judge. Kernel bugs and side channels are out of scope: for models that hunt those, run Strop inside a virtual
machine.

`doctor()` tells which levels of the isolation ladder hold on this machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strop.judge.health import Doctor, LevelReport, doctor
    from strop.judge.pool import Judge, close, run

__all__ = ["Doctor", "Judge", "LevelReport", "close", "doctor", "run"]


def __getattr__(name: str) -> Any:
    # Lazy, because the sandbox's processes import this package and must stay small.
    if name in ("Judge", "close", "run"):
        from strop.judge import pool

        return getattr(pool, name)
    if name in ("Doctor", "LevelReport", "doctor"):
        from strop.judge import health as module

        globals()[name] = getattr(module, name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
