"""Text that others wrote, made safe to look at; and numbers as text.

Prompts, programs and what programs print are hostile. HTML escaping stops markup; it does not stop characters that
hide or reorder text (NUL, terminal escapes, bidi overrides, zero-width joiners, lone surrogates). `visible` writes
each of those as its number, so that what is shown is what is there. It returns plain text; escaping is the template's.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode general categories without a faithful glyph: controls, formats, surrogates, private use, unassigned, and
line and paragraph separators."""
ALSO_HIDDEN = frozenset("\u00a0\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters of other categories that draw nothing although they are not white space to a compiler."""

HIGHLIGHT_LIMIT = 20_000
"""Longest program, in characters, that is coloured; longer ones are shown plain, to keep lexing cheap."""


@lru_cache(maxsize=4096)
def _glyph(character: str) -> str:
    if character in "\n\t":
        return character
    if unicodedata.category(character) not in HIDDEN_CATEGORIES and character not in ALSO_HIDDEN:
        return character
    return f"‹U+{ord(character):04X}›"


def visible(text: str) -> str:
    """`text` with every character that hides or reorders text replaced by ‹U+XXXX›.

    Newlines and tabs stay. The result holds no surrogate, so it can always be encoded as UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_glyph, text))


def excerpt(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, with a note of how many were left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n… {len(text) - limit:,} more characters"


# What a reader needs to tell apart in a short program, and nothing finer.
_CLASSES = (
    ("Comment", "c"),
    ("Literal.String", "s"),
    ("Literal.Number", "m"),
    ("Keyword", "k"),
    ("Operator.Word", "k"),
)
_DEFINED = ("Name.Function", "Name.Class")


def highlight(code: str, language: str = "python") -> str:
    """Escaped HTML of a program, with spans of class c, s, m, k and n (comment, string, number, keyword, definition).

    Every character of the program goes through `visible` and is escaped. An unknown language, or a program longer
    than `HIGHLIGHT_LIMIT`, comes back escaped without colours.
    """
    from markupsafe import Markup, escape
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    shown = visible(code)
    if len(shown) > HIGHLIGHT_LIMIT:
        return escape(shown)
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escape(shown)
    parts: list[str] = []
    for kind, value in lexer.get_tokens(shown):
        name = str(kind).removeprefix("Token.")
        style = next((style for prefix, style in _CLASSES if name.startswith(prefix)), "")
        style = "n" if name.startswith(_DEFINED) else style
        parts.append(f'<span class="{style}">{escape(value)}</span>' if style else str(escape(value)))
    return Markup("".join(parts))


# ---- numbers -----------------------------------------------------------------------------------


def percent(value: float | None, digits: int = 1) -> str:
    """A rate as text: 0.4062 -> `40.6 %`; None -> a dash."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def points(value: float | None, digits: int = 1) -> str:
    """A difference of rates in points: 0.1 -> `+10.0`, with a real minus sign, and no sign for nothing."""
    if value is None:
        return "–"
    text = f"{100 * value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def number(value: float) -> str:
    """A number short enough for an axis: 12,500 -> `12.5k`; 0.00005 -> `5e-5`."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:g}M"
    if size >= 1e4:
        return f"{value / 1e3:g}k"
    if 0 < size < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")
