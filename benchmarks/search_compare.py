"""Every search method at an equal budget with a 0.5B coder: as much as fits into the time given, more at every call.

    python benchmarks/search_compare.py --minutes 20
    python benchmarks/search_compare.py --minutes 20 --budget programs=20 --problems 30 --seeds 1

Problems are taken in a fixed random order, first all with one seed, then all with the next. What is written after each
call (`results/search-compare.json`, and a file named after the budget for any other than 8 programs) is over the first
problems that every method has finished, so that a partial file is a smaller honest sample. Replies come from the file
of completions that all runs share, so nothing is drawn twice; a kill loses the replies being written.

Then the results of papers 23, 57, 58, 81 and 27 are brought up to that many problems and seeds, from the same replies
(`--no-cards`: not). `strop papers run 23 57 58 81 27` one by one go on to the planned sizes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import asked

from strop.papers import harness
from strop.papers.experiment import Size
from strop.papers.experiments import p23_codetree, p27_roles_and_debugging, p58_tree_of_code, p81_codechain
from strop.papers.searching import SETTINGS, problems
from strop.run import write_whole

ROOT = Path(__file__).resolve().parents[1]
CARDS = (23, 57, 58, 81, 27)
"""Papers whose arms are all among the methods below."""
METHODS = tuple(
    dict.fromkeys(
        [
            "direct",
            *("best-of-n", "best-of-n:stop=yes"),
            *(f"best-of-n:select={how}" for how in ("logprob", "majority", "mbr", "codet", "clusters")),
            *("self-debug", *p23_codetree.ARMS.values()),
            "pg-td",
            *p58_tree_of_code.ARMS.values(),
            *p81_codechain.ARMS.values(),
            *("runtime-debug", "runtime-debug:trace=no"),
            *("hierarchical", "hierarchical:decompose=yes"),
            *(f"agents:flow={flow}:temperature=0" for flow in p27_roles_and_debugging.FLOWS),
        ]
    )
)


def task_file(count: int) -> Path:
    """The first `count` problems of the fixed order, as a file that `strop search` reads; HumanEval's own fields."""
    from strop.tasks.humaneval import humaneval_path
    from strop.tasks.reading import Row, read_rows

    wanted = list(problems())[:count]
    rows = {row.data["task_id"]: row.data for row in read_rows(humaneval_path()) if isinstance(row, Row)}
    file = ROOT / "runs" / f"search-compare-{count}.jsonl"
    file.parent.mkdir(exist_ok=True)
    write_whole(file, "".join(json.dumps(rows[task_id]) + "\n" for task_id in wanted))
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--budget", default=SETTINGS["budget"])
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-cards", action="store_true")
    arguments = parser.parse_args()
    suffix = "" if arguments.budget == SETTINGS["budget"] else "-" + arguments.budget.replace("=", "-")
    folder = ROOT / "runs" / f"search-compare{suffix}-{arguments.problems}x{arguments.seeds}"
    command = [sys.executable, "-m", "strop.cli.main", "search", "--compare", ",".join(METHODS), "--json", "--quiet"]
    command += ["--model", SETTINGS["model"], "--tasks", str(task_file(arguments.problems))]
    command += ["--budget", arguments.budget, "--seeds", str(arguments.seeds), "--minutes", str(arguments.minutes)]
    command += ["--temperature", str(SETTINGS["temperature"]), "--top-p", str(SETTINGS["top_p"])]
    command += ["--max-tokens", str(SETTINGS["max_tokens"]), "--out", str(folder)]
    data = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    data |= {key: manifest[key] for key in ("versions", "machine")}
    data["command"] = asked.command()
    data["settings"]["tasks"] = f"humaneval, the first {arguments.problems} with visible tests in a fixed random order"
    write_whole(ROOT / "results" / f"search-compare{suffix}.json", json.dumps(data, indent=1) + "\n")
    for line in data["conclusions"]:
        print(line)
    effort = data["effort"]
    print(f"{data['tasks']} problems, seeds {data['seeds']}; {effort['drawn']} replies drawn, batch "
          f"{effort['utilisation']:.0%} full, overhead {effort['overhead']:.1%}")  # fmt: skip
    if suffix or arguments.no_cards or not data["tasks"]:
        return
    for paper in CARDS:
        experiment = harness.load(paper)
        assert experiment is not None
        size = Size(units=data["tasks"], seeds=len(data["seeds"]))
        results = harness.execute(harness.plan(experiment, size=size), command=data["command"])
        print(f"\n{experiment.slug}")
        print("\n".join(harness.words(results)))


if __name__ == "__main__":
    main()
