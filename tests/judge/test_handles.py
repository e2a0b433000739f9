# ruff: noqa: E501 (programs are easier to read on one line)
"""Objects that stay with the program: classes under test work, and pretending objects gain nothing."""

from __future__ import annotations

import pytest
from judge_helpers import task

STACK = """
class Stack:
    def __init__(self): self.items = []
    def push(self, x): self.items.append(x)
    def pop(self):
        if not self.items: raise IndexError("empty stack")
        return self.items.pop()
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(list(self.items))
    def __contains__(self, x): return x in self.items
"""
VECTOR = """
class Vector:
    def __init__(self, x, y): self.x, self.y = x, y
    def __add__(self, o): return Vector(self.x + o.x, self.y + o.y)
    def __mul__(self, k): return Vector(self.x * k, self.y * k)
    __rmul__ = __mul__
    def __eq__(self, o): return (self.x, self.y) == (o.x, o.y)
    def __abs__(self): return (self.x ** 2 + self.y ** 2) ** 0.5
    def __repr__(self): return f"Vector({self.x}, {self.y})"
    def __bool__(self): return bool(self.x or self.y)
    def __lt__(self, o): return abs(self) < abs(o)
    def __getitem__(self, i): return (self.x, self.y)[i]
"""


def passes(judge, code, program, **fields):
    (verdict,) = judge.run(task(code, **fields), [program])
    assert verdict.status != "judge_error", verdict
    return verdict.passed


# ---- honest objects


@pytest.mark.parametrize("reference", [STACK, None])
def test_a_class_under_test(judge, reference):
    code = """
s = Stack()
s.push(1); s.push([2, 3])
assert len(s) == 2 and 1 in s and 9 not in s
assert list(s) == [1, [2, 3]]
assert s.pop() == [2, 3]
assert s.items == [1]
assert isinstance(s, Stack) and not isinstance(3, Stack)
s.items = [7, 8]
assert s.pop() == 8 and bool(s)
s.pop()
try:
    s.pop()
except IndexError as error:
    assert str(error) == "empty stack"
else:
    assert False
t = Stack()
assert s is not t and s != t and s == s
"""
    assert passes(judge, code, STACK, reference=reference)
    assert not passes(judge, code, STACK.replace("items.pop()", "items.pop(0)"), reference=reference)


def test_operators_of_a_class(judge):
    code = """
v = Vector(1, 2) + Vector(2, 2)
assert v == Vector(3, 4) and v != Vector(3, 5) and not v == (3, 4)
assert abs(v) == 5.0 and v * 2 == 2 * v == Vector(6, 8)
assert repr(v) == str(v) == f"{v}" == "Vector(3, 4)"
assert not Vector(0, 0) and Vector(0, 1)
assert Vector(0, 1) < v and v > Vector(0, 1) and max(Vector(9, 9), v) == Vector(9, 9)
assert v[1] == 4 and v.x == 3
assert [v, Vector(0, 0)] == [Vector(3, 4), Vector(0, 0)]
"""
    assert passes(judge, code, VECTOR, reference=VECTOR)
    assert not passes(judge, code, VECTOR.replace("self.y + o.y", "self.y"), reference=VECTOR)


def test_a_class_that_extends_a_builtin(judge):
    lru = """
from collections import OrderedDict
class LRUCache(OrderedDict):
    def __init__(self, n):
        super().__init__(); self.n = n
    def read(self, k):
        if k not in self: return -1
        self.move_to_end(k); return self[k]
    def put(self, k, v):
        self[k] = v; self.move_to_end(k)
        if len(self) > self.n: self.popitem(last=False)
"""
    code = "c = LRUCache(2)\nc.put(1, 1); c.put(2, 2)\nassert c.read(1) == 1\nc.put(3, 3)\nassert c.read(2) == -1 and c.read(3) == 3"
    assert passes(judge, code, lru, reference=lru)
    assert passes(judge, code, lru)


def test_generators_iterators_and_closures(judge):
    program = """
def count(n):
    i = n
    while True:
        yield i
        i += 1
def adder(n): return lambda x: x + n
def pairs(xs): return zip(xs, xs[1:])
def both(f, g): return lambda x: g(f(x))
def apply(f, xs): return [f(x) for x in xs]
def total(xs): return sum(xs)
def numbers(): return {1: 2}.items(), {1: 2}.keys(), range(3), map(str, [1])
"""
    code = """
import itertools
g = count(5)
assert next(g) == 5 and list(itertools.islice(g, 3)) == [6, 7, 8]
assert adder(3)(4) == 7
assert list(pairs([1, 2, 3])) == [(1, 2), (2, 3)]
assert both(lambda x: x + 1, lambda x: x * 10)(2) == 30
assert both(adder(1), str)(2) == "3"
assert apply(len, ["a", "bc"]) == [1, 2] and apply(lambda x: x * 2, (1, 2)) == [2, 4]
assert total(x * x for x in range(4)) == 14 and total(iter([1, 2])) == 3
items, keys, span, strings = numbers()
assert list(items) == [(1, 2)] and keys == {1} and span == range(3) and list(strings) == ["1"]
assert apply(adder(1), [1]) == [2]
"""
    assert passes(judge, code, program, reference="def count(n): yield n")


def test_callbacks_that_call_the_program_again(judge):
    program = "def twice(f, x): return f(f(x))\ndef inc(x): return x + 1"
    assert passes(judge, "assert twice(lambda x: inc(x) * 2, 3) == 18", program)
    (verdict,) = judge.run(task("def f(x):\n    assert x < 4\n    return x + 1\ntwice(f, 3)"), [
        "def twice(f, x):\n    try: return f(f(x))\n    except BaseException: return 5"
    ])  # fmt: skip
    assert verdict.status == "failed", "an assertion inside a callback cannot be swallowed"


def test_arguments_changed_in_place(judge):
    program = "def zeroes(xs): xs.sort(key=bool, reverse=True)\ndef fill(d, s): d['a'] = [1]; s.add(2)"
    code = "xs = [0, 3, 0, 1]\nzeroes(xs)\nassert xs == [3, 1, 0, 0]\nd, s = {}, {1}\nfill(d, s)\nassert d == {'a': [1]} and s == {1, 2}"
    assert passes(judge, code, program)


def test_a_returned_value_does_not_come_with_changed_arguments(judge):
    code = "xs = [1, 2, 3]\nassert largest(xs) == max(xs)"
    assert passes(judge, code, "def largest(xs): return max(xs)")
    assert not passes(judge, code, "def largest(xs):\n    xs[:] = [0]\n    return 0")


def test_exceptions(judge):
    program = """
class BankError(Exception): pass
class Poor(BankError):
    def __init__(self, need): super().__init__(f"need {need}"); self.need = need
def pay(n):
    if n < 0: raise ValueError("negative")
    if n > 9: raise Poor(n)
    return n
"""
    code = """
import pytest, unittest
with pytest.raises(ValueError, match="neg"): pay(-1)
with pytest.raises(Poor) as info: pay(10)
assert "need 10" in str(info.value) and info.value.need == 10
try: pay(11)
except BankError as error: assert str(error) == "need 11"
case = unittest.TestCase()
with case.assertRaises(ValueError): pay(-1)
case.assertRaises(Poor, pay, 10)
assert pay(3) == 3
"""
    assert passes(judge, code, program)
    assert not passes(judge, code, program.replace("raise Poor(n)", "raise KeyError(n)"))
    assert not passes(judge, code, "def pay(n): return n\nPoor = BankError = ValueError")


@pytest.mark.parametrize("style", ["unittest", "pytest"])
def test_test_classes_and_functions(judge, style):
    code = {
        "unittest": """
import unittest
class TestIt(unittest.TestCase):
    def setUp(self): self.n = 3
    def test_one(self): self.assertEqual(square(self.n), 9)
    def test_two(self):
        for i in range(3):
            with self.subTest(i=i): self.assertEqual(square(i), i * i)
    def test_three(self): self.assertAlmostEqual(half(3), 1.5)
""",
        "pytest": """
import pytest
from solution import square, half as halve
@pytest.fixture
def three(): yield 3
@pytest.mark.parametrize("n,want", [(1, 1), (2, 4), pytest.param(3, 9)])
def test_one(n, want): assert square(n) == want
def test_two(three): assert halve(three) == pytest.approx(1.5)
class TestMore:
    def setup_method(self): self.k = 4
    def test_it(self): assert square(self.k) == 16
""",
    }[style]
    good = "def square(x): return x * x\ndef half(x): return x / 2"
    assert passes(judge, code, good, style=style)
    for bad in (good.replace("x * x", "x + x"), good.replace("x / 2", "x // 2"), "import os\nos._exit(0)", ""):
        assert not passes(judge, code, bad, style=style)


def test_program_objects_as_arguments(judge):
    program = """
class Node:
    def __init__(self, v): self.v, self.left, self.right = v, None, None
def depth(n): return 0 if n is None else 1 + max(depth(n.left), depth(n.right))
"""
    setup = "root = Node(1)\nroot.left = Node(2)\nroot.left.right = Node(3)"
    assert passes(judge, "assert depth(root) == 3", program, setup=setup)
    assert passes(judge, "assert depth(root) == 3", program, setup=setup, reference=program)
    assert not passes(judge, "assert depth(root) == 4", program, setup=setup)


def test_helpers_come_from_the_task_not_from_the_program(judge):
    stub = "import math\ndef poly(xs, x):\n    return sum(c * math.pow(x, i) for i, c in enumerate(xs))\ndef root(xs):\n    '''A zero.'''\n"
    code = "def check(candidate):\n    assert math.fabs(poly([-4.0, 2.0], candidate([-4.0, 2.0]))) < 1e-4"
    good = stub + "    return -xs[0] / xs[1]"
    fields = {"style": "check", "entry_point": "root", "stub": stub}
    assert passes(judge, code, good, **fields)
    assert not passes(
        judge, code, "def poly(xs, x): return 0\ndef root(xs): return 77.5\nclass math: fabs = lambda x: 0", **fields
    )


# ---- pretenders

AGREEABLE = """
class Yes:
    def __getattr__(self, name):
        if name.startswith('__'): raise AttributeError(name)
        return lambda *a, **k: True
    def __call__(self, *a, **k): return self
    def __iter__(self): return iter(())
    def __next__(self): raise StopIteration
    def __hash__(self): return 0
    def __len__(self): return 1
    def __abs__(self): return 0.0
    def __round__(self, *a): return 0
    def __float__(self): return 0.0
    def __int__(self): return 0
    def __index__(self): return 0
    def __str__(self): return ""
    def __enter__(self): return self
    def __exit__(self, *a): return True
    def __instancecheck__(self, o): return True
    __class__ = property(lambda self: list)
for _n in 'eq ne lt le gt ge bool contains'.split(): setattr(Yes, f'__{_n}__', lambda self, *a: True)
for _n in 'add sub mul truediv floordiv mod pow and or xor'.split():
    setattr(Yes, f'__{_n}__', lambda self, *a: 0.0); setattr(Yes, f'__r{_n}__', lambda self, *a: 0.0)
Yes.__getitem__ = lambda self, k: self
"""
ASSERTIONS = [
    "f(3) == 9",
    "9 == f(3)",
    "f(3)",
    "bool(f(3))",
    "not not f(3)",
    "f(3) in (9,)",
    "f(3) in {9: 1}",
    "9 in f(3)",
    "f(3) <= 9 <= f(3)",
    "f(3) >= 9",
    "abs(f(3) - 9) < 1e-6",
    "abs(9 - f(3)) < 1e-6",
    "math.isclose(f(3) - 9, 0)",
    "f(3) - 9 == 0",
    "isinstance(f(3), list)",
    "isinstance(f(3), (int, list)) and f(3) == [1]",
    "len(f(3)) == 1",
    "f(3)[0] == 9",
    "f(3).startswith('ab')",
    "f(3).count(9) == 1",
    "f(3).issubset({1, 2})",
    "f(3).equals(9)",
    "f(3) == f(4) == 9",
    "[f(3), 1] == [9, 1]",
    "sorted([f(3)]) == [9]",
    "set(f(3)) == {9}",
    "dict(f(3)) == {1: 2}",
    "str(f(3)) == '9'",
    "float(f(3)) == 9.0",
    "round(f(3), 2) == 9",
    "sum([f(3)]) == 9",
    "all(x == y for x, y in zip([f(3)], [9]))",
    "f(3) is not None and f(3) == 9",
    "any(f(3) == x for x in (1, 9))",
    "f(3) ** 2 == 81",
    "f(3) % 2 == 1",
    "f(3).real == 9",
    "max(f(3), 5) == 9",
    "(lambda r: r == 9 or r == 10)(f(3))",
    "unittest.TestCase().assertEqual(f(3), 9) is None",
    "unittest.TestCase().assertTrue(f(3)) is None",
    "unittest.TestCase().assertIn(9, f(3)) is None",
    "unittest.TestCase().assertAlmostEqual(f(3), 9.0) is None",
    "unittest.TestCase().assertGreater(f(3), 5) is None",
    "pytest.approx(9) == f(3)",
    "f(3) == pytest.approx(9)",
]


@pytest.mark.parametrize("reference", [None, "def f(x):\n    return x * x\n"])
def test_pretenders_satisfy_no_assertion(judge, reference):
    """Objects that agree with everything, returned where plain data is due."""
    returns = {
        "instance": "Yes()",
        "class": "Yes",
        "callable": "lambda *a: True",
        "generator": "(Yes() for _ in range(9))",
        "in a list": "[Yes()]",
        "in a dict": "{5: Yes()}",
        "int": "type('I', (int,), {'__eq__': lambda s, o: True, '__hash__': lambda s: 0, '__sub__': lambda s, o: 0})(77)",
        "str": "type('S', (str,), {'__eq__': lambda s, o: True, '__hash__': lambda s: 0, 'startswith': lambda s, o: True})('no')",
        "list": "type('L', (list,), {'__eq__': lambda s, o: True, '__len__': lambda s: 1, '__contains__': lambda s, o: True})([5, 5])",
        "float": "type('F', (float,), {'__eq__': lambda s, o: True, '__sub__': lambda s, o: 0.0, '__abs__': lambda s: 0.0})(77.5)",
        "dict": "type('D', (dict,), {'__eq__': lambda s, o: True, '__getitem__': lambda s, o: 9})({5: 5})",
    }  # fmt: skip
    trivially_true = {  # what any non-empty plain value would satisfy as well
        ("f(3)", "in a list"), ("f(3)", "in a dict"), ("f(3)", "int"), ("f(3)", "str"), ("f(3)", "list"), ("f(3)", "float"),
        ("f(3)", "dict"),
    }  # fmt: skip
    truths = {"f(3)", "bool(f(3))", "not not f(3)", "unittest.TestCase().assertTrue(f(3)) is None"}
    containers = {
        ("len(f(3)) == 1", "in a list"), ("len(f(3)) == 1", "in a dict"), ("len(f(3)) == 1", "dict"),
        ("isinstance(f(3), list)", "in a list"), ("isinstance(f(3), list)", "list"), ("f(3) >= 9", "int"),
        ("f(3) >= 9", "float"), ("max(f(3), 5) == 9", ""), ("f(3) % 2 == 1", "int"),
        ("unittest.TestCase().assertIn(9, f(3)) is None", "in a dict"),
        ("unittest.TestCase().assertGreater(f(3), 5) is None", "int"),
        ("unittest.TestCase().assertGreater(f(3), 5) is None", "float"),
    }  # fmt: skip
    head = "import math, unittest, pytest\n"
    jobs = []
    for text in ASSERTIONS:
        for name, value in returns.items():
            plain = name in ("in a list", "in a dict", "int", "str", "list", "float", "dict")
            if (text, name) in trivially_true | containers or (plain and text in truths):
                continue
            check = task(f"{head}assert {text}", entry_point="f", reference=reference)
            jobs.append(((text, name), check, f"{AGREEABLE}\ndef f(x): return {value}"))
    verdicts = dict(judge.stream(jobs))
    assert len(verdicts) == len(jobs)
    assert not {key: v.detail for key, v in verdicts.items() if v.passed or v.status == "judge_error"}


def test_a_class_answers_only_for_what_its_reference_defines(judge):
    """An account has no arithmetic: a balance that is an object cannot agree with the expected number."""
    account = "class Account:\n    def __init__(self): self.b = 0\n    def add(self, n): self.b += n\n    def balance(self): return self.b\n"
    code = "a = Account()\na.add(3)\nassert abs(a.balance() - 3) < 1e-9\nassert a.balance() > 2\nassert a.balance()"
    assert passes(judge, code, account, reference=account)
    forged = AGREEABLE + "class Account:\n    def add(self, n): pass\n    def balance(self): return Yes()\n"
    assert not passes(judge, code, forged, reference=account)
    assert not passes(judge, "a = Account()\nassert a.balance() == 0", forged, reference=account)
    assert not passes(judge, "a = Account()\nassert 5 in [a.balance()]", forged, reference=account)
    assert not passes(judge, "a = Account()\nassert a.balance().startswith('x')", forged, reference=account)


def test_values_do_not_change_between_two_reads(judge):
    """A result is fixed when it arrives; only an object under test may answer anew each time."""
    program = "class L(list):\n    n = 0\n    def __getitem__(self, i):\n        L.n += 1\n        return L.n\ndef f(x): return L([5, 1])"
    assert passes(judge, "r = f(3)\nassert r[0] == r[0] == 5 and r == [5, 1]", program)
    assert not passes(judge, "r = f(3)\nassert r[0] <= r[1]", program)


def test_stop_iteration_does_not_end_a_loop_of_the_test(judge):
    code = "args = [1, 2, 3]\nfor got, want in zip(map(f, args), [1, 4, 9]):\n    assert got == want"
    for program in (
        "def f(x): raise StopIteration",
        "def f(x): return next(iter(()))",
        "class E(StopIteration): pass\ndef f(x): raise E",
        "def f(x): raise GeneratorExit",
        "def f(x): raise StopAsyncIteration",
        "def f(x): raise KeyboardInterrupt",
        "class StopIteration(Exception): pass\ndef f(x): raise StopIteration",
    ):
        assert not passes(judge, code, program), program


def test_a_script_that_swallows_everything_still_fails_when_the_program_dies(judge):
    code = "try:\n    assert f(3) == 9\nexcept BaseException:\n    pass"
    assert not passes(judge, code, "import os\ndef f(x): os._exit(0)")
    assert not passes(judge, code, "def f(x):\n    while True: pass")
