"""Runs a Klong program, or answers calls of its functions: a request is an expression, a line of Klong source."""

import json
import math
import os
import socket
import sys

sys.path += [path for path in os.environ.get("STROP_PATH", "").split(os.pathsep) if path and path not in sys.path]
PROGRAM = "/box/program.kg"


def encode(value):
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return repr(value)
        return json.dumps({"n": "nan" if value != value else "inf" if value > 0 else "-inf"})
    if isinstance(value, str):
        return json.dumps(str(value))
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(encode, value)) + "]"
    if isinstance(value, dict):
        return '{"d":[' + ",".join(f"{encode(key)},{encode(item)}" for key, item in value.items()) + "]}"
    if value is None:
        return "null"
    raise TypeError(f"a {type(value).__name__} is not plain data")


def failure(error):
    name = type(error).__name__
    syntax = name.startswith("Unexpected") or "unexpected" in str(error).lower() or name == "IndexError"
    return syntax, name, str(error)[:400]


def main(mode):
    from klongpy import KlongInterpreter

    klong = KlongInterpreter()
    with open(PROGRAM, encoding="utf-8", errors="surrogateescape") as file:
        program = file.read()
    problem = None
    try:
        klong(program)
    except Exception as error:
        syntax, name, text = failure(error)
        if mode == "main":
            sys.exit(f"{'SyntaxError: ' if syntax else ''}{name}: {text}")
        problem = json.dumps(["l", "syntax" if syntax else "runtime", [name], None, text, None])
    if mode == "main":
        return
    channel = socket.socket(fileno=3)
    for line in channel.makefile("r", encoding="utf-8"):
        reply = problem
        if reply is None:
            try:
                reply = '["v",' + encode(klong(line.rstrip("\n"))) + "]"
            except Exception as error:
                reply = json.dumps(["e", [type(error).__name__], None, str(error)[:400], None])
        channel.sendall(reply.encode() + b"\n")


main(sys.argv[1])
