"""What commands print: text that cannot control the terminal, whatever it contains."""

import json
import re
import secrets
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import Progress

from referral_fn import strict_json

_UNSAFE = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
"""Unicode categories with an effect instead of a glyph: control characters, bidi marks, line separators and so on."""


def visible(text: str) -> str:
    """Replace every character that has no glyph of its own by its JSON escape, such as that of U+202E."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escaped(character) if unicodedata.category(character) in _UNSAFE else character for character in text
    )


def _escaped(character: str) -> str:
    """The escape that JSON and Python have in common, so that escaped JSON remains the same JSON."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[start : start + 2].hex()}" for start in range(0, len(units), 2))


def line(text: str = "") -> None:
    """Print one line on stdout."""
    print(visible(text), flush=True)


def note(text: str) -> None:
    """Print one line on stderr: errors, and remarks that are no part of the result."""
    print(visible(text), file=sys.stderr, flush=True)


def failure(text: str) -> None:
    """Print an error in the form that all commands share."""
    note(f"Failed: {text}")


def document(value: Any, *, pretty: bool = False) -> str:
    """A value as JSON. Pretty JSON keeps every language readable; escapes stand only for unsafe characters."""
    if not pretty:
        return visible(strict_json.dumps(value).decode())
    mark = secrets.token_hex(8)  # stands around digits that only strict_json can write, until the text is indented

    def marked(number: strict_json.Number) -> str:
        return f"{mark}{number.text}{mark}"

    text = json.dumps(value, indent=2, ensure_ascii=False, default=marked)
    text = re.sub(f'"{mark}(.+?){mark}"', r"\1", text)
    return "\n".join(visible(row) for row in text.split("\n"))


class JsonArray:
    """Prints a JSON array one element at a time, so that no more than one is in memory."""

    def __init__(self, *, pretty: bool) -> None:
        self._pretty = pretty
        self._separator = "[\n"

    def add(self, value: Any) -> None:
        """Print one element."""
        print(self._separator + document(value, pretty=self._pretty), end="", flush=True)
        self._separator = ",\n"

    def close(self) -> None:
        """Print the end of the array."""
        print("\n]" if self._separator == ",\n" else "[]", flush=True)


class Counter:
    """A progress display on stderr, while stdout goes to a file or a pipe."""

    def __init__(self, description: str, total: int | None = None) -> None:
        shown = sys.stderr.isatty() and not sys.stdout.isatty()
        self._progress = Progress(console=Console(stderr=True), transient=True, disable=not shown)
        self._task = self._progress.add_task(description, total=total)

    def __enter__(self) -> Callable[[int], None]:
        """Start the display. Returns a function that advances it by so many."""
        self._progress.start()
        return lambda count: self._progress.advance(self._task, count)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
