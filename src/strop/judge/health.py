"""`doctor()`: which levels of the isolation ladder hold on this machine, found by trying them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from strop.types import StropError


@dataclass(frozen=True, slots=True)
class LevelReport:
    """One level of the ladder."""

    name: str
    holds: bool
    why: str = ""
    """Why not, when it does not hold."""
    layers: tuple[str, ...] = ()
    """What keeps programs in at this level."""


@dataclass(frozen=True, slots=True)
class Doctor:
    """The ladder, strongest level first."""

    levels: tuple[LevelReport, ...]

    @property
    def best(self) -> str | None:
        """The level that the judge uses by default; None when only `unsafe` is left."""
        return next((level.name for level in self.levels if level.holds), None)


_COMMON = ("resource limits", "no_new_privs", "no capabilities", "seccomp allow-list", "own process and socket")
_LAYERS = {
    "userns": ("user, pid, network, mount, IPC and host name namespaces", "read-only root", *_COMMON),
    "root": ("pid, network, mount, IPC and host name namespaces", "read-only root", "own user id", *_COMMON),
    "plain": ("Landlock: read-only list of paths", *_COMMON),
}


def doctor() -> Doctor:
    """Start a sandbox at every level and run the prober in it. Takes about a second."""
    from strop.judge.pool import Judge

    reports = []
    for name, layers in _LAYERS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                Judge(workers=1, level=name, preload=()).close()
            reports.append(LevelReport(name, True, layers=layers))
        except StropError as error:
            why = str(error).partition(f"{name}: ")[2].partition(". Run where")[0] or str(error)
            reports.append(LevelReport(name, False, why=why, layers=layers))
    return Doctor(tuple(reports))
