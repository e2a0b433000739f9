"""What runs inside a program's process: it loads the program, calls what it is told to, and sends back plain data.

Nothing here is trusted by the judge. The program shares this process and may rewrite all of it; all it can gain is to
send other answers, and an answer is all that it is asked for. Requests and replies are JSON lists behind a four-byte
length:

    requests    ["load", source, mode]                     run the program's own text
                ["call", path, args, kwargs]               call a global of the program
                ["op", name, handle, args, kwargs]         an operation on an object that stayed here
                ["ping"]
                ["return", value] / ["raise", name, args]  answer to a callback
    replies     ["v", value, changed?]  ["e", names, args, text, line, attributes]
                ["l", kind, names, args, text, line, attributes] (did not load)
                ["s"] (iterator is done)  ["m", name] (no such global)  ["x", why] (value cannot cross)
                ["c", callback, args, kwargs] (call the judge's function)  ["d", exit code] (whole program ended)
"""

from __future__ import annotations

import builtins
import gc
import io
import operator
import os
import sys
import types

from strop.judge import codec

PROGRAM = "<program>"
_CHANGEABLE = frozenset({list, dict, set, bytearray})
_PIECE = 1 << 16
"""Bytes read at once: from 128 KiB on, the C library maps and unmaps memory for each."""


class _Capped(io.RawIOBase):
    """A standard stream that stops passing on what exceeds the output limit, instead of failing the program."""

    def __init__(self, fd):
        self.fd = fd

    def writable(self):
        return True

    def fileno(self):
        return self.fd

    def write(self, data):
        view = memoryview(data)
        try:
            return os.write(self.fd, view)
        except OSError:
            return len(view)


def prepare():
    """Once, in the zygote: streams and hooks that all programs inherit."""
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r")), encoding="utf-8", errors="surrogateescape")
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = io.TextIOWrapper(io.BufferedWriter(_Capped(fd)), encoding="utf-8", errors="backslashreplace")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.__stdin__ = sys.stdin
    sys.dont_write_bytecode = True


_PRACTICE = """
import collections, math, re
from typing import Dict, List, Optional, Tuple

class Point:
    def __init__(self, x: int, y: int = 0):
        self.x, self.y = x, y

    def __eq__(self, other):
        return self.x == other.x

def practice(numbers: List[int], text: str) -> Tuple[List[int], Dict[str, int]]:
    \"\"\"What programs commonly do.\"\"\"
    counts, best = {}, None
    for index, letter in enumerate(text.lower().split()):
        counts[letter] = counts.get(letter, 0) + 1
        if best is None or len(letter) > len(best) and not letter.isdigit():
            best = letter
    try:
        total = sum(n ** 2 for n in numbers if n % 2 == 0) / max(1, len(numbers))
    except (ValueError, ZeroDivisionError) as error:
        raise TypeError(str(error)) from None
    while total > 100:
        total -= math.sqrt(total)
    words = sorted(set(counts), key=lambda word: (-counts[word], word))
    point = Point(len(words))
    squares = [[row * column for column in range(3)] for row in range(2)]
    found = re.findall("[a-z]+", text)
    return [round(total, 2), *numbers[::-1]], {f"{w}{point.x}": squares[0][1] for w in words}, "".join(found), best

def change(items):
    items.append(collections.Counter(items).most_common(1)[0][0])
"""
"""A trusted program that does what programs commonly do."""


def practise(fd, requests, answer):
    """Once, in the zygote: judge a trusted program, so that what the interpreter looks up, specialises and caches on
    the way is shared by all programs, and not written again, page by page, in each of their processes.

    `requests(message)` makes `message` arrive at `fd`, where this reads; `answer()` takes what was sent there.
    """
    for _ in range(12):  # Python 3.11 specialises a function after 8 calls
        me = Candidate(fd)
        numbers = list(range(20))
        for request in (
            ["load", _PRACTICE, "call"],
            ["call", "practice", [numbers, "to be or not to be 1"], {"o": {}}],
            ["call", "practice", [numbers, {"t": ["a"]}], {"o": {}}],
            ["call", "change", [numbers], {"o": {}}],
        ):
            requests(codec.dumps(request))
            me.reply_to(me.receive())
            if request[0] != "load":
                answer()
    for name in ("program", "__main__"):
        sys.modules.pop(name, None)


def main(fd):
    gc.enable()
    Candidate(fd).serve()
    os._exit(0)


class _Hangup(BaseException):
    """The judge closed the channel."""


class Candidate:
    def __init__(self, fd):
        self.fd = fd
        self.buffer = b""
        self.space = {}
        self.objects = []
        self.numbers = {}
        self.load_error = None
        self.stdout = sys.stdout

    # ---- channel

    def receive(self):
        data = self.buffer
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "little"):
            more = os.read(self.fd, _PIECE)
            if not more:
                raise _Hangup
            data += more
        end = 4 + int.from_bytes(data[:4], "little")
        self.buffer = data[end:]
        return codec.loads(data[4:end])

    def send(self, reply):
        body = codec.dumps(reply)
        view = memoryview(len(body).to_bytes(4, "little") + body)
        while view:
            view = view[os.write(self.fd, view) :]

    # ---- values

    def encode(self, value):
        return codec.encode(value, self.handle, True)

    def decode(self, tree):
        return codec.decode(tree, self.resolve, True)

    def handle(self, value):
        """Tag of an object that stays here: its number and what it offers."""
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        kind = type(value)
        if isinstance(value, type):
            offers = "x" if issubclass(value, BaseException) else "t"
        else:
            offers = ("i" if hasattr(kind, "__next__") else "") + ("c" if callable(value) else "")
        return {"h": [number, offers, str(getattr(value if offers == "t" else kind, "__name__", ""))]}

    def resolve(self, tag, body):
        if tag == "h":
            return self.objects[body]
        if tag == "g":
            return self.find(body)
        if tag == "C":
            return lambda *args, **kwargs: self.call_back(body, args, kwargs)
        if tag == "G":
            return self.iterate(body)
        if tag == "B":
            __import__(body[0])
            return operator.attrgetter(body[1])(sys.modules[body[0]])
        raise codec.CodecError(f"unknown tag {tag!r}")

    def find(self, path):
        """A global of the program, or an attribute below it; "()" after a name makes an instance."""
        name, *rest = path.split(".")
        value = self.space[name.removesuffix("()")]
        value = value() if name.endswith("()") else value
        for part in rest:
            value = getattr(value, part.removesuffix("()"))
            value = value() if part.endswith("()") else value
        return value

    def call_back(self, number, args, kwargs):
        self.send(["c", number, self.encode(list(args)), self.encode(kwargs)])
        while True:
            request = self.receive()
            if request[0] == "return":
                return self.decode(request[1])
            if request[0] == "raise":
                raise getattr(builtins, request[1], Exception)(*self.decode(request[2]))
            self.reply_to(request)  # the judge's function called the program in its turn

    def iterate(self, number):
        while item := self.call_back(number, (), {}):
            yield item[0]

    # ---- requests

    def serve(self):
        while True:
            try:
                self.reply_to(self.receive())
            except (_Hangup, OSError):
                return

    def reply_to(self, request):
        try:
            reply = self.answer(request)
        except _Hangup:
            raise
        except BaseException as error:
            reply = self.failure(error)
        if reply is not None:
            try:
                self.stdout.flush()  # the process is killed at the end, so what it printed must be out by then
            except BaseException:
                pass
            self.send(reply)

    def answer(self, request):
        what = request[0]
        if what == "load":
            self.load(*request[1:])
            if request[2] == "main":
                reply, self.load_error = self.load_error, None
                return reply
            return None  # a failure is told in answer to the first question
        if self.load_error is not None:
            return self.load_error
        if what == "call":
            return self.call(*request[1:])
        if what == "op":
            name, number, args, kwargs = request[1:]
            target = self.objects[number] if type(number) is int else self.find(number)
            if name == "next":
                try:
                    return ["v", self.encode(next(target))]
                except StopIteration:
                    return ["s"]
            return self.value(_OPERATIONS[name](target, *self.decode(args), **self.decode(kwargs)))
        return ["v", None]

    def call(self, path, args, kwargs):
        try:
            function = self.find(path)
        except KeyError:
            return ["m", path]
        values = self.decode(args)
        result = function(*values, **self.decode(kwargs))
        own = type(result).__module__ == self.space.get("__name__")
        if own and isinstance(function, type) and not isinstance(result, BaseException):
            return ["v", self.handle(result)]
        if result is None:
            changed = [
                [index, tree]
                for index, value in enumerate(values)
                if type(value) in _CHANGEABLE and (tree := self.encode(value)) != args[index]
            ]
            return ["v", None, changed] if changed else ["v", None]
        return self.value(result)

    def value(self, result):
        try:
            return ["v", self.encode(result)]
        except (codec.CodecError, RecursionError) as error:
            return ["x", str(error)]

    def load(self, source, mode):
        name = "__main__" if mode == "main" else "program"
        module = types.ModuleType(name)
        sys.modules[name] = module
        self.space = module.__dict__
        self.space["__builtins__"] = builtins
        try:
            code = compile(source, PROGRAM, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
            self.load_error = ["l", "syntax", *self.failure(error)[1:]]
            return
        exit_code = 0
        try:
            exec(code, self.space)
        except SystemExit as error:
            if mode == "main":
                exit_code = error.code if type(error.code) is int else 0 if error.code is None else 1
            else:
                self.load_error = ["l", "exit", *self.failure(error)[1:]]
        except _Hangup:
            raise
        except BaseException as error:
            self.load_error = ["l", "runtime", *self.failure(error)[1:]]
        if mode == "main":
            self.finish()
            if self.load_error is None:
                self.load_error = ["d", exit_code]

    def finish(self):
        """What the interpreter does at the end of a whole program: wait for threads, run exit hooks, flush."""
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        if "atexit" in sys.modules:
            sys.modules["atexit"]._run_exitfuncs()
        sys.stdout.flush()

    def failure(self, error):
        names = [cls.__name__ for cls in type(error).__mro__ if cls not in (object, BaseException)]
        try:
            args = self.encode(list(error.args))
        except Exception:
            args = None
        try:
            text = str(error)[:500]
        except BaseException:
            text = ""
        line, trace = None, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == PROGRAM:
                line = trace.tb_lineno
            trace = trace.tb_next
        if line is None and isinstance(error, SyntaxError):
            line = error.lineno
        try:
            attributes = self.encode(dict(vars(error)))
        except BaseException:
            attributes = None
        return ["e", names, args, text, line, attributes]


def _enter(target):
    return type(target).__enter__(target)


def _exit(target):
    return type(target).__exit__(target, None, None, None)


_OPERATIONS = {
    "get": getattr,
    "set": setattr,
    "del": delattr,
    "call": lambda target, *args, **kwargs: target(*args, **kwargs),
    "iter": iter,
    "isinstance": lambda target, value: isinstance(value, target),
    "issubclass": lambda target, value: issubclass(value, target),
    "enter": _enter,
    "exit": _exit,
    "dir": dir,
    "format": format,
    **{name: getattr(builtins, name) for name in ("len", "str", "repr", "bool", "hash", "abs", "round", "reversed")},
    **{name: getattr(builtins, name) for name in ("int", "float", "complex", "divmod", "pow")},
    **{
        name: getattr(operator, name)
        for name in ("getitem", "setitem", "delitem", "contains", "eq", "ne", "lt", "le", "gt", "ge", "neg", "pos")
    },
    **{
        name: getattr(operator, name)
        for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "lshift", "rshift", "xor", "invert")
    },
    **{name: getattr(operator, name) for name in ("iadd", "isub", "imul", "index")},
    "and": operator.and_,
    "or": operator.or_,
    **{
        "r" + name: (lambda op: lambda target, other: op(other, target))(getattr(operator, name))
        for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "pow", "lshift", "rshift", "xor")
    },
}
