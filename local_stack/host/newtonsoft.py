"""JSON as Newtonsoft.Json reads it by default, which is more than JSON: the host looks into text messages with it.

Beyond JSON it takes comments, single quotes, names without quotes, trailing commas, hexadecimal and octal numbers, NaN
and infinities. It stops at 64 levels and at numbers of more than 380 digits. It takes what looks like an ISO date for
a date.
"""

import re
from datetime import UTC, datetime
from typing import Any

MAX_DEPTH = 64
_MAX_DIGITS = 380
_TOKEN = re.compile(
    r"""(?:\s|/\*.*?\*/|//[^\n\r]*)*
    (?P<token>
        "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*'
        | [{}\[\]:,]
        | [-+]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w$])
        | -?Infinity | [A-Za-z_$][\w$]*
        | \Z
    )""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"true": True, "false": False, "null": None}
_FLOATS = ("NaN", "Infinity", "-Infinity")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?\d*(Z|[+-]\d\d(:?\d\d)?)?\Z")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]")


class NotJsonError(ValueError):
    """Newtonsoft.Json does not take the text either."""


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object. Of members with the same name the last one counts; a date is a `datetime`.

    Raises:
        NotJsonError: it is not one.
    """
    reader = _Reader(text)
    if reader.take() != "{":
        raise NotJsonError("not an object")
    members = reader.members(1)
    if reader.take():
        raise NotJsonError("more than an object")
    return members


def to_text(value: Any) -> str:
    """A value that is no object and no array, as .NET's invariant culture writes it."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, datetime):
        return value.strftime("%m/%d/%Y %H:%M:%S")
    if isinstance(value, float):
        return _float_text(value)
    return str(value)


def _float_text(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    digits, _, exponent = repr(value).partition("e")
    if exponent:
        return f"{digits.removesuffix('.0')}E{int(exponent):+03d}"
    return digits.removesuffix(".0")


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def take(self) -> str:
        """The next token; empty at the end."""
        match = _TOKEN.match(self._text, self._at)
        if not match:
            raise NotJsonError(f"unexpected character at {self._at}")
        self._at = match.end()
        return match["token"]

    def members(self, depth: int) -> dict[str, Any]:
        """The rest of an object."""
        members: dict[str, Any] = {}
        while (token := self.take()) != "}":
            if token == "" or token in "{[]:,":
                raise NotJsonError("a member must have a name")
            if self.take() != ":":
                raise NotJsonError("a name must be followed by a colon")
            members[_unquoted(token)] = self._value(self.take(), depth)
            if not self._more("}"):
                break
        return members

    def _more(self, end: str) -> bool:
        """Whether a comma follows, and not the end."""
        token = self.take()
        if token not in (",", end):
            raise NotJsonError("a comma is missing")
        return token == ","

    def _value(self, token: str, depth: int) -> Any:
        if token in ("{", "["):
            if depth >= MAX_DEPTH:
                raise NotJsonError("too deep")
            return self.members(depth + 1) if token == "{" else self._items(depth + 1)
        if token[:1] in ('"', "'"):
            return _date_or_text(_unquoted(token))
        if token in _WORDS:
            return _WORDS[token]
        if token in _FLOATS:
            return float(token)
        return _number(token)

    def _items(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while (token := self.take()) != "]":
            items.append(None if token == "," else self._value(token, depth))
            if token != "," and not self._more("]"):
                break
        return items


def _unquoted(token: str) -> str:
    if token[:1] not in ('"', "'"):
        return token
    text = _ESCAPE.sub(_unescaped, token[1:-1])
    return _SURROGATES.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    if match[2] not in "\"'\\/bfnrt":
        raise NotJsonError(f"unknown escape \\{match[2]}")
    return _ESCAPES.get(match[2], match[2])


def _date_or_text(text: str) -> str | datetime:
    if not _DATE.match(text):
        return text
    try:
        date = datetime.fromisoformat(text)
    except ValueError:  # such as a 13th month
        return text
    return date.astimezone(UTC) if date.tzinfo else date


def _number(token: str) -> int | float:
    if len(token) > _MAX_DIGITS:
        raise NotJsonError("a number has too many digits")
    try:
        if token.lstrip("+-")[:2].lower() == "0x":
            return int(token, 16)
        if re.fullmatch(r"[-+]?0\d+", token):
            return int(token, 8)
        return int(token) if re.fullmatch(r"[-+]?\d+", token) else float(token)
    except ValueError:
        raise NotJsonError("not a number") from None
