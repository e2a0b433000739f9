"""Keeps passwords and keys out of run folders, which people share.

Two strengths. Text about the run (command, config, events) loses every secret that the environment holds and
everything that looks like a credential. Text that is data (a model's answer, a program's output) loses only secrets of
the environment that are long enough not to be an ordinary word, because code must be kept exactly as it was judged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
_ORDINARY = {"true", "false", "none", "null", "auto", "default", "disabled", "enabled"}
_CREDENTIAL_FIELD = re.compile(
    r"(?:^|[-_.])(?:(?:api|access|auth|bearer|private|secret|hf)[-_]?(?:key|token)|secret|password|passwd|authorization)$"
    r"|^(?:key|token)$",
    re.IGNORECASE,
)
# What follows the name of a credential on a command line, as `--api-key X`, `--token=X` or `OPENAI_API_KEY=X`.
_CREDENTIAL_ARGUMENT = re.compile(
    r"""((?:--(?:[\w-]*-)?(?:(?:api|access|auth|bearer|private|secret|hf)[-_]?(?:key|token)|secret|password|passwd)
          |--(?:key|token))(?:=|\s+)
        |[?&](?:api[-_]?key|key|token|access[-_]?token)=
        |\b[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD)[A-Z0-9_]*=)
        ("[^"]*"|'[^']*'|[^\s'"]+)""",
    re.VERBOSE,
)
_CREDENTIAL_TEXT = re.compile(
    r"(?i:(?<=\bbearer )|(?<=\bbearer:)|(?<=\bbearer=))\s*[\w.~+/=-]+"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
    r"|\b(?:sk-[\w-]{12,}|hf_\w{16,}|gh[pousr]_\w{16,}|github_pat_\w{16,})"
)


class Secrets:
    """The secrets of one environment, read once."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        values = {
            value
            for name, value in (os.environ if environ is None else environ).items()
            if _SECRET_NAME.search(name) and _is_secret(value)
        }
        # Longest first, so that a secret inside another one does not leave the rest of it behind.
        self._all = sorted(values, key=len, reverse=True)
        self._long = [value for value in self._all if len(value) >= 8]

    def hide(self, value: Any, field: str = "") -> Any:
        """Plain data about the run, without credentials in any of its texts or keys."""
        if isinstance(value, str):
            if value and _CREDENTIAL_FIELD.search(field):
                return HIDDEN
            for secret in self._all:
                # A short secret is hidden where it stands alone, a long one anywhere.
                pattern = re.escape(secret) if len(secret) >= 8 else rf"(?<!\w){re.escape(secret)}(?!\w)"
                value = re.sub(pattern, HIDDEN, value)
            return _CREDENTIAL_TEXT.sub(HIDDEN, _CREDENTIAL_ARGUMENT.sub(rf"\1{HIDDEN}", value))
        if isinstance(value, Mapping):
            return {self.hide(key): self.hide(item, str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide(item, field) for item in value]
        return value

    def hide_in_data(self, value: Any) -> Any:
        """Plain data made by models and programs, without the long secrets of the environment."""
        if not self._long:
            return value
        if isinstance(value, str):
            for secret in self._long:
                value = value.replace(secret, HIDDEN)
            return value
        if isinstance(value, Mapping):
            return {self.hide_in_data(key): self.hide_in_data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide_in_data(item) for item in value]
        return value


def _is_secret(value: str) -> bool:
    """TOKENIZERS_PARALLELISM=false and SSL_KEY_FILE=/etc/ssl/key.pem match by name and hold no secret."""
    if len(value) < 4 or value.lower() in _ORDINARY:
        return False
    return not (value.startswith(("/", "~", "./")) and os.path.exists(os.path.expanduser(value)))
