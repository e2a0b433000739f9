"""One program of another language against the checks of its task: build it once, run it, and say how it went."""

from __future__ import annotations

import re
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from strop.judge import codec, compare
from strop.judge.bounds import Bounds, Usage
from strop.judge.languages import get
from strop.judge.languages.box import BOX_MB
from strop.judge.languages.language import Mode
from strop.judge.languages.launcher import Launcher
from strop.judge.nursery import Capped
from strop.judge.outcome import Outcome, compare_text, load_failure, result
from strop.judge.sandbox.zygote import INT
from strop.judge.script import BrokenCheck
from strop.judge.session import Ended, Session
from strop.judge.staff import MAX_PROGRAM
from strop.types import CallCheck, Check, CheckResult, StdioCheck, TextCheck

if TYPE_CHECKING:
    from strop.judge.checks import Bench, Prepared

COMPILE = Bounds(cpu_seconds=30.0, wall_seconds=60.0, memory=2 << 30, output=BOX_MB << 20)
"""Limits of a compiler: MultiPL-E's 15 seconds twice over, since these are CPU seconds on any machine."""
_TELLING = re.compile(r"^.*(?:Error|Exception|panicked|error:|fatal).*$", re.MULTILINE)
_REFUSED = re.compile(r"Operation not permitted|Permission denied|Read-only file system|EPERM|EACCES|EROFS")
_NO_SPACE = re.compile(r"No space left on device|ENOSPC")


class LineSession(Session):
    """A session in which a request and a reply are one line each. Its time starts when the program's process does."""

    def __init__(self, launcher: Launcher, bounds: Bounds, stdin: bytes = b"") -> None:
        super().__init__(launcher, bounds, stdin)
        launcher.ask(b"P")
        self.pid = INT.unpack(launcher.hear()[1:])[0]
        self.started = time.monotonic()
        self.look_at = self.started + self.wait

    def clocks(self) -> tuple[float, float]:
        cpu, waited = super().clocks()
        try:
            time.clock_gettime((~self.pid << 3) | 2)
        except OSError:  # it is over, and what waits for it inside has not come to say so: that time is not its own
            return 0.0, time.monotonic() - self.started
        return cpu, waited

    def send(self, request: bytes) -> None:
        try:
            self.socket.sendall(request + b"\n")
        except BlockingIOError:
            self._end(Ended("timeout", "the program stopped reading"))
        except OSError:
            pass  # it died; receiving finds out how

    def _receive(self) -> list:
        parts, size = [], 0
        while True:
            data = self._read()
            parts.append(data)
            size += len(data)
            if size > codec.MAX_FRAME:
                self._bad_frame(f"an answer of more than {codec.MAX_FRAME} bytes")
            if b"\n" in data:
                break
        line = b"".join(parts)
        if line.find(b"\n") != len(line) - 1:
            self._bad_frame("more than was asked for")
        try:
            reply = codec.loads(line)
        except codec.CodecError as error:
            self._bad_frame(str(error))
        if type(reply) is not list or not reply or type(reply[0]) is not str:
            self._bad_frame("not a reply")
        return reply


class LanguageRun:
    """One program on its way through the checks. Calls share a process; a stdio check has its own."""

    def __init__(self, bench: Bench, prepared: Prepared, program: str, outcome: Outcome) -> None:
        self.bench = bench
        self.prepared = prepared
        self.program = program
        self.outcome = outcome
        self.language = get(prepared.task.language)
        self.launcher: Launcher | None = None
        self.built: Mode | None = None
        self.session: LineSession | None = None
        self.bounds = bench.bounds(prepared.task)
        self.failure: tuple[str, str] | None = None
        """Why the program cannot be run at all."""

    def check(self, index: int) -> CheckResult:
        check, name = self.prepared.task.checks[index], self.prepared.names[index]
        if isinstance(check, TextCheck):
            return compare_text(self.program, check, name)
        if len(self.program) > MAX_PROGRAM:
            self.failure = ("forbidden", f"the program is longer than {MAX_PROGRAM} characters")
        try:
            ready = self.prepared.ready(index)
            if self.failure is None and isinstance(check, StdioCheck):
                self._build("main")
                return self.failed(check, name) or self._stdio(check, name, ready)
            if self.failure is None and isinstance(check, CallCheck):
                self._build("call")
                return self.failed(check, name) or self._call(check, name, *ready)
            if self.failure is None:
                raise BrokenCheck(f"{type(check).__name__} is not judged for {self.language.title}")
            return result(check, name, *self.failure)
        except (BrokenCheck, Capped) as error:
            return result(check, name, "judge_error", str(error))
        except ValueError as error:
            return result(check, name, "judge_error", f"the check cannot be put to {self.language.title}: {error}")
        finally:
            self.bench.checking = False

    def failed(self, check: Check, name: str) -> CheckResult | None:
        return None if self.failure is None else result(check, name, *self.failure)

    # ---- prepare and compile, once

    def _build(self, mode: Mode) -> None:
        if self.built == mode:
            return
        self._close_session()
        launcher = self.launcher = self.bench.launcher_for(self.language.name)
        files = self.language.files(self.prepared.task, self.program, mode)
        launcher.renew({**launcher.toolchain.files, **files})
        self.built = mode
        if (name := f"compile {mode}") in launcher.toolchain.commands:
            usage, ended = self._run(name, COMPILE, b"")
            said = self._said(2, 8000) or self._said(1, 8000)
            if ended is not None and ended.kind == "timeout":
                self.failure = ("timeout", f"the compiler did not finish: {ended.text}")
            elif usage.signal == signal.SIGSYS:
                self.outcome.flags.add("sigsys")
                self.failure = ("forbidden", "the compiler made a system call that no honest program makes")
            elif usage.signal is not None or usage.exit_code != 0:
                text = said.strip() or f"the compiler ended with {_ending(usage)}"
                self.failure = ("syntax_error", text[:500])

    def _run(self, command: str, bounds: Bounds, stdin: bytes) -> tuple[Usage, Ended | None]:
        """Run a command to its end."""
        assert self.launcher is not None
        self.launcher.command = command
        session = LineSession(self.launcher, bounds, stdin)
        ended = None
        try:
            session.answer()
        except Ended as end:
            ended = end if end.kind != "died" else None
        return session.close(), ended

    def _said(self, stream: int, limit: int) -> str:
        assert self.launcher is not None
        return self.launcher.written(limit, stream)[0].decode("utf-8", "replace")

    def _bounds(self, command: str) -> Bounds:
        """The program's limits and what the runtime takes."""
        assert self.launcher is not None
        own = self.launcher.toolchain.commands[command]
        return replace(
            self.bounds,
            cpu_seconds=self.bounds.cpu_seconds + own.more_seconds,
            # Where a program waits for processes of its own, their waiting for a core cannot be told from sleeping.
            wall_seconds=(self.bounds.wall_seconds + own.more_seconds) * (3 if own.family else 1),
            memory=self.bounds.memory + (own.more_memory_mb << 20),
        )

    # ---- kinds of check

    def _stdio(self, check: StdioCheck, name: str, matches: Any) -> CheckResult:
        assert self.launcher is not None
        self._close_session()
        bounds = self._bounds("main")
        usage, ended = self._run("main", bounds, check.stdin.encode("utf-8", "surrogateescape"))
        self._add(usage, ended)
        data, size = self.launcher.written(self.bounds.output)
        actual = data.decode("utf-8", "replace")
        self.outcome.output = actual[:2000]
        if ended is not None:
            return result(check, name, *self._limit(ended))
        if size >= self.bounds.output or usage.signal == signal.SIGXFSZ:
            return result(check, name, "failed", f"printed more than {self.bounds.output // 1024} KiB")
        if usage.signal is not None or usage.exit_code != 0 or usage.cpu_seconds > bounds.cpu_seconds + 1:
            status, text = self._death(usage, bounds)
            return result(check, name, status, text, compare.excerpt(actual))
        self.bench.checking = True
        try:
            good = matches(actual)
        except (MemoryError, Exception) as error:
            raise BrokenCheck(f"the comparer failed: {type(error).__name__}: {error}") from None
        finally:
            self.bench.checking = False
        shown = (None, None) if good else (compare.excerpt(actual), compare.excerpt(check.stdout))
        message = "" if good else "the output differs from what was expected"
        return result(check, name, "passed" if good else "failed", message, *shown)

    def _call(self, check: CallCheck, name: str, _request: bytes, nan: bool) -> CheckResult:
        if check.kwargs:
            raise BrokenCheck(f"named arguments are not passed to {self.language.title}")
        request = self.language.request(check).encode()
        try:
            reply = self._open().ask(request)
            kind = reply[0]
            if kind == "v" and len(reply) == 2:
                actual = codec.decode(reply[1], None, nan)
                if self.language.same(actual, check):
                    return result(check, name, "passed")
                shown = compare.excerpt(actual), compare.excerpt(check.expected)
                return result(check, name, "failed", "the result differs from what was expected", *shown)
            if kind == "e":
                status, text = load_failure(["l", "runtime", *reply[1:]])
                return result(check, name, status, text.replace(" while loading:", ":", 1))
            if kind == "m":
                return result(check, name, "runtime_error", f"the program defines no {check.function!r}")
            return result(check, name, "failed", f"the result cannot be read: {str(reply[1:])[:200]}")
        except codec.CodecError as error:
            return result(check, name, "failed", f"the result cannot be read: {error}")
        except Ended as ended:
            return self._ended(check, name, ended)

    def _ended(self, check: Check, name: str, ended: Ended) -> CheckResult:
        if ended.kind == "load" and ended.reply is not None:
            self.failure = load_failure(ended.reply)
            return result(check, name, *self.failure)
        usage = self._close_session()
        if ended.kind == "timeout":
            return result(check, name, *self._limit(ended))
        if ended.kind == "bad_frame":
            return result(check, name, "failed", f"broke the protocol: {ended.text}")
        assert usage is not None
        if usage.exit_code is not None and not self._label(usage):
            self.outcome.flags.add("early_exit")
            said = _telling(self._said(2, 8000))
            text = f"the process ended before it was asked to (exit code {usage.exit_code})"
            return result(check, name, "runtime_error", f"{text}: {said}" if said else text)
        return result(check, name, *self._death(usage, self._bounds("call")))

    # ---- sessions

    def _open(self) -> LineSession:
        """The process that all calls share; a new one when the last ended."""
        if self.session is not None and self.session.ended is not None:
            self._close_session()
        if self.session is None:
            assert self.launcher is not None
            self.launcher.command = "call"
            self.session = LineSession(self.launcher, self._bounds("call"))
        return self.session

    def _close_session(self) -> Usage | None:
        if self.session is None:
            return None
        session, self.session = self.session, None
        usage = session.close()
        self.outcome.flags |= session.flags
        self._add(usage, session.ended)
        if session.ended is None and self.launcher is not None:
            self.outcome.output = self._said(1, 2000)
        return usage

    def _add(self, usage: Usage, ended: Ended | None) -> None:
        self.outcome.add_usage(usage)
        if ended is not None and ended.kind == "timeout":
            self.outcome.timed_out.append((usage.cpu_seconds, usage.wall_seconds))

    def must_be_quiet(self) -> None:
        """A program that passed but still has something to say was forging: it fails the last check it was in."""
        session, results = self.session, self.outcome.results
        if session is not None and session.ended is None and results[-1].passed and session.has_more():
            self.outcome.flags.add("bad_frame")
            results[-1] = replace(results[-1], passed=False, status="failed", message="sent more than was asked for")

    def close(self) -> None:
        self._close_session()

    # ---- how it ended

    def _limit(self, ended: Ended) -> tuple[str, str]:
        if ended.kind == "timeout":
            return "timeout", ended.text
        return "failed", f"broke the protocol: {ended.text}"

    def _label(self, usage: Usage) -> tuple[str, str] | None:
        """A status that its own error output explains. It failed whatever that says."""
        said = self._said(2, 20_000)
        telling = _telling(said)
        for pattern, status in (
            (self.language.syntax, "syntax_error"),
            (self.language.memory, "out_of_memory"),
            (_REFUSED, "forbidden"),
            (_NO_SPACE, "forbidden"),
        ):
            if pattern is not None and (found := pattern.search(said)):
                line = said[said.rfind("\n", 0, found.start()) + 1 :].partition("\n")[0]
                return status, (said.strip()[:500] if status == "syntax_error" else line[:300] or telling)
        return None

    def _death(self, usage: Usage, bounds: Bounds) -> tuple[str, str]:
        over = usage.cpu_seconds - bounds.cpu_seconds
        if over > 1 or (over >= 0 and usage.exit_code != 0):
            self.outcome.timed_out.append((usage.cpu_seconds, usage.wall_seconds))
            return "timeout", f"used {usage.cpu_seconds:.2f} s of CPU time"
        if usage.signal == signal.SIGSYS:
            self.outcome.flags.add("sigsys")
            return "forbidden", "made a system call that no honest program makes"
        if label := self._label(usage):
            return label
        if usage.signal == signal.SIGKILL:
            return "out_of_memory", "the process was killed"
        said = _telling(self._said(2, 8000))
        return "runtime_error", f"{_ending(usage)}: {said}" if said else _ending(usage)


def _ending(usage: Usage) -> str:
    if usage.signal is not None:
        try:
            return f"signal {signal.Signals(usage.signal).name}"
        except ValueError:
            return f"signal {usage.signal}"
    return f"exit code {usage.exit_code}"


def _telling(said: str) -> str:
    """The line of an error output that says most."""
    found = _TELLING.search(said)
    lines = said.strip().splitlines()
    return (found.group() if found else lines[-1] if lines else "").strip()[:300]
