"""What a model argument such as `gguf/FILE+ADAPTER` or `openai/NAME@URL` means."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from strop.types import StropError

FORMS = (
    "`smollm2`, `hf/NAME-or-PATH`, `gguf/FILE`, any of these with `+ADAPTER-FOLDER`, `vllm/NAME-or-PATH`, "
    "`openai/NAME@URL`, or `replay/RUN-FOLDER`"
)

Kind = Literal["smollm2", "gguf", "hf", "vllm", "openai", "replay"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A parsed model argument."""

    kind: Kind
    target: str
    """File, folder, hub name, endpoint model id or run folder (`@STAGE` included); empty for `smollm2`."""
    adapter: Path | None = None
    url: str = ""
    """Endpoint address without a trailing slash, `openai` only."""

    @property
    def base(self) -> str:
        """The same spec without its adapter."""
        return "smollm2" if self.kind == "smollm2" else f"{self.kind}/{self.target}"


def parse_spec(text: str) -> ModelSpec:
    """Read a model argument. Raises StropError when it has none of the known forms."""
    kind, slash, rest = text.partition("/")
    if kind == "openai" and slash:
        return _parse_endpoint(rest)
    if kind in ("hf", "gguf", "vllm") and rest:
        target, adapter = _split_adapter(rest)
        return ModelSpec(kind, os.path.expanduser(target), adapter)
    if kind == "replay" and rest:
        return ModelSpec(kind, os.path.expanduser(rest))
    if text == "smollm2" or text.startswith("smollm2+"):
        _, adapter = _split_adapter(text)
        return ModelSpec("smollm2", "", adapter)
    hint = ""
    if text.endswith(".gguf"):
        hint = f" Did you mean gguf/{text}?"
    elif Path(text).is_dir():
        hint = f" Did you mean hf/{text}?"
    raise StropError(f"Unknown model {text!r}. A model is {FORMS}.{hint}")


def _parse_endpoint(text: str) -> ModelSpec:
    match = re.fullmatch(r"(.+?)@(https?://([^/]+)(/.*)?)", text)
    if match is None:
        # The text is not repeated: what follows the name may hold a password.
        raise StropError(
            "An endpoint is written openai/NAME@URL with an http or https address, "
            "for example openai/qwen2.5-coder@http://localhost:8000/v1."
        )
    name, url, host, _ = match.groups()
    if "@" in host:
        raise StropError(
            "The model's address holds a user name or password. Strop takes keys from STROP_API_KEY or "
            "OPENAI_API_KEY only, because addresses are written to run folders."
        )
    return ModelSpec("openai", name, url=url.rstrip("/"))


def _split_adapter(text: str) -> tuple[str, Path | None]:
    """`BASE+FOLDER` at the last plus sign, unless the whole text is an existing path (plus signs occur in names)."""
    base, plus, folder = text.rpartition("+")
    if not plus or Path(text).expanduser().exists():
        return text, None
    if not folder:
        raise StropError(f"Model {text!r}: the adapter folder after '+' is missing.")
    return base, Path(folder).expanduser()


def is_local(text: str) -> bool:
    """Whether the weights are in this process: such a model can go on from begun replies. Of a recorded run: whether
    they were there."""
    parsed = parse_spec(text)
    if parsed.kind == "replay":
        from strop.models.replay import recorded_model

        return is_local(recorded_model(parsed))
    return parsed.kind != "openai"
