"""Runs inside the judge's sandbox, never in Strop's own process: a program with one input, its values noted by block.

The text of this file is what the sandbox gets. `strop_trace` leaves JSON in `_strop_text`:
`{"events": [[block, {name: value as text}], ...], "result": ..., "error": ..., "cut": events left out}`, where the
values of a block are those after it ran. Values are cut at 100 characters, as in LDB. The program shares this process
and may forge all of it; what it gains is a misleading prompt for its own repair.
"""

import io
import json
import sys

_strop_text = None


class _Enough(BaseException):
    """The program ran longer than is worth tracing."""


def _strop_show(value, depth=0):
    try:
        if isinstance(value, (str, bytes, bytearray)):
            return repr(value[:100])[:100]
        if isinstance(value, (list, tuple)) and len(value) > 50:
            value = value[:50]
        text = repr(value)
    except BaseException as error:
        return "<" + type(error).__name__ + " while showing it>"
    return text if len(text) <= 100 else text[:97] + "..."


def _strop_values(frame):
    values = {}
    for name, value in list(frame.f_locals.items())[:20]:
        if not name.startswith("__") and not callable(value) and type(value).__name__ != "module":
            values[name] = _strop_show(value)
    return values


def strop_trace(program, function, args, kwargs, stdin, starts, most_events, most_lines, room):
    """`starts`: {line: block} of every line that a block covers. `room`: characters that the JSON may take."""
    global _strop_text
    block_of = dict(starts)
    first_line = {}
    for line, block in starts:
        first_line[block] = min(line, first_line.get(block, line))
    events = []
    lines = 0

    def follow(frame, event, arg):
        if frame.f_code.co_filename != "<traced>":
            return None
        now = [None]

        def local(frame, event, arg):
            nonlocal lines
            lines += 1
            if lines > most_lines:
                raise _Enough
            if event == "line":
                block = block_of.get(frame.f_lineno)
                again = block is not None and frame.f_lineno == first_line[block]
                if now[0] is not None and (block != now[0] or again):
                    events.append([now[0], _strop_values(frame)])
                now[0] = block
            elif event == "return" and now[0] is not None:
                values = _strop_values(frame)
                values["(return)"] = _strop_show(arg)
                events.append([now[0], values])
                now[0] = None
            return local

        return local

    space: dict = {"__name__": "__main__" if function is None else "program"}
    result, error = None, None
    sys.stdin, shown = io.StringIO(stdin or ""), sys.stdout
    sys.stdout = io.StringIO()
    try:
        code = compile(program, "<traced>", "exec", dont_inherit=True)
        if function is None:
            sys.settrace(follow)
            exec(code, space)
        else:
            exec(code, space)
            target = None
            for number, part in enumerate(function.split(".")):  # "Stack().push": an instance, then its method
                name = part.removesuffix("()")
                target = space[name] if number == 0 else getattr(target, name)
                target = target() if part.endswith("()") else target
            if not callable(target):
                raise TypeError(function + " cannot be called")
            sys.settrace(follow)
            result = _strop_show(target(*args, **kwargs))
    except _Enough:
        error = "did not end within " + str(most_lines) + " lines"
    except BaseException as problem:
        sys.settrace(None)
        error = (type(problem).__name__ + ": " + str(problem))[:200]
    finally:
        sys.settrace(None)
        sys.stdout = shown
    cut = 0
    while True:
        kept = events
        if len(events) > most_events:
            half = most_events // 2
            kept, cut = events[:half] + events[len(events) - half :], len(events) - 2 * half
        text = json.dumps({"events": kept, "result": result, "error": error, "cut": cut})
        if len(text) <= room or most_events < 2:
            _strop_text = text if len(text) <= room else None
            return
        most_events = min(most_events, len(events)) // 2
