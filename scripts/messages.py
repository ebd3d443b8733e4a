"""Print every message for people in this repository, by file and line, to be read in one go: `make messages`.

A message is a text of at least two words in the code, except docstrings and what is sent to other programs only. Of the
tests it is what an assertion or a skipped test says. `{…}` stands for what is filled in.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ("function_app.py", "referral_fn", "local_stack", "scripts")
_WORDS = re.compile(r"[A-Za-z'`)},:.…-]+ +[`'({A-Za-z-]")
_CODE = re.compile(
    r"(SELECT|INSERT|CREATE|DELETE|UPDATE|DROP)\b.*"  # SQL
    r"|.*(<!--|\$filter|Content-Security|default-src|\(\?[PmxiL:]|\\[wdbsS]|\.\*).*"  # headers, queries, expressions
    r"|(Bearer|Basic|Signature|SharedKey|Atom) .*",
    re.DOTALL,
)
_DATA = ("local_stack/stand_ins/referrals.py",)
"""Files of sample data."""


@dataclass(frozen=True, order=True)
class Message:
    """A text, and where it is."""

    path: str
    line: int
    text: str


def messages() -> list[Message]:
    """All messages, in the order of files and lines."""
    found = set[Message]()
    for top in PROGRAMS:
        for path in [ROOT / top] if top.endswith(".py") else (ROOT / top).rglob("*.py"):
            if str(path.relative_to(ROOT)) not in _DATA:
                found.update(_of_program(path))
    for path in (ROOT / "tests").rglob("*.py"):
        found.update(_of_test(path))
    for path in (ROOT / "local_stack" / "demo").glob("*.[jh]*"):
        found.update(_of_page(path))
    return sorted(found)


def _of_program(path: Path) -> Iterator[Message]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    standing_alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    inner -= {id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)}
    skipped = standing_alone | inner
    for node in ast.walk(tree):
        if id(node) not in skipped and (text := _text(node)) and _is_message(text):
            yield Message(_relative(path), getattr(node, "lineno", 0), text)


def _of_test(path: Path) -> Iterator[Message]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        shown: list[ast.expr] = []
        if isinstance(node, ast.Assert) and node.msg:
            shown = [node.msg]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {"skip", "skipif", "fail"}:
            shown = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            shown = node.exc.args
        for value in shown:
            if (text := _text(value)) and _is_message(text):
                yield Message(_relative(path), value.lineno, text)


def _of_page(path: Path) -> Iterator[Message]:
    text = path.read_text(encoding="utf-8")
    strings = r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`' if path.suffix == ".js" else r">([^<>]+)<"
    for string in re.finditer(strings, re.sub(r"/\*.*?\*/|// [^\n]*", "", text, flags=re.DOTALL)):
        content = " ".join(re.sub(r"\$\{[^}]*\}", "{…}", next(filter(None, string.groups()), "")).split())
        if _is_message(content):
            line = text.find(string[0].split("\n")[0])
            yield Message(_relative(path), text.count("\n", 0, max(line, 0)) + 1, content)


def _text(node: ast.AST) -> str:
    """The text of a string or f-string; an empty one for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "{…}" for part in node.values)
    return ""


def _is_message(text: str) -> bool:
    return bool(_WORDS.search(text)) and not _CODE.fullmatch(text.strip())


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def main() -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    path = ""
    for message in messages():
        if message.path != path:
            path = message.path
            print(f"\n{path}")
        print(f"  {message.line:>4}  {' '.join(message.text.split())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
