"""The nouns of Strop. Every other module speaks them, so read this file first.

- `Task`: a problem: a prompt, and the checks that decide whether a program solves it.
- `Check`: one observation of a program: `CallCheck`, `StdioCheck`, `ScriptCheck`, `TextCheck` or `GoalCheck`.
- `Limits`: the resources one program may use.
- `Prompt`, `SamplingParams`, `Request`, `Completion`: what goes into a model and what comes out.
- `Sample`: a completion for a task, with the program read out of it.
- `Verdict`, `CheckResult`: what the judge saw when the program ran.
- `Reward`: a number with named parts, or `None` when the judge itself failed.
- `Preference`: a prompt with a chosen and a rejected answer. `Episode`, `Step`: interaction with an environment.
- `Spent`: what any of it cost.

All are frozen and compare by value. Nothing here imports anything but the standard library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias


class StropError(Exception):
    """An error the user can act on. The command line prints its text as one paragraph and exits with code 2."""


# ---- problems ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCheck:
    """Call `function` with plain values; the result must equal `expected` under Python's own `==`."""

    function: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    expected: Any = None
    tolerance: float | None = None
    """Largest absolute or relative difference allowed between floats, anywhere inside the value. None: exact."""
    visible: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioCheck:
    """Run the program with `stdin`; its standard output must match `stdout` under `comparer`."""

    stdin: str
    stdout: str
    comparer: str = "lines"
    """`exact`, `lines` (trailing white space ignored), `tokens` (all white space ignored), `numeric` (tokens; numbers
    within `tolerance`), or Python source of a trusted `compare(stdin, expected, actual) -> bool`."""
    tolerance: float | None = None
    visible: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptCheck:
    """Run assertions against the program. The script stays with the judge; the program sees only calls."""

    code: str
    style: Literal["asserts", "check", "unittest", "pytest"] = "asserts"
    """`asserts`: bare statements (MBPP). `check`: defines `check(candidate)` (HumanEval). `unittest`: TestCase
    classes. `pytest`: `test_*` functions."""
    visible: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCheck:
    """Compare the program's text, or a text answer, with a reference; for tasks whose output is not executed."""

    reference: str
    visible: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalCheck:
    """A condition on an environment's state after the program acted in it; `goal` is read by that environment."""

    goal: Mapping[str, Any]
    visible: bool = False
    name: str = ""


Check: TypeAlias = CallCheck | StdioCheck | ScriptCheck | TextCheck | GoalCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one program may use. `None` leaves the judge's calibrated default in place."""

    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    memory_mb: int | None = None
    output_kb: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A problem with its checks. `public()` is all that a method may see of it."""

    id: str
    prompt: str
    """The problem, as text or as code to complete."""
    checks: tuple[Check, ...]
    language: str = "python"
    entry_point: str | None = None
    """Name of the function or class that the checks use; None for whole programs."""
    stub: str = ""
    """Code that a solution may start from: imports, helpers, signature and docstring. Empty if there is none."""
    setup: str = ""
    """Trusted code that script checks may use (helpers quoted in the prompt). Runs beside the checks."""
    reference: str | None = None
    """A whole program that passes every check."""
    split: str = "test"
    tags: tuple[str, ...] = ()
    source: str = ""
    licence: str = ""
    limits: Limits = Limits()
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def visible_checks(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.visible)

    @property
    def hidden_checks(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.visible)

    def public(self) -> Task:
        """The task without hidden checks, set-up and reference: the only form handed to search and training methods."""
        return replace(self, checks=self.visible_checks, reference=None, setup="", meta={})


# ---- models ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message in OpenAI's format."""

    role: Literal["system", "user", "assistant"]
    content: str


Prompt: TypeAlias = str | tuple[Message, ...]
"""Raw text to continue, or chat messages to answer (a last assistant message is continued)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to draw. Defaults are the usual ones of code benchmarks: temperature 0.8, nucleus 0.95 (Chen et al. 2021)."""

    temperature: float = 0.8
    """0 means greedy."""
    top_p: float = 0.95
    top_k: int = 0
    """0 means no limit."""
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    """Strings that end a completion; they are not part of its text."""
    stop_after_block: bool = False
    """End behind the first closed Markdown code block, which stays part of the text."""
    logprobs: int = 0
    """How many alternatives to record per token, besides the chosen token's own log-probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One completion to draw. The same request to the same model gives the same completion, where it can promise so."""

    prompt: Prompt
    seed: int
    """Seeds this completion alone; see `request_seed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What something cost. Adds up."""

    prompt_tokens: int = 0
    sampled_tokens: int = 0
    model_calls: int = 0
    programs: int = 0
    seconds: float = 0.0
    money: float = 0.0
    """In US dollars; 0 for local models."""

    def __add__(self, other: Spent) -> Spent:
        return Spent(**{name: value + getattr(other, name) for name, value in asdict(self).items()})


FinishReason = Literal["stop", "length", "stop_string", "content_filter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model wrote for one request."""

    text: str
    finish_reason: FinishReason
    spent: Spent
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    """Natural-log probability of each chosen token under the model at temperature 1 (before top-p and top-k)."""
    top_logprobs: tuple[tuple[tuple[int | str, float], ...], ...] | None = None
    """At each token's place the `SamplingParams.logprobs` most likely tokens and their log-probabilities, most likely
    first: token ids from local models, tokens' texts from endpoints. None when not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A model's answer to a task: completion, the program extracted from it, and how it was drawn."""

    task_id: str
    index: int
    """Number of this sample among those drawn for the task, from 0."""
    text: str
    code: str
    """The whole program that is judged; empty when no program could be read out of the text."""
    finish_reason: FinishReason
    seed: int
    protocol: str
    """Name of the prompt protocol that rendered the task and extracted the code."""
    spent: Spent
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None


# ---- verdicts ----------------------------------------------------------------------------------

Status = Literal[
    "passed", "failed", "syntax_error", "runtime_error", "timeout", "out_of_memory", "forbidden", "judge_error"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Outcome of one check. `actual` and `expected` are excerpts; methods see them for visible checks only."""

    name: str
    passed: bool
    visible: bool
    status: Status
    message: str = ""
    actual: str | None = None
    expected: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What happened when a program ran. `judge_error` means that Strop failed; it says nothing about the program."""

    status: Status
    fraction: float
    """Share of checks passed, 0 to 1; checks not run because an earlier one failed count as not passed."""
    checks: tuple[CheckResult, ...] = ()
    seconds: float = 0.0
    """CPU seconds of the program, measured outside it."""
    wall_seconds: float = 0.0
    memory_mb: float = 0.0
    """Peak resident memory."""
    detail: str = ""
    """One line for people: the first failing check, the compiler's message, the limit that was hit."""
    output: str = ""
    """Excerpt of what the program printed. Hostile text: escape it wherever it is shown."""
    isolation: str = ""
    """Level of the isolation ladder that held while it ran."""
    flags: tuple[str, ...] = ()
    """Signs of tampering or instability, such as `early_exit`, `bad_frame`, `flaky`."""
    forgeable: bool = False
    """True when the checks had to run inside the program's own process."""

    @property
    def passed(self) -> bool:
        return self.status == "passed"


# ---- learning ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """A total with its named parts. A judge error gives no reward at all: `None`, never 0."""

    total: float
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A pair in TRL's preference layout, with the evidence that made it."""

    prompt: Prompt
    chosen: str
    rejected: str
    margin: float | None = None
    why: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One exchange with an environment."""

    observation: str
    action: str
    reward: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A whole interaction with an environment."""

    steps: tuple[Step, ...]
    info: Mapping[str, Any] = field(default_factory=dict)


# ---- identity ----------------------------------------------------------------------------------


def content_hash(*parts: Any) -> str:
    """SHA-256 over a canonical JSON form of `parts`; keys of work items, cache entries and data sets.

    Dataclasses hash by their fields, other values that JSON cannot hold by `repr`, so give it plain data.
    """

    def plain(value: Any) -> Any:
        if hasattr(value, "__dataclass_fields__"):
            return {"": type(value).__name__} | {name: getattr(value, name) for name in value.__dataclass_fields__}
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, set | frozenset):
            return sorted(map(repr, value))
        return repr(value)

    text = json.dumps(parts, sort_keys=True, default=plain, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def request_seed(seed: int, prompt_key: str, index: int) -> int:
    """Seed of sample `index` for a prompt: 63 bits that depend on nothing but the three arguments."""
    digest = hashlib.sha256(f"{seed}\x1f{prompt_key}\x1f{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
