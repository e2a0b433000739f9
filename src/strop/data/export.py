"""Pairs as files in the layouts that TRL's trainers read, one row a pair (or two, unpaired), JSON Lines or Parquet.

- `preference`: `prompt, chosen, rejected` for DPO and reward models.
- `unpaired`: `prompt, completion, label` for KTO.
- `prompt-completion`: `prompt, completion`, the chosen answers, for SFT.

Message prompts become TRL's conversational form. A prompt that ends in a begun assistant message gives that beginning
to the answer, because TRL's layouts end a prompt with the user. Further columns hold the evidence: `task_id`,
`method`, `score_gap` (not named `margin`, which TRL's reward trainer would put into its loss) and `evidence` as JSON.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.types import Message, Preference, Prompt, StropError

if TYPE_CHECKING:
    from strop.data.plum import Labelled

LAYOUTS = ("preference", "unpaired", "prompt-completion")
Row = dict[str, Any]


def pair_rows(pairs: Iterable[Preference], layout: str = "preference") -> Iterator[Row]:
    """The rows of a layout. Raises StropError for an unknown one."""
    if layout not in LAYOUTS:
        raise StropError(f"No layout {layout!r}; choose one of {', '.join(LAYOUTS)}.")
    for pair in pairs:
        prompt, chosen = _split(pair.prompt, pair.chosen)
        _, rejected = _split(pair.prompt, pair.rejected)
        evidence = {
            "task_id": str(pair.why.get("task_id", "")),
            "method": str(pair.why.get("method", "")),
            "score_gap": pair.margin,
            "evidence": json.dumps(dict(pair.why), sort_keys=True),
        }
        if layout == "preference":
            yield {"prompt": prompt, "chosen": chosen, "rejected": rejected} | evidence
        elif layout == "prompt-completion":
            yield {"prompt": prompt, "completion": chosen} | evidence
        else:
            yield {"prompt": prompt, "completion": chosen, "label": True} | evidence
            yield {"prompt": prompt, "completion": rejected, "label": False} | evidence


def labelled_rows(labelled: Iterable[Labelled]) -> Iterator[Row]:
    """The `unpaired` layout of answers that were never paired."""
    for item in labelled:
        prompt, completion = _split(item.prompt, item.completion)
        yield {"prompt": prompt, "completion": completion, "label": item.label, "task_id": item.task_id}


def _split(prompt: Prompt, answer: str) -> tuple[Any, Any]:
    """Prompt and answer in TRL's plain or conversational form."""
    if isinstance(prompt, str):
        return prompt, answer
    messages = list(prompt)
    if messages and messages[-1].role == "assistant":
        answer = messages.pop().content + answer
    said = [{"role": message.role, "content": message.content} for message in messages]
    return said, [{"role": "assistant", "content": answer}]


def write_pairs(pairs: Sequence[Preference], path: Path, layout: str = "preference") -> int:
    """Write pairs to `path`, Parquet when it ends in `.parquet`, else JSON Lines; returns the number of rows.

    The file appears whole or not at all. Raises StropError for an unknown layout, an unwritable file, Parquet without
    pyarrow, and for no pairs: an empty training set is never what was wanted.
    """
    if not pairs:
        raise StropError(f"There are no pairs, so {path} was not written.")
    return write_rows(pair_rows(pairs, layout), path)


def write_rows(rows: Iterable[Row], path: Path) -> int:
    """Write rows of any layout; see `write_pairs`."""
    found = list(rows)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            _write_parquet(found, part)
        else:
            part.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="ascii")
        part.replace(path)
    except OSError as error:
        raise StropError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return len(found)


def _write_parquet(rows: list[Row], path: Path) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise StropError(
            "Writing Parquet needs pyarrow: `pip install 'strop[parquet]'`, or give a file name that ends in .jsonl."
        ) from error
    safe = json.loads(
        json.dumps(rows, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(safe), path)


def read_pairs(path: Path) -> list[Preference]:
    """Pairs from a JSON Lines file in the `preference` layout. Raises StropError naming file, line and field."""
    from strop.tasks.reading import Defect, raise_defects, read_rows
    from strop.tasks.reading import Row as FileRow

    pairs: list[Preference] = []
    defects: list[Defect] = []
    for row in read_rows(path):
        if isinstance(row, FileRow):
            made = _read(row.data)
            if isinstance(made, Preference):
                pairs.append(made)
            else:
                defects.append(Defect(str(path), row.line, made, "missing, or not a text or list of messages"))
        else:
            defects.append(row)
    raise_defects(defects)
    return pairs


def read_labelled(path: Path) -> list[Labelled]:
    """Answers with labels from a JSON Lines file: the `unpaired` layout, or pairs, each as one answer of either label.

    Raises StropError naming file, line and field.
    """
    from strop.data.plum import Labelled
    from strop.tasks.reading import Defect, raise_defects, read_rows

    found: list[Labelled] = []
    defects: list[Defect] = []
    for row in read_rows(path):
        if isinstance(row, Defect):
            defects.append(row)
            continue
        data = row.data
        sides = [("chosen", True), ("rejected", False)] if "chosen" in data else [("completion", data.get("label"))]
        for name, label in sides:
            read = _read({"prompt": data.get("prompt"), "chosen": data.get(name), "rejected": data.get(name)})
            bad = "label" if not isinstance(label, bool) else name if read in ("chosen", "rejected") else read
            if isinstance(bad, str):
                defects.append(Defect(str(path), row.line, bad, "missing, or of another kind"))
            else:
                task_id = str(data.get("task_id", ""))
                found.append(Labelled(prompt=bad.prompt, completion=bad.chosen, label=bool(label), task_id=task_id))
    raise_defects(defects)
    return found


def _read(data: Row) -> Preference | str:
    """The pair of a row, or the name of its first bad field."""
    prompt, sides = data.get("prompt"), {}
    if isinstance(prompt, list):
        if not prompt or not all(_is_message(item) for item in prompt):
            return "prompt"
        prompt = tuple(Message(item["role"], item["content"]) for item in prompt)
    elif not isinstance(prompt, str):
        return "prompt"
    for name in ("chosen", "rejected"):
        value = data.get(name)
        if isinstance(value, list) and len(value) == 1 and _is_message(value[0]):
            value = value[0]["content"]
        if not isinstance(value, str):
            return name
        sides[name] = value
    gap, evidence = data.get("score_gap"), data.get("evidence", "{}")
    try:
        why = json.loads(evidence)
    except (TypeError, ValueError, RecursionError):
        why = None
    if not isinstance(why, dict):
        return "evidence"
    margin = float(gap) if isinstance(gap, int | float) else None
    return Preference(prompt=prompt, chosen=sides["chosen"], rejected=sides["rejected"], margin=margin, why=why)


def _is_message(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and item.get("role") in ("system", "user", "assistant")
        and isinstance(item.get("content"), str)
    )
