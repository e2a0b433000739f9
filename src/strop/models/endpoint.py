"""Models behind an OpenAI-compatible address: `openai/NAME@URL`.

Requests go out concurrently, up to a limit. Time-outs, failed connections, broken or unreadable answers and the
statuses 408, 409, 425, 429 and 5xx are tried again after a growing, jittered pause, or the one the server asks for in
`Retry-After`. Anything else ends the call with one clear paragraph, after all answers already there were handed out.

Token counts come from the server's `usage`. Where it sends none they stay 0 and `usage_missing` counts the answers, so
that a report can say "unknown". The key comes from STROP_API_KEY or OPENAI_API_KEY and goes nowhere but into the
request's header.

Each request is sent with its own seed; whether the server honours it is in `probe().seed`. `token_ids` are not known,
and `logprobs` only when `SamplingParams.logprobs` asks for them. Servers have sampling defaults of their own (llama.cpp
top-k 40 and min-p 0.05, vLLM those of the model's generation config); where the server takes the fields they are
switched off, else `probe().top_k` is False and its samples follow its defaults.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import fields
from typing import Any

from strop.models import Score
from strop.models.draw import check_params
from strop.models.probe import NO_HIDDEN_LIMITS, Capabilities, logprobs_fields, probe
from strop.models.replies import read_reply
from strop.models.spec import ModelSpec
from strop.models.stops import cut
from strop.models.transport import EndpointOptions, Stopped, Transport
from strop.types import Completion, Prompt, Request, SamplingParams, Spent, StropError, content_hash

MOST_STOPS = 4
"""Stop strings sent; OpenAI allows no more. Texts are cut at all of them here."""


def load_endpoint(name: str, spec: ModelSpec, batch_size: int | None, options: dict[str, Any]) -> Endpoint:
    """Make the Model; nothing is sent yet. Raises StropError for unknown options."""
    known = sorted(field.name for field in fields(EndpointOptions))
    if unknown := sorted(set(options) - set(known)):
        raise StropError(f"Unknown endpoint option {', '.join(unknown)}; there are {', '.join(known)}.")
    settings = EndpointOptions(**options)
    return Endpoint(name, spec, settings, batch_size or 4 * settings.concurrency)


class Endpoint:
    """An OpenAI-compatible server as a `strop.models.Model`. Safe to use from several threads."""

    def __init__(self, name: str, spec: ModelSpec, options: EndpointOptions, batch_size: int) -> None:
        self.name, self.batch_size, self.options = name, batch_size, options
        self.fingerprint = content_hash("endpoint", spec.url, spec.target)
        self.retried = 0
        """Attempts that had to be repeated."""
        self.usage_missing = 0
        """Answers without token counts."""
        self._model = spec.target
        self._transport = Transport(spec.url, options)
        self._capabilities: Capabilities | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r})"

    @property
    def chat(self) -> bool:
        """Whether message prompts work. The first use probes the server; raises StropError when it cannot be used."""
        return self.probe().chat

    def probe(self) -> Capabilities:
        """What the server can do, asked once. Call it before a run to fail early."""
        with self._lock:
            if self._capabilities is None:
                self._capabilities = probe(self._transport, self._model)
            return self._capabilities

    def sample(self, requests: Sequence[Request], params: SamplingParams) -> Iterator[tuple[int, Completion]]:
        """Yield (position, completion) as answers come. `spent.model_calls` counts attempts, failed ones included;
        `spent.seconds` is the time a request was under way, so concurrent ones add up to more than passed.
        """
        check_params(params)
        bodies = [self._body(request, params) for request in requests]
        timeout = self.options.total_timeout
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.options.concurrency, thread_name_prefix="strop-endpoint")
        waiting = list(reversed(range(len(requests))))
        running: dict[Future[Completion], int] = {}
        failure: StropError | None = None
        try:
            while running or (waiting and failure is None):
                while waiting and failure is None and len(running) < self.options.concurrency:
                    position = waiting.pop()
                    running[pool.submit(self._one, *bodies[position], params, deadline, stop)] = position
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    position = running.pop(future)
                    try:
                        completion = future.result()
                    except Stopped:
                        continue
                    except StropError as error:
                        failure = failure or error
                        stop.set()  # others finish the attempt they are in, and start no new one
                        continue
                    yield position, completion
            if failure is not None:
                raise failure
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def score(self, pairs: Sequence[tuple[Prompt, str]], *, hidden: bool = False) -> list[Score]:
        """Always refused: chat and completions routes give log-probabilities of what they drew, not of given text."""
        raise StropError(
            f"{self.name} cannot score given text: OpenAI-compatible endpoints return log-probabilities of tokens "
            "they drew, not of a given continuation, and Strop does not guess them. Score with a local model."
        )

    def close(self) -> None:
        self._transport.close()

    def _body(self, request: Request, params: SamplingParams) -> tuple[str, dict[str, Any]]:
        """Route and JSON of a request. Raises StropError for what this server cannot be asked."""
        able = self.probe()
        body: dict[str, Any] = {"model": self._model, able.max_field: params.max_tokens, "seed": request.seed % 2**31}
        body |= {"temperature": params.temperature, "top_p": params.top_p if params.temperature else 1.0}
        if params.temperature:
            if not able.varies:
                raise StropError(
                    f"{self.name} gave one and the same answer to different seeds at temperature 1, so samples from it "
                    "would be copies. Draw with temperature 0, or repair the server: transformers' own, for instance, "
                    "ignores the temperature unless the model's generation_config.json holds do_sample: true."
                )
            if params.top_k and not able.top_k:
                raise StropError(f"{self.name} does not take top_k, and top_k={params.top_k} is asked for.")
            if able.top_k:
                body |= NO_HIDDEN_LIMITS | ({"top_k": params.top_k} if params.top_k else {})
        if params.stop:
            body["stop"] = list(params.stop[:MOST_STOPS])
        if isinstance(request.prompt, str):
            route = "completions"
            body["prompt"] = request.prompt
        else:
            route = "chat/completions"
            if request.prompt and request.prompt[-1].role == "assistant":
                raise StropError(
                    f"{self.name} is asked to continue an assistant message, which OpenAI-compatible servers do not "
                    "agree on. Use a protocol that does not begin the answer."
                )
            body["messages"] = [{"role": message.role, "content": message.content} for message in request.prompt]
        if not (able.completions if route == "completions" else able.chat):
            kind = "raw text (no /completions route)" if route == "completions" else "messages (no /chat/completions)"
            raise StropError(f"{self.name} does not take {kind}. Use another prompt protocol.")
        if params.logprobs:
            if not able.logprobs:
                raise StropError(
                    f"{self.name} returns no log-probabilities, and {params.logprobs} a token are asked for."
                )
            body |= logprobs_fields(route, params.logprobs)
        return route, body

    def _one(
        self, route: str, body: dict[str, Any], params: SamplingParams, deadline: float, stop: threading.Event
    ) -> Completion:
        answer = self._transport.call(route, body, deadline=deadline, stop=stop, accept=read_reply)
        reply = read_reply(answer.body)
        known = reply.prompt_tokens is not None and reply.sampled_tokens is not None
        with self._lock:
            self.retried += answer.attempts - 1
            self.usage_missing += not known
        prompt_tokens, sampled_tokens = reply.prompt_tokens or 0, reply.sampled_tokens or 0
        price = prompt_tokens * self.options.price_prompt + sampled_tokens * self.options.price_sampled
        tops = reply.top_logprobs if params.logprobs else None
        text = cut(reply.text, params)
        at_stop = text != reply.text or (reply.finish_reason == "stop" and reply.stop_reason in params.stop)
        return Completion(
            text=text,
            finish_reason="stop_string" if at_stop else reply.finish_reason,
            spent=Spent(
                prompt_tokens=prompt_tokens,
                sampled_tokens=sampled_tokens,
                model_calls=answer.attempts,
                seconds=answer.seconds,
                money=price / 1e6,
            ),
            logprobs=reply.logprobs,
            top_logprobs=tops and tuple(place[: params.logprobs] for place in tops),
        )
