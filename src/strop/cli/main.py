"""`strop`: finds the verb, loads only its module, and turns errors into one paragraph and an exit code.

Exit codes: 0 done; 1 done, with something to look at (a judge error, a lint finding); 2 unusable input;
130 stopped by Ctrl-C with everything finished so far kept on disk.
"""

from __future__ import annotations

import sys
from importlib import import_module

if sys.version_info < (3, 11):  # noqa: UP036
    sys.stderr.write("strop: Strop needs Python 3.11 or newer; this is Python %d.%d.\n" % sys.version_info[:2])  # noqa: UP031
    sys.exit(2)

import typer

VERBS = {
    "judge": "Run programs against checks and write a verdict for each.",
    "eval": "Measure how many tasks a model solves: sample, judge, estimate.",
    "search": "Spend inference compute: solve tasks with a search method, or compare methods at equal cost.",
    "improve": "Let a model practise on tasks, learn from what worked, and measure it again on held-out tasks.",
    "train": "Train a model with one learner and full control of its settings.",
    "data": "Make training data from programs and their verdicts: pairs, and tests that models write.",
    "tasks": "List, show, validate and convert task sets.",
    "lint": "Find defects in task sets before they cost you anything.",
    "audit": "Stress-test graders and models.",
    "papers": "The catalogue of papers: find one, run its experiment, see what was measured.",
    "view": "Look at runs, papers and tasks in the browser, and vote on programs side by side.",
    "report": "Render a run folder's report again.",
    "export": "Write a run's samples, verdicts and metrics as JSONL or Parquet.",
}


def build(arguments: list[str]) -> typer.Typer:
    """The application, with the real module behind the verb in `arguments` and one line of help for the others."""
    app = typer.Typer(
        name="strop",
        help="The bench where models that write code are run, measured, sharpened and stress-tested.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def options(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
        if version:
            from strop import __version__

            typer.echo(__version__)
            raise typer.Exit

    wanted = next((word for word in arguments if not word.startswith("-")), None)
    for verb, line in VERBS.items():
        if verb != wanted:
            app.command(verb, help=line)(lambda: None)
            continue
        module = import_module(f"strop.cli.{verb}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=verb, help=line)
        else:
            app.command(verb, help=module.__doc__)(getattr(module, verb))
    return app


def main() -> None:
    """Entry point of the `strop` command."""
    from strop.types import StropError

    try:
        build(sys.argv[1:])()
    except StropError as error:
        typer.secho(f"strop: {error}", fg="red", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        code = 130 if isinstance(end, KeyboardInterrupt) else end.code  # Typer turns Ctrl-C into exit code 130
        if code == 130:
            typer.secho("Stopped. What was finished is kept; run the same command again to go on.", err=True)
        sys.exit(code)


if __name__ == "__main__":
    main()
