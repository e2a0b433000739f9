"""HumanEval Pro and MBPP Pro: solve a problem, then a harder one that calls the first (Yu et al. 2024, 2412.21199).

Rows hold `id, raw_problem, raw_solution, new_problem, new_solution, test_code` (CodeEval-Pro, MIT). Three arms tell
where the loss comes from: the base problem alone, `pro` (write both), and `given` (the base solution is there, write
the second). base - pro is the drop; pro against given is the part owed to a wrong base, the rest is composition.

Some published items cannot be solved as they are asked: `defects` names them, and results are reported on all items
and on the clean ones. `self_invoking` makes such a problem from any task with call checks.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from strop.evals.solve import OnProgress, measure, silent, task_records
from strop.stats import Difference, Estimate, compare, estimate
from strop.tasks.extract import extract_program
from strop.tasks.literals import parse, write_call, write_literal
from strop.tasks.mbpp import entry_point
from strop.tasks.protocols import FENCE, cut_at
from strop.tasks.reading import Defect, Row, raise_defects, read_rows
from strop.types import CallCheck, Message, Prompt, SamplingParams, ScriptCheck, StropError, Task

if TYPE_CHECKING:
    from strop.judge import Judge
    from strop.models import Model
    from strop.run import Run
    from strop.tasks.protocols import Protocol

FIELDS = ("raw_problem", "raw_solution", "new_problem", "new_solution", "test_code")
UNNAMED = "the tested function is named nowhere in the problem"
NOT_INVOKING = "the reference never calls the first function"
Arm = Literal["pro", "given"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProItem:
    """One pair of problems."""

    number: str
    base_problem: str
    base_solution: str
    new_problem: str
    new_solution: str
    tests: str
    source: str

    @property
    def id(self) -> str:
        return f"{self.source}/{self.number}"

    @property
    def base_id(self) -> str:
        """Id of the first problem in its own benchmark: `HumanEval/0`. MBPP Pro's numbers are its own."""
        return f"{self.source.removesuffix('Pro').strip()}/{self.number}"

    @property
    def reference(self) -> str:
        return f"{self.base_problem}{self.base_solution}\n{self.new_problem}{self.new_solution}"

    @property
    def base_name(self) -> str | None:
        """The function of the first problem."""
        return _last_function(self.base_problem)

    @property
    def tested(self) -> str | None:
        """The function that the tests call."""
        return entry_point([self.tests], self.reference)

    def defects(self) -> tuple[str, ...]:
        """What is wrong with the item, in words; empty for a clean one."""
        found = []
        if self.tested is not None and self.tested not in self.new_problem + self.base_problem:
            found.append(UNNAMED)
        if self.base_name is not None and not _calls(self.new_solution, self.new_problem, self.base_name):
            found.append(NOT_INVOKING)
        return tuple(found)

    @property
    def solvable(self) -> bool:
        """Whether a model can know which function to write: an item that does not invoke is still solvable."""
        return UNNAMED not in self.defects()

    def task(self, arm: Arm = "pro") -> Task:
        """The item as a task. Its stub is the code that the answer starts with: see `ProProtocol`."""
        shown = f"{self.base_problem.strip()}\n\n{self.new_problem.strip()}"
        stub = self.base_problem
        if arm == "given":
            stub = f"{self.base_problem}{self.base_solution.rstrip()}\n\n\n{self.new_problem}"
        return Task(
            id=f"{self.id}:given" if arm == "given" else self.id,
            prompt=(
                "Write a solution of both problems below. Solving the second needs calls of the first.\n\n"
                f"```python\n{shown}\n```"
            ),
            stub=stub,
            checks=(ScriptCheck(code=self.tests.strip() + "\n", name="tests"),),
            entry_point=self.tested,
            reference=self.reference,
            tags=tuple(["unnamed"] * (not self.solvable)),
            source=self.source,
            licence="MIT",
        )


def load_pro(path: str | Path) -> list[ProItem]:
    """The items of `humaneval_pro.json`, `mbpp_pro.json` or a file like them; the benchmark is told by the file's name.

    Raises StropError naming file, line and field of rows of another shape.
    """
    file = Path(path)
    source = (
        "MBPP Pro"
        if "mbpp" in file.name.lower()
        else "HumanEval Pro"
        if "humaneval" in file.name.lower()
        else file.stem
    )
    items: list[ProItem] = []
    defects: list[Defect] = []
    for row in read_rows(file):
        if not isinstance(row, Row):
            defects.append(row)
            continue
        bad = next((name for name in FIELDS if not isinstance(row.data.get(name), str)), None)
        bad = bad or (None if isinstance(row.data.get("id"), int | str) else "id")
        if bad is not None:
            defects.append(Defect(str(file), row.line, bad, "missing, or not a text"))
            continue
        raw, solution, new, answer, tests = (row.data[name] for name in FIELDS)
        items.append(
            ProItem(
                number=str(row.data["id"]), base_problem=raw, base_solution=solution, new_problem=new,
                new_solution=answer, tests=tests, source=source,
            )
        )  # fmt: skip
    raise_defects(defects)
    return items


class ProProtocol:
    """The benchmark's prompt: both problems in one block, and a reply that has begun with the first one's code.

    As in the reference harness the reply starts with the open block and `raw_problem`; the program is that plus the
    completion up to the closing fence. The harness reports the better of the raw and the sanitised program; here there
    is one rule, Strop's extraction. The instruction's wording is Strop's. For local chat models.
    """

    name = "pro"
    chat = True
    stop = (FENCE,)

    def render(self, task: Task) -> Prompt:
        return (Message("user", task.prompt), Message("assistant", f"```python\n{task.stub}"))

    def stop_for(self, task: Task) -> tuple[str, ...]:
        return (FENCE,)

    def extract(self, task: Task, text: str) -> str:
        return extract_program(f"```python\n{task.stub}{cut_at(text, (FENCE,))}", task.entry_point, task.stub)

    def answer(self, task: Task, program: str) -> str:
        if not program.startswith(task.stub):
            raise StropError(f"{task.id}: the program does not begin with the code that the prompt holds.")
        return program.removeprefix(task.stub).strip("\n") + "\n```"


# ---- results -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ProReport:
    """The drop from base to pro and where it comes from, on one set of items. Figures are shares of items solved."""

    items: int
    base: Estimate | None
    pro: Estimate
    drop: Difference | None
    """pro minus base, paired by item."""
    given: Estimate | None
    owed_to_base: Difference | None
    """pro minus given: what the missing base solution costs."""
    owed_to_composition: Difference | None
    """given minus base: what calling it rightly costs."""


def pro_report(
    items: Sequence[ProItem],
    base: Mapping[str, float] | None,
    pro: Mapping[str, float],
    given: Mapping[str, float] | None = None,
    *,
    clean_only: bool = False,
) -> ProReport:
    """Compare pass rates by item id; an arm that was not run is None (MBPP Pro's base problems come without tests).

    `clean_only` leaves out items that cannot be solved as asked.

    Raises StropError when an arm lacks an item, because a paired comparison over other items would mean nothing.
    """
    ids = [item.id for item in items if item.solvable or not clean_only]
    for name, arm in (("base", base), ("pro", pro), ("given", given)):
        missing = [key for key in ids if arm is not None and key not in arm]
        if missing:
            raise StropError(f"The arm {name} has no result for {missing[0]} ({len(missing)} items missing).")
    if not ids:
        raise StropError("No item is left to compare.")
    b, p = None if base is None else [base[key] for key in ids], [pro[key] for key in ids]
    g = None if given is None else [given[key] for key in ids]
    return ProReport(
        items=len(ids),
        base=None if b is None else estimate(b),
        pro=estimate(p),
        drop=None if b is None else compare(b, p),
        given=None if g is None else estimate(g),
        owed_to_base=None if g is None else compare(g, p),
        owed_to_composition=None if g is None or b is None else compare(b, g),
    )


def run_pro(
    run: Run, model: Model, items: Sequence[ProItem], judge: Judge, *, base: Protocol | None, params: SamplingParams,
    samples: int = 1, seed: int = 0, on_progress: OnProgress = silent,
) -> list[ProReport]:  # fmt: skip
    """Measure all arms, a stage of `run` each, and report on all items and on the clean ones. Resumes.

    `base`: prompt protocol of the base problems, or None to leave that arm out; only HumanEval's have tests. Judge
    errors are left out of pass rates; an item without any verdict counts as an error, as in `pro_report`.
    """
    from strop.tasks import load

    arms: dict[str, tuple[list[Task], Protocol]] = {
        "pro": ([item.task("pro") for item in items], ProProtocol()),
        "given": ([item.task("given") for item in items], ProProtocol()),
    }
    if base is not None:
        known = {task.id: task for task in load("humaneval")}
        missing = [item.base_id for item in items if item.base_id not in known]
        if missing:
            raise StropError(f"{missing[0]} is no HumanEval problem, so the base arm cannot be run; leave it out.")
        arms["base"] = ([known[item.base_id] for item in items], base)
    rates: dict[str, dict[str, float]] = {}
    for arm, (tasks, protocol) in arms.items():
        stage = f"eval-{arm}"
        measure(run, stage, model, tasks, judge, protocol, samples_per_task=samples, params=params, seed=seed,
                on_progress=on_progress)  # fmt: skip
        found: dict[str, list[bool]] = {}
        for (task_id, _), verdict in run.verdicts(stage).items():
            if verdict.status != "judge_error":
                found.setdefault(task_id, []).append(verdict.passed)
        rates[arm] = {
            item.id: sum(found[task.id]) / len(found[task.id]) for item, task in zip(items, tasks) if task.id in found
        }
    run.save_result("tasks", task_records([task for tasks, _ in arms.values() for task in tasks]))
    kinds = (False, True) if any(item.solvable for item in items) else (False,)
    return [pro_report(items, rates.get("base"), rates["pro"], rates["given"], clean_only=clean) for clean in kinds]


# ---- from any task -------------------------------------------------------------------------------


def self_invoking(task: Task, *, inputs: int = 3) -> Task | None:
    """A second problem that calls the first: apply the function to each of several inputs and collect the answers.

    Expected values come from the task's own call checks, so nothing is run. Every check of the new task takes `inputs`
    of them; tasks with fewer than that plus one positional call checks of equal tolerance give None.
    """
    if not task.entry_point:
        return None
    usable = [
        check
        for check in task.checks
        if isinstance(check, CallCheck) and check.function == task.entry_point and not check.kwargs
    ]
    usable = [check for check in usable if check.tolerance == usable[0].tolerance]
    if inputs < 1 or len(usable) <= inputs:
        return None
    name = f"{task.entry_point}_each"
    checks = []
    for start in range(len(usable) - inputs + 1):
        some = usable[start : start + inputs]
        checks.append(
            CallCheck(
                function=name,
                args=([check.args for check in some],),
                expected=[check.expected for check in some],
                tolerance=some[0].tolerance,
                visible=all(check.visible for check in some),
                name=f"each {start}",
            )
        )
    shown = next((check for check in checks if check.visible), None)
    example = f"\n\n>>> {write_call(shown)}\n{write_literal(shown.expected)}" if shown else ""
    reference = None
    if task.reference is not None:
        body = f"def {name}(calls):\n    return [{task.entry_point}(*args) for args in calls]\n"
        reference = f"{task.reference.rstrip()}\n\n\n{body}"
    return Task(
        id=f"{task.id}:self-invoking",
        prompt=(
            f"{task.prompt.strip()}\n\nThen write `{name}(calls)`. `calls` is a list of tuples of arguments of "
            f"`{task.entry_point}`. Return the list of its results, in order, by calling it.{example}"
        ),
        checks=tuple(checks),
        entry_point=name,
        setup=task.setup,
        reference=reference,
        split=task.split,
        tags=(*task.tags, "self-invoking"),
        source=task.source,
        licence=task.licence,
        limits=task.limits,
    )


def _last_function(code: str) -> str | None:
    """The last function that a problem's code begins: its signature may lack a body."""
    tree = parse(code)
    tree = parse(code.rstrip() + "\n    pass\n") if isinstance(tree, SyntaxError) else tree
    if isinstance(tree, SyntaxError):
        return None
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return names[-1] if names else None


def _calls(solution: str, problem: str, name: str) -> bool:
    tree = parse(problem + solution)
    if isinstance(tree, SyntaxError):
        return name in solution
    return any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load) for node in ast.walk(tree)
    )
