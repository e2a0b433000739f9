"""Where an experiment finds data that Strop does not ship."""

from __future__ import annotations

import os
from pathlib import Path

from strop.types import StropError


def data_file(path: str, source: str) -> Path:
    """`path` under $STROP_DATA, `data/`, or `shared/data` beside the checkout. `source`: where people get it.

    Raises StropError naming source and places when the file is in none of them.
    """
    checkout = Path(__file__).resolve().parents[3]
    places = [Path("data"), checkout.parent / "shared" / "data"]
    if own := os.environ.get("STROP_DATA"):
        places = [Path(own)]
    for place in places:
        if (place / path).is_file():
            return place / path
    raise StropError(
        f"This experiment needs {Path(path).name}, from {source}. Put it at {places[0] / path}"
        f"{'' if own else ', or set STROP_DATA to the folder that holds ' + path}."
    )
