"""The generated half of the documentation site, as a hook of mkdocs: pages that follow from the program.

- `verbs/VERB.md` from the verb's own help, with the examples of the other pages that use it;
- `methods/...md`, one a method, from its module's docstring, options, paper cards and measured results;
- `papers/...md`, one a paper, from its card, its experiment's docstring and its results file.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from strop.cli.main import VERBS
from strop.papers.cards import GROUPS
from strop.papers.catalogue import Entry, catalogue
from strop.papers.page import index_table, measured, section

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))
from build import blocks, help_of, verbs  # noqa: E402

OUTSIDE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "extend.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the site that lie beside the docs folder."""
MOVED = {"cli.md": "verbs/index.md", "papers.md": "papers/index.md"}
GUIDES = ("basics", "report", "view", "models", "data", "search", "train-preferences", "train-rl")
TRUST = ("judge", "statistics", "languages")
KINDS = {
    "search": ("Search methods", "Ways to spend inference compute; `strop search --method NAME`."),
    "data": ("Constructions of data", "Training data from programs and what they did; `strop data`."),
    "train": ("Learners", "Ways to learn from judged programs; `strop improve` and `strop train`."),
    "rewards": ("Rewards", "Verdicts and texts in, numbers out; `strop.rewards`."),
}
LEAVE_OUT = {"adapters", "core", "export", "from_run", "audit", "pairs", "pools", "guard", "rows", "splits", "lora",
             "constructed", "examples"}  # fmt: skip
"""Modules of those rooms that are no method."""


# ---- what there is -----------------------------------------------------------------------------


@cache
def methods() -> dict[str, ModuleType]:
    """Every method's module, by the path of its page without `.md`."""
    from strop.search.methods import METHODS

    found = {f"methods/search-{name}": import_module(f"strop.search.{name.replace('-', '_')}") for name in METHODS}
    for room in ("data", "train", "rewards"):
        for file in sorted((ROOT / "src/strop" / room).glob("*.py")):
            if not file.stem.startswith("_") and file.stem not in LEAVE_OUT:
                module = import_module(f"strop.{room}.{file.stem}")
                found[f"methods/{room}-{file.stem.replace('_', '-')}"] = module
    return found


@cache
def papers() -> list[Entry]:
    return catalogue()


def examples() -> Iterator[tuple[str, str]]:
    """Every `strop` command line in a fenced block of the hand-written pages: `(page, line)`."""
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(HERE.glob("*.md"))]:
        if path.name not in MOVED:
            for about, block in blocks(path.read_text(encoding="utf-8")):
                lines = block.splitlines() if about in ("", "sh") else []
                yield from ((path.name, line) for line in lines if line.startswith("strop "))


# ---- pages -------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """Every generated page, by its path in the site."""
    made = {target: (ROOT / source).read_text(encoding="utf-8") for source, target in OUTSIDE.items()}
    made["verbs/index.md"] = _verb_index()
    made |= {f"verbs/{verb}.md": _verb(verb) for verb in VERBS}
    made["methods/index.md"] = _method_index()
    made |= {f"{path}.md": _method(path, module) for path, module in methods().items()}
    made["papers/index.md"] = _paper_index()
    made |= {f"papers/{one.slug}.md": _paper(one) for one in papers()}
    return made


def _verb_index() -> str:
    rows = [f"| [`strop {verb}`]({verb}.md) | {line} |" for verb, line in VERBS.items()]
    return "\n".join(["# The command line", "", "| verb | what it does |", "|---|---|", *rows, ""])


def _verb(verb: str) -> str:
    parts = [f"# strop {verb}", "", VERBS[verb], ""]
    used = [(page, line) for page, line in examples() if line.split()[1] == verb]
    if used:
        origins = ", ".join(f"[{page}]({_link(page)})" for page in dict.fromkeys(page for page, _ in used))
        lines = dict.fromkeys(line for _, line in used)
        parts += ["## Examples", "", f"From {origins}.", "", "```sh", *lines, "```", ""]
    for words in verbs(verb):
        parts += [f"## `strop {' '.join(words)}`", "", "```text", help_of(*words), "```", ""]
    return "\n".join(parts)


def _link(name: str) -> str:
    return "../" + OUTSIDE.get(name, MOVED.get(name, name))


def _method_index() -> str:
    parts = ["# Methods", "", "One page a method, made from its docstring, its paper's card and what was measured.", ""]
    for kind, (heading, about) in KINDS.items():
        parts += [f"## {heading}", "", about, "", "| method | in one line |", "|---|---|"]
        for path, module in methods().items():
            if path.startswith(f"methods/{kind}-"):
                name = path.removeprefix("methods/")
                parts.append(f"| [{_title(path)}]({name}.md) | {_cell(_first_sentence(module))} |")
        parts.append("")
    return "\n".join(parts)


def _title(path: str) -> str:
    return path.partition("/")[2].partition("-")[2]


def _first_sentence(module: ModuleType) -> str:
    return re.split(r"(?<=[.:])\s", " ".join((module.__doc__ or "").split("\n\n")[0].split()))[0].rstrip(":")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _method(path: str, module: ModuleType) -> str:
    name = _title(path)
    parts = [f"# {name}", "", _said(module), ""]
    if command := _command(path, name):
        parts += ["## Run it", "", "```sh", command, "```", ""]
    parts += _options(module) if path.startswith("methods/search-") else []
    for one in (one for one in papers() if _carries(module, one)):
        parts += [f"## Paper: {one.card.name}", ""]
        parts += [f"[{one.card.title}](../papers/{one.slug}.md) ({one.card.year}). {one.card.line}", ""]
        parts += [*_claims(one), ""]
        planned = [f"Measured here: nothing yet. Planned: {one.card.plan}", ""]
        parts += measured(one, "../results") if one.results else planned
    parts += _functions(module)
    source = Path(str(module.__file__))
    where = source.relative_to(ROOT).as_posix()
    text = source.read_text(encoding="utf-8").rstrip()
    body = "\n".join(f"    {line}".rstrip() for line in text.splitlines())
    return "\n".join([*parts, f'??? note "Source: `{where}`"', "    ````python", body, "    ````", ""])


def _carries(module: ModuleType, one: Entry) -> bool:
    """Whether a paper's card or experiment names the module, or something in it."""
    return any(f"{part}.".startswith(f"{module.__name__}.") for part in one.components)


def _claims(one: Entry) -> list[str]:
    from strop.papers.terminal import claim_words

    return ["The paper says:", "", *(f"- {claim_words(claim)}" for claim in one.card.claims)]


def _command(path: str, name: str) -> str:
    from strop.data.from_run import METHODS

    if path.startswith("methods/search-"):
        return f"strop search --method {name} --tasks basics --budget programs=8"
    if path.startswith("methods/data-") and name in METHODS:
        return f"strop data pairs --run runs/samples --method {name} --out pairs.jsonl"
    learners = {"dpo": "dpo", "kto": "kto", "reward": "reward", "pair-judge": "pair"}
    if path.startswith("methods/train-") and name in learners:
        return f"strop train {learners[name]} pairs.jsonl --out runs/{name}"
    if path == "methods/train-rerank":
        return "strop train rerank --run runs/samples"
    return "strop improve --dry-run" if path == "methods/train-improve" else ""


def _options(module: Any) -> list[str]:
    rows = [
        f"| `{name}` | {_cell(_kind(one.annotation))} | `{one.default}` |"
        for name, one in inspect.signature(module.search).parameters.items()
        if one.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    head = ["## Options", "", "Given after the name, as in `NAME:option=value`.", "", "| option | kind | default |"]
    return [*head, "|---|---|---|", *rows, ""] if rows else []


def _kind(annotation: str) -> str:
    words = re.match(r"Literal\[(.*)\]$", annotation)
    return words[1].replace('"', "").replace("'", "") if words else annotation


def _said(module: ModuleType) -> str:
    return inspect.cleandoc(module.__doc__ or "")


def _functions(module: ModuleType) -> list[str]:
    """Public functions and classes that the module itself defines, with their docstrings."""
    parts: list[str] = []
    for node in ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if said := ast.get_docstring(node):
            drawn = f"({ast.unparse(node.args)})" if not isinstance(node, ast.ClassDef) else ""
            parts += [f"### `{node.name}`", "", "```python", f"{node.name}{drawn}", "```", "", said, ""]
    return ["## From Python", "", f"`{module.__name__}`", "", *parts] if parts else []


def _paper_index() -> str:
    parts = ["# Papers", "", *index_table(papers(), lambda one: f"{one.slug}.md")]
    return "\n".join(parts)


def _paper(one: Entry) -> str:
    parts = [f"# {one.card.number}. {one.card.name}", "", one.card.line, "", *section(one)]
    parts += measured(one, "../results") if one.results else []
    if one.experiment:
        parts += ["## The experiment", "", _said(import_module(one.experiment.module)), ""]
        parts += ["```sh", f"strop papers run {one.card.number} --quick", "```", ""]
    used = [path for path, module in methods().items() if _carries(module, one)]
    if used:
        parts += ["## Methods", "", *(f"- [{_title(path)}](../{path}.md)" for path in used), ""]
    return "\n".join(parts)


# ---- mkdocs ------------------------------------------------------------------------------------


def nav() -> list[Any]:
    """The site's contents; a new page is found under Extend until it is given a better place."""
    placed = {"start.md", *MOVED, *(f"{name}.md" for name in (*GUIDES, *TRUST))}
    others = sorted(path.name for path in HERE.glob("*.md") if path.name not in placed)
    kinds: dict[str, list[Any]] = {heading: [] for heading, _ in KINDS.values()}
    for path in methods():
        kind = path.removeprefix("methods/").partition("-")[0]
        kinds[KINDS[kind][0]].append({_title(path): f"{path}.md"})
    groups = [
        {heading: [{one.card.name: f"papers/{one.slug}.md"} for one in papers() if one.card.group == group]}
        for group, heading in GROUPS.items()
    ]
    return [
        {"Start": ["index.md", "start.md", *(f"{name}.md" for name in GUIDES), "changelog.md"]},
        {"Trust": [*(f"{name}.md" for name in TRUST)]},
        {"Commands": ["verbs/index.md", *({f"strop {verb}": f"verbs/{verb}.md"} for verb in VERBS)]},
        {"Methods": ["methods/index.md", *({heading: rows} for heading, rows in kinds.items())]},
        {"Papers": ["papers/index.md", *groups]},
        {"Extend": ["extend.md", "architecture.md", *others]},
    ]


def on_config(config: Any) -> Any:
    config["nav"] = nav()
    return config


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    for image in sorted((ROOT / "results").glob("*.svg")):
        files.append(File.generated(config, f"results/{image.name}", content=image.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    return loose(relink(markdown, page.file.src_uri))


def loose(markdown: str) -> str:
    """An empty line before every list, without which Python-Markdown sees a paragraph; code stays as it is."""
    lines, fence, before = [], "", ""
    for line in markdown.splitlines():
        if (mark := re.match(r" *(`{3,})", line)) and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        item = re.match(r"(?:[-*]|\d+\.) ", line)
        if item and not fence and before and not re.match(r"\s|[-*|#>]|\d+\.", before):
            lines.append("")
        lines.append(line)
        before = line
    return "\n".join(lines) + "\n"


def relink(markdown: str, where: str) -> str:
    """Links of the repository as links of the site; those to files that the site does not hold become plain text."""
    up = "../" * where.count("/")

    def one(match: re.Match[str]) -> str:
        text, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if not path or "://" in path or where.startswith(("verbs/", "methods/", "papers/")):
            return match.group(0)
        path = path.removeprefix("../").removeprefix("docs/")
        path = OUTSIDE.get(path, MOVED.get(path, path))
        if path.endswith((".md", ".png", ".svg")):
            return f"{text}({up}{path}{hash_}{anchor})"
        return f"`{path}`"

    return re.sub(r"(!?\[[^\]]*\])\(([^)\s]+)\)", one, markdown)
