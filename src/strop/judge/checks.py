"""One program against the checks of one task: the order of events, and which status they add up to."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from strop.judge import codec, compare
from strop.judge.bounds import Bounds, Usage
from strop.judge.link import Link
from strop.judge.nursery import Capped, Zygote
from strop.judge.outcome import Outcome, compare_text, load_failure, place_of, result, status_of
from strop.judge.sandbox.checker import LARGEST_FILE
from strop.judge.script import BrokenCheck, Script, Sides, compile_script, find_evidence, run_script
from strop.judge.session import Ended, Session
from strop.judge.staff import MAX_PROGRAM
from strop.types import CallCheck, Check, CheckResult, ScriptCheck, StdioCheck, Task, TextCheck

Which = Literal["all", "visible", "hidden"]


class JudgeLimit(BaseException):
    """The check itself ran out of time on what the program returned. Raised by the worker's alarm."""


class Prepared:
    """A task, read once: scripts compiled, calls encoded, names given."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.is_python = task.language == "python"
        self.evidence = find_evidence(task, [], set())
        self._ready: dict[int, Any] = {}
        self.names = [check.name or f"{_KINDS.get(type(check), 'check')} {i}" for i, check in enumerate(task.checks)]

    def selected(self, which: Which) -> list[int]:
        return [
            index
            for index, check in enumerate(self.task.checks)
            if which == "all" or check.visible == (which == "visible")
        ]

    def ready(self, index: int) -> Any:
        """The prepared form of a check. Raises BrokenCheck."""
        if index not in self._ready:
            self._ready[index] = _prepare(self.task, self.task.checks[index])
        return self._ready[index]


_KINDS = {CallCheck: "call", StdioCheck: "stdio", ScriptCheck: "script", TextCheck: "text"}


def _prepare(task: Task, check: Check) -> Any:
    if isinstance(check, ScriptCheck):
        return compile_script(task, check)
    if isinstance(check, CallCheck):
        try:
            request = ["call", check.function, codec.encode(list(check.args)), codec.encode(dict(check.kwargs))]
            codec.encode(check.expected)
        except codec.CodecError as error:
            raise BrokenCheck(f"the check's own values cannot cross: {error}") from None
        return codec.dumps(request), compare.contains_nonfinite(check.expected)
    if isinstance(check, StdioCheck):
        if len(check.stdin) > LARGEST_FILE // 4:  # four bytes a character at most
            raise BrokenCheck(f"the check's standard input is longer than {LARGEST_FILE // 4} characters")
        try:
            return compare.stdio_comparer(check)
        except Exception as error:
            raise BrokenCheck(f"the check's comparer does not load: {error}") from None
    return None


class Bench:
    """Judges programs, one at a time, on a zygote."""

    def __init__(
        self,
        zygote_for: Callable[[str], Zygote],
        bounds: Callable[[Task], Bounds],
        stop_early: bool,
        meanwhile: Callable[[], None] = lambda: None,
        launcher_for: Callable[[str], Any] = lambda _: None,
    ) -> None:
        self.zygote_for = zygote_for
        self.launcher_for = launcher_for
        self.bounds = bounds
        self.meanwhile = meanwhile
        """Called once a program's process is busy with loading it."""
        self.stop_early = stop_early
        self.checking = False
        """While true, the worker's alarm may interrupt: check code runs, and no process is being started or reaped."""

    def judge(self, prepared: Prepared, program: str, which: Which) -> Outcome:
        """Run the selected checks. Raises ZygoteGone; everything else becomes part of the outcome."""
        chosen = prepared.selected(which)
        outcome = Outcome(total=len(chosen))
        run = (
            _Run(self, prepared, program, outcome)
            if prepared.is_python
            else _other_run(self, prepared, program, outcome)
        )
        try:
            for index in chosen:
                result = run.check(index)
                outcome.results.append(result)
                if not result.passed and self.stop_early:
                    break
            run.must_be_quiet()
        finally:
            run.close()
        return outcome


def _other_run(bench: Bench, prepared: Prepared, program: str, outcome: Outcome) -> Any:
    from strop.judge.languages.running import LanguageRun

    return LanguageRun(bench, prepared, program, outcome)


class _Run:
    """One program on its way through the checks. Call and script checks share a process; a stdio check has its own."""

    def __init__(self, bench: Bench, prepared: Prepared, program: str, outcome: Outcome) -> None:
        self.bench = bench
        self.prepared = prepared
        self.program = program
        self.outcome = outcome
        self.bounds = bench.bounds(prepared.task)
        self.session: Session | None = None
        self.zygote: Zygote | None = None
        self.load_failure: tuple[str, str] | None = None

    def check(self, index: int) -> CheckResult:
        check, name = self.prepared.task.checks[index], self.prepared.names[index]
        if len(self.program) > MAX_PROGRAM:
            problem = ("forbidden", f"the program is longer than {MAX_PROGRAM} characters")
        elif self.load_failure is not None:
            problem = self.load_failure
        else:
            problem = None
        if problem is not None and not isinstance(check, TextCheck):
            return result(check, name, problem[0], problem[1])
        self.bench.checking = True
        try:
            ready = self.prepared.ready(index)
            if isinstance(check, TextCheck):
                return compare_text(self.program, check, name)
            if isinstance(check, StdioCheck):
                return self._stdio(check, name, ready)
            if isinstance(check, CallCheck):
                return self._call(check, name, *ready)
            if isinstance(check, ScriptCheck):
                return self._script(check, name, ready)
            raise BrokenCheck(f"{type(check).__name__} is not judged by running a program")
        except (BrokenCheck, Capped) as error:
            return result(check, name, "judge_error", str(error))
        except Ended as ended:
            return self._ended(check, name, ended)
        except JudgeLimit:
            self.outcome.flags.add("judge_limit")
            return result(check, name, "timeout", "the check did not finish on what the program returned")
        except MemoryError:
            self.outcome.flags.add("judge_limit")
            return result(check, name, "out_of_memory", "what the program returned is too large to check")
        finally:
            self.bench.checking = False

    # ---- kinds of check

    def _call(self, check: CallCheck, name: str, request: bytes, nan: bool) -> CheckResult:
        link = Link(self._open(), self.prepared.evidence, nan)
        try:
            actual = link.ask_raw(request)
        except (JudgeLimit, Ended):
            raise
        except Exception as error:
            return self._raised(check, name, link, error)
        if compare.equal(actual, check.expected, check.tolerance):
            return result(check, name, "passed")
        shown = compare.excerpt(actual), compare.excerpt(check.expected)
        return result(check, name, "failed", "the result differs from what was expected", *shown)

    def _script(self, check: ScriptCheck, name: str, script: Script) -> CheckResult:
        session = self._open()
        link = Link(session, script.evidence, script.nan)
        sides = Sides()
        try:
            run_script(script, link, sides)
            if link.calls == 0 and session.ended is None:
                session.ask(b'["ping"]')  # nothing was called: at least it must load
        except (JudgeLimit, Ended, BrokenCheck):
            raise
        except BaseException as error:
            if session.ended is not None:  # the script swallowed the news; the program's end still decides
                raise session.ended from None
            return self._raised(check, name, link, error, script, sides)
        finally:
            link.closed = True
        if session.ended is not None:
            raise session.ended
        if link.refused:
            return result(check, name, "failed", link.refused)
        return result(check, name, "passed")

    def _stdio(self, check: StdioCheck, name: str, matches: Callable[[str], bool]) -> CheckResult:
        self._close_session()
        session = self._start("main", check.stdin.encode("utf-8", "surrogateescape"))
        zygote = session.zygote
        try:
            try:
                reply = session.answer()
            except Ended as ended:
                if ended.kind != "died":
                    raise
                reply = None
        except Ended as ended:
            usage = self._finish(session)
            return self._ended(check, name, ended, usage)
        usage = self._finish(session)
        data, size = zygote.written(self.bounds.output)
        actual = data.decode("utf-8", "replace")
        self.outcome.output = actual[:2000]
        if size >= self.bounds.output:
            return result(check, name, "failed", f"printed more than {self.bounds.output // 1024} KiB")
        if reply is None and (usage.exit_code is None or usage.exit_code != 0):
            return self._ended(check, name, Ended("died"), usage)
        if reply is not None and reply[0] != "d":
            return result(check, name, "runtime_error", "bad end of the program")
        if reply is not None and reply[1] != 0:
            return result(check, name, "runtime_error", f"exit code {str(reply[1])[:20]}", compare.excerpt(actual))
        try:
            good = matches(actual)
        except (JudgeLimit, MemoryError):
            raise
        except Exception as error:
            raise BrokenCheck(f"the comparer failed: {type(error).__name__}: {error}") from None
        shown = (None, None) if good else (compare.excerpt(actual), compare.excerpt(check.stdout))
        message = "" if good else "the output differs from what was expected"
        return result(check, name, "passed" if good else "failed", message, *shown)

    # ---- sessions

    def must_be_quiet(self) -> None:
        """A program that passed but still has something to say was forging: it fails the last check it was in."""
        session, results = self.session, self.outcome.results
        if session is not None and session.ended is None and results[-1].passed and session.has_more():
            self.outcome.flags.add("bad_frame")
            results[-1] = replace(results[-1], passed=False, status="failed", message="sent more than was asked for")

    def _open(self) -> Session:
        """The process that call and script checks share; a new one when the last ended."""
        if self.session is not None and self.session.ended is not None:
            self._close_session()
        if self.session is None:
            self.session = self._start("call")
        return self.session

    def _start(self, mode: str, stdin: bytes = b"") -> Session:
        """A fresh process that loads the program."""
        self.bench.checking = False
        self.zygote = self.bench.zygote_for(self.program)
        session = Session(self.zygote, self.bounds, stdin)
        session.send(codec.dumps(["load", self.program, mode]))
        self.bench.meanwhile()
        self.bench.checking = True
        return session

    def _close_session(self) -> Usage | None:
        if self.session is None:
            return None
        session, self.session = self.session, None
        return self._finish(session)

    def _finish(self, session: Session) -> Usage:
        self.bench.checking = False
        usage = session.close()
        self.outcome.add_usage(usage)
        self.outcome.flags |= session.flags
        if session.ended is not None and session.ended.kind == "timeout":
            self.outcome.timed_out.append((usage.cpu_seconds, usage.wall_seconds))
        return usage

    def close(self) -> None:
        zygote = self.zygote
        if self._close_session() is not None and zygote is not None:
            data, _ = zygote.written(2000)
            if data:
                self.outcome.output = data.decode("utf-8", "replace")

    # ---- from events to results

    def _raised(self, check: Check, name: str, link: Link, error: BaseException, script: Script | None = None,
                sides: Sides | None = None) -> CheckResult:  # fmt: skip
        if isinstance(error, MemoryError) and error is not link.raised:
            raise error
        if link.check_error:
            raise BrokenCheck(link.check_error)
        if link.refused:
            return result(check, name, "failed", link.refused)
        if error is link.raised:
            kind = getattr(error, "_strop_name", "")
            line = getattr(error, "_strop_line", None)
            text = f"{kind}: {error}" if kind and not str(error).startswith(kind) else str(error)
            where = f" (line {line})" if line else ""
            return result(check, name, status_of(kind, text), f"{text[:300]}{where}")
        if link.calls == 0 and script is not None and not isinstance(error, AssertionError):
            raise BrokenCheck(f"the check failed before it used the program: {type(error).__name__}: {error}")
        message = place_of(error, script)
        if isinstance(error, AssertionError) and sides is not None and sides.kept:
            shown = compare.excerpt(sides.left), compare.excerpt(sides.right)
            return result(check, name, "failed", message, *shown)
        return result(check, name, "failed", message)

    def _ended(self, check: Check, name: str, ended: Ended, usage: Usage | None = None) -> CheckResult:
        if ended.kind == "load" and ended.reply is not None:
            status, text = load_failure(ended.reply)
            self.load_failure = (status, text)
            if ended.reply[1:2] == ["exit"]:
                self.outcome.flags.add("early_exit")
            return result(check, name, status, text)
        if usage is None:
            usage = self._close_session()
        if ended.kind == "timeout":
            return result(check, name, "timeout", ended.text)
        if ended.kind == "bad_frame":
            return result(check, name, "failed", f"broke the protocol: {ended.text}")
        return result(check, name, *self._death(usage))

    def _death(self, usage: Usage | None) -> tuple[str, str]:
        if usage is None:
            return "runtime_error", "the program's process ended"
        if usage.signal == signal.SIGXCPU or (
            usage.signal == signal.SIGKILL and usage.cpu_seconds >= self.bounds.cpu_seconds
        ):
            self.outcome.timed_out.append((usage.cpu_seconds, usage.wall_seconds))
            return "timeout", f"used {usage.cpu_seconds:.2f} s of CPU time"
        if usage.signal == signal.SIGSYS:
            self.outcome.flags.add("sigsys")
            return "forbidden", "made a system call that no honest program makes"
        if usage.signal == signal.SIGKILL:
            return "out_of_memory", "the process was killed"
        if usage.signal is not None:
            return "runtime_error", f"the process died: {signal.Signals(usage.signal).name}"
        self.outcome.flags.add("early_exit")
        return "runtime_error", f"the process ended before it was asked to (exit code {usage.exit_code})"
