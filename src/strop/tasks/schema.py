"""Strop's own JSON Lines: one task a line. This file is the schema; `strop tasks schema` prints it.

Unknown keys are errors. Values that JSON cannot hold are Python literals in text (`strop.tasks.literals`). Only `id`,
`prompt` and `checks` are required. A check is a text such as `"median([3, 1, 2]) == 2"` or an object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator

from strop.tasks.literals import parse, parse_call, parse_check, parse_literal, write_call, write_literal
from strop.tasks.reading import Defect
from strop.types import CallCheck, Check, GoalCheck, Limits, ScriptCheck, StdioCheck, StropError, Task, TextCheck


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _CheckRow(_Row):
    visible: bool = Field(False, description="True: a method may use this check. False: only the final score may.")
    name: str = ""


class TextualRow(_CheckRow):
    """A check written as text."""

    check: str = Field(description="`f(1) == 2`, `f(0.1) == 0.3 ~ 1e-9`, or statements with asserts.")

    @field_validator("check")
    @classmethod
    def _parses(cls, value: str) -> str:
        parse_check(value)
        return value

    def build(self) -> Check:
        return parse_check(self.check, visible=self.visible, name=self.name)


class CallRow(_CheckRow):
    """Call a function; the result must equal `expected`."""

    call: str = Field(description="A call with literal arguments: `f((1, 2), k=3)`.")
    expected: str = Field(description="A Python literal in text: `{1, 2}`.")
    tolerance: float | None = Field(None, ge=0, description="Largest absolute or relative difference between floats.")

    @field_validator("call")
    @classmethod
    def _is_call(cls, value: str) -> str:
        parse_call(value)
        return value

    @field_validator("expected")
    @classmethod
    def _is_literal(cls, value: str) -> str:
        parse_literal(value)
        return value

    def build(self) -> Check:
        function, args, kwargs = parse_call(self.call)
        return CallCheck(
            function=function,
            args=args,
            kwargs=kwargs,
            expected=parse_literal(self.expected),
            tolerance=self.tolerance,
            visible=self.visible,
            name=self.name,
        )


class StdioRow(_CheckRow):
    """Run the whole program with `stdin`; compare its standard output."""

    stdin: str
    stdout: str
    comparer: str = Field("lines", description="exact, lines, tokens, numeric, or source of compare(stdin, e, a).")
    tolerance: float | None = Field(None, ge=0)

    @field_validator("comparer")
    @classmethod
    def _is_comparer(cls, value: str) -> str:
        if value not in ("exact", "lines", "tokens", "numeric") and "def compare" not in value:
            raise ValueError("must be exact, lines, tokens, numeric or Python source that defines `compare`")
        return value

    def build(self) -> Check:
        return StdioCheck(**self.model_dump())


class ScriptRow(_CheckRow):
    """Run assertions against the program."""

    script: str
    style: Literal["asserts", "check", "unittest", "pytest"] = "asserts"

    @field_validator("script")
    @classmethod
    def _parses(cls, value: str) -> str:
        tree = parse(value)
        if isinstance(tree, SyntaxError):
            raise ValueError(f"not valid Python: {tree}")
        return value

    def build(self) -> Check:
        return ScriptCheck(code=self.script, style=self.style, visible=self.visible, name=self.name)


class TextRow(_CheckRow):
    """Compare a text answer with a reference."""

    text: str

    def build(self) -> Check:
        return TextCheck(reference=self.text, visible=self.visible, name=self.name)


class GoalRow(_CheckRow):
    """A condition on the state of an environment."""

    goal: dict[str, Any]

    def build(self) -> Check:
        return GoalCheck(goal=self.goal, visible=self.visible, name=self.name)


def _kind(value: Any) -> str | None:
    """Which check an object is: by the one key that only this kind has."""
    if isinstance(value, dict):
        for key in ("check", "call", "stdin", "script", "text", "goal"):
            if key in value:
                return f"<{key}>"
    return None


def _spell_out(value: Any) -> Any:
    return {"check": value} if isinstance(value, str) else value


CheckRow = Annotated[
    Annotated[TextualRow, Tag("<check>")]
    | Annotated[CallRow, Tag("<call>")]
    | Annotated[StdioRow, Tag("<stdin>")]
    | Annotated[ScriptRow, Tag("<script>")]
    | Annotated[TextRow, Tag("<text>")]
    | Annotated[GoalRow, Tag("<goal>")],
    Discriminator(
        _kind,
        custom_error_type="unknown_check",
        custom_error_message="a check is a text, or an object with one of: check, call, stdin, script, text, goal",
    ),
    BeforeValidator(_spell_out, json_schema_input_type=str | dict[str, Any]),
]


class LimitsRow(_Row):
    """What one program may use; left out: the judge's calibrated default."""

    cpu_seconds: float | None = Field(None, gt=0)
    wall_seconds: float | None = Field(None, gt=0)
    memory_mb: int | None = Field(None, gt=0)
    output_kb: int | None = Field(None, gt=0)


class TaskRow(_Row):
    """A programming problem and the checks that decide whether a program solves it."""

    id: str = Field(min_length=1)
    prompt: str = Field(min_length=1, description="The problem, as text or as code to complete.")
    checks: list[CheckRow] = Field(min_length=1)
    language: str = "python"
    entry_point: str | None = Field(None, description="Left out: the function that all call checks use, if it is one.")
    stub: str = Field("", description="Code that a solution may start from: imports, signature, docstring.")
    setup: str = Field("", description="Trusted code that script checks may use.")
    reference: str | None = Field(None, description="A whole program that passes every check.")
    split: str = "test"
    tags: list[str] = []
    source: str = ""
    licence: str = ""
    limits: LimitsRow = LimitsRow.model_construct()
    meta: dict[str, Any] = {}

    def build(self) -> Task:
        checks = tuple(row.build() for row in self.checks)
        name = self.entry_point
        if "entry_point" not in self.model_fields_set:
            called = {check.function for check in checks if isinstance(check, CallCheck)}
            name = called.pop() if len(called) == 1 else None
        texts = ("id", "prompt", "language", "stub", "setup", "reference", "split", "source", "licence", "meta")
        return Task(
            **{key: getattr(self, key) for key in texts},
            checks=checks,
            entry_point=name,
            tags=tuple(self.tags),
            limits=Limits(**self.limits.model_dump()),
        )


def json_schema() -> dict[str, Any]:
    """JSON Schema of one line. A check may also be a text, which stands for `{"check": text}`."""
    schema = TaskRow.model_json_schema()
    items = schema["properties"]["checks"]["items"]
    names = ("TextualRow", "CallRow", "StdioRow", "ScriptRow", "TextRow", "GoalRow")
    defined = TaskRow.model_json_schema(mode="serialization")["$defs"]
    schema.setdefault("$defs", {}).update({name: defined[name] for name in names})
    items.clear()
    items["anyOf"] = [{"type": "string"}, *[{"$ref": f"#/$defs/{name}"} for name in names]]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Strop task"}


def read_task(row: dict[str, Any], file: str, line: int) -> Iterator[Task | Defect]:
    """The task of one row, or all its defects."""
    try:
        parsed = TaskRow.model_validate(row)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_context=False, include_input=False):
            yield Defect(file, line, _field(item["loc"]), _message(item))
        return
    except RecursionError:
        yield Defect(file, line, None, "nested too deeply")
        return
    defects = []
    if parsed.language == "python":
        for key in ("setup", "reference"):
            if isinstance(tree := parse(getattr(parsed, key) or ""), SyntaxError):
                defects.append(Defect(file, line, key, f"not valid Python: {tree}"))
    yield from defects or [parsed.build()]


def _field(location: tuple[int | str, ...]) -> str:
    """`checks[2].call` from pydantic's location, without the tags of the check kinds."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not (part.startswith("<") and part.endswith(">")):
            text += f".{part}" if text else part
    return text


def _message(item: Mapping[str, Any]) -> str:
    if item["type"] == "extra_forbidden":
        return "unknown key"
    if item["type"] == "missing":
        return "missing"
    return item["msg"].removeprefix("Value error, ")


def write_row(task: Task) -> dict[str, Any]:
    """The JSON object of a task; fields that hold their default are left out.

    Raises StropError when a value has no text form (`read_task` gives back an equal task for all others).
    """
    row: dict[str, Any] = {"id": task.id, "prompt": task.prompt}
    row["checks"] = [write_check(check, f"task {task.id!r}, check {i}") for i, check in enumerate(task.checks)]
    row["entry_point"] = task.entry_point
    for key in ("language", "stub", "setup", "reference", "split", "source", "licence"):
        value = getattr(task, key)
        if value != TaskRow.model_fields[key].default:
            row[key] = value
    if task.tags:
        row["tags"] = list(task.tags)
    limits = {name: getattr(task.limits, name) for name in LimitsRow.model_fields}
    if any(value is not None for value in limits.values()):
        row["limits"] = {name: value for name, value in limits.items() if value is not None}
    if task.meta:
        row["meta"] = _plain_json(dict(task.meta), f"task {task.id!r}, meta")
    return row


def write_check(check: Check, place: str) -> dict[str, Any]:
    """The JSON object of a check. Raises StropError that names `place` when a value has no text form."""
    row: dict[str, Any]
    try:
        match check:
            case CallCheck():
                row = {"call": write_call(check), "expected": write_literal(check.expected)}
            case StdioCheck():
                row = {"stdin": check.stdin, "stdout": check.stdout}
                if check.comparer != "lines":
                    row["comparer"] = check.comparer
            case ScriptCheck():
                row = {"script": check.code} | ({"style": check.style} if check.style != "asserts" else {})
            case TextCheck():
                row = {"text": check.reference}
            case GoalCheck():
                row = {"goal": _plain_json(dict(check.goal), place)}
    except (ValueError, RecursionError) as error:
        raise StropError(f"{place}: {error}, so the task cannot be written as JSON") from None
    if isinstance(check, CallCheck | StdioCheck) and check.tolerance is not None:
        row["tolerance"] = check.tolerance
    if check.visible:
        row["visible"] = True
    if check.name:
        row["name"] = check.name
    return row


def _plain_json(value: dict[str, Any], place: str) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise StropError(f"{place}: {error}, so the task cannot be written as JSON") from None
