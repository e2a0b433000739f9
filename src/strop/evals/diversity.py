"""How many different algorithms a model knows for a problem: DA@K, EA and NAUADC over clusters of correct programs.

Definitions of Lee et al. 2025 (arXiv 2503.00691), read in a re-implementation of the official metric. The paper has a
language model judge which programs are the same; here they cluster by what their syntax tree does
(`algorithm_profile`), which needs no model, does not depend on order and cannot say "the same" to everything. Its
agreement with hand-made labels is tested (adjusted Rand index). Compare models at equal numbers of correct programs:
every figure grows with them (`rarefied`).
"""

from __future__ import annotations

import ast
import itertools
import math
import random
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from strop.stats import Difference, Estimate, compare, estimate
from strop.tasks.literals import parse
from strop.types import Sample, Verdict

MAX_K = 25
"""Largest K of NAUADC, as in the paper."""

_SORTS = frozenset({"sorted", "sort", "argsort"})
_HASHES = frozenset({"set", "dict", "Counter", "defaultdict", "fromkeys", "frozenset"})
_QUEUES = frozenset({"heappush", "heappop", "heapify", "nlargest", "nsmallest", "deque", "popleft"})
_FOLDS = frozenset(
    {"sum", "max", "min", "any", "all", "count", "reduce", "prod", "accumulate", "map", "filter", "join"}
)
_TEXT = frozenset(
    {"replace", "split", "sub", "findall", "match", "search", "translate", "str", "zfill", "bin", "format"}
)
_MATH = frozenset({"gcd", "lcm", "sqrt", "isqrt", "comb", "perm", "factorial", "log", "log2", "pow", "divmod"})
_SEARCH = frozenset({"bisect", "bisect_left", "bisect_right"})
_PRODUCTS = frozenset({"product", "permutations", "combinations", "combinations_with_replacement"})


def algorithm_profile(code: str) -> Hashable:
    """What kind of algorithm a program is, as its syntax tree tells.

    A tuple: recursion, deepest nesting of loops (comprehensions and folding builtins are loops; 2 stands for more),
    whether a `while` drives it, and which of these it leans on: sorting, hashing, queues, bisection, enumeration of
    products, text operations, number theory, bit operations, memory of earlier results. Names and layout do not
    matter. A program that does not parse is its own kind.
    """
    tree = parse(code)
    if isinstance(tree, SyntaxError):
        return ("unparsed", code.strip())
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    calls = Counter(name for node in ast.walk(tree) if (name := _called(node)))
    traits = {
        "sorts": bool(calls.keys() & _SORTS),
        "hashes": bool(calls.keys() & _HASHES)
        or _has(tree, ast.Set, ast.SetComp, ast.DictComp)
        or _has(tree, ast.Dict),
        "queues": bool(calls.keys() & _QUEUES),
        "bisects": bool(calls.keys() & _SEARCH) or _halves(tree),
        "enumerates": bool(calls.keys() & _PRODUCTS),
        "text": bool(calls.keys() & _TEXT),
        "number theory": bool(calls.keys() & _MATH),
        "bits": any(
            isinstance(node, ast.BitAnd | ast.BitXor | ast.BitOr | ast.LShift | ast.RShift) for node in ast.walk(tree)
        ),
        "reverses": _reverses(tree) or "reversed" in calls or "reverse" in calls,
        "tables": _fills_table(tree),
    }
    recursive = any(_called(inner) == node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and
                    node.name in functions for inner in ast.walk(node))  # fmt: skip
    return (
        recursive,
        min(2, _loop_depth(tree)),
        _has(tree, ast.While),
        tuple(sorted(name for name, there in traits.items() if there)),
    )


def _called(node: ast.AST) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", None)


def _has(tree: ast.AST, *kinds: type[ast.AST]) -> bool:
    return any(isinstance(node, kinds) for node in ast.walk(tree))


def _loop_depth(node: ast.AST) -> int:
    """Loops inside each other; a fold over something that is no loop itself counts as one."""
    depth = max((_loop_depth(child) for child in ast.iter_child_nodes(node)), default=0)
    if isinstance(node, ast.For | ast.AsyncFor | ast.While):
        return depth + 1
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return depth + len(node.generators)
    return max(depth, 1) if _called(node) in _FOLDS else depth


def _halves(tree: ast.AST) -> bool:
    """`(a + b) // 2` inside a `while`: a bisection written out."""
    return any(
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.FloorDiv | ast.RShift)
        and isinstance(node.left, ast.BinOp)
        and isinstance(node.left.op, ast.Add)
        for loop in ast.walk(tree)
        if isinstance(loop, ast.While)
        for node in ast.walk(loop)
    )


def _reverses(tree: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Slice) and isinstance(node.step, ast.UnaryOp) and isinstance(node.step.op, ast.USub)
        for node in ast.walk(tree)
    )


def _fills_table(tree: ast.AST) -> bool:
    """A loop that stores at an index: dynamic programming, sieves, counting arrays."""
    return any(
        isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
        for loop in ast.walk(tree)
        if isinstance(loop, ast.For | ast.While)
        for node in ast.walk(loop)
    ) or any("cache" in name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
             for name in map(ast.dump, node.decorator_list))  # fmt: skip


def cluster(programs: Sequence[str]) -> list[int]:
    """The cluster of each program, numbered from 0 in the order of their first members."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(algorithm_profile(program), len(numbers)) for program in programs]


# ---- metrics -------------------------------------------------------------------------------------


def _sizes(clusters: Sequence[Hashable]) -> np.ndarray:
    if not len(clusters):
        raise ValueError("no correct program, so there is no diversity to speak of: leave the problem out")
    return np.array(sorted(Counter(clusters).values(), reverse=True))


def distinct_at(clusters: Sequence[Hashable], k: int) -> float:
    """DA@K: expected number of distinct algorithms among `k` of the programs, drawn without replacement.

    m - sum over clusters of C(n - s, k) / C(n, k); all m when k exceeds n. Raises ValueError for no programs or k < 1.
    """
    if k < 1:
        raise ValueError("k must be at least 1")
    sizes = _sizes(clusters)
    n = int(sizes.sum())
    if k > n:
        return float(len(sizes))
    return float(sum(1 - math.comb(n - int(size), k) / math.comb(n, k) for size in sizes))


def effective(clusters: Sequence[Hashable]) -> float:
    """EA: exp of the entropy of cluster shares. 1 when all are alike, m when m clusters are equally large."""
    shares = _sizes(clusters) / len(clusters)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def nauadc(clusters: Sequence[Hashable], largest: int = MAX_K) -> float:
    """NAUADC: area under DA@K for K from 1 to `largest` by trapezoids, divided by `largest` - 1."""
    if largest < 2:
        raise ValueError("the curve needs K of at least 2")
    curve = [distinct_at(clusters, k) for k in range(1, largest + 1)]
    return sum((a + b) / 2 for a, b in itertools.pairwise(curve)) / (largest - 1)


def rarefied(clusters: Sequence[Hashable], size: int, *, seed: int = 0) -> list[Hashable]:
    """`size` of the clusters' members, drawn with `seed`: for comparisons at equal numbers of correct programs."""
    if size > len(clusters):
        raise ValueError(f"cannot draw {size} of {len(clusters)} programs")
    return random.Random(seed).sample(list(clusters), size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversity:
    """Means over problems with at least one correct program."""

    distinct: Estimate
    """DA@K."""
    effective: Estimate
    nauadc: Estimate
    k: int
    without_correct: int
    """Problems left out because nothing was correct."""


def correct_programs(samples: Iterable[Sample], verdicts: Mapping[tuple[str, int], Verdict]) -> dict[str, list[str]]:
    """Correct programs by task, in order of sample; tasks that were tried without one are there, and empty."""
    found: dict[str, list[str]] = {}
    for sample in sorted(samples, key=lambda sample: (sample.task_id, sample.index)):
        verdict = verdicts.get((sample.task_id, sample.index))
        if verdict is None or verdict.status == "judge_error":
            continue
        rows = found.setdefault(sample.task_id, [])
        if verdict.passed:
            rows.append(sample.code)
    return found


def diversity(correct: Mapping[str, Sequence[str]], *, k: int = 10) -> Diversity:
    """Diversity of a model's correct programs by problem. Raises ValueError when no problem has one."""
    clusters = [cluster(programs) for programs in correct.values() if programs]
    if not clusters:
        raise ValueError("no problem has a correct program")
    most = float(max(map(len, clusters)))
    return Diversity(
        distinct=estimate([distinct_at(one, k) for one in clusters], bounds=(1.0, float(k))),
        effective=estimate([effective(one) for one in clusters], bounds=(1.0, most)),
        nauadc=estimate([nauadc(one) for one in clusters], bounds=(1.0, (1 + MAX_K) / 2)),
        k=k,
        without_correct=len(correct) - len(clusters),
    )


def compare_effective(
    one: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]], *, draws: int = 50, seed: int = 0
) -> Difference:
    """EA of `other` minus EA of `one`, paired by problem, at equal numbers of correct programs.

    Of each problem as many programs are drawn from both as the poorer one has, `draws` times, and EA is averaged.
    Problems where either has fewer than two are left out. Raises ValueError when none is left.
    """
    before, after = [], []
    for problem in sorted(one.keys() & other.keys()):
        sides = cluster(one[problem]), cluster(other[problem])
        size = min(map(len, sides))
        if size < 2:
            continue
        for values, clusters in zip((before, after), sides):
            found = [effective(rarefied(clusters, size, seed=seed + draw)) for draw in range(draws)]
            values.append(sum(found) / draws)
    if not before:
        raise ValueError("no problem has two correct programs on both sides")
    return compare(before, after, bounds=None)


def adjusted_rand(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Agreement of two clusterings, corrected for chance (Hubert and Arabie 1985): 1 the same, about 0 by chance."""
    if len(one) != len(other) or not one:
        raise ValueError("two clusterings of the same programs are needed")

    def pairs(labels: Sequence[Hashable]) -> int:
        return sum(math.comb(count, 2) for count in Counter(labels).values())

    together, a, b, total = pairs(list(zip(one, other))), pairs(one), pairs(other), math.comb(len(one), 2)
    expected = a * b / total if total else 0.0
    most = (a + b) / 2
    return 1.0 if most == expected else (together - expected) / (most - expected)
