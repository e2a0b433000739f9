"""The documentation's page of papers, written from cards and results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from strop.papers.cards import GROUPS
from strop.papers.catalogue import STATES, Entry
from strop.papers.results import Finding, Results
from strop.papers.terminal import BASIS, claim_words, machines

HEAD = """# Papers

Written by `make docs` from the cards in `src/strop/papers/cards/` and the files under `results/`; nothing here is typed
in. A state is computed: without a results file a paper is *planned* (a survey is a *study*), with an incomplete one it
*runs*, with a complete one it has the verdict of its experiment: *shown*, *not shown at this scale* or *contradicted*.
A verdict is about the experiment described here, on the machine named there, and not about the paper's own numbers.

```
strop papers search reward model     # find papers
strop papers show 43                 # one card in the terminal
strop papers run 43 --quick          # a small honest run
strop papers check                   # what is broken, and which results the code has outgrown since
```
"""


def page(entries: Sequence[Entry]) -> str:
    """The page in Markdown."""
    counts = Counter(one.state for one in entries)
    said = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    parts = [HEAD, f"{len(entries)} papers: {said}.", ""]
    for group, heading in GROUPS.items():
        rows = [one for one in entries if one.card.group == group]
        parts += [f"## {heading}", "", "| no. | paper | what it is | state |", "|---:|---|---|---|"]
        parts += [
            f"| {one.card.number} | [{one.card.name}](#{_anchor(one)}) | {one.card.line} | {one.state} |"
            for one in rows
        ]
        parts.append("")
        for one in rows:
            parts += _section(one)
    return "\n".join(parts).rstrip("\n") + "\n"


def _anchor(one: Entry) -> str:
    return f"paper-{one.slug}"


def _section(one: Entry) -> list[str]:
    card = one.card
    lines = [f'### <a id="{_anchor(one)}"></a>{card.number}. {card.name}', ""]
    lines += [f"*{card.title}* ({card.year}; {card.kind}; {one.state})", ""]
    lines += [f"Mechanism, {BASIS[card.known]}:", "", *(f"- {line}" for line in card.mechanism.split("\n")), ""]
    lines += ["Claims:", "", *(f"- {claim_words(claim)}" for claim in card.claims)]
    lines += ["", f"Experiment: {card.plan}", "", f"Limits: {card.limits}", ""]
    if one.components:
        lines += ["Components: " + ", ".join(f"`{name}`" for name in one.components), ""]
    return lines + (_measured(one, one.results) if one.results else [])


def _measured(one: Entry, outcome: Results) -> list[str]:
    verdict = outcome.verdict or "no verdict"
    lines = [f"**Measured: {verdict}{'' if outcome.complete else ' so far'}.** {outcome.question}", ""]
    lines += ["| condition | asked | measured (95 % interval) | verdict |", "|---|---|---|---|"]
    lines += [_row(finding) for finding in outcome.conditions]
    lines += [
        "",
        f"{len(outcome.units)} units, {len(outcome.seeds)} seeds, {outcome.seconds:,.0f} s on {machines(one)}. ",
    ]
    lines[-1] += f"Again: `strop papers run {one.card.number}`. File: `results/{one.slug}.json`."
    if outcome.plot:
        lines += ["", f"![{outcome.question}](../results/{outcome.plot})"]
    return [*lines, ""]


def _row(finding: Finding) -> str:
    text = finding.text if finding.required else f"{finding.text} (reported beside it)"
    asked = f"{finding.direction} {finding.bound:g}"
    return f"| {text} | {asked} | {finding.value:.3g} ({finding.low:.3g} to {finding.high:.3g}) | {finding.verdict} |"
