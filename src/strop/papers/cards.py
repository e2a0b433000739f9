"""The cards: `cards/NN-name.toml`, what each paper adds and claims.

A card holds facts and the paper's own claims, in our words. It has no field for anything measured here and none for its
state: `catalogue` reads those from the results file. Unknown fields are errors.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from strop.types import StropError

FOLDER = Path(__file__).with_name("cards")
COUNT = 92
"""Papers in the catalogue, numbered from 1."""

GROUPS = {
    "learning": "Learning from execution",
    "judges": "Rewards, judges and benchmarks",
    "models": "Building code models",
    "search": "Search at inference",
    "agents": "Agents and environments",
    "audit": "Audit",
    "behaviour": "Models of behaviour",
    "control": "Rewards and policies as programs",
}
"""Groups in the order of the catalogue, with their headings."""

Basis = Literal["read", "secondary", "memory", "inferred"]
"""How we know it: `read` in the paper, its abstract or its repository; in a `secondary` source; from `memory`, not
checked; or `inferred`."""
Need = Literal["no", "helps", "yes"]
"""`helps`: the experiment here runs without, the paper's own scale does not. `yes`: nothing runs without."""


def _no_padding(text: str) -> str:
    if text != text.strip() or "\t" in text:
        raise ValueError("has white space at an end, or a tab")
    return text


def _one_line(text: str) -> str:
    if "\n" in text:
        raise ValueError("must be one line")
    return _no_padding(text)


def _mechanism(text: str) -> str:
    lines = text.strip("\n").split("\n")
    if not 1 <= len(lines) <= 6 or any(not line.strip() or len(line) > 200 for line in lines):
        raise ValueError("must have one to six lines of at most 200 characters, none of them empty")
    return "\n".join(map(_no_padding, lines))


Line = Annotated[str, Field(min_length=1, max_length=400), AfterValidator(_one_line)]
Maybe = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Claim(_Strict):
    """What the paper itself says it found."""

    text: Line
    metric: Maybe
    """On what, in whose units; empty when the paper gives none."""
    direction: Literal["higher", "lower", "equal", "none"]
    size: Maybe
    """The paper's own number, as it is written there; empty when there is none, or none that could be verified."""
    known: Basis


class Needs(_Strict):
    """What running the experiment takes."""

    extras: list[Line]
    """Optional dependencies of Strop, such as `train`."""
    gpu: Need
    endpoint: Need


class Card(_Strict):
    """One paper."""

    number: Annotated[int, Field(ge=1, le=COUNT)]
    name: Annotated[Line, Field(max_length=32)]
    title: Line
    year: Annotated[int, Field(ge=2015, le=2100)]
    group: Literal["learning", "judges", "models", "search", "agents", "audit", "behaviour", "control"]
    kind: Literal["method", "benchmark", "study", "recipe", "survey", "library", "data set", "theory"]
    line: Line
    """What it is, for someone who has never heard of it."""
    mechanism: Annotated[str, AfterValidator(_mechanism)]
    known: Basis
    """How we know the mechanism."""
    components: list[Line]
    """Dotted names in Strop that carry it. They import; `check` proves it."""
    plan: Annotated[str, Field(min_length=1, max_length=600), AfterValidator(_one_line)]
    """What is run here, and when it counts as shown."""
    limits: Line
    """What cannot be shown here, and what a reader should know before believing a number."""
    needs: Needs
    claims: Annotated[list[Claim], Field(min_length=1)]


def slug_of(path: Path) -> str:
    """`43-codedpo` of its file. Raises StropError for another kind of name."""
    if not re.fullmatch(r"\d\d-[a-z0-9]+(-[a-z0-9]+)*", path.stem):
        raise StropError(f"{path}: a card is named NN-name.toml, in lower case with hyphens.")
    return path.stem


def read_card(path: Path) -> Card:
    """Read one card. Raises StropError naming file and field."""
    slug = slug_of(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        card = Card.model_validate(data)
    except OSError as error:
        raise StropError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise StropError(f"{path}: field '{'.'.join(map(str, first['loc']))}': {first['msg']}.") from error
    except ValueError as error:
        raise StropError(f"{path} is not TOML: {error}.") from error
    if card.number != int(slug[:2]):
        raise StropError(f"{path}: field 'number' is {card.number}, but the file's name begins with {slug[:2]}.")
    return card


@cache
def cards(folder: Path = FOLDER) -> dict[str, Card]:
    """Every card by slug, in the order of numbers. Raises StropError at the first defect."""
    found = {slug_of(path): read_card(path) for path in sorted(folder.glob("*.toml"))}
    numbers = [card.number for card in found.values()]
    if doubled := {number for number in numbers if numbers.count(number) > 1}:
        raise StropError(f"{folder}: two cards have the number {min(doubled)}.")
    return found


def find(name: str, folder: Path = FOLDER) -> str:
    """The slug that a number, a slug or a name stands for. Raises StropError when none or several do."""
    wanted = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    every = cards(folder)
    if wanted.isdigit():
        hits = [slug for slug, card in every.items() if card.number == int(wanted)]
    else:
        names = {slug: {slug, slug[3:], re.sub(r"[^a-z0-9]+", "-", every[slug].name.lower())} for slug in every}
        hits = [slug for slug, known in names.items() if wanted in known]
        hits = hits or [slug for slug in every if wanted and wanted in slug]
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise StropError(f"'{name}' could be {', '.join(hits)}.")
    raise StropError(f"There is no paper '{name}'. Try `strop papers list`, or `strop papers search {name}`.")
