"""Cards and results for a terminal. Strings from results files are made visible before they are printed."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from strop.papers.cards import GROUPS, Claim
from strop.papers.catalogue import Check, Entry
from strop.papers.harness import words
from strop.report.text import visible

if TYPE_CHECKING:
    from rich.table import Table

BASIS = {
    "read": "read in the paper or its repository",
    "secondary": "from a secondary source",
    "memory": "from memory, not checked",
    "inferred": "inferred",
}
WIDTH = 100


def print_list(entries: Sequence[Entry]) -> None:
    """A row a paper; what it is in one line where the terminal is wide enough."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 240)
    wide = console.width >= 150
    table: Table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("no.", "paper", "year", "group", "kind", "state", *(["in one line"] if wide else [])):
        table.add_column(heading, justify="right" if heading == "no." else "left", no_wrap=True)
    for one in entries:
        card = one.card
        row = [str(card.number), card.name, str(card.year), card.group, card.kind, _state(one)]
        table.add_row(*row, *([card.line] if wide else []))
    console.print(table)


def print_hits(entries: Sequence[Entry]) -> None:
    """Two lines a paper: what was searched for is often in the second."""
    for one in entries:
        card = one.card
        print(f"{card.number:3}  {card.name} ({card.year}; {card.kind}; {card.group}; {_state(one)})")
        print("\n".join(_wrap(card.line, "     ")))


def _state(one: Entry) -> str:
    return one.state + (" (stale)" if one.stale else "")


def show(one: Entry) -> list[str]:
    """A card in full: what the paper says, then what was measured here."""
    card = one.card
    named = card.title if card.title.lower().startswith(card.name.lower()) else f"{card.name}: {card.title}"
    head = f"{card.number}  {named} ({card.year})"
    lines = [*_wrap(head), f"{GROUPS[card.group]}; {card.kind}; {_state(one)}", "", *_wrap(card.line), ""]
    lines.append(f"Mechanism ({BASIS[card.known]})")
    lines += [line for text in card.mechanism.split("\n") for line in _wrap(text, "  - ")]
    lines += ["", "The paper's claims"]
    for claim in card.claims:
        lines += _wrap(claim_words(claim), "  - ")
    lines += ["", "Experiment here", *_wrap(card.plan, "  "), *_wrap(card.limits, "  ")]
    if one.components:
        lines += ["", "Components", *(f"  {name}" for name in one.components)]
    needs = [f"extra {extra}" for extra in card.needs.extras]
    scale = [name for name, need in (("a GPU", card.needs.gpu), ("an endpoint", card.needs.endpoint)) if need != "no"]
    if needs or scale:
        lines += ["", "Needs", f"  {', '.join(needs) or 'nothing beyond the core'}"]
        lines += [f"  for the paper's own scale: {' or '.join(scale)}"] if scale else []
    return lines + _measured(one)


def claim_words(claim: Claim) -> str:
    """A claim with its number and how we know it."""
    number = f" {claim.metric[:1].upper()}{claim.metric[1:]}: {claim.size}." if claim.size else ""
    return f"{claim.text}{number} ({BASIS[claim.known].capitalize()}.)"


def _measured(one: Entry) -> list[str]:
    if one.results is None:
        run = f"`strop papers run {one.card.number}` measures it." if one.experiment else "There is no experiment yet."
        return ["", f"Measured here: nothing yet. {run}"]
    outcome = one.results
    lines = ["", f"Measured here: {visible(outcome.question)}"]
    lines += [line for text in words(outcome) for line in _wrap(visible(text), "  - ")]
    for row in outcome.estimates:
        lines.append(f"  {visible(row.metric)}, {visible(row.arm)}: {row.value:.4g} ({row.low:.4g} to {row.high:.4g})")
    lines += _wrap(f"{outcome.seconds:,.0f} s on {machines(one)}; results/{one.slug}.json.", "  ")
    if outcome.plot:
        lines.append(f"  Figure: results/{visible(outcome.plot)} (--figure FILE writes it elsewhere, or as PNG)")
    if one.stale:
        lines += _wrap(f"Stale: {', '.join(one.stale)} changed since. Run it again.", "  ")
    return lines


def machines(one: Entry) -> str:
    """Where it ran, such as `2 cores, x86_64`."""
    assert one.results is not None
    found = {(session.machine.get("cores"), session.machine.get("processor")) for session in one.results.sessions}
    return " and ".join(f"{cores} cores, {processor}" for cores, processor in sorted(found, key=str))


def check_lines(found: Check) -> list[str]:
    """What `check` says."""
    lines = [visible(problem) for problem in found.problems]
    lines += [f"{slug}: stale, {', '.join(modules)} changed" for slug, modules in found.stale.items()]
    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items() if count)
    lines.append(f"{sum(found.counts.values())} papers: {counts}.")
    lines.append("Nothing is broken or stale." if found.ok else _verdict(found))
    return lines


def _verdict(found: Check) -> str:
    return f"{len(found.problems)} broken, {len(found.stale)} stale."


def _wrap(text: str, indent: str = "") -> list[str]:
    rest = " " * len(indent)
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=rest, break_long_words=False)
