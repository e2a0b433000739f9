"""TinyCoder's vocabulary: fragments of Python, and the tokenizer that cuts text into them, longest first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from strop.papers.tinycoder.problems import CHAIN, ENDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END, PAD, UNKNOWN = "<end>", "<pad>", "<unknown>"
CODE = (
    "    ys = ", "    return ", "\n", "xs", "ys", "y", "i", "1", "(", ")", "[", "]",
    "2 * ", " * ", " + 1", " % 2 == 0", " % 2 != 0", " > 0", " < 0",
    " for y in ", " for i in ", " if ", " in ", " else 0",
    "sorted(", ", reverse=True", ", default=0", "list(", "set(", "dict.fromkeys(", "sum(", "max(", "min(", "len(",
    "range(", "[::-1]", "[1:]", "[:-1]", "[:3]", "[0]", "[-1]", "[i]", "[i:]",
    # What is left of a bracketed fragment when a corpus has lost its closing bracket.
    "[::-1", "[1:", "[:-1", "[:3", "[0", "[-1", "[i", "[i:",
)  # fmt: skip
PROMPT = ('def f(xs):\n    """', '."""\n', ", then ", *(step.phrase for step in (*CHAIN, *ENDS)))
VOCABULARY = (END, PAD, UNKNOWN, *PROMPT, *CODE)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A transformers tokenizer over `VOCABULARY`; text of anything else becomes `<unknown>`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.WordLevel({text: number for number, text in enumerate(VOCABULARY)}, unk_token=UNKNOWN))
    longest_first = sorted((*PROMPT, *CODE), key=lambda text: (-len(text), text))
    pattern = "|".join(re.escape(text) for text in longest_first)
    bare.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")  # type: ignore[assignment]
    bare.decoder = decoders.Fuse()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=bare,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=256,
    )
