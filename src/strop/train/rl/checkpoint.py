"""A learner's state on disk: whole or not at all, and the one before it kept."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from strop.types import StropError

NAME, BEFORE = "state.pt", "state-before.pt"


def save(folder: Path, step: int, learner: dict[str, Any]) -> None:
    """Write the state after `step` steps, with the random generators. Samples and rewards lie in the run's database.

    Raises StropError when the disk fails; the checkpoint before stays.
    """
    import torch

    state = {
        "step": step,
        "learner": learner,
        "random": {"python": random.getstate(), "numpy": _numpy_state(), "torch": torch.get_rng_state()},
    }
    part = folder / (NAME + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        if (folder / NAME).exists():
            os.replace(folder / NAME, folder / BEFORE)
        os.replace(part, folder / NAME)
    except OSError as error:
        raise StropError(
            f"The checkpoint in {folder} cannot be written: {error.strerror or error}. Check free space; the same "
            "command goes on from the checkpoint before."
        ) from error


def load(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """(steps done, learner's state) of the newest whole checkpoint; None when there is none.

    Puts the random generators back. Raises StropError when what is there is damaged.
    """
    import numpy as np
    import torch

    for name in (NAME, BEFORE):
        if not (folder / name).is_file():
            continue
        try:
            state = torch.load(folder / name, map_location="cpu", weights_only=True)
            kept = state["random"]
            version, numbers, gauss = kept["python"]
            random.setstate((version, tuple(numbers), gauss))
            np.random.set_state(kept["numpy"])
            torch.set_rng_state(kept["torch"])
            return int(state["step"]), state["learner"]
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, EOFError) as error:
            raise StropError(
                f"The checkpoint {folder / name} is damaged ({error}). Remove it to go on from the one before, or "
                "begin anew with --fresh."
            ) from error
    return None


def _numpy_state() -> tuple[Any, ...]:
    """numpy's legacy generator as plain data, which a safe load accepts."""
    import numpy as np

    state: Any = np.random.get_state(legacy=True)
    return (state[0], state[1].tolist(), *state[2:])
