"""Every command in the documentation: its verb and options exist, and it does what it should.

A line of a fenced block is run for real, in a folder with the files that the pages talk of. What takes long or needs a
model, a server or the reader's own files is in `DRY` (run with --dry-run: everything but the work itself) or `PARSED`
(its words are read as the command line reads them), with the reason. Nothing else may be skipped.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import docs_folder
import pytest
import typer
from typer.testing import CliRunner

from strop.cli.main import VERBS, build
from strop.types import StropError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
import build as docs_build  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("strop", "make", "python", "pip", "git", "curl", "npm")

DRY = {
    r"strop eval .*": "samples a model",
    r"strop improve.*": "trains",
    r"strop search (--method best-of-n|--compare) .*": "samples a model",
    r"strop train (dpo|reward) .*": "trains",
    r"strop train rl .*steps=40.*": "trains",
    r"strop papers run \d+( --quick)?": "an experiment; its own tests run it",
}
PARSED = {
    r".*(NAME-or-FOLDER|gguf/model\.gguf|openai/|replay/|--model MODEL|rl\.toml).*": "needs the reader's model or file",
    r"strop papers run 23.*": "paper 23 is the guide's example, not an experiment that is there",
    r"strop papers merge there\.json": "needs a file of another machine; tests/papers/test_papers_harness.py",
    r"strop papers check": "imports every component; tests/papers/test_papers_check.py",
    r"strop audit grader human-eval": "runs every exploit; tests/audit",
    r"strop audit scorer .*": "needs a trained reward model; tests/evals",
    r"strop data ir-groups .*": "compiles for a minute; tests/train_rl/test_rl_oorl.py",
    r"strop data pairs .*--tests tests\.jsonl.*": "needs tests that a model wrote; tests/data",
    r"strop view.*": "serves until Ctrl-C; tests/web/test_web_guard.py",
    r"strop judge --serve .*": "serves until Ctrl-C; tests/serve",
    r"strop .*--ray.*": "needs a cluster; tests/cluster",
    r"strop (report|export) runs/first.*": "needs the run before it; test_getting_started_for_real",
}


def commands(text: str) -> list[str]:
    """Command lines of the fenced and indented blocks of a page, with lines that a backslash joins."""
    fenced = [block for about, block in docs_build.blocks(text) if about in ("", "sh")]
    indented = re.findall(r"^ {4}(strop .*)$", text, re.M)
    lines = [line for block in [*fenced, *indented] for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.split(" ")[0] in PROGRAMS]


EVERY = list(dict.fromkeys((page.name, line) for page in PAGES for line in commands(page.read_text(encoding="utf-8"))))


def words_of(line: str) -> list[str]:
    """A line's words without its comment and redirection."""
    words = shlex.split(line, comments=True)
    return words[: words.index(">")] if ">" in words else words


def reason(table: dict[str, str], line: str) -> str | None:
    bare = " ".join(words_of(line))
    return next((why for pattern, why in table.items() if re.fullmatch(pattern, bare)), None)


def parse(words: list[str]) -> None:
    """Read the words as `strop` would, and call nothing. Raises what it raises for words that it does not know."""
    command = typer.main.get_command(build(words))
    context = command.make_context("strop", list(words))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def invoke(words: list[str]):
    return CliRunner().invoke(build(words), words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return docs_folder.make(tmp_path_factory.mktemp("docs"))


STROP = [(page, line) for page, line in EVERY if line.startswith("strop ")]


@pytest.mark.parametrize(("page", "line"), STROP, ids=[f"{page}: {line[6:60]}" for page, line in STROP])
def test_a_strop_command(folder, monkeypatch, page, line):
    monkeypatch.chdir(folder)
    words = words_of(line)[1:]
    if "[" in line.partition("#")[0]:  # a synopsis: its options must exist
        return check_options(words)
    parse(words)
    if reason(PARSED, line):
        return None
    for file in (folder / word for word, before in zip(words[1:], words) if before == "--out"):
        if file.suffix:  # a file that an earlier command made; run folders resume
            file.unlink(missing_ok=True)
    if reason(DRY, line):
        words += ["--dry-run"] * ("--dry-run" not in words)
    done = invoke(words)
    assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
    assert done.output.strip()
    return None


def test_no_reason_is_left_over():
    for table in (DRY, PARSED):
        for pattern in table:
            assert any(re.fullmatch(pattern, " ".join(words_of(line))) for _, line in STROP), pattern


def check_options(words: list[str]) -> None:
    """The verb, its command and every option exist."""
    verb = words[0]
    assert verb in VERBS, f"no verb {verb}"
    command = typer.main.get_command(build([verb]))
    command = command.commands[verb]
    if hasattr(command, "commands") and len(words) > 1 and re.fullmatch(r"[a-z-]+", words[1]):
        assert words[1] in command.commands, f"strop {verb} has no command {words[1]}"
        command = command.commands[words[1]]
    known = {name for option in command.params for name in [*option.opts, *option.secondary_opts]} | {"--help", "-h"}
    for word in words:
        option = word.strip("[]").partition("=")[0]
        if re.fullmatch(r"--?[a-z][a-z-]*", option):
            assert option in known, f"strop {verb} has no option {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_within_sentences_name_what_there_is(page):
    text = page.read_text(encoding="utf-8")
    for _, block in docs_build.blocks(text):
        text = text.replace(block, "")
    for line in re.findall(r"`strop ([^`]+)`", text.replace("\n", " ")):
        words = line.split()
        if words[0] != "--help":
            check_options(words)
    for name in re.findall(r"`make ([a-z-]+)[^`]*`", text):
        assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.M), f"make {name}"
    for path in re.findall(r"`(?:python )?((?:benchmarks|docs|src|tests|results)/[\w./-]+\.\w+)", text):
        if not re.search(r"NN-name|pNN_name", path):
            assert (ROOT / path).exists() or is_written_by_a_benchmark(path), f"{page.name} names {path}"


def is_written_by_a_benchmark(path: str) -> bool:
    """A result that is not here yet, which a benchmark writes."""
    name = Path(path).stem
    files = (ROOT / "benchmarks").glob("*.py")
    return any(file.stem == name.replace("-", "_") or name in file.read_text(encoding="utf-8") for file in files)


def test_the_other_commands():
    makefile, project = (ROOT / "Makefile").read_text(), (ROOT / "pyproject.toml").read_text()
    for page, line in EVERY:
        program, *words = words_of(line) if "<<" not in line and not line.startswith("curl") else line.split()
        where = f"{page}: {line}"
        if program == "make":
            assert re.search(rf"^{words[0]}:", makefile, re.M), where
        elif program == "python" and words[0] == "-m":
            assert (ROOT / next(word for word in words if word.startswith("tests/"))).exists(), where
        elif program == "python" and words[0] != "-":  # `python - <<`: tests/tasks/test_basics_page.py
            source = (ROOT / words[0]).read_text(encoding="utf-8")
            for option in (word for word in words if word.startswith("--")):
                assert f'"{option}"' in source, where
        elif program == "pip":
            for extra in re.findall(r"\[([\w,]+)\]", line):
                assert all(re.search(rf"^{one} = \[", project, re.M) for one in extra.split(",")), where
        elif program == "curl":
            text = next(page for page in PAGES if page.name == "serve.md").read_text(encoding="utf-8")
            body = text.partition(line)[2].partition("'\n")[0]
            assert set(json.loads("{" + body)) == {"tasks", "programs"}, where
        else:
            assert program in ("strop", "git", "python"), where


def test_commands_of_generated_pages_are_read():
    import site_pages

    lines = {line for text in site_pages.pages().values() for line in commands(text) if line.startswith("strop ")}
    known = {line for _, line in EVERY}
    assert len(lines - known) > 12
    for line in sorted(lines - known):
        parse(words_of(line)[1:])


def test_the_checks_of_this_file_find_what_is_wrong(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for wrong in (["eval", "--no-such"], ["tasks", "nothing"], ["eval", "-n", "x"], ["papers", "show"]):
        with pytest.raises(Exception, match=r"No such|Missing|a valid") as error:
            parse(wrong)
        assert "ClickException" in [kind.__name__ for kind in type(error.value).__mro__]
    with pytest.raises(AssertionError, match="no option --nothing"):
        check_options(["view", "[--nothing]"])
    assert isinstance(invoke(["tasks", "validate", "missing.jsonl"]).exception, StropError | SystemExit)


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(600)
def test_getting_started_for_real(tmp_path, monkeypatch):
    """`start.md` from top to bottom in an empty folder, with the embedded model; its files are those of the page."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/start.md").read_text(encoding="utf-8")
    for name, body in re.findall(r"^```json title=\"(.+?)\"\n(.*?)^```", text, re.M | re.S):
        (tmp_path / name).write_text(body)
    long = r"strop (improve|view|search --compare .*)"
    for line in commands(text):
        words = words_of(line)
        if words[0] == "strop" and not re.fullmatch(long, " ".join(words)):
            done = invoke(words[1:])
            assert done.exit_code == 0, f"{line}\n{done.output}"
    passed = [json.loads(line)["passed"] for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert passed == [True, False]
    assert (tmp_path / "runs/first/report.html").is_file()
    assert list((tmp_path / "figures").glob("*.svg"))
    assert list((tmp_path / "first").glob("*.jsonl"))
