"""Does the judge agree with the labels that others recorded? Every disagreement, case by case.

    python benchmarks/recorded_labels.py [--data ../shared/data/model-samples] [--repeat 3]

The data set holds programs by real models for HumanEval and MBPP, with the label `is_solved` that a harness gave them
when they were made (one process, test appended to the program, see FloridSleeves/LLMDebugger). Each program is judged
here with the test of its own row, `--repeat` times. A disagreement is looked into with an oracle that shares nothing
with the judge: a fresh interpreter that runs program and test as one script, the way the label was made, with a
generous limit. So each gets one of these causes:

- `recorded label wrong`: the oracle agrees with the judge;
- `helper missing`: as above, and the prompt's own helper or import is what the program lacks on its own;
- `judge stricter` or `judge wrong`: the oracle agrees with the label; what the judge saw is quoted;
- `order of a set`: the test hands over a set and wants its elements in a certain order, which depends on how the set
  was built; a set that crossed into another process was built anew;
- `broken test`: the test fails by itself before it calls the program (MBPP's function named `check`), so the judge
  rightly gives no verdict and the label says nothing;
- `judge error`: the judge gave no verdict for another reason;
- `not stable`: the oracle or the judge gives different answers at different times.

Writes results/judge-recorded-labels.json. Exit code 1 when a case has the cause `judge wrong` or `judge error`.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from strop.judge import Judge
from strop.tasks.humaneval import read_humaneval
from strop.types import ScriptCheck, Task, Verdict

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data" / "model-samples"
RESULTS = HERE.parent / "results" / "judge-recorded-labels.json"
ORACLE_SECONDS = 20.0

ORACLE = """
import json, os, subprocess, sys
from strop.audit.container import enter, problems
enter([sys.prefix, sys.base_prefix])
bad = problems(os.path.expanduser("~"), "/")
if bad:
    sys.exit("; ".join(bad))
runs = []
for source in json.load(sys.stdin):
    try:
        run = subprocess.run([sys.executable, "-I", "-c", source], capture_output=True, timeout=%r, text=True)
        runs.append([run.returncode == 0, run.stderr.strip().splitlines()[-1:]])
    except subprocess.TimeoutExpired:
        runs.append([False, ["took longer than %r seconds"]])
print(json.dumps(runs))
""" % (ORACLE_SECONDS, ORACLE_SECONDS)  # noqa: UP031 - the text is full of braces


def read(path: Path) -> list[tuple[Task, str, dict[str, Any]]]:
    """`(task, program, row)` of every line. Reflexion's programs are bodies that continue the prompt."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        row = json.loads(line)
        (task,) = read_humaneval(row, path.name, number)
        assert isinstance(task, Task), task
        starts = re.search(rf"^(async )?def {re.escape(row['entry_point'])}\b", row["solution"], re.MULTILINE)
        whole = starts or path.name.startswith("mbpp")
        program = row["solution"] if whole else row["prompt"] + row["solution"]
        hidden = tuple(check for check in task.checks if isinstance(check, ScriptCheck) and not check.visible)
        # Only the row's own test made the label; the examples of the prompt did not.
        found.append((Task(**{**fields(task), "checks": hidden}), program, row))
    return found


def fields(task: Task) -> dict[str, Any]:
    return {name: getattr(task, name) for name in task.__dataclass_fields__}


def oracle(program: str, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Program and test as one script, without and with the prompt's imports and helpers in front; twice each."""
    from strop.audit.container import command

    tree = ast.parse(row["prompt"] + "\n    pass\n")
    head = [node for node in tree.body if getattr(node, "name", None) != row["entry_point"]]
    given = ast.unparse(ast.Module(head, []))
    end = f"\n{row['test']}\ncheck({row['entry_point']})\n"
    sources = [program + end, program + end, given + "\n" + program + end, given + "\n" + program + end]
    with tempfile.TemporaryFile("w+") as stdin:
        json.dump(sources, stdin)
        stdin.seek(0)
        run = subprocess.run(command([sys.executable, "-c", ORACLE], []), stdin=stdin, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"the oracle cannot run: {run.stderr.strip()[-300:]}")
    names = ("program alone", "program alone", "with the prompt's helpers", "with the prompt's helpers")
    runs = zip(names, json.loads(run.stdout), strict=True)
    return [{"form": name, "passed": passed, "error": "".join(why)} for name, (passed, why) in runs]


def differs(verdict: Verdict, label: bool) -> bool:
    return verdict.passed != label or verdict.status == "judge_error"


def cause(label: bool, verdicts: list[Verdict], runs: list[dict[str, Any]], program: str, task: Task) -> str:
    """Why judge and label differ; see the module's text."""
    if any(verdict.status == "judge_error" for verdict in verdicts):
        broken = all("the check failed before it used the program" in verdict.detail for verdict in verdicts)
        return "broken test" if broken and not any(run["passed"] for run in runs) else "judge error"
    judged = {verdict.passed for verdict in verdicts}
    alone, helped = {run["passed"] for run in runs[:2]}, {run["passed"] for run in runs[2:]}
    if len(judged) + len(alone) + len(helped) > 3:
        return "not stable"
    if alone == judged == helped:
        return "recorded label wrong"
    if alone != helped:
        return "helper missing"
    if helped == {True} and verdicts[0].status == "timeout":
        return "judge stricter: slower than the judge's limit"
    if helped == {True} and uses_own_helper(program, task):
        return "judge stricter: the test uses a helper that the program redefines"
    if orders_a_set(task):
        return "order of a set"
    return "judge wrong"


def orders_a_set(task: Task) -> bool:
    """Whether a test hands a set to the program and compares the answer with a tuple or list."""
    for check in task.checks:
        for node in ast.walk(ast.parse(check.code)) if isinstance(check, ScriptCheck) else ():
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Call):
                given = any(isinstance(argument, ast.Set) for argument in node.left.args)
                if given and isinstance(node.comparators[0], ast.Tuple | ast.List):
                    return True
    return False


def uses_own_helper(program: str, task: Task) -> bool:
    """Whether the program brings its own version of something that the prompt gives and the test uses."""
    given = {node.name for node in ast.parse(task.setup).body if isinstance(node, ast.FunctionDef)}
    try:
        own = {node.name for node in ast.parse(program).body if isinstance(node, ast.FunctionDef)}
    except SyntaxError:
        return False
    return any(name in check.code for name in given & own for check in task.checks if isinstance(check, ScriptCheck))


def write(path: Path, files: dict[str, Any], cases: list[dict[str, Any]]) -> None:
    causes = Counter(case["cause"] for case in cases)
    report = {"files": files, "disagreements": len(cases), "causes": dict(causes.most_common()), "cases": cases}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--only", help="files, separated by commas; the results of the others are kept")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    paths = sorted(options.data.glob("*.jsonl"))
    if not paths:
        raise SystemExit(f"{options.data}: no sample files")
    files: dict[str, Any] = {}
    cases: list[dict[str, Any]] = []
    if options.only:
        paths = [path for path in paths if path.name in options.only.split(",")]
        kept = json.loads(options.out.read_text()) if options.out.exists() else {"files": {}, "cases": []}
        files = {name: file for name, file in kept["files"].items() if name not in {path.name for path in paths}}
        cases = [case for case in kept["cases"] if case["file"] in files]
    with Judge(workers=options.workers) as judge, ThreadPoolExecutor(2) as pool:
        for path in paths:
            rows = read(path)
            verdicts: dict[int, list[Verdict]] = {}
            jobs = ((n, rows[n][0], rows[n][1]) for n in range(len(rows)) for _ in range(options.repeat))
            for number, verdict in judge.stream(jobs):
                verdicts.setdefault(number, []).append(verdict)
            labels = [row["is_solved"] for _, _, row in rows]
            odd = sorted(n for n in verdicts if any(differs(verdict, labels[n]) for verdict in verdicts[n]))
            for n, runs in zip(odd, pool.map(oracle, [rows[n][1] for n in odd], [rows[n][2] for n in odd])):
                task, program, _ = rows[n]
                cases.append(
                    {
                        "file": path.name,
                        "line": n + 1,
                        "task_id": task.id,
                        "label": labels[n],
                        "judge": sorted({f"{verdict.status}: {verdict.detail}" for verdict in verdicts[n]}),
                        "oracle": runs[::2],
                        "cause": cause(labels[n], verdicts[n], runs, program, task),
                    }
                )
            files[path.name] = {
                "programs": len(rows),
                "labelled_solved": sum(labels),
                "judged_passed": sum(all(v.passed for v in verdicts[n]) for n in verdicts),
                "agree": len(rows) - len(odd),
                "flaky": sum(len({v.passed for v in runs}) > 1 for runs in verdicts.values()),
                "judge_errors": sum(v.status == "judge_error" for runs in verdicts.values() for v in runs),
            }
            print(path.name, files[path.name], flush=True)
            write(options.out, files, cases)
    causes = Counter(case["cause"] for case in cases)
    print(f"{sum(file['programs'] for file in files.values())} programs, {len(cases)} disagreements: {dict(causes)}")
    sys.exit(1 if causes["judge wrong"] or causes["judge error"] else 0)


if __name__ == "__main__":
    main()
