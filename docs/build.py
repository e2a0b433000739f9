"""Write `docs/cli.md`: every verb's own help text, so that the page cannot differ from the program.

python docs/build.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from strop.cli.main import VERBS

GROUPS = {"tasks": ("list", "show", "validate", "convert"), "lint": ("tasks",), "audit": ("grader",)}


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
    Path(__file__).with_name("cli.md").write_text("\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
