"""Many inputs like those that a task's checks already use, and what the reference does with them.

Used to tell apart two kinds of mutants that pass a task's checks: those that no input can tell from the reference
(equivalent), and those that show a hole in the checks.

New inputs are typed perturbations of the observed ones. They keep what all observed inputs have in common, as far as it
looks like a precondition (a lower bound of 0 or more, sorted lists, even lengths, `low <= high` ...; the idea of Ernst
et al. 2001, "Dynamically discovering likely program invariants"); inputs on which the reference fails are dropped.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import inspect
import itertools
import random
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from strop.tasks.literals import write_literal
from strop.types import CallCheck, Check, ScriptCheck, Task

CALL_SECONDS = 0.3
"""A reference that needs longer than this for an input is outside its domain (an endless loop, mostly)."""
EVIDENCE = 5
"""How many observed values must agree before something looks like a precondition."""
LETTERS = "abcxyzABXYZ"

Path = tuple[str | int, ...]
Table = dict[Path, list[Any]]


# ---- inputs ------------------------------------------------------------------------------------


def arguments_like(observed: Sequence[tuple], *, count: int, seed: int = 0) -> list[tuple]:
    """Up to `count` different argument tuples like the observed ones, which come first."""
    table = _table(observed)
    facts = defaultdict(list, {path: _facts(values) for path, values in table.items()})
    pairs = _pair_facts(observed)
    rng = random.Random(seed)
    found = {repr(args): args for args in observed}
    for _ in range(count * 15):
        if len(found) >= count:
            break
        base = rng.choice(observed)
        args = tuple(_vary(value, (i,), table, rng, 0.7) for i, value in enumerate(base))
        kept = all(fact(value) for path, values in _table([args]).items() for fact in facts[path] for value in values)
        if kept and all(_holds(fact, args[i], args[j]) for i, j, fact in pairs if max(i, j) < len(args)):
            found[repr(args)] = args
    return list(found.values())


def _table(observed: Sequence[tuple]) -> Table:
    table: Table = defaultdict(list)
    for args in observed:
        for number, value in enumerate(args):
            _collect(value, (number,), table)
    return table


def _collect(value: Any, path: Path, table: Table) -> None:
    table[path].append(value)
    if isinstance(value, list | set | frozenset):
        for item in value:
            _collect(item, (*path, "item"), table)
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            _collect(item, (*path, number), table)
    elif isinstance(value, dict):
        for key, item in value.items():
            _collect(key, (*path, "key"), table)
            _collect(item, (*path, "value"), table)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sized(value: Any) -> bool:
    return isinstance(value, str | list | tuple | dict | set)


def _is_sorted(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value)) and value == sorted(value)


def _is_grid(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, list) for row in value) and len(set(map(len, value))) <= 1


def _is_square(value: Any) -> bool:
    return _is_grid(value) and (not value or len(value) == len(value[0]))


_FACTS: list[Callable[[Any], bool]] = [
    lambda v: _is_number(v) and v != 0,
    lambda v: _sized(v) and len(v) % 2 == 0,
    lambda v: _sized(v) and len(v) % 2 == 1,
    lambda v: isinstance(v, str) and len(v) == 1,
    lambda v: isinstance(v, list | tuple) and len({repr(item) for item in v}) == len(v),
    lambda v: isinstance(v, str) and v == v.strip(" "),
    lambda v: isinstance(v, str) and "  " not in v,
    lambda v: isinstance(v, str) and v == v.lower(),
    lambda v: isinstance(v, dict) and len({repr(item) for item in v.values()}) == len(v),
    lambda v: isinstance(v, list) and all(map(bool, v)),
    _is_sorted,
    _is_grid,
    _is_square,
]


def _facts(values: list[Any]) -> list[Callable[[Any], bool]]:
    """The conditions that hold for all of `values`; none if there are too few to tell."""
    if len(values) < EVIDENCE:
        return []
    facts = [fact for fact in _FACTS if all(map(fact, values))]
    if all(isinstance(value, str) for value in values):
        once = "".join(c for c in values[0] if all(value.count(c) == 1 for value in values))
        facts.append(lambda v: isinstance(v, str) and "".join(c for c in v if c in once) == once)
    return facts


_PAIRS: list[Callable[[Any, Any], bool]] = [
    lambda a, b: _is_number(a) and _is_number(b) and a <= b,
    lambda a, b: _is_number(a) and _is_number(b) and a >= b,
    lambda a, b: _sized(a) and _sized(b) and len(a) == len(b),
    lambda a, b: _is_number(a) and _sized(b) and a <= len(b),
    lambda a, b: _is_number(a) and _sized(b) and a < len(b),
    lambda a, b: isinstance(b, str | list | dict) and a in b,
    lambda a, b: a != b,
]


def _holds(fact: Callable[[Any, Any], bool], a: Any, b: Any) -> bool:
    try:
        return fact(a, b)
    except TypeError:
        return False


def _pair_facts(observed: Sequence[tuple]) -> list[tuple[int, int, Callable[[Any, Any], bool]]]:
    if len(observed) < EVIDENCE:
        return []
    width = min(map(len, observed))
    return [
        (i, j, fact)
        for i, j in itertools.permutations(range(width), 2)
        for fact in _PAIRS
        if all(_holds(fact, args[i], args[j]) for args in observed)
    ]


def _vary(value: Any, path: Path, table: Table, rng: random.Random, rate: float) -> Any:
    """A value like those seen at `path`, mostly near `value`. `rate`: how often anything is changed."""
    if rng.random() > rate:
        return value
    pool = table.get(path, [value])
    if rng.random() < 0.2:
        return rng.choice(pool)
    if isinstance(value, bool):
        return rng.random() < 0.5
    if isinstance(value, int | float):
        return _number(value, [other for other in pool if _is_number(other)], rng)
    if isinstance(value, str):
        return _text(value, [other for other in pool if isinstance(other, str)], rng)
    if isinstance(value, list):
        return _list(value, path, table, rng)
    if isinstance(value, tuple):
        return tuple(_vary(item, (*path, number), table, rng, 0.6) for number, item in enumerate(value))
    if isinstance(value, dict):
        items = _list(list(value.items()), path, table, rng, keyed=True)
        return dict(items)
    if isinstance(value, set):
        return set(_list(sorted(value, key=repr), path, table, rng))
    return value


def _number(value: float, pool: list[float], rng: random.Random) -> float:
    low, high = min(pool), 2 * max(pool) + 3
    low = low if low >= 0 else 2 * low - 2
    if isinstance(value, float) or (rng.random() < 0.1 and any(isinstance(other, float) for other in pool)):
        new: float = rng.choice([value + 0.5, value - 0.5, value / 2, value * 2, rng.uniform(low, high)])
        return min(max(float(new), low), high)
    steps = [value - 2, value - 1, value + 1, value + 2, rng.randint(int(low), int(high)), rng.randint(-3, 12)]
    return int(min(max(rng.choice(steps), low), high))


def _text(value: str, pool: list[str], rng: random.Random) -> str:
    alphabet = sorted({c for text in pool for c in text}) or list(LETTERS)
    if sum(c.isalpha() for c in alphabet) > 4:  # fewer are likely all that the task allows, such as "u" and "d"
        alphabet += [c for c in LETTERS if (c.islower() and any(map(str.islower, alphabet))) or "A" in alphabet]
    shortest, letters = min(map(len, pool)), list(value)
    fixed = len(set(map(len, pool))) == 1
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(letters))
        edit = rng.randrange(5)
        if edit == 0 and not fixed:
            letters.insert(at, rng.choice(alphabet))
        elif edit == 1 and not fixed and letters:
            letters.insert(at, rng.choice(letters))
        elif edit == 2 and len(letters) > shortest and not fixed:
            del letters[at - 1]
        elif edit == 3 and letters:
            letters[at - 1] = rng.choice(alphabet)
        elif letters:
            other = rng.randrange(len(letters))
            letters[at - 1], letters[other] = letters[other], letters[at - 1]
    return "".join(letters)


def _list(value: list, path: Path, table: Table, rng: random.Random, keyed: bool = False) -> list:
    shortest = min(len(other) for other in table.get(path, [value]) if _sized(other))
    items = list(value)

    def fresh() -> Any:
        if keyed:
            key, item = rng.choice(table[(*path, "key")]), rng.choice(table[(*path, "value")])
            return _vary(key, (*path, "key"), table, rng, 0.5), _vary(item, (*path, "value"), table, rng, 0.7)
        return _vary(rng.choice(table[(*path, "item")]), (*path, "item"), table, rng, 0.6)

    known = bool(table.get((*path, "key" if keyed else "item")))
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(items))
        edit = rng.randrange(5)
        if edit == 0 and known:
            items.insert(at, fresh())
        elif edit == 1 and items:
            items.insert(at, rng.choice(items))
        elif edit == 2 and len(items) > shortest:
            del items[at - 1]
        elif edit == 3 and items and known:
            items[at - 1] = fresh()
        elif items:
            other = rng.randrange(len(items))
            items[at - 1], items[other] = items[other], items[at - 1]
    return items


# ---- what the reference does -------------------------------------------------------------------


def more_checks(task: Task, *, count: int, seed: int = 0) -> list[Check]:
    """Up to `count` checks that the task's reference passes, on inputs like those of its own checks."""
    assert task.reference is not None
    assert task.entry_point is not None
    scope: dict[str, Any] = {"__name__": "reference"}
    exec(compile(task.reference, task.id, "exec"), scope)  # trusted: the reference comes with the task set
    subject, name = scope[task.entry_point], task.entry_point
    calls = _observed_calls(task)
    if inspect.isclass(subject):
        scripts = _object_scripts(subject, name, calls, count, seed)
        return [ScriptCheck(code=script) for script in scripts]
    expected_errors = {
        node.type.id
        for check in task.checks
        if isinstance(check, ScriptCheck)
        for node in ast.walk(ast.parse(check.code))
        if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name)
    }
    checks: list[Check] = []
    for args in arguments_like(calls[name], count=count, seed=seed) if calls[name] else []:
        check = _check(subject, name, args, expected_errors)
        if check is not None:
            checks.append(check)
    if not checks:  # a function of functions: vary the scripts that call it
        checks += [ScriptCheck(code=script) for script in _varied_scripts(task, scope, count, seed)]
    return checks


def _observed_calls(task: Task) -> dict[str, list[tuple]]:
    """Literal arguments of the calls in the task's checks, by name of function or method."""
    calls: dict[str, list[tuple]] = defaultdict(list)
    for check in task.checks:
        if isinstance(check, CallCheck):
            calls[check.function].append(check.args)
        elif isinstance(check, ScriptCheck):
            for node in ast.walk(ast.parse(check.code)):
                if not isinstance(node, ast.Call):
                    continue
                function = node.func
                name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
                try:
                    calls[name].append(tuple(ast.literal_eval(argument) for argument in node.args))
                except ValueError:
                    continue
    return calls


class _TooLong(Exception):
    pass


def _timed(function: Callable[[], Any]) -> Any:
    def stop(*_: object) -> None:
        raise _TooLong

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, CALL_SECONDS)
    try:
        return function()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _check(function: Callable, name: str, args: tuple, expected_errors: set[str]) -> Check | None:
    """What the reference does with `args`, as a check; None if that is outside its domain."""

    def outcome() -> Any:
        value = function(*ast.literal_eval(repr(args)))  # a copy, in case the reference changes its arguments
        if isinstance(value, Iterator):
            return "iterator", list(itertools.islice(value, 40))
        return "value", value

    text = ", ".join(map(write_literal, args))
    try:
        kind, value = _timed(outcome)
        literal = write_literal(value)
    except Exception as error:
        if type(error).__name__ not in expected_errors:
            return None
        code = f"try:\n    {name}({text})\nexcept {type(error).__name__}:\n    pass\nelse:\n    assert False\n"
        return ScriptCheck(code=code)
    if kind == "iterator":
        return ScriptCheck(code=f"assert [v for _, v in zip(range(40), {name}({text}))] == {literal}\n")
    return CallCheck(function=name, args=args, expected=value, tolerance=1e-9 if "." in literal else None)


def _object_scripts(subject: type, name: str, calls: dict[str, list[tuple]], count: int, seed: int) -> list[str]:
    """Scripts that make an object, call random methods of it and assert what the reference returned."""
    rng = random.Random(seed)
    methods = {
        method: arguments_like(calls[method], count=60, seed=seed)
        for method in sorted(calls)
        if inspect.isfunction(getattr(subject, method, None))
    }
    makers = arguments_like(calls[name], count=40, seed=seed)
    scripts = []
    for _ in range(count):
        try:
            scripts.append(_timed(lambda: _object_script(subject, name, rng.choice(makers), methods, rng)))
        except Exception:  # outside the domain of the reference
            continue
    return scripts


def _object_script(subject: type, name: str, made: tuple, methods: dict[str, list[tuple]], rng: random.Random) -> str:
    thing = subject(*made)
    lines = [f"thing = {name}({', '.join(map(write_literal, made))})"]
    for _ in range(rng.randint(1, 14)):
        method = rng.choice(list(methods))
        args = rng.choice(methods[method])
        value = getattr(thing, method)(*ast.literal_eval(repr(args)))
        call = f"thing.{method}({', '.join(map(write_literal, args))})"
        comparable = value is None or isinstance(value, bool | int | float | str | list | tuple | dict | set)
        lines.append(f"assert {call} == {write_literal(value)}" if comparable else call)
    return "\n".join(lines) + "\n"


def _varied_scripts(task: Task, scope: dict[str, Any], count: int, seed: int) -> list[str]:
    """The task's own scripts with other numbers, texts and lists in them, and what the reference then gives."""
    rng = random.Random(seed)
    trees = [ast.parse(check.code) for check in task.checks if isinstance(check, ScriptCheck)]
    table: Table = defaultdict(list)
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant | ast.List):
                with contextlib.suppress(ValueError):
                    value = ast.literal_eval(node)
                    _collect(value, (type(value).__name__,), table)

    class Vary(ast.NodeTransformer):
        def generic_visit(self, node: ast.AST) -> ast.AST:
            if isinstance(node, ast.Constant | ast.List):
                with contextlib.suppress(ValueError):
                    value = ast.literal_eval(node)
                    return ast.parse(repr(_vary(value, (type(value).__name__,), table, rng, 0.7)), mode="eval").body
            return super().generic_visit(node)

        visit_Constant = visit_List = generic_visit

    scripts = []
    for _ in range(count):
        *before, last = copy.deepcopy(rng.choice(trees)).body
        if not (isinstance(last, ast.Assert) and isinstance(last.test, ast.Compare)):
            continue
        code = [ast.unparse(Vary().visit(node)) for node in [*before, last.test.left]]
        try:
            names = dict(scope)
            _timed(lambda code=code, names=names: exec("\n".join(code[:-1]), names))
            value = _timed(lambda code=code, names=names: eval(code[-1], names))
            scripts.append("\n".join([*code[:-1], f"assert {code[-1]} == {write_literal(value)}"]) + "\n")
        except Exception:  # outside the domain of the reference
            continue
    return scripts
