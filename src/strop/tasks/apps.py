"""Competition problems with inputs and outputs: the formats of APPS, TACO, CodeContests and LiveCodeBench.

Rows differ in their names, not in what they say:

- APPS, TACO: `question`, `input_output` (JSON text or object with `inputs`, `outputs`, `fn_name`), `starter_code`.
- CodeContests: `description`, `public_tests`, `private_tests`, `generated_tests`, each `{input: [...], output: [...]}`.
- LiveCodeBench: `question_content`, `public_test_cases`, `private_test_cases` (lists of `{input, output, testtype}`, as
  JSON or as base64 of compressed JSON), `metadata.func_name`.
- Code-RL rows: `prompt` (or `question`), and `inputs`, `outputs`, `fn_name` at the top or in `tests`, or `tests` as a
  list of assert statements.

Without a function name the program reads standard input: `StdioCheck`. Output is compared by white-space separated
tokens; where the expected output holds a decimal point, numbers may differ by 1e-6 (absolute or relative, the usual
rule of such contests). With a function name the check calls it: a method of `class Solution` where the starter code
has that class, else a function. As in APPS's own test, tuples count as lists, and a value `v` may be written `[v]`.

Tests that a row calls public, and APPS inputs quoted in the question, are visible; all others are hidden.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from strop.tasks.literals import parse, write_literal
from strop.tasks.mbpp import entry_point
from strop.tasks.reading import Defect
from strop.types import Check, ScriptCheck, StdioCheck, Task

MAX_DECOMPRESSED_BYTES = 512 * 2**20
_SET_UP = """\
def plain(value):
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value

def same(result, expected):
    result = plain(result)
    return result == expected or (isinstance(expected, list) and len(expected) == 1 and result == expected[0])
"""


@dataclass(frozen=True, slots=True)
class _Test:
    given: Any
    wanted: Any
    visible: bool
    field: str


class _BadField(Exception):
    """A field that cannot be used: its name and why."""


def read_apps(row: dict[str, Any], file: str, line: int) -> Iterator[Task | Defect]:
    """The task of one row, or its defect."""
    try:
        yield _task(row, line)
    except _BadField as error:
        field, message = error.args
        yield Defect(file, line, field, message)
    except RecursionError:
        yield Defect(file, line, None, "nested too deeply")


def _task(row: dict[str, Any], line: int) -> Task:
    question = _question(row)
    if isinstance(row.get("tests"), list):
        return _assertions(row, question, line)
    tests, function = _tests(row, question)
    if not tests:
        raise _BadField("input_output", "holds no test: nothing decides whether a program is right")
    starter = row.get("starter_code") or ""
    if not isinstance(starter, str):
        raise _BadField("starter_code", "must be a text")
    in_class = bool(re.search(r"^class Solution\b", starter, re.MULTILINE))
    if function is not None:
        checks = [_call_check(test, function, in_class) for test in tests]
    else:
        checks = [_stdio_check(test) for test in tests]
    shown = f"{question.strip()}\n\nStart from this code:\n\n{starter.strip()}\n" if starter.strip() else question
    level = row.get("difficulty")
    return Task(
        id=_identifier(row, line),
        prompt=shown,
        checks=tuple(checks),
        entry_point=None if function is None else "Solution" if in_class else function,
        setup=_SET_UP if function is not None else "",
        reference=_reference(row),
        split=row["split"] if isinstance(row.get("split"), str) else "test",
        tags=(level,) if isinstance(level, str) and level else (f"difficulty-{level}",) if level else (),
        source=next((name for key, name in _SOURCES if key in row), ""),
    )


def _assertions(row: dict[str, Any], question: str, line: int) -> Task:
    """Rows of code-RL sets whose `tests` are assert statements."""
    tests = row["tests"]
    for place, text in enumerate(tests):
        tree = parse(text) if isinstance(text, str) else SyntaxError("not a text")
        if isinstance(tree, SyntaxError):
            raise _BadField(f"tests[{place}]", f"not valid Python: {tree}")
    if not tests:
        raise _BadField("tests", "is empty: nothing decides whether a program is right")
    reference = _reference(row)
    return Task(
        id=_identifier(row, line),
        prompt=question,
        checks=tuple(ScriptCheck(code=text.strip() + "\n", name=f"tests[{i}]") for i, text in enumerate(tests)),
        entry_point=entry_point(tests, reference),
        reference=reference,
    )


_SOURCES = (("input_output", "APPS"), ("public_tests", "CodeContests"), ("public_test_cases", "LiveCodeBench"))


def _identifier(row: dict[str, Any], line: int) -> str:
    for key in ("id", "task_id", "problem_id", "question_id", "name"):
        value = row.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return f"row-{line}"


def _question(row: dict[str, Any]) -> str:
    for key in ("question", "question_content", "description", "prompt"):
        value = row.get(key)
        if isinstance(value, list):  # chat messages, as in code-RL rows
            parts = [item.get("content") for item in value if isinstance(item, dict) and item.get("role") == "user"]
            value = "\n\n".join(part for part in parts if isinstance(part, str))
        if isinstance(value, str) and value.strip():
            return value
        if key in row:
            raise _BadField(key, "must be a text that is not empty")
    raise _BadField("question", "missing (or question_content, description, prompt)")


def _tests(row: dict[str, Any], question: str) -> tuple[list[_Test], str | None]:
    """All tests of a row and the function they call, None for standard input."""
    if "public_test_cases" in row:
        return _live_code_bench(row)
    if "public_tests" in row:
        tests = []
        for key in ("public_tests", "private_tests", "generated_tests"):
            value = row.get(key) or {}
            pairs = _pairs(value, key, ("input", "output"))
            tests += [_Test(a, b, key == "public_tests", f"{key}[{i}]") for i, (a, b) in enumerate(pairs)]
        return tests, None
    key = next((key for key in ("input_output", "tests", "inputs") if key in row), None)
    if key is None:
        raise _BadField("input_output", "missing (or tests, public_tests, public_test_cases, inputs and outputs)")
    value = _json(row[key], key) if key != "inputs" else row
    if not isinstance(value, dict):
        raise _BadField(key, "must be an object with `inputs` and `outputs`, or its JSON text")
    function = value.get("fn_name") or row.get("fn_name")
    if function is not None and not (isinstance(function, str) and function.isidentifier()):
        raise _BadField(f"{key}.fn_name", f"{function!r} is not a Python name")
    pairs = _pairs(value, key, ("inputs", "outputs"))
    stdin = function is None
    tests = [
        _Test(a, b, stdin and len(_text(a).strip()) > 2 and _text(a).strip() in question, f"{key}[{i}]")
        for i, (a, b) in enumerate(pairs)
    ]
    return tests, function


def _pairs(value: Any, field: str, names: tuple[str, str]) -> list[tuple[Any, Any]]:
    if not isinstance(value, dict):
        raise _BadField(field, f"must be an object with `{names[0]}` and `{names[1]}`")
    given, wanted = (value.get(name) or [] for name in names)
    if not isinstance(given, list) or not isinstance(wanted, list):
        raise _BadField(field, f"`{names[0]}` and `{names[1]}` must be lists")
    if len(given) != len(wanted):
        raise _BadField(field, f"{len(given)} {names[0]} but {len(wanted)} {names[1]}")
    return list(zip(given, wanted))


def _live_code_bench(row: dict[str, Any]) -> tuple[list[_Test], str | None]:
    metadata = _json(row.get("metadata") or {}, "metadata")
    function = metadata.get("func_name") if isinstance(metadata, dict) else None
    tests: list[_Test] = []
    for key in ("public_test_cases", "private_test_cases"):
        value = row.get(key) or []
        if isinstance(value, str) and not value.lstrip().startswith("["):
            value = _unpack(value, key)
        value = _json(value, key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise _BadField(key, "must be a list of objects with `input` and `output`")
        for place, item in enumerate(value):
            if not isinstance(item.get("input"), str) or not isinstance(item.get("output"), str):
                raise _BadField(f"{key}[{place}]", "`input` and `output` must be texts")
            given: Any = item["input"]
            wanted: Any = item["output"]
            if function is not None:  # arguments one a line, each as JSON
                lines = [text for text in given.split("\n") if text.strip()]
                given = [_json(text, f"{key}[{place}].input") for text in lines]
                wanted = _json(wanted, f"{key}[{place}].output")
            tests.append(_Test(given, wanted, key == "public_test_cases", f"{key}[{place}]"))
    if function is not None and not (isinstance(function, str) and function.isidentifier()):
        raise _BadField("metadata.func_name", f"{function!r} is not a Python name")
    return tests, function


def _unpack(text: str, field: str) -> str:
    """LiveCodeBench's private tests: base64 of zlib of a pickled text. The pickle is read, never run."""
    try:
        decoder = zlib.decompressobj()
        data = decoder.decompress(base64.b64decode(text, validate=True), MAX_DECOMPRESSED_BYTES)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise _BadField(field, f"neither JSON nor base64 of compressed JSON ({error})") from None
    if decoder.unconsumed_tail or not decoder.eof:
        raise _BadField(field, f"truncated, or larger than {MAX_DECOMPRESSED_BYTES // 2**20} MiB when decompressed")
    if data[:1] in (b"[", b" ", b"\n"):
        return data.decode("utf-8", "replace")
    found: list[str] = []
    try:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name in ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"):
                found.append(str(argument))
            elif operation.name not in ("PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP"):
                raise _BadField(field, f"a pickle that does more than hold a text ({operation.name}); it is not run")
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise _BadField(field, f"damaged ({error})") from None
    if len(found) != 1:
        raise _BadField(field, "a pickle that does not hold one text")
    return found[0]


def _json(value: Any, field: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise _BadField(field, f"not valid JSON ({error})") from None


def _text(value: Any) -> str:
    """Standard input or output; a list holds one line an item."""
    if isinstance(value, list):
        return "\n".join(map(_text, value)) + "\n"
    return value if isinstance(value, str) else str(value)


def _stdio_check(test: _Test) -> Check:
    wanted = _text(test.wanted)
    decimal = bool(re.search(r"\d\.\d", wanted))
    return StdioCheck(
        stdin=_text(test.given),
        stdout=wanted,
        comparer="numeric" if decimal else "tokens",
        tolerance=1e-6 if decimal else None,
        visible=test.visible,
        name=test.field,
    )


def _call_check(test: _Test, function: str, in_class: bool) -> Check:
    arguments = _json(test.given, test.field) if isinstance(test.given, str) else test.given
    if not isinstance(arguments, list):
        raise _BadField(test.field, "the input of a function must be a list of its arguments")
    called = f"Solution().{function}" if in_class else function
    try:
        given = ", ".join(map(write_literal, arguments))
        wanted = write_literal(test.wanted)
    except ValueError as error:
        raise _BadField(test.field, str(error)) from None
    return ScriptCheck(code=f"assert same({called}({given}), {wanted})\n", visible=test.visible, name=test.field)


def _reference(row: dict[str, Any]) -> str | None:
    """The first solution in Python 3 syntax, if the row has any."""
    value = row.get("solutions") or row.get("solution") or []
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = [value]
    if isinstance(value, dict):  # CodeContests: parallel lists of language (3 is Python 3) and solution
        languages, texts = value.get("language") or [], value.get("solution") or []
        value = [text for language, text in zip(languages, texts) if language in (3, "PYTHON3")]
    for text in value if isinstance(value, list) else []:
        if isinstance(text, str) and text.strip() and not isinstance(parse(text), SyntaxError):
            return text
    return None
