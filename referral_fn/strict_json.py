"""JSON from strangers: parsed within bounds, and safe to write out again with the same digits."""

import json
import re
from math import isfinite
from typing import Any, NoReturn

from pydantic_core import PydanticSerializationError, to_json

MAX_DEPTH = 64
"""Levels of objects and lists that are accepted. Referrals have six; Python's parser and printer differ in theirs."""

_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class InvalidJSONError(ValueError):
    """The text is not JSON, or not JSON that can be kept and written again."""


class Number:
    """A JSON number that a double would spell differently, such as 12345678901234567.89 or 25000.00.

    It is no dataclass and no float, so that an encoder that does not know it fails instead of writing something else.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text
        """Its digits as sent."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Number({self.text!r})"


def loads(body: bytes | str, *, unique: bool = False) -> Any:
    """Parse one JSON text.

    A number whose digits a double would change becomes a `Number`; one beyond the range of a double, a string. Lone
    surrogates, which JSON can spell and UTF-8 cannot, become U+FFFD. `NaN` and `Infinity` are refused (RFC 8259,
    section 6).

    Args:
        body: the text.
        unique: refuse objects that have a member twice, because two readers may see different ones.

    Raises:
        InvalidJSONError: not UTF-8, not JSON, or nested deeper than `MAX_DEPTH`. The message quotes nothing.
    """
    try:
        text = (body if isinstance(body, str) else body.decode()).removeprefix("\ufeff")
        value = (_UNIQUE_DECODER if unique else _DECODER).decode(text)
    except UnicodeDecodeError:
        raise InvalidJSONError("must be UTF-8") from None
    except (ValueError, RecursionError):
        raise InvalidJSONError("must be JSON") from None
    if text.count("{") + text.count("[") > MAX_DEPTH:
        _check_depth(value)
    return _replace_surrogates(value) if _ESCAPED_SURROGATE.search(text) else value


def dumps(value: Any, *, sort_keys: bool = False) -> bytes:
    """Write a value as compact JSON. What UTF-8 cannot spell, such as part of a broken header, becomes `?`."""
    if not sort_keys:
        try:
            return to_json(value)  # several times as fast as the standard library's encoder
        except PydanticSerializationError:  # raised for a Number, and for what UTF-8 cannot spell
            pass
    try:
        text = _ENCODERS[sort_keys].encode(value)
    except TypeError:  # raised for a Number, which the standard library's encoder cannot write with its digits
        text = _encode(value, sort_keys=sort_keys)
    return text.encode(errors="replace")


def _encode(value: Any, *, sort_keys: bool) -> str:
    if isinstance(value, Number):
        return value.text
    if isinstance(value, dict):
        items = sorted(value.items()) if sort_keys else value.items()
        members = [f"{_encode(name, sort_keys=False)}:{_encode(item, sort_keys=sort_keys)}" for name, item in items]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([_encode(item, sort_keys=sort_keys) for item in value]) + "]"
    return _ENCODERS[False].encode(value)


def _members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is there twice")
    return members


def _number(text: str) -> float | Number | str:
    number = float(text)
    if repr(number) == text:
        return number
    return Number(text) if isfinite(number) else text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        children = (item for parent in level for item in (parent.values() if isinstance(parent, dict) else parent))
        level = [item for item in children if isinstance(item, dict | list)]
        if not level:
            return
    raise InvalidJSONError(f"must not be nested deeper than {MAX_DEPTH} levels")


def _replace_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_replace_surrogates(name): _replace_surrogates(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in value]
    return value


_DECODER = json.JSONDecoder(parse_float=_number, parse_constant=_refuse_constant)
_UNIQUE_DECODER = json.JSONDecoder(
    parse_float=_number, parse_constant=_refuse_constant, object_pairs_hook=_members_once
)
_ENCODERS = {
    sort_keys: json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys)
    for sort_keys in (False, True)
}
