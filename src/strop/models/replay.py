"""A recorded run as a model: `replay/RUN-FOLDER` gives the completions that the run drew, without weights or network.

A request is found by its seed, which depends on the run's seed, the prompt and the number of the sample
(`strop.types.request_seed`): the same command with `--model replay/RUN` asks for the same seeds. What the run did not
draw is refused, never invented. `replay/RUN@STAGE` names one stage, where several drew with the same seeds, as those
before and after training do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from strop.models import Score
from strop.models.spec import ModelSpec
from strop.run import Run
from strop.types import Completion, Prompt, Request, SamplingParams, StropError

COMPARED = ("temperature", "top_p", "max_tokens")
"""Sampling parameters that a run's manifest tells, where it has them."""


class Replay:
    """The samples of a run folder as a `strop.models.Model`. `fingerprint` is that of the model that drew them."""

    chat = True
    """Message prompts are looked up like any other; where the recorded model took none, give its protocol by name."""

    def __init__(self, name: str, spec: ModelSpec, batch_size: int | None = None) -> None:
        self.name, self.batch_size = name, batch_size or 64
        folder, stage = _place(spec)
        self._run = Run.read(folder)
        manifest = self._run.manifest
        self.fingerprint = manifest["inputs"].get("model_fingerprint", "unknown")
        self._config: dict[str, Any] = manifest["config"]
        stages = self._run.stages()
        if stage and stage not in stages:
            self.close()
            raise StropError(f"{folder} has no stage {stage!r}; it has {', '.join(stages) or 'none'}.")
        self._index: dict[int, tuple[str, str, int]] = {}
        """Seed -> (stage, task id, index)."""
        self._twice: set[str] = set()
        for one in [stage] if stage else stages:
            for seed, task_id, number in self._run.sample_seeds(one):
                found = self._index.setdefault(seed, (one, task_id, number))
                if found[0] != one:
                    self._twice |= {found[0], one}

    def sample(self, requests: Sequence[Request], params: SamplingParams) -> Iterator[tuple[int, Completion]]:
        """Yield the recorded completions in the order of `requests`; `spent` is what they cost when they were drawn.

        Raises StropError, before the first one, for requests that the run did not draw and for parameters that are not
        the run's.
        """
        self._check(requests, params)
        for position, request in enumerate(requests):
            sample = self._run.sample(*self._index[request.seed])
            yield (
                position,
                Completion(
                    text=sample.text,
                    finish_reason=sample.finish_reason,
                    spent=sample.spent,
                    token_ids=sample.token_ids,
                    logprobs=sample.logprobs,
                ),
            )

    def _check(self, requests: Sequence[Request], params: SamplingParams) -> None:
        if self._twice:
            raise StropError(
                f"{self._run.path} drew with the same seeds in the stages {', '.join(sorted(self._twice))}; "
                f"name one: {self.name}@STAGE."
            )
        differing = [
            f"{name} {self._config[name]} (asked: {getattr(params, name)})"
            for name in COMPARED
            if name in self._config and self._config[name] != getattr(params, name)
        ]
        if differing:
            raise StropError(f"{self._run.path} was drawn with {', '.join(differing)}.")
        if params.logprobs:
            raise StropError(f"{self._run.path} keeps no alternatives to the drawn tokens; ask for logprobs=0.")
        missing = sum(request.seed not in self._index for request in requests)
        if missing:
            how = {
                name: self._config[name] for name in ("tasks", "samples", "seed", "protocol") if name in self._config
            }
            raise StropError(
                f"{self._run.path} holds no completion for {missing} of {len(requests)} requests. It was drawn with "
                f"{', '.join(f'{name} {value}' for name, value in how.items()) or 'other settings'}; tasks, seed, "
                "samples and protocol (--as) must be the same."
            )

    def score(self, pairs: Sequence[tuple[Prompt, str]], *, hidden: bool = False) -> list[Score]:
        """Always refused: a run holds what was drawn, not what else could have been."""
        raise StropError(f"{self.name} is a recorded run and cannot score text. Score with a local model.")

    def close(self) -> None:
        self._run.close()


def recorded_model(spec: ModelSpec) -> str:
    """The model argument of the run that a `replay/` argument names."""
    folder, _ = _place(spec)
    with closing(Run.read(folder)) as run:
        return run.manifest["config"].get("model", "smollm2")


def _place(spec: ModelSpec) -> tuple[Path, str]:
    """Folder and stage; the text after the last `@` is a stage unless the whole names a folder."""
    folder, at, stage = spec.target.rpartition("@")
    return (Path(folder), stage) if at and not Path(spec.target).exists() else (Path(spec.target), "")
