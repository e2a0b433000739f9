"""Write the pages that follow from the program: `cli.md` from every verb's help, `papers.md` from cards and results.

python docs/build.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from strop.cli.main import VERBS
from strop.papers.catalogue import catalogue
from strop.papers.page import page

GROUPS = {
    "data": ("pairs", "tests", "methods"),
    "tasks": ("list", "show", "validate", "convert", "self-invoking"),
    "lint": ("tasks",),
    "audit": ("grader", "scorer", "pro", "diversity"),
    "train": ("rl", "dpo", "kto", "reward", "pair", "rerank"),
    "papers": ("list", "show", "search", "run", "merge", "check"),
}


def help_of(*words: str) -> str:
    """What `strop WORDS --help` prints, at 100 columns and without colour."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-c", "import sys; sys.argv[0] = 'strop'; from strop.cli.main import main; main()"]
    done = subprocess.run([*command, *words, "--help"], capture_output=True, text=True, check=True, env=environment)
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip()


def main() -> None:
    parts = ["# The command line", "", "Written by `make docs` from the program's own help."]
    for verb in VERBS:
        for words in [(verb,), *((verb, name) for name in GROUPS.get(verb, ()))]:
            parts += ["", f"## strop {' '.join(words)}", "", "```", help_of(*words), "```"]
    here = Path(__file__)
    here.with_name("cli.md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    here.with_name("papers.md").write_text(page(catalogue()), encoding="utf-8")


if __name__ == "__main__":
    main()
