"""What a results file says about how it was made: the command, without folders that exist on one machine only."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def command() -> str:
    """This process's command line, as one would type it in the project's folder."""
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(without_folders, sys.argv[1:])])


def without_folders(text: str) -> str:
    """A path, a model argument or a list of such with absolute paths cut to their last part."""
    return re.sub(r"(^|[,=+]|(?:gguf|hf)/)/[^,+]*/", r"\1", text)
