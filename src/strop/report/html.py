"""The report as one HTML file that needs nothing else: no network, no fonts, no scripts of others.

What a model wrote is hostile. Three walls stand against it, each sufficient for markup: every expression of the
templates is made visible (`strop.report.text`) and escaped by Jinja2's autoescape; the Content-Security-Policy allows
only the one style sheet and the one script of this page, by their hashes, and no handler, frame, form or connection;
and Trusted Types forbid any script to turn text into markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from strop.report import charts
from strop.report.data import STATUS_ORDER, STATUS_WORDS
from strop.report.text import highlight, number, percent, points, visible


def render(data: Mapping[str, Any]) -> str:
    """The page for `data` as `collect` returns it. The result can always be encoded as UTF-8."""
    from strop import __version__ as version

    css, script = asset("report.css"), asset("report.js")
    rates = [
        end
        for split in data["splits"]
        for row in split["rows"]
        for end in (row["estimate"]["value"], row["estimate"]["low"], row["estimate"]["high"])
        if end is not None
    ]
    changes = [
        abs(end)
        for split in data["splits"]
        if split.get("difference")
        for end in (split["difference"][name] for name in ("value", "low", "high", "detectable"))
        if end is not None
    ]
    present = {status for row in data["statuses"] for status, count in row["counts"].items() if count}
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            css=markup(css),
            script=markup(script),
            policy=markup(policy(css, script)),
            charts=charts,
            contents=_contents(data),
            domain=charts.rate_domain(rates),
            reach=max([*changes, 0.05]) * 1.1,
            progress=_progress(data),
            curves=coloured(data.get("curves", [])),
            facts=_facts(data),
            provenance=_provenance(data),
            settings=_settings(data["config"]),
            version=version,
            used_statuses=[status for status in STATUS_ORDER if status in present],
            status_words=STATUS_WORDS,
        )
    )


def policy(css: str, script: str) -> str:
    """The Content-Security-Policy that allows this style sheet and this script, and nothing else."""
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_hash(css)}'",
            f"script-src '{_hash(script)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def environment(*packages: str) -> Any:
    """Jinja2 with this package's templates, then those of `packages`: what is shown is made visible and escaped."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

    def show(value: Any) -> Any:
        # Markup is a str made by this package; every other string is somebody's text.
        return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value

    made = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in ("strop.report", *packages)]),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        finalize=show,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(
        percent=percent,
        points=points,
        direction=charts.direction,
        short=number,
        number=lambda value, digits: f"{value:.{digits}f}".replace("-", "−"),
        p_value=p_value,
        highlight=highlight,
    )
    return made


def p_value(p: float) -> str:
    """`p = 0.012`; below a thousandth only that it is."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def asset(name: str) -> str:
    """A style sheet or script of this package."""
    return files("strop.report").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def markup(text: str) -> Any:
    """Text that templates do not escape again; for what this package wrote itself."""
    from markupsafe import Markup

    return Markup(text)


def _contents(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Anchors and names of the sections that this page has, in order."""
    if data["kind"] == "eval":
        wanted = [
            ("protocols", "By protocol", data["protocols"]),
            ("concepts", "By tag", data["tags"]),
            ("statuses", "How samples ended", True),
            ("samples", "Samples", True),
        ]
    else:
        wanted = [
            ("tasks", "Every task", True),
            ("concepts", "By concept", data["tags"]),
            ("statuses", "How samples ended", True),
            ("training", "Training", data["practice"] or data["curves"]),
            ("guards", "Guards", data["guards"]),
            ("programs", "Programs", data["pairs"]),
        ]
    wanted += [("spent", "Cost", True), ("reproduce", "Reproduce", True)]
    return [(anchor, name) for anchor, name, present in wanted if present]


def _progress(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Series of the anytime plot; empty unless there were at least two rounds (two points make no curve)."""
    measured = data.get("progress", [])
    if len(measured) < 3:
        return []
    series = []
    for place, split in enumerate(data["splits"]):
        found = [(row["seconds"], row["splits"][split["split"]]) for row in measured if split["split"] in row["splits"]]
        series.append(
            {
                "label": split["label"],
                "kind": charts.kind(place),
                "points": [[seconds, estimate["value"]] for seconds, estimate in found],
                "intervals": [
                    [estimate["low"], estimate["high"]] if estimate["low"] is not None else None
                    for _, estimate in found
                ],
            }
        )
    return series


def coloured(curves: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Learning curves with a colour for each round."""
    return [
        {**curve, "series": [{**line, "kind": charts.kind(n)} for n, line in enumerate(curve["series"])]}
        for curve in curves
    ]


def _facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few sizes that a reader wants first."""
    total = data["spent_total"]
    facts = [(f"Practised on, {row['label']}", f"{row['tasks']:,} tasks") for row in data.get("practice", [])[:1]]
    facts += [
        ("Programs run", f"{total['programs']:,}"),
        ("Tokens sampled", f"{total['sampled_tokens']:,}"),
        ("Time", duration(total["seconds"])),
    ]
    if data["kind"] == "eval" and total["seconds"]:
        facts.append(("Tokens a second", f"{total['sampled_tokens'] / total['seconds']:,.0f}"))
    return [*facts, ("Cost", f"${total['money']:,.2f}")] if total["money"] else facts


def duration(seconds: float) -> str:
    """Seconds in words a person uses: `41 s`, `7 min 5 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _provenance(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What somebody needs to know to get the same numbers."""
    isolation = sorted({level for row in data["statuses"] for level in row["isolation"]})
    rows = [("Model", data["model"]), ("Tasks", data["task_set"])]
    rows += [(name.replace("_", " ").capitalize(), _short(value)) for name, value in data["inputs"].items()]
    if data.get("division"):
        rows.append(("Division", data["division"]))
    seeds = ", ".join(f"{name} {value}" for name, value in data["seeds"].items())
    rows += [("Seeds", seeds)] if seeds else []
    rows += [("Isolation of programs", ", ".join(isolation))] if isolation else []
    versions = ", ".join(f"{name} {value}" for name, value in data["versions"].items())
    rows += [("Versions", versions)] if versions else []
    machine = ", ".join(f"{name} {value}" for name, value in data["machine"].items())
    return [*rows, ("Machine", machine)] if machine else rows


def _settings(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            rows += _settings(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, _short(value)))
    return rows


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
