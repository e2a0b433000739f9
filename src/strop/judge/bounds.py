"""What one process may use, and what it used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Usage:
    """What one process used, measured by the kernel."""

    exit_code: int | None = None
    signal: int | None = None
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    memory_mb: float = 0.0


@dataclass(slots=True, frozen=True)
class Bounds:
    """Limits of one process, all resolved. Memory and output in bytes."""

    cpu_seconds: float
    wall_seconds: float
    memory: int
    output: int
