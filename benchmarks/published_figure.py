"""Does Strop reproduce a published HumanEval figure, and if not, what does the difference come from?

    python benchmarks/published_figure.py MODEL [--published 61.6] [--limit N] [--arms evalplus,chat,...]

Greedy pass@1 of MODEL on HumanEval, once an arm, each a run of `strop eval` under runs/published/ that resumes:

- `evalplus`, `chat`, `block`, `lm-eval`: prompt protocols; the published figure is of evalplus.
- `requantised`: `evalplus` again with the weights of every linear layer rounded once more to four bits. Where MODEL is
  a four-bit file, its full-precision weights are not at hand; a second rounding of about the size of the first shows
  what one rounding does to this model.

Without running the model again, the evalplus replies are read by the other protocols' extraction rules, and replies
that met the token limit or hold no program are counted. Writes results/published-NAME.json after every arm.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import asked

from strop import judge
from strop.run import Run
from strop.stats import compare, wilson
from strop.tasks import load
from strop.tasks.protocols import get_protocol

ROOT = Path(__file__).resolve().parents[1]
GROUP, LEVELS = 32, 15
"""Weights that share a scale, and steps between the least and the largest of them: four bits."""
MAX_TOKENS = 768
READERS = ("chat", "block")


def requantise(spec: str, folder: Path) -> dict[str, float]:
    """Save MODEL with each linear layer rounded to four bits in groups of 32 *down the columns*.

    GGUF files round in groups along the rows, so this grid is another one of the same fineness; along the rows the
    weights would already lie on it. Returns the relative error, root mean square, of all rounded weights.
    """
    import torch

    from strop.models import load as load_model

    loaded: Any = load_model(spec)
    wrong = size = 0.0
    with torch.no_grad():
        for module in loaded.model.model.modules():
            if type(module) is torch.nn.Linear:
                rows, columns = module.weight.shape
                groups = module.weight.t().reshape(columns, rows // GROUP, GROUP)
                low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
                step = ((high - low) / LEVELS).clamp_min(1e-12)
                rounded = (low + torch.round((groups - low) / step) * step).reshape(columns, rows).t()
                wrong += (rounded - module.weight).square().sum().item()
                size += module.weight.square().sum().item()
                module.weight.copy_(rounded)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return {"relative_error": (wrong / size) ** 0.5}


def draw(arm: str, model: str, limit: int | None) -> Path:
    """Run `strop eval` for one arm, or finish it; the run's folder."""
    name = Path(model.split("/", 1)[-1]).stem
    folder = ROOT / "runs" / "published" / f"{name}-{arm}"
    if arm == "requantised":
        weights = folder.with_name(f"{name}-requantised-weights")
        note = weights / "requantised.json"
        if not note.exists():
            weights.mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps(requantise(model, weights)) + "\n")
        model, arm = f"hf/{weights}", "evalplus"
    command = [sys.executable, "-m", "strop.cli.main", "eval", "--model", model, "--tasks", "humaneval"]
    command += ["-n", "1", "-T", "0", "--as", arm, "--max-tokens", str(MAX_TOKENS), "--out", str(folder)]
    subprocess.run(command + (["--limit", str(limit)] if limit else []), check=True)
    return folder


def outcomes(folder: Path) -> dict[str, dict[str, Any]]:
    """By task: whether it passed, the verdict's status, how the reply ended."""
    run = Run.read(folder)
    verdicts = run.verdicts("eval")
    return {
        sample.task_id: {
            "passed": verdicts[sample.task_id, 0].passed,
            "status": verdicts[sample.task_id, 0].status,
            "end": sample.finish_reason,
            "text": sample.text,
            "empty": not sample.code.strip(),
        }
        for sample in run.samples("eval")
    }


def summary(arms: dict[str, dict[str, dict[str, Any]]], published: float) -> dict[str, Any]:
    """Each arm's rate with its interval, its paired difference from evalplus, and how its replies ended."""
    base = arms["evalplus"]
    report: dict[str, Any] = {}
    for name, arm in arms.items():
        tasks = sorted(set(arm) & set(base))
        rate = wilson(sum(row["passed"] for row in arm.values()), len(arm))
        report[name] = {
            "tasks": len(arm),
            "passed": sum(row["passed"] for row in arm.values()),
            "pass@1": rate.value,
            "low": rate.low,
            "high": rate.high,
            "published_inside": rate.low <= published <= rate.high,
            "met_the_token_limit": sum(row["end"] == "length" for row in arm.values()),
            "no_program": sum(row["empty"] for row in arm.values()),
            "statuses": {
                status: sum(row["status"] == status for row in arm.values())
                for status in sorted({row["status"] for row in arm.values()})
            },
        }
        if name != "evalplus":
            difference = compare(
                [float(base[task]["passed"]) for task in tasks], [float(arm[task]["passed"]) for task in tasks]
            )
            report[name] |= {
                "against_evalplus": difference.value,
                "difference_low": difference.low,
                "difference_high": difference.high,
                "p": difference.p,
            }
    return report


def reread(replies: dict[str, dict[str, Any]], readers: tuple[str, ...]) -> dict[str, dict[str, dict[str, Any]]]:
    """The evalplus replies, read by other protocols' rules and judged again."""
    tasks = {task.id: task for task in load("humaneval")}
    arms: dict[str, dict[str, dict[str, Any]]] = {}
    with judge.Judge() as bench:
        for reader in readers:
            protocol = get_protocol(reader)
            texts = {
                task: f"```python\n{row['text']}" if reader == "chat" else row["text"] for task, row in replies.items()
            }
            jobs = [(task, tasks[task], protocol.extract(tasks[task].public(), text)) for task, text in texts.items()]
            codes = {task: code for task, _, code in jobs}
            arms[f"evalplus replies read as {reader}"] = {
                task: replies[task]
                | {"passed": verdict.passed, "status": verdict.status, "empty": not codes[task].strip()}
                for task, verdict in bench.stream(jobs)
            }
    return arms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--published", type=float, default=61.6, help="published pass@1 in percent")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--arms", default="evalplus,chat,requantised")
    options = parser.parse_args()
    arms: dict[str, dict[str, dict[str, Any]]] = {}
    name = Path(options.model.split("/", 1)[-1]).stem
    out = ROOT / "results" / f"published-{name}.json"
    for arm in dict.fromkeys(["evalplus", *options.arms.split(",")]):
        folder = draw(arm, options.model, options.limit)
        arms[arm] = outcomes(folder)
        if arm == "evalplus":
            arms |= reread(arms["evalplus"], READERS)
            manifest = Run.read(folder).manifest
        report: dict[str, Any] = {
            "command": asked.command(),
            "published_percent": options.published,
            "arms": summary(arms, options.published / 100),
            "manifest": {key: manifest[key] for key in ("versions", "machine", "inputs")}
            | {"config": manifest["config"] | {"model": asked.without_folders(options.model)}},
        }
        note = folder.with_name(f"{name}-requantised-weights") / "requantised.json"
        if note.exists():
            report["requantised"] = json.loads(note.read_text())
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps(report, indent=1, default=float) + "\n")
        for label, row in report["arms"].items():
            print(
                f"{label:<34} {row['pass@1']:.1%} [{row['low']:.1%}, {row['high']:.1%}] of {row['tasks']}", flush=True
            )


if __name__ == "__main__":
    main()
