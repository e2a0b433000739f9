"""A model that answers from a script, and tasks to search on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from strop.budget import Budget
from strop.models.cache import DrawCache
from strop.search.methods import MethodSpec, get_method
from strop.search.prompting import form_for
from strop.search.schedule import Scheduler
from strop.tasks.protocols import PROTOCOLS
from strop.types import CallCheck, Completion, Limits, Prompt, Request, SamplingParams, ScriptCheck, Spent, Task

GOOD = "def double(x):\n    return 2 * x\n"
WRONG = "def double(x):\n    return x + 2\n"
CRASH = "def double(x):\n    return x.missing\n"


TOKENS = ["def double(x):\n    return ", "x", " + 2\n", "2 * x\n", ""]
END = 4
LIKES = {
    (): ((0, -0.1), (1, -3.0), (2, -4.0)),
    (0,): ((1, -0.2), (3, -2.0), (2, -3.0)),
    (0, 1): ((2, -0.2), (4, -2.0), (3, -3.0)),
}
"""The likely next tokens after a prefix, most likely first; elsewhere the end."""


def task(visible: bool = True, **changes) -> Task:
    checks = [ScriptCheck(code="assert double(5) == 10\nassert double(-1) == -2", name="hidden")]
    if visible:
        checks = [
            CallCheck(function="double", args=(3,), expected=6, visible=True, name="three"),
            CallCheck(function="double", args=(2,), expected=4, visible=True, name="two"),
            *checks,
        ]
    fields: dict = {"id": "t/double", "prompt": "Write double(x) that doubles x.", "entry_point": "double"}
    fields["limits"] = Limits(cpu_seconds=0.5, wall_seconds=5)
    return Task(**(fields | {"checks": tuple(checks)} | changes))


def prompt_text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message.content for message in prompt)


class Scripted:
    """Answers each prompt by `reply(text of the prompt, how often it was asked before)`; keeps what it was asked."""

    name = "scripted"
    chat = True

    def __init__(self, reply: Callable[[str, int], str], batch_size: int = 8) -> None:
        self.reply = reply
        self.fingerprint = f"scripted {id(self)}"
        self.batch_size = batch_size
        self.batches: list[int] = []
        self.asked: list[tuple[str, SamplingParams, int]] = []

    def sample(self, requests: Sequence[Request], params: SamplingParams) -> Iterator[tuple[int, Completion]]:
        self.batches.append(len(requests))
        for place, request in enumerate(requests):
            text = prompt_text(request.prompt)
            before = sum(text == other for other, _, _ in self.asked)
            self.asked.append((text, params, request.seed))
            said = self.reply(text, before)
            tokens = min(params.max_tokens, max(1, len(said) // 4))
            spent = Spent(prompt_tokens=len(text) // 4, sampled_tokens=tokens, model_calls=1, seconds=0.01)
            yield place, Completion(text=said, finish_reason="stop", spent=spent, logprobs=(-0.5,) * tokens)

    def complete_tokens(self, prefixes, params):
        """A model of five tokens: it likes `x + 2` best, and `2 * x` is among what it likes less."""
        from strop.models.flow import TokenCompletion

        for place, (prompt, tokens) in enumerate(prefixes):
            self.asked.append((prompt_text(prompt), params, 0))
            written, new, top = list(tokens), [], []
            while len(written) < params.max_tokens and (not written or written[-1] != END):
                liked = LIKES.get(tuple(written), ((END, -0.1), (0, -3.0), (1, -3.0)))[: params.logprobs]
                new.append(liked[0][0])
                top.append(liked)
                written.append(liked[0][0])
            text = self.token_text(written)
            spent = Spent(prompt_tokens=5 + len(tokens), sampled_tokens=len(new), model_calls=1, seconds=0.01)
            reason = "stop" if written and written[-1] == END else "length"
            yield place, TokenCompletion(tuple(new), tuple(top), reason, text, spent)

    def token_text(self, tokens) -> str:
        said = self.reply("", 0)
        return said if not said.startswith("```") else block("".join(TOKENS[t] for t in tokens))

    def score(self, pairs):
        raise NotImplementedError

    def close(self) -> None:
        pass


def block(code: str) -> str:
    """A reply as the protocol `chat` expects it."""
    return f"```python\n{code}```"


def scheduler(model, judge, budget: str = "programs=8", **options) -> Scheduler:
    form = form_for(PROTOCOLS["chat"], chat=True, local=False)
    return Scheduler(
        model,
        judge,
        form=form,
        params=options.pop("params", SamplingParams(max_tokens=100)),
        budget=Budget.parse(budget),
        cache=options.pop("cache", None) or DrawCache(),
    )


def solve(method, model, judge, tasks=None, budget: str = "programs=8", seed: int = 0, **options):
    """The finished searches of one method (a name or a function) on tasks."""
    spec = get_method(method) if isinstance(method, str) else MethodSpec("mine", method)
    bench = scheduler(model, judge, budget, **options)
    found = list(bench.run(bench.start(spec, one, seed) for one in tasks or [task()]))
    return found[0] if tasks is None else found
