"""Runs a query against a database in memory that a script makes."""

import json
import math
import os
import socket
import sys

sys.path += [path for path in os.environ.get("STROP_PATH", "").split(os.pathsep) if path and path not in sys.path]
PROGRAM = "/box/program.sql"


def sqlite_rows(script, program, then):
    import sqlite3

    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(script)
    rows = []
    for statement in split(program, sqlite3.complete_statement):
        cursor = connection.execute(statement)
        if cursor.description:
            rows = cursor.fetchall()
    return connection.execute(then).fetchall() if then else rows


def split(text, complete):
    """The statements of `text`; a semicolon ends one when the library says that it does."""
    statement = ""
    for part in text.split(";"):
        statement += part + ";"
        if complete(statement):
            if statement.strip(" \t\r\n;"):
                yield statement
            statement = ""
    if statement.strip(" \t\r\n;"):
        yield statement[:-1]


def duckdb_rows(script, program, then):
    import duckdb

    connection = duckdb.connect(":memory:", config={"threads": "1", "memory_limit": "256MB", "temp_directory": ""})
    if script.strip():
        connection.execute(script)
    rows = []
    for statement in duckdb.extract_statements(program):
        result = connection.execute(statement)
        if result.description and statement.type == duckdb.StatementType.SELECT:
            rows = result.fetchall()
    return connection.execute(then).fetchall() if then else rows


def encode(value):
    kind = type(value)
    if value is None or kind is bool or kind is str or kind is int:
        return json.dumps(value)
    if kind is float:
        if math.isfinite(value):
            return repr(value)
        return json.dumps({"n": "nan" if value != value else "inf" if value > 0 else "-inf"})
    if kind in (list, tuple):
        return "[" + ",".join(map(encode, value)) + "]"
    if kind is dict:
        return '{"o":{' + ",".join(f"{json.dumps(str(key))}:{encode(item)}" for key, item in value.items()) + "}}"
    if kind in (bytes, bytearray, memoryview):
        return json.dumps({"b": bytes(value).decode("latin-1")})
    if kind.__name__ == "Decimal":
        return f"{value:f}"
    return json.dumps(str(value))


def shown(value):
    """As the sqlite3 shell prints it."""
    if value is None:
        return ""
    if type(value) is bool:
        return "1" if value else "0"
    return str(value)


def failure(error):
    names = [type(error).__name__]
    text = str(error)[:400]
    syntax = "syntax error" in text or "incomplete input" in text or names[0] == "ParserException"
    return ["l", "syntax", names, None, text, None] if syntax else ["e", names, None, text, None]


def main(mode):
    rows_of = {"sqlite": sqlite_rows, "duckdb": duckdb_rows}["ENGINE"]
    with open(PROGRAM, encoding="utf-8", errors="surrogateescape") as file:
        program = file.read()
    if mode == "main":
        try:
            for row in rows_of(sys.stdin.read(), program, ""):
                print("|".join(map(shown, row)))
        except Exception as error:
            sys.exit(f"{'SyntaxError: ' if failure(error)[0] == 'l' else ''}{type(error).__name__}: {error}")
        return
    channel = socket.socket(fileno=3)
    for line in channel.makefile("r", encoding="utf-8"):
        _, arguments = json.loads(line)
        try:
            reply = '["v",' + encode(rows_of(arguments[0], program, "".join(arguments[1:]))) + "]"
        except Exception as error:
            reply = json.dumps(failure(error))
        channel.sendall(reply.encode() + b"\n")


main(sys.argv[1])
