"""Write the pages that follow from the program: `cli.md` from every verb's help, `papers.md` from cards and results.

python docs/build.py
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from typer.main import get_command
from typer.testing import CliRunner

from strop.cli.main import VERBS, build
from strop.papers.catalogue import catalogue
from strop.papers.page import page


def verbs(verb: str) -> list[tuple[str, ...]]:
    """The verb, and each command of its own: the words that `--help` can follow."""
    module = import_module(f"strop.cli.{verb}")
    names = getattr(get_command(module.app), "commands", {}) if hasattr(module, "app") else {}
    return [(verb,), *((verb, name) for name in names)]


def help_of(*words: str) -> str:
    """What `strop WORDS --help` prints, at 80 columns and without colour."""
    with patch.dict(os.environ, {"NO_COLOR": "1", "TERM": "dumb"}):
        done = CliRunner().invoke(build([*words]), [*words, "--help"], prog_name="strop", terminal_width=78)
    return "\n".join(line.rstrip() for line in done.output.splitlines()).strip()


def blocks(markdown: str) -> Iterator[tuple[str, str]]:
    """Fenced blocks of a page: what stands after the opening fence, and the text."""
    fence, about, lines = "", "", []
    for line in markdown.splitlines():
        mark = re.match(r"(`{3,})(.*)", line)
        if mark and not fence:
            fence, about, lines = mark[1], mark[2].strip(), []
        elif mark and mark[1] == fence and not mark[2]:
            yield about, "\n".join(lines)
            fence = ""
        else:
            lines.append(line)


def main() -> None:
    parts = ["# The command line", "", "Written by `make docs` from the program's own help."]
    for verb in VERBS:
        for words in verbs(verb):
            parts += ["", f"## strop {' '.join(words)}", "", "```", help_of(*words), "```"]
    here = Path(__file__)
    here.with_name("cli.md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    here.with_name("papers.md").write_text(page(catalogue()), encoding="utf-8")


if __name__ == "__main__":
    main()
