"""From a model's reply to a whole program: the one place where code is read out of text.

The rules, in order (each exists because real replies need it; every one is tested on such replies):

1. Line ends become `\\n`; a byte order mark goes. Tabs, smart quotes and NUL bytes are left alone: they are what the
   model wrote.
2. Reasoning between `<think>` and `</think>` (or `<thinking>`) is dropped. Without an opening tag everything up to the
   closing one is reasoning; without a closing tag everything after the opening one is.
3. Fenced blocks (three or more backticks or tildes) are read as Markdown does, with two allowances: a fence may follow
   prose on the same line, and a fence with a language tag ends a block that was left open. A last block may lack its
   closing fence. Blocks tagged python, py, python3 or untagged come before blocks with other tags; of those, the first
   one that defines the entry point is the program. Without an entry point it is the longest block that parses.
4. Without a usable block: the text from the first line on from which it parses and defines the entry point.
5. Without a definition: the reply is a function body that continues the task's stub. A first line that lost its
   indentation gets it back; a body without any indentation is indented when it then parses and returns something.
6. Python prompts (`>>> def f(x):`, `... `) are removed from a program that is written as a session.
7. The program is cut back to what parses: from the first syntax error on, whole top-level statements go; when this
   would remove the entry point, lines are cut from its end instead, while it keeps a body.
8. Example use is removed, so that importing the program prints nothing and waits for nothing: top-level `print`,
   `input` and calls of the program's own functions, `assert`, `if __name__ == "__main__"`, assignments that no
   definition uses, and loops or branches after the entry point that define nothing; with them the comments right
   above and those at the end. Not for whole programs.
9. A definition of the entry point that holds only a docstring, `pass` or `...` goes when a real one exists. Of several
   real ones Python takes the last, and so does Strop.
10. Imports and helper functions of the stub that the program does not bring itself are put in front.

The result may still fail to parse: then it is the most sensible text found, and the judge will say `syntax_error`.
It is empty when the reply holds nothing that could be a program.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from strop.tasks.literals import parse

MAX_TEXT = 200_000
"""Longer replies are cut to this many characters first; rule 7 is linear in practice but not in the worst case."""

PYTHON_TAGS = frozenset({"", "python", "py", "python3", "pycon", "python-repl", "code"})

_THINK_END = re.compile(r"</think(?:ing)?>")
_THINK_START = re.compile(r"<think(?:ing)?>")
_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*([\w+#.-]*)[ \t]*(.*)$")
_INLINE_FENCE = re.compile(r"(?<=[^\s`])[ \t]*(```(?:python3?|py)[ \t]*)$", re.MULTILINE)
_START = re.compile(
    r"^(?:from\s+\S+\s+import\b|import\s|(?:async\s+)?def\s|class\s|@\w|[A-Za-z_]\w*\s*(?::[^=\n]+)?=[^=])"
)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
_CONTINUES = re.compile(r"[)\]}#]|(?:else|elif|except|finally)\b")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language tag in lower case, its text, and whether a closing fence was seen."""

    tag: str
    text: str
    closed: bool


def extract_program(text: str, entry_point: str | None = None, stub: str = "") -> str:
    """The whole program in a reply, by the rules above; `stub` is what the model was asked to complete.

    Never raises; an empty text means that there is no program.
    """
    text = drop_reasoning(normalise(text))
    python, other = [], []
    for block in fenced_blocks(text):
        (python if block.tag in PYTHON_TAGS else other).append(unprompt(block.text))
    program = _choose(python, entry_point) or _choose(other, entry_point, strict=True)
    if program is None and entry_point is not None:
        program = _from_prose(text, entry_point)
        if program is None:
            program = next((body for block in [*python, text] if (body := _continue(block, entry_point, stub))), None)
    if program is None:
        program = python[0] if python else _bare_program(text)
    program = cut_to_parse(program, entry_point)
    if entry_point is not None:
        program = drop_example_use(program, entry_point)
        program = add_stub_helpers(program, entry_point, stub)
    return program.strip("\n") + "\n" if program.strip() else ""


def normalise(text: str) -> str:
    """Rule 1, with the length limit."""
    return text[:MAX_TEXT].removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def drop_reasoning(text: str) -> str:
    """Rule 2."""
    kept, place = [], 0
    while start := _THINK_START.search(text, place):
        end = _THINK_END.search(text, start.end())
        kept.append(text[place : start.start()])
        if end is None:
            return "".join(kept)
        place = end.end()
    text = "".join(kept) + text[place:]
    ends = list(_THINK_END.finditer(text))
    return text[ends[-1].end() :] if ends else text


def fenced_blocks(text: str) -> list[Block]:
    """Rule 3: the fenced blocks of a text, in order."""
    blocks: list[Block] = []
    opened: tuple[str, str, str] | None = None  # fence, tag, indentation
    lines: list[str] = []
    for line in _INLINE_FENCE.sub(r"\n\1", text).split("\n"):
        match = _FENCE.match(line)
        fence, tag, rest = (match[2], match[3].lower(), match[4]) if match else ("", "", "")
        if match and "`" in rest and fence[0] == "`":
            match = None  # inline code such as ```x = 1```, not a fence
        if opened is None:
            if match:
                opened, lines = (fence, tag, match[1]), [rest] if rest and tag in PYTHON_TAGS - {""} else []
            continue
        closes = match and not tag and not rest and fence[0] == opened[0][0] and len(fence) >= len(opened[0])
        if match and (closes or (tag and not rest and fence[0] == opened[0][0])):
            blocks.append(Block(opened[1], "\n".join(lines), bool(closes)))
            opened, lines = (None, []) if closes else ((fence, tag, match[1]), [])
        else:
            indent = opened[2]
            lines.append(line[len(indent) :] if indent and line.startswith(indent) else line)
    if opened is not None:
        blocks.append(Block(opened[1], "\n".join(lines), False))
    return blocks


def unprompt(code: str) -> str:
    """Rule 6: a session whose first line is `>>> ...` without its prompts and without what it printed."""
    lines = code.split("\n")
    first = next((line for line in lines if line.strip()), "")
    if not first.startswith(">>> "):
        return code
    kept = [line[4:] for line in lines if line.startswith((">>> ", "... "))]
    return "\n".join(kept)


def defines(tree: ast.Module, name: str) -> bool:
    """True when the module binds `name` at its top level: by def, class, assignment or import."""
    return any(name in _bound(node) for node in tree.body)


def cut_to_parse(code: str, entry_point: str | None = None, attempts: int = 200) -> str:
    """Rule 7. The longest sensible front part of `code` that parses; `code` itself when there is none."""
    lines = code.split("\n")
    end, best = len(lines), None
    for _ in range(attempts):
        tree = parse("\n".join(lines[:end]))
        if not isinstance(tree, SyntaxError):
            best = tree
            break
        # The error lies in a top-level statement; drop from that statement's first line on.
        end = min(end - 1, max((tree.lineno or end) - 1, 0))
        while end > 0 and not _starts_statement(lines[end]):
            end -= 1
        if end == 0:
            break
    if best is not None and (defines(best, entry_point) if entry_point else best.body):
        return "\n".join(lines[:end])
    shorter = _cut_lines(lines, entry_point, attempts)
    return code if shorter is None else shorter


def _cut_lines(lines: list[str], entry_point: str | None, attempts: int) -> str | None:
    """Cut line by line from the first syntax error up, as long as the entry point keeps a real body."""
    end = len(lines)
    for _ in range(attempts):
        tree = parse("\n".join(lines[:end]))
        if not isinstance(tree, SyntaxError):
            real = entry_point is None or any(_is_real(node, entry_point) for node in tree.body)
            return "\n".join(lines[:end]) if tree.body and real else None
        end = min(end - 1, max((tree.lineno or end) - 1, 0))
        if end == 0:
            return None
    return None


def drop_example_use(code: str, entry_point: str) -> str:
    """Rules 8 and 9. Statements are removed as lines, so that the rest keeps its comments and layout."""
    tree = parse(code)
    if isinstance(tree, SyntaxError) or not defines(tree, entry_point):
        return code
    own = {name for node in tree.body if isinstance(node, _DEFINITIONS) for name in _bound(node)}
    used = _used_names(tree, entry_point)
    last = max(i for i, node in enumerate(tree.body) if entry_point in _bound(node))
    real = any(_is_real(node, entry_point) for node in tree.body)
    doomed = {
        node
        for place, node in enumerate(tree.body)
        if _is_example(node, own, used, after=place > last)
        or (real and isinstance(node, _DEFINITIONS) and node.name == entry_point and not _is_real(node, entry_point))
    }
    doomed = _with_dependants(tree.body, doomed)
    lines = code.split("\n")
    kept = {number for node in tree.body if node not in doomed for number in _lines_of(node)}
    drop = {number for node in doomed for number in _lines_of(node)} - kept
    last_kept = max(kept, default=0)
    for number in range(len(lines), 0, -1):
        # Notes such as `# Example usage:` go with the statement below them, and at the end of the program.
        is_note = not lines[number - 1].strip() or lines[number - 1].startswith("#")
        if is_note and number not in kept and (number > last_kept or number + 1 in drop):
            drop.add(number)
    return "\n".join(line for number, line in enumerate(lines, 1) if number not in drop)


def add_stub_helpers(program: str, entry_point: str, stub: str) -> str:
    """Rule 10: what the stub holds before the entry point, in front of a program that lacks some of it."""
    from strop.tasks.humaneval import helpers

    front = helpers(stub, entry_point) if stub else ""
    tree = parse(program)
    if not front or not program.strip() or isinstance(tree, SyntaxError):
        return program
    present = {name for node in tree.body for name in _bound(node)}
    wanted = parse(front)
    if isinstance(wanted, SyntaxError):
        return program
    missing = [node for node in wanted.body if not _bound(node) <= present]
    if any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body):
        return program  # a future import must stay first
    lines = front.split("\n")
    pieces = ["\n".join(lines[_first_line(node) - 1 : node.end_lineno]) for node in missing]
    return "\n".join(pieces) + "\n\n\n" + program.lstrip("\n") if pieces else program


def _choose(blocks: list[str], entry_point: str | None, strict: bool = False) -> str | None:
    """The block that rule 3 picks; with `strict`, only one that defines the entry point after cutting."""
    if entry_point is None:
        parsed = [block for block in blocks if block.strip() and not isinstance(parse(block), SyntaxError)]
        return max(parsed, key=lambda block: block.count("\n"), default=None) if not strict else None
    pattern = re.compile(rf"^\s*(?:async\s+def|def|class)\s+{re.escape(entry_point)}\b", re.MULTILINE)
    for block in blocks:
        tree = parse(cut_to_parse(block, entry_point))
        if not isinstance(tree, SyntaxError) and defines(tree, entry_point):
            return block
    return None if strict else next((block for block in blocks if pattern.search(block)), None)


def _from_prose(text: str, entry_point: str) -> str | None:
    """Rule 4."""
    lines = text.split("\n")
    pattern = re.compile(rf"^(?:async\s+def|def|class)\s+{re.escape(entry_point)}\b")
    definition = next((i for i, line in enumerate(lines) if pattern.match(line)), None)
    if definition is None:
        return None
    for start in [i for i in range(definition + 1) if _START.match(lines[i])][:100]:
        candidate = "\n".join(lines[start:])
        tree = parse(cut_to_parse(candidate, entry_point))
        if not isinstance(tree, SyntaxError) and defines(tree, entry_point):
            return candidate
    return "\n".join(lines[definition:])


def _continue(text: str, entry_point: str, stub: str) -> str | None:
    """Rule 5: stub plus reply, when the reply is a body."""
    lines = text.strip("\n").split("\n")
    first = lines[0] if lines else ""
    if not stub or not first.strip():
        return None
    if not first[0].isspace():
        rest = next((line for line in lines[1:] if line.strip()), "")
        if rest[:1].isspace():
            lines[0] = "    " + first
        else:
            lines = ["    " + line if line.strip() else line for line in lines]
    program = cut_to_parse(stub.rstrip() + "\n" + "\n".join(lines), entry_point)
    tree = parse(program)
    if isinstance(tree, SyntaxError):
        return None
    bodies = [node for node in tree.body if _is_real(node, entry_point)]
    prose = not first[0].isspace() and not any(
        isinstance(node, ast.Return) for body in bodies for node in ast.walk(body)
    )
    return program if bodies and not prose else None


def _bare_program(text: str) -> str:
    """A reply without fences for a whole program: the text, when it parses and does something."""
    tree = parse(cut_to_parse(text))
    if isinstance(tree, SyntaxError):
        return ""
    acts = any(not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call) for node in tree.body)
    return text if acts else ""


def _starts_statement(line: str) -> bool:
    return bool(line) and not line[0].isspace() and not _CONTINUES.match(line)


def _lines_of(node: ast.stmt) -> range:
    return range(_first_line(node), (node.end_lineno or node.lineno) + 1)


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *[item.lineno for item in getattr(node, "decorator_list", [])]])


def _bound(node: ast.stmt) -> set[str]:
    """Names that a statement binds in its own scope."""
    if isinstance(node, _DEFINITIONS):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {item.asname or item.name.partition(".")[0] for item in node.names}
    names = {item.id for item in ast.walk(node) if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)}
    inner = {name for item in ast.walk(node) if isinstance(item, ast.Import | ast.ImportFrom) for name in _bound(item)}
    return names | inner | {item.name for item in ast.walk(node) if isinstance(item, _DEFINITIONS)}


def _names(nodes: list[ast.stmt]) -> set[str]:
    return {item.id for node in nodes for item in ast.walk(node) if isinstance(item, ast.Name)}


def _with_dependants(body: list[ast.stmt], doomed: set[ast.stmt]) -> set[ast.stmt]:
    """The doomed statements and those others, definitions apart, that use a name only doomed ones bind."""
    others = [(node, _bound(node), _names([node])) for node in body if not isinstance(node, _DEFINITIONS)]
    firm = {name for node in body if isinstance(node, _DEFINITIONS) and node not in doomed for name in _bound(node)}
    for _ in range(10):
        kept = firm | {name for node, bound, _ in others if node not in doomed for name in bound}
        gone = {name for node in doomed for name in _bound(node)} - kept
        more = {node for node, _, names in others if node not in doomed and names & gone}
        if not more:
            break
        doomed = doomed | more
    return doomed


def _used_names(tree: ast.Module, entry_point: str) -> set[str]:
    """Names that the definitions use, and those that the assignments of such names use in turn."""
    needs: dict[str, set[str]] = {}
    for node in tree.body:
        if isinstance(node, _ASSIGNMENTS):
            for name in _bound(node):
                needs.setdefault(name, set()).update(_names([node]))
    used = _names([node for node in tree.body if isinstance(node, _DEFINITIONS)]) | {entry_point}
    queue = list(used)
    while queue:
        for name in needs.get(queue.pop(), set()) - used:
            used.add(name)
            queue.append(name)
    return used


def _is_real(node: ast.stmt, entry_point: str) -> bool:
    """True for a definition of the entry point with a body beyond docstring, `pass` and `...`."""
    if not isinstance(node, _DEFINITIONS):
        return entry_point in _bound(node)
    constant = [isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) for item in node.body]
    return node.name == entry_point and not all(c or isinstance(i, ast.Pass) for c, i in zip(constant, node.body))


def _is_example(node: ast.stmt, own: set[str], used: set[str], after: bool) -> bool:
    """True for a top-level statement that only shows the program at work (rule 8)."""
    if isinstance(node, ast.Assert):
        return True
    if isinstance(node, ast.Expr):
        calls = [item for item in ast.walk(node) if isinstance(item, ast.Call)]
        roots = {_root(call) for call in calls}
        return bool(roots & (own | {"print", "input", "doctest", "unittest"})) or (after and not calls)
    if isinstance(node, ast.If) and "__name__" in _names([node]):
        return True
    if isinstance(node, _ASSIGNMENTS):
        return not _bound(node) & used
    if isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try):
        return after and not _bound(node) & used
    return False


def _root(call: ast.Call) -> str:
    """`print` for `print(...)`, `doctest` for `doctest.testmod()`."""
    function = call.func
    while isinstance(function, ast.Attribute):
        function = function.value
    return function.id if isinstance(function, ast.Name) else ""
