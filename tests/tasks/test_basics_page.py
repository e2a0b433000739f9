"""The page about `basics` tells the truth: its table is what its command prints, and its examples exist."""

import re
import subprocess
import sys
from pathlib import Path

from strop.tasks import load

PAGE = (Path(__file__).parents[2] / "docs" / "basics.md").read_text(encoding="utf-8")


def test_table_is_what_the_command_prints():
    found = re.search(r"python - <<'END'\n(.*?)\nEND\n```\n\n(\|.*?\|)\n\n", PAGE, re.DOTALL)
    assert found is not None
    command, table = found.groups()
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == table


def test_named_tasks_exist():
    named = set(re.findall(r"basics/(\w+)(?= +#)", PAGE))
    assert named
    assert named <= {task.id.removeprefix("basics/") for task in load("basics")}
