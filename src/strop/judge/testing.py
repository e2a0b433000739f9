"""Enough of unittest and pytest to run test functions inside the judge.

unittest is the standard library's own. pytest is a small stand-in, because the real one collects files, rewrites
imports and takes a third of a second to start: `raises`, `approx`, `fixture`, `mark.parametrize`, `fail`, `skip`.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import math
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any


class Skipped(Exception):
    """A test that skips itself proves nothing, and fails nothing."""


def run_unittest(space: dict[str, Any]) -> None:
    """Run every TestCase in `space`; the first failure or error is raised."""
    import unittest

    class Result(unittest.TestResult):
        def addError(self, test: Any, err: Any) -> None:
            raise err[1]

        def addFailure(self, test: Any, err: Any) -> None:
            raise err[1]

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
            if err is not None:
                raise err[1]

        def addUnexpectedSuccess(self, test: Any) -> None:
            raise AssertionError("unexpected success")

    suite = unittest.TestSuite()
    for value in list(space.values()):
        if isinstance(value, type) and issubclass(value, unittest.TestCase):
            suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(value))
    if suite.countTestCases() == 0:
        raise LookupError("the script has no unittest test")
    result = Result()
    suite.run(result)
    if not result.wasSuccessful() or result.testsRun == 0:
        raise AssertionError("not every test ran")


def run_functions(space: dict[str, Any]) -> None:
    """Run every `test_*` function and every such method of `Test*` classes in `space`, in order of definition."""
    tests: list[Callable[..., Any]] = []
    for name, value in list(space.items()):
        if name.startswith("test") and isinstance(value, types.FunctionType):
            tests.append(value)
        elif name.startswith("Test") and isinstance(value, type):
            for method in [m for m in vars(value) if m.startswith("test")]:
                tests.append(_bound_test(value, method))
    if not tests:
        raise LookupError("the script has no test function")
    fixtures = {name: value for name, value in space.items() if getattr(value, "_strop_fixture", False)}
    for test in tests:
        for case in _cases(test):
            with contextlib.ExitStack() as stack:
                missing = [name for name in inspect.signature(test).parameters if name not in case]
                made = {name: _fixture(name, fixtures, stack) for name in missing}
                with contextlib.suppress(Skipped):
                    test(**case, **made)


def _bound_test(cls: type, method: str) -> Callable[..., Any]:
    instance = cls()
    function = getattr(instance, method)
    before, after = getattr(instance, "setup_method", None), getattr(instance, "teardown_method", None)
    if before is None and after is None:
        return function

    @_like(function)
    def test(**named: Any) -> None:
        if before is not None:
            before(*[function][: len(inspect.signature(before).parameters)])
        try:
            function(**named)
        finally:
            if after is not None:
                after(*[function][: len(inspect.signature(after).parameters)])

    return test


def _like(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    def set_signature(wrapper: Any) -> Any:
        wrapper.__signature__ = inspect.signature(function)
        wrapper._strop_cases = getattr(function, "_strop_cases", [])
        return wrapper

    return set_signature


def _cases(test: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    for combination in itertools.product(*getattr(test, "_strop_cases", [])):
        yield {name: value for part in combination for name, value in part.items()}


def _fixture(name: str, fixtures: dict[str, Any], stack: contextlib.ExitStack) -> Any:
    if name not in fixtures:
        raise LookupError(f"no fixture {name!r}")
    make = fixtures[name]
    value = make(**{need: _fixture(need, fixtures, stack) for need in inspect.signature(make).parameters})
    if inspect.isgenerator(value):
        generator, value = value, next(value)
        stack.callback(lambda: next(generator, None))
    return value


# ---- the stand-in for pytest -------------------------------------------------------------------


class _Raises:
    """`with raises(X, match=...) as info:`"""

    def __init__(self, expected: Any, match: str | None = None) -> None:
        self.expected = expected
        self.match_text = match
        self.value: BaseException | None = None

    @property
    def type(self) -> Any:
        return type(self.value)

    def __enter__(self) -> _Raises:
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> bool:
        if kind is None:
            raise AssertionError(f"did not raise {self.expected}")
        if not issubclass(kind, self.expected):
            return False
        self.value = value
        if self.match_text is not None and not re.search(self.match_text, str(value)):
            raise AssertionError(f"{self.match_text!r} does not match {str(value)!r}")
        return True

    def match(self, pattern: str) -> bool:
        if not re.search(pattern, str(self.value)):
            raise AssertionError(f"{pattern!r} does not match {str(self.value)!r}")
        return True


def raises(expected: Any, *args: Any, match: str | None = None, **kwargs: Any) -> Any:
    context = _Raises(expected, match)
    if args:
        with context:
            args[0](*args[1:], **kwargs)
    return context


class approx:
    """Equal within max(rel * |expected|, abs); defaults as pytest's (1e-6 and 1e-12)."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None, nan_ok: bool = False) -> None:
        self.expected = expected
        self.relative = rel
        self.absolute = abs
        self.nan_ok = nan_ok

    def __eq__(self, actual: Any) -> bool:
        expected = self.expected
        if isinstance(expected, dict):
            return type(actual) is dict and actual.keys() == expected.keys() and all(
                self._with(value) == actual[key] for key, value in expected.items()
            )  # fmt: skip
        if isinstance(expected, list | tuple):
            return type(actual) is type(expected) and len(actual) == len(expected) and all(
                self._with(value) == item for value, item in zip(expected, actual)
            )  # fmt: skip
        if not isinstance(actual, int | float | complex):
            return bool(type(actual).__module__ in ("decimal", "fractions") and self._with(expected) == float(actual))
        if actual == expected:
            return True
        if isinstance(expected, float) and math.isnan(expected):
            return self.nan_ok and actual != actual
        margin = self.absolute if self.absolute is not None else 1e-12
        if self.relative is not None or self.absolute is None:
            margin = max(margin, (1e-6 if self.relative is None else self.relative) * abs(expected))
        return bool(math.isfinite(abs(actual)) and abs(actual - expected) <= margin)

    def _with(self, expected: Any) -> approx:
        return approx(expected, self.relative, self.absolute, self.nan_ok)

    def __repr__(self) -> str:
        return f"approx({self.expected!r})"


def fixture(function: Any = None, **_: Any) -> Any:
    def mark_it(function: Any) -> Any:
        function._strop_fixture = True
        return function

    return mark_it if function is None else mark_it(function)


class _Marks:
    def parametrize(self, names: Any, values: Any, **_: Any) -> Any:
        keys = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)

        def decorate(test: Any) -> Any:
            rows = []
            for row in values:
                row = getattr(row, "_strop_values", row)
                rows.append(dict(zip(keys, [row] if len(keys) == 1 and not isinstance(row, _Row) else row)))
            test._strop_cases = [*getattr(test, "_strop_cases", []), rows]
            return test

        return decorate

    def skip(self, *args: Any, **_: Any) -> Any:
        return self._skipping if not args or not callable(args[0]) else self._skipping(args[0])

    @staticmethod
    def _skipping(test: Any) -> Any:
        test._strop_cases = [[]]
        return test

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **_: args[0] if len(args) == 1 and callable(args[0]) else lambda test: test


class _Row(tuple):
    """The values of one `param(...)`."""


def param(*values: Any, **_: Any) -> Any:
    return _Row(values)


def fail(reason: str = "", **_: Any) -> None:
    raise AssertionError(reason)


def skip(reason: str = "", **_: Any) -> None:
    raise Skipped(reason)


def install() -> None:
    """Make `import pytest` give the stand-in, in this process."""
    module = types.ModuleType("pytest")
    for name in ("raises", "approx", "fixture", "param", "fail", "skip"):
        setattr(module, name, globals()[name])
    module.mark = _Marks()  # type: ignore[attr-defined]
    sys.modules["pytest"] = module
