"""The documentation's page of papers, written from cards and results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from strop.papers.cards import GROUPS
from strop.papers.catalogue import STATES, Entry
from strop.papers.results import Finding
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
    """All papers on one page, in Markdown."""
    parts = [HEAD]
    for group, heading, rows in _groups(entries):
        parts += [*([] if group else [_counts(entries), ""]), f"## {heading}", "", *_table(rows, _anchor), ""]
        for one in rows:
            parts += [f'### <a id="paper-{one.slug}"></a>{one.card.number}. {one.card.name}', "", *section(one)]
            parts += measured(one, "../results") if one.results else []
    return "\n".join(parts).rstrip("\n") + "\n"


def index_table(entries: Sequence[Entry], link: Callable[[Entry], str]) -> list[str]:
    """Lines of a page that lists all papers by group, each with a link."""
    parts = [_counts(entries), ""]
    for _, heading, rows in _groups(entries):
        parts += [f"## {heading}", "", *_table(rows, link), ""]
    return parts


def _groups(entries: Sequence[Entry]) -> list[tuple[int, str, list[Entry]]]:
    return [
        (place, heading, [one for one in entries if one.card.group == group])
        for place, (group, heading) in enumerate(GROUPS.items())
    ]


def _counts(entries: Sequence[Entry]) -> str:
    counts = Counter(one.state for one in entries)
    return f"{len(entries)} papers: {', '.join(f'{counts[state]} {state}' for state in STATES if counts[state])}."


def _table(rows: Sequence[Entry], link: Callable[[Entry], str]) -> list[str]:
    lines = [f"| {one.card.number} | [{one.card.name}]({link(one)}) | {one.card.line} | {one.state} |" for one in rows]
    return ["| no. | paper | what it is | state |", "|---:|---|---|---|", *lines]


def _anchor(one: Entry) -> str:
    return f"#paper-{one.slug}"


def section(one: Entry) -> list[str]:
    """Lines about a paper from its card: mechanism, claims, experiment, limits, components."""
    card = one.card
    lines = [f"*{card.title}* ({card.year}; {card.kind}; {one.state})", ""]
    lines += [f"Mechanism, {BASIS[card.known]}:", "", *(f"- {line}" for line in card.mechanism.split("\n")), ""]
    lines += ["Claims:", "", *(f"- {claim_words(claim)}" for claim in card.claims)]
    lines += ["", f"Experiment: {card.plan}", "", f"Limits: {card.limits}", ""]
    if one.components:
        lines += ["Components: " + ", ".join(f"`{name}`" for name in one.components), ""]
    return lines


def measured(one: Entry, results: str) -> list[str]:
    """Lines about what was measured for a paper, with its figure; `results`: where results files lie, for links.

    Raises ValueError for a paper without a results file.
    """
    if (outcome := one.results) is None:
        raise ValueError(f"nothing was measured for {one.slug}")
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
        lines += ["", f"![{outcome.question}]({results}/{outcome.plot})"]
    return [*lines, ""]


def _row(finding: Finding) -> str:
    text = finding.text if finding.required else f"{finding.text} (reported beside it)"
    asked = f"{finding.direction} {finding.bound:g}"
    return f"| {text} | {asked} | {finding.value:.3g} ({finding.low:.3g} to {finding.high:.3g}) | {finding.verdict} |"
