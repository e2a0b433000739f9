"""Does seeing the values of variables help a 0.5B coder repair programs that other models got wrong?

    python benchmarks/ldb_repair.py --minutes 4

The programs are recorded answers of StarCoder and CodeLlama to HumanEval (`model-samples` of FloridSleeves/LLMDebugger)
that fail a visible test. Each gets at most three rounds of LDB (`strop.search.runtime_debug`: a trace of the first
failing test, block by block, an opinion on each block, a new program), and of the same loop with the test's words
alone. Repaired means: what it came to passes all tests, the hidden ones too.

Problems are taken in a fixed random order and the file `results/ldb-repair.json` is over the first ones that are done,
so it grows from call to call; replies come from the file that all runs share.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import asked
import numpy as np

from strop import stats
from strop.papers.data import data_file
from strop.papers.searching import SETTINGS, Searches, problems
from strop.run import Run, write_whole
from strop.search.compare import SearchSettings, finished, grade_key, read_effort, run_searches, traces
from strop.search.methods import MethodSpec
from strop.search.nodes import Node, Steps
from strop.search.runtime_debug import debug
from strop.search.state import State

ROOT = Path(__file__).resolve().parents[1]
AUTHORS = ("starcoder", "codellama")
ROUNDS = 3
"""As in the factorial study; LDB itself has ten."""


def recorded(author: str) -> dict[str, str]:
    """A model's program for each problem."""
    source = "github.com/FloridSleeves/LLMDebugger, input_data/humaneval/seed"
    file = data_file(f"model-samples/humaneval--{author}.jsonl", source)
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return {row["task_id"]: row["solution"] for row in rows}


def repair(state: State, *, programs: Mapping[str, str], trace: bool) -> Steps[Node | None]:
    """The search method: debug a given program; nothing where it passes the visible tests."""
    node = state.add(programs[state.task.id], role="seed")
    yield from state.judge([node])
    return (yield from debug(state, node, ROUNDS, with_trace=trace))


def arms() -> list[MethodSpec]:
    """With and without trace for each author."""
    return [
        MethodSpec(f"{author}, {'trace' if trace else 'no trace'}", repair,
                   {"programs": recorded(author), "trace": trace})
        for author in AUTHORS
        for trace in (True, False)
    ]  # fmt: skip


def summary(run: Run, methods: list[MethodSpec], seed: int) -> dict[str, Any]:
    """Repairs and what they cost, over programs that fail a visible test."""
    found = {(t["method"], t["task"]): t for t in traces(run, list(problems().values()), methods, (seed,))}
    done, _ = finished({(*key, seed) for key in found}, list(problems().values()), methods, (seed,))
    rows: dict[str, list[tuple[float, float]]] = {"all": []}
    tokens: dict[str, list[int]] = {"trace": [], "no trace": []}
    traced = []
    for task in done:
        for author in AUTHORS:
            pair = [found[f"{author}, {how}", task.id] for how in ("trace", "no trace")]
            if pair[0]["nodes"][0]["fraction"] == 1:
                continue
            grades = [run.result(grade_key(task.id, one["nodes"][one["answer"]]["code"])) for one in pair]
            if not all(grades):
                continue  # the judge itself failed; the next call asks again
            repaired = tuple(float(grade["status"] == "passed") for grade in grades if grade)
            rows.setdefault(author, []).append(repaired)  # type: ignore[arg-type]
            rows["all"].append(repaired)  # type: ignore[arg-type]
            for how, one in zip(tokens, pair):
                tokens[how].append(one["spent"]["sampled_tokens"])
            traced.append(pair[0]["facts"].get("traced", 0) > 0)
    report: dict[str, Any] = {"problems": len(done), "task_ids": [task.id for task in done], "programs": {}}
    for name, pairs in rows.items():
        if pairs:
            values = np.array(pairs)
            report["programs"][name] = {
                "failing": len(pairs),
                "repaired_with_trace": asdict(stats.estimate(values[:, 0])),
                "repaired_without": asdict(stats.estimate(values[:, 1])),
                "difference": asdict(stats.compare(values[:, 1], values[:, 0])),
                "in_words": stats.compare(values[:, 1], values[:, 0]).words(),
            }
    report["tokens_a_program"] = {how: float(np.mean(spent)) for how, spent in tokens.items() if spent}
    report["share_traced"] = float(np.mean(traced)) if traced else None
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes
    settings = SETTINGS | {"budget": f"programs={ROUNDS}"}
    methods = arms()
    chosen = SearchSettings(
        methods=tuple(method.name for method in methods), tasks="humaneval", seeds=(arguments.seed,), **settings
    )
    searches = Searches(settings)
    folder = ROOT / "runs" / "ldb-repair"
    with Run.open(folder, command="benchmarks/ldb_repair.py", config=settings | {"rounds": ROUNDS}) as run:
        run_searches(
            run, chosen, searches.model, list(problems().values()), methods, searches.judge, searches.form,
            draws=searches.draws, until=until,
        )  # fmt: skip
        report = {"command": asked.command(), "settings": settings}
        report |= summary(run, methods, arguments.seed)
        effort = read_effort(run)
        report["effort"] = asdict(effort) | {"overhead": effort.overhead, "utilisation": effort.utilisation}
        report |= {key: run.manifest[key] for key in ("versions", "machine")}
    searches.close()
    write_whole(ROOT / "results" / "ldb-repair.json", json.dumps(report, indent=1, default=float) + "\n")
    for name, row in report["programs"].items():
        print(f"{name}: {row['failing']} failing programs; {row['in_words']}")


if __name__ == "__main__":
    main()
