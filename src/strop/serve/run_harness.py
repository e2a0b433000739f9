"""Runs inside the judge's sandbox, never in Strop's own process: one whole program, with what it printed kept.

This file is what the sandbox gets, behind a line that sets `_strop_program`. Standard streams are pipes, as
they are under a shell. `strop_piece(k)` hands out `EXIT-CODE LENGTH LENGTH\n` and both outputs, 300 characters at a
time. The program shares this process and may forge all of it: its own output and exit code, nothing else.
"""

import _thread
import os
import sys

_strop_program = globals()["_strop_program"]
_strop_text = ""
_STROP_ROOM = 1 << 20
_STROP_PIPE = 1 << 16


def _strop_feed(data):
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.close(reading)

    def feed(rest):
        try:
            while rest:
                rest = rest[os.write(writing, rest[:_STROP_PIPE]) :]
        except OSError:
            pass
        os.close(writing)

    if len(data) <= _STROP_PIPE:
        feed(data)
    else:
        _thread.start_new_thread(feed, (memoryview(data),))


def _strop_collect(fd):
    """Keep what is written to `fd`. The result ends that and gives it back."""
    reading, writing = os.pipe()
    before = os.dup(fd)
    os.dup2(writing, fd)
    os.close(writing)
    parts, done = [], _thread.allocate_lock()
    done.acquire()

    def follow():
        room = _STROP_ROOM
        while data := os.read(reading, _STROP_PIPE):
            if room > 0:
                parts.append(data[:room])
                room -= len(data)
        done.release()

    _thread.start_new_thread(follow, ())

    def stop():
        os.dup2(before, fd)
        done.acquire(True, 1.0)  # no end comes while the program holds a copy of the descriptor
        return b"".join(parts).decode("utf-8", "replace")

    return stop


def _strop_show(error, skip):
    import linecache
    import traceback

    lines = _strop_program.splitlines(True)
    linecache.cache["main.py"] = (len(_strop_program), None, lines, "main.py")
    trace = error.__traceback__
    for _ in range(skip):
        trace = trace.tb_next if trace is not None else None
    sys.stderr.write("".join(traceback.format_exception(type(error), error.with_traceback(trace), trace)))


def _strop_main():
    module = type(sys)("__main__")
    module.__file__ = "main.py"
    sys.modules["__main__"] = module
    sys.argv = ["main.py"]
    try:
        code = compile(_strop_program, "main.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
        _strop_show(error, 1)
        return 1
    try:
        exec(code, module.__dict__)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return int(end.code or 0) & 255
        sys.stderr.write(str(end.code) + "\n")
        return 1
    except BaseException as error:
        _strop_show(error, 1)
        return 1
    return 0


def strop_run(stdin):
    global _strop_text
    stops = _strop_collect(1), _strop_collect(2)
    _strop_feed(stdin.encode("utf-8", "surrogateescape"))
    try:
        code = _strop_main()
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        if "atexit" in sys.modules:
            sys.modules["atexit"]._run_exitfuncs()
    except BaseException:
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
    out, err = [stop() for stop in stops]
    _strop_text = f"{code} {len(out)} {len(err)}\n{out}{err}"


def strop_piece(k):
    return _strop_text[k * 300 : (k + 1) * 300] or None
